"""Figures of the activation functions themselves."""

import altair as alt

from actgrad.analysis import tables
from actgrad.analysis.claims.functions import LINEAR_POOLING
from actgrad.report.figures.drawing import Layers, Shown, figure
from actgrad.report.figures.styling import SOFT, choice, colour, dash, faded, names


@figure("The functions and their derivatives", lambda evidence: tables.activation_functions(evidence.runs))
def activations(shown: Shown) -> Layers:
    """The derivative multiplies the gradient on its way back. Curves are computed from the study's own layers, before training."""
    measured = alt.Chart(alt.NamedData("functions")).transform_window(
        before="lag(derivative)", after="lead(derivative)", sort=[alt.SortField("z")], groupby=["activation"]
    )
    base = measured.transform_filter("!(datum.derivative < min(datum.before, datum.after) - 0.1)")  # Keras has 0 where PReLU's derivative jumps
    base = base.transform_calculate(shown="curve == 'function' ? datum.value : datum.derivative")
    x, y = (
        alt.X("z:Q", title="pre-activation z", axis=alt.Axis(tickCount=7)),
        alt.Y("shown:Q", title="derivative, or value", scale=alt.Scale(domain=alt.ExprRef("curve == 'function' ? [-1.6, 3.1] : [-0.2, 1.3]"))),
    )
    tips = ["activation:N", alt.Tooltip("z:Q", format=".2f"), alt.Tooltip("value:Q", format=".3f"), alt.Tooltip("derivative:Q", format=".3f")]
    lines = base.mark_line(clip=True).encode(
        x=x, y=y, color=colour(shown.activations), strokeDash=dash(shown.activations), opacity=faded(), tooltip=tips
    )
    return (
        alt.layer(lines, *names(base, "z", "shown", shown.activations))
        .add_params(choice("curve", "Show", ("derivative", "function")))
        .properties(height=300)
    )


@figure("Distance of each trained network from one affine map", lambda evidence: tables.linearity(evidence.conditions))
def linearity(shown: Shown) -> Layers:
    """The largest difference between a network's logits and those of the affine map that agrees with it at the black image, as a share of the
    largest logit; the seed furthest away. About 1e-6 is rounding: the network is affine. With max pooling even one without an activation is not."""
    base = alt.Chart(alt.NamedData("linearity")).transform_filter(f"datum.condition == condition || datum.condition == '{LINEAR_POOLING}'")
    base = base.transform_calculate(
        shown="max(datum.folding_error, 1e-9)",
        row="datum.activation + (datum.condition == condition ? '' : ', ' + replace(datum.condition, '_', ' '))",
    )
    y = alt.Y("row:N", title=None, sort=alt.EncodingSortField("folding_error", order="descending"), axis=alt.Axis(labelLimit=190))
    x = alt.X("shown:Q", title="distance ÷ largest logit", scale=alt.Scale(type="log"), axis=alt.Axis(format=".0e", tickCount=4, labelOverlap=True))
    titles = {"folding_error": "distance", "superposition_error": "error of superposition"}
    tips = ["activation:N", "condition:N", *(alt.Tooltip(f"{name}:Q", title=title, format=".3g") for name, title in titles.items())]
    dots = base.mark_point(filled=True, size=80, cursor="pointer").encode(x=x, y=y, color=colour(shown.activations), opacity=faded(), tooltip=tips)
    return alt.layer(dots).properties(height=22 * (1 + len(shown.activations)))


@figure("What an activation costs", lambda evidence: tables.times(evidence.times, evidence.runs) if evidence.times else None)
def times(shown: Shown) -> Layers:
    """Time as a multiple of ReLU's: median with 95 % interval, measured once by the project's benchmark."""
    base = alt.Chart(alt.NamedData("times")).transform_calculate(
        **{end: f"part == 'a training step' ? datum.step_to_relu_{end} : datum.layers_to_relu_{end}" for end in ("value", "low", "high")}
    )
    y = alt.Y("activation:N", title=None, sort=alt.EncodingSortField("layers_to_relu_value"))
    tips = ["activation:N", *(alt.Tooltip(f"{name}:Q", format=".2f") for name in ("value", "low", "high"))]
    rules = base.mark_rule(strokeWidth=3).encode(x="low:Q", x2="high:Q", y=y, color=colour(shown.activations), opacity=faded(0.5))
    dots = base.mark_point(filled=True, size=70, cursor="pointer").encode(
        x=alt.X("value:Q", title="times ReLU's", scale=alt.Scale(zero=True)), y=y, color=colour(shown.activations), opacity=faded(), tooltip=tips
    )
    one = alt.Chart(alt.Data(values=[{"one": 1}])).mark_rule(color=SOFT, strokeDash=[2, 3]).encode(x="one:Q")
    return (
        alt.layer(one, rules, dots)
        .add_params(choice("part", "Time of", ("a training step", "the activation layers alone")))
        .properties(height=22 * (1 + len(shown.activations)))
    )
