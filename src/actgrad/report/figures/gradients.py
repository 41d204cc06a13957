"""Figures about the gradient on its way back through the network."""

import altair as alt

from actgrad.analysis import tables, updates
from actgrad.analysis.details import END, SIGNAL, START, UPDATES, WEIGHTS
from actgrad.report.figures.drawing import Layers, Shown, figure
from actgrad.report.figures.styling import (
    FOLDS,
    HERE,
    LOGARITHM,
    SCALE,
    SEEDS,
    SEEDS_OF_HEADLINE,
    SHOW,
    SOFT,
    TILTED,
    choice,
    colour,
    dash,
    faded,
    log_or_linear,
    names,
    pointed,
    said_if_none,
    span,
)

MEASURE = ("measure", "Gradient of", (SIGNAL, WEIGHTS), ("pre-activations, dL/dz", "weights, norm"))
TIPS = ["activation:N", "seed:N", "layer:N", "step:Q", alt.Tooltip("value:Q", format=".3g")]


@figure("The gradient at each layer", lambda evidence: tables.preact_grads(evidence.runs))
def preact_grads(shown: Shown) -> Layers:
    """The gradient flows from right to left: where a line falls to the left, the gradient vanishes. dL/dz is a root mean square over units and
    images. Means over seeds are geometric and leave out gradients of 0."""
    base = alt.Chart(alt.NamedData("signals")).transform_filter("datum.when == when && datum.measure == measure").transform_calculate(shown=LOGARITHM)
    here = base.transform_filter(HERE).transform_filter(SEEDS)
    x = alt.X("place:O", title="layer, from the input to the output", axis=alt.Axis(labelExpr=_places(shown), labelAngle=TILTED))
    y = log_or_linear("size of the gradient")
    lines = here.mark_line(point=alt.OverlayMarkDef(size=40)).encode(
        x=x, y=y, color=colour(shown.activations), strokeDash=dash(shown.activations), detail="seed:N", opacity=faded(), tooltip=TIPS
    )
    ends = base.transform_filter(HERE).transform_filter("datum.seed == 'mean'")
    return (
        alt.layer(span(base.transform_filter(SEEDS), x, y), lines, *names(ends, "place", "shown", shown.activations))
        .add_params(choice(*MEASURE), choice("when", "When", (START, END)), choice(*SCALE), choice(*SHOW))
        .properties(height=320)
    )


def _places(shown: Shown, measure: str = SIGNAL) -> str:
    """Axis labels for places: the layer names of the headline, and numbers for other conditions. The tooltip always has the name."""
    found = _layers(shown, measure)
    layers = ", ".join(f"'{name}'" for name in found.values())
    return f"condition == '{shown.evidence.headline}' && datum.value <= {len(found)} ? [{layers}][datum.value - 1] : datum.value"


def _layers(shown: Shown, measure: str = SIGNAL) -> dict[int, str]:
    rows = shown.rows["signals"]
    rows = rows[(rows["condition"] == shown.evidence.headline) & (rows["measure"] == measure)]
    return dict(rows[["place", "layer"]].drop_duplicates().sort_values("place").itertuples(index=False))


@figure("The gradient at one layer while the network trains", lambda evidence: tables.gradient_norms(evidence.runs))
def gradient_norms(shown: Shown) -> Layers:
    """dL/dz is measured at the start, at steps 1, 2, 4, ... and after each epoch. Weights: norm of the gradient that the optimizer gets. The CSV has
    the weights' norms; preact_grads.csv has dL/dz. For a network with fewer layers, its last layer is shown. Single seeds are those of the first
    condition."""
    base = (
        alt.Chart(alt.NamedData("signals"))
        .transform_filter("datum.when == '' && datum.measure == measure && datum.place == min(layer, datum.places)")
        .transform_calculate(shown=LOGARITHM)
    )
    here = base.transform_filter(HERE).transform_filter(SEEDS_OF_HEADLINE)
    x, y = alt.X("step:Q", title="optimizer step", axis=alt.Axis(grid=False)), log_or_linear("size of the gradient")
    lines = here.mark_line(tooltip=None, strokeWidth=1.6).encode(
        x=x, y=y, color=colour(shown.activations), strokeDash=dash(shown.activations), detail="seed:N", opacity=faded()
    )
    ends = base.transform_filter(HERE).transform_filter("datum.seed == 'mean'")
    layers = _layers(shown)
    return (
        alt.layer(
            span(base.transform_filter(SEEDS_OF_HEADLINE), x, y),
            lines,
            pointed(here, x, y, TIPS),
            *names(ends, "step", "shown", shown.activations),
            said_if_none(base, "'The gradient at this layer is 0.'"),
        )
        .add_params(
            choice("layer", "Layer", [*layers], [f"{place}: {name}" for place, name in layers.items()]),
            choice(*MEASURE),
            choice(*SCALE),
            choice(*SHOW),
        )
        .properties(height=320)
    )


@figure("How far an update moves each layer", lambda evidence: updates.update_ratios(evidence.runs))
def update_ratios(shown: Shown) -> Layers:
    """Update norm divided by weight norm, median over the steps of the last epoch. Means over seeds are geometric. Dotted line: the often
    recommended 1e-3."""
    base = alt.Chart(alt.NamedData("signals")).transform_filter(f"datum.measure == '{UPDATES}'").transform_calculate(shown=LOGARITHM)
    here = base.transform_filter(HERE).transform_filter(SEEDS)
    x = alt.X("place:O", title="layer, from the input to the output", axis=alt.Axis(labelExpr=_places(shown, UPDATES), labelAngle=TILTED))
    y = log_or_linear("update norm ÷ weight norm")
    lines = here.mark_line(point=alt.OverlayMarkDef(size=40)).encode(
        x=x, y=y, color=colour(shown.activations), strokeDash=dash(shown.activations), detail="seed:N", opacity=faded(), tooltip=TIPS
    )
    named = alt.Chart(alt.Data(values=[{"value": 1e-3}])).transform_calculate(shown=LOGARITHM)
    ends = base.transform_filter(HERE).transform_filter("datum.seed == 'mean'")
    return (
        alt.layer(
            span(base.transform_filter(SEEDS), x, y),
            named.mark_rule(strokeDash=[2, 3]).encode(y=y),
            lines,
            *names(ends, "place", "shown", shown.activations),
        )
        .add_params(choice(*SCALE), choice(*SHOW))
        .properties(height=300)
    )


@figure("Predicted and measured", lambda evidence: tables.share_of_next(evidence.runs))
def share_of_next(shown: Shown) -> Layers:
    """Each dot is a layer of an activation: dL/dz as a share of the next layer's, before training. Dots on the line were predicted exactly, from
    derivatives and weights (Glorot and Bengio 2010, equation 6) or from derivatives alone."""
    base = alt.Chart(alt.NamedData("shares")).transform_calculate(
        expected="source == 'derivatives alone' ? datum.derivatives_alone : datum.predicted", layer="replace(datum.layer, '_activation', '')"
    )
    base = base.transform_filter("datum.expected > 0 && datum.share_of_next > 0")
    x = alt.X(
        "expected:Q", title="predicted share of the next layer's gradient", scale=alt.Scale(type="log"), axis=alt.Axis(tickCount=5, format="~g")
    )
    y = alt.Y("share_of_next:Q", title="measured share", scale=alt.Scale(type="log"), axis=alt.Axis(tickCount=5, format="~g"))
    titles = {"share_of_next": "measured share", "predicted": "predicted", "derivatives_alone": "predicted from derivatives alone"}
    numbers = [alt.Tooltip(f"{name}:Q", title=title, format=".3g") for name, title in titles.items()]
    dots = (
        base.transform_filter(HERE)
        .mark_point(filled=True, size=80, cursor="pointer")
        .encode(x=x, y=y, color=colour(shown.activations), opacity=faded(0.85), tooltip=["activation:N", "layer:N", *numbers])
    )
    known = shown.rows["shares"].query("share_of_next > 0")["share_of_next"]
    ends = [float(known.min()), float(known.max())] if len(known) else [0.1, 1.0]
    line = alt.Chart(alt.Data(values=[{"at": end} for end in ends])).mark_line(strokeWidth=1, color=SOFT).encode(x="at:Q", y="at:Q")
    return (
        alt.layer(span(base, x, y), line, dots)
        .add_params(choice("source", "Predicted from", ("derivatives and weights", "derivatives alone")))
        .properties(height=320)
    )


@figure("Attenuation in networks of several depths", lambda evidence: None if evidence.depth is None else tables.depth(evidence.depth))
def depth(shown: Shown) -> Layers:
    """Networks that differ only in their number of layers, before training: mean over seeds, with a band from the lowest to the highest. A flat line
    means that more layers do not shrink the gradient further."""
    base = alt.Chart(alt.NamedData("depth")).transform_filter("datum.lost == 0 && isValid(datum.mean)")
    x = alt.X("depth:Q", title="layers", axis=alt.Axis(tickMinStep=1, grid=False))
    y = alt.Y("mean:Q", title="times smaller at the first layer", axis=alt.Axis(labelExpr=FOLDS, tickMinStep=1))
    tips = [
        "activation:N",
        "depth:Q",
        alt.Tooltip("mean:Q", title="decades", format=".2f"),
        alt.Tooltip("rate:Q", title="decades a layer", format=".2f"),
    ]
    bands = base.mark_area(tooltip=None).encode(
        x=x, y=alt.Y("low:Q", title="times smaller at the first layer"), y2="high:Q", color=colour(shown.activations), opacity=faded(0.12)
    )
    lines = base.mark_line(point=alt.OverlayMarkDef(size=45)).encode(
        x=x, y=y, color=colour(shown.activations), strokeDash=dash(shown.activations), opacity=faded(), tooltip=tips
    )
    return alt.layer(bands, lines, *names(base, "depth", "mean", shown.activations)).properties(height=300)
