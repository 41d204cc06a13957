"""The figures of a report: one module per subject, one function per figure.

A figure is a function with the decorator @figure: it draws a table. Its name is that of its files, its docstring the caption.
"""

from actgrad.report.figures import accuracy, conditions, functions, gradients, units
from actgrad.report.figures.drawing import FIGURES, Drawing, drawings, image
from actgrad.report.figures.styling import styles

__all__ = [
    "FIGURES",
    "Drawing",
    "accuracy",
    "conditions",
    "drawings",
    "functions",
    "gradients",
    "image",
    "styles",
    "units",
]
