"""Styles of all figures: one colour and one dash per activation in every figure, and parts that figures share.

The page's style sheet replaces INK, SOFT and LINE, so that a picture follows the reader's theme. Activations' colours have a contrast of at
least 3 to 1 on the white and on the dark background.
"""

from collections.abc import Sequence
from typing import Any

import altair as alt

INK, SOFT, LINE = "#1b1b1b", "#5b5b5b", "#dddddd"
DARK = {INK: "#e8e8e8", SOFT: "#a8a8a8", LINE: "#3a3d42"}
"""Their replacements in the dark theme."""

# Near Okabe and Ito's colours, which colour-blind readers can tell apart, and three of Tol's; the dash is the second cue.
STYLES: dict[str, tuple[str, list[int]]] = {
    "linear": ("#7f7f7f", [1, 0]),
    "sigmoid": ("#0b78bd", [1, 0]),
    "tanh": ("#2f9bd3", [6, 2]),
    "relu": ("#d55e00", [1, 0]),
    "leaky_relu": ("#b58100", [6, 2]),
    "prelu": ("#00946c", [1, 0]),
    "elu": ("#c4689a", [1, 0]),
    "gelu": ("#7a68d8", [2, 2]),
    "silu": ("#2f9788", [2, 2]),
    "maxout": ("#b8487a", [8, 2, 2, 2]),
}
FURTHER = ("#8a8a00", "#5c8fd6", "#b06ad0", "#c0603a", "#6f8f3a")

CONFIG: dict[str, Any] = {
    "background": "transparent",
    "aria": False,
    "font": "Helvetica, Arial, sans-serif",
    "padding": {"left": 12, "top": 6, "right": 18, "bottom": 6},
    "view": {"stroke": None},
    "axis": {
        "labelColor": SOFT, "titleColor": SOFT, "gridColor": LINE, "domainColor": LINE, "tickColor": LINE, "labelFontSize": 11,
        "titleFontSize": 12, "titleFontWeight": "normal", "labelPadding": 4, "titlePadding": 8,
    },
    "legend": {"labelColor": INK},
    "text": {"fontSize": 12, "color": INK},
    "line": {"strokeWidth": 2},
    "rule": {"color": SOFT},
}  # fmt: skip


def styles(activations: Sequence[str]) -> dict[str, tuple[str, list[int]]]:
    """Colour and dash of each activation. Activations that are not in STYLES get the FURTHER colours in turn."""
    further = [name for name in activations if name not in STYLES]
    return {name: STYLES.get(name) or (FURTHER[further.index(name) % len(FURTHER)], [4, 2]) for name in activations}


def colour(activations: Sequence[str]) -> alt.Color:
    return alt.Color("activation:N", legend=None, scale=alt.Scale(domain=list(activations), range=[one for one, _ in styles(activations).values()]))


def dash(activations: Sequence[str]) -> alt.StrokeDash:
    dashes = [one for _, one in styles(activations).values()]
    return alt.StrokeDash("activation:N", legend=None, scale=alt.Scale(domain=list(activations), range=dashes))


# --- what a reader can change


def choice(name: str, label: str, options: Sequence[Any], labels: Sequence[str] | None = None) -> alt.Parameter:
    """A control under the figure: buttons for two or three options, a list for more."""
    bind = alt.binding_radio if len(options) <= 3 else alt.binding_select
    return alt.param(name=name, value=options[0], bind=bind(options=list(options), labels=list(labels or map(str, options)), name=f"{label} "))


def shared(headline: str) -> list[alt.Parameter]:
    """Parameters of all figures: the headline; the condition, the one it is compared with, and the activations that the reader has chosen, which the
    page sets."""
    values = {"headline": headline, "condition": headline, "other": "", "chosen": []}
    return [alt.param(name=name, value=value) for name, value in values.items()]


HERE = "datum.condition == condition"
EITHER = "datum.condition == condition || datum.condition == other"
"""Rows whose values set the range of an axis: both conditions, if two are compared."""
CHOSEN = "length(chosen) == 0 || indexof(chosen, datum.activation) >= 0"
"""Rows of the chosen activations, or of all if none is chosen."""
SEEDS = "show == 'mean' ? datum.seed == 'mean' : datum.seed != 'mean'"
SEEDS_OF_HEADLINE = f"datum.condition == headline ? ({SEEDS}) : datum.seed == 'mean'"
"""The same for tables without the single seeds of other conditions."""
SHOW = ("show", "Show", ("mean", "every seed"))
SCALE = ("axis_scale", "Axis", ("log", "linear"))


def faded(full: float = 1.0) -> Any:
    """Opacity: full for the chosen activations, or for all if none is chosen."""
    return alt.condition(CHOSEN, alt.value(full), alt.value(0.08 * full))


# --- parts


LOGARITHM = "axis_scale == 'log' ? log(datum.value) / LN10 : datum.value"
NUMBERS = "axis_scale == 'log' ? (abs(datum.value) > 5 ? '1e' + datum.value : format(pow(10, datum.value), '.2~g')) : format(datum.value, '.3~g')"
FOLDS = "abs(datum.value) > 6 ? '10^' + datum.value + '×' : format(pow(10, datum.value), ',.3~r') + '×'"
"""Labels of an axis in decades: 100×."""


def log_or_linear(title: str) -> alt.Y:
    """The axis of the column `shown`, which LOGARITHM computes."""
    return alt.Y("shown:Q", title=title, scale=alt.Scale(zero=False), axis=alt.Axis(labelExpr=NUMBERS, tickMinStep=alt.ExprRef(WHOLE), tickCount=6))


TILTED = alt.ExprRef("width < 300 ? -45 : 0")
"""Angle of an axis's names, which overlap on a phone."""
WHOLE = "axis_scale == 'log' ? 1 : 0"


def pointed(base: alt.Chart, x: Any, y: Any, tips: Any) -> alt.Chart:
    """Invisible points for the tooltip, because a line is too thin to point at."""
    return base.mark_point(filled=True, opacity=0, size=90, cursor="pointer").encode(x=x, y=y, tooltip=tips)


def span(base: alt.Chart, x: str | alt.X, y: Any) -> alt.Chart:
    """Invisible marks of both compared conditions. They give both pictures the same axes."""
    return base.transform_filter(EITHER).mark_point(opacity=0, tooltip=None).encode(x=x, y=y)


def names(base: alt.Chart, x: str, y: str, activations: Sequence[str]) -> list[alt.Chart]:
    """The activations' names to the right of their lines, in the order of the lines' ends, each with a piece of its line."""
    placed = (
        base.transform_joinaggregate(last=f"max({x})", groupby=["activation"])
        .transform_filter(f"datum.{x} == datum.last")
        .transform_window(place="row_number()", sort=[{"field": y, "order": "descending"}])
        .transform_joinaggregate(number="count()")
        .transform_calculate(at="height * (datum.place - 0.5) / max(datum.number, 8)")
    )
    at = alt.Y("at:Q", scale=None, axis=None)
    pieces = placed.mark_rule(strokeWidth=2.5, cursor="pointer", tooltip=None).encode(
        x=alt.value(alt.ExprRef("width + 8")),
        x2=alt.value(alt.ExprRef("width + 27")),
        y=at,
        color=colour(activations),
        strokeDash=dash(activations),
        opacity=faded(),
    )
    opacity = alt.condition(CHOSEN, alt.value(1), alt.value(0.45))
    texts = placed.mark_text(align="left", cursor="pointer").encode(
        x=alt.value(alt.ExprRef("width + 32")), y=at, text="activation:N", opacity=opacity
    )
    return [pieces, texts]


def said_if_none(base: alt.Chart, words: str) -> alt.Chart:
    """Words in the middle of a figure that has no row to show for this condition, the seeds and the chosen activations.

    Args:
        words: an expression: a text, or a list of lines.
    """
    return (
        base.transform_calculate(is_shown=f"({HERE}) && ({SEEDS}) && ({CHOSEN}) ? 1 : 0")
        .transform_aggregate(shown_rows="sum(is_shown)")
        .transform_filter("!datum.shown_rows")
        .mark_text(fontSize=13, text=alt.ExprRef(words), tooltip=None)
        .encode(x=alt.value(alt.ExprRef("width / 2")), y=alt.value(alt.ExprRef("height / 2")))
    )


def rows_of_names(base: alt.Chart) -> alt.Chart:
    """The activations' names to the left of their rows; `rank` is the row."""
    return (
        base.transform_filter(HERE)
        .transform_aggregate(groupby=["activation", "rank"])
        .mark_text(align="right", cursor="pointer")
        .encode(x=alt.value(-10), y=alt.Y("rank:O", axis=None), text="activation:N")
    )
