"""The figures of a report: one module per subject, one function per figure.

A figure is a function with the decorator @figure: it makes a chart from named tables. Its name is its files' name; its docstring is the caption.
"""

from actgrad.report.figures import accuracy, conditions, functions, gradients, rules, units
from actgrad.report.figures.drawing import FIGURES, STARTED, Drawing, Shown, drawing, picture, records, shown, warm_up
from actgrad.report.figures.styling import DARK, INK, LINE, SOFT, STYLES, styles

__all__ = [
    "DARK", "FIGURES", "INK", "LINE", "SOFT",
    "STARTED", "STYLES", "Drawing", "Shown", "accuracy", "conditions", "drawing", "functions", "gradients", "picture",
    "records", "rules", "shown", "styles", "units", "warm_up",
]  # fmt: skip
