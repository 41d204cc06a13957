"""The figure of saturated and dead units."""

import altair as alt

from actgrad.analysis import tables
from actgrad.report.figures.drawing import Layers, Shown, figure
from actgrad.report.figures.styling import HERE, SEEDS_OF_HEADLINE, SHOW, choice, colour, dash, faded, names, pointed, span


@figure("Dead and saturated units", lambda evidence: tables.unit_states(evidence.runs))
def unit_states(shown: Shown) -> Layers:
    """Measured on a fixed batch of images. A dead unit passes no gradient for any of them; an activation is saturated where its derivative is below
    5 % of the largest. Epoch 0 is before training. Single seeds are those of the first condition."""
    rows = shown.rows["units"]
    rows = rows[(rows["condition"] == shown.evidence.headline) & (rows["place"] > 0)]
    sites = rows[["place", "layer"]].drop_duplicates().sort_values("place")
    layers = dict(zip(sites["place"], sites["layer"], strict=True))
    base = (
        alt.Chart(alt.NamedData("units"))
        .transform_filter("datum.place == min(layer, datum.places)")
        .transform_calculate(share="state == 'dead' ? datum.dead : datum.saturated")
    )
    here = base.transform_filter(HERE).transform_filter(SEEDS_OF_HEADLINE)
    x, y = alt.X("epoch:Q", axis=alt.Axis(tickMinStep=1, grid=False)), alt.Y("share:Q", title="share of units", axis=alt.Axis(format="~%"))
    tips = ["activation:N", "seed:N", "layer:N", "epoch:Q", *(alt.Tooltip(f"{name}:Q", format=".1%") for name in ("dead", "saturated"))]
    lines = here.mark_line(tooltip=None).encode(
        x=x, y=y, color=colour(shown.activations), strokeDash=dash(shown.activations), detail="seed:N", opacity=faded()
    )
    ends = base.transform_filter(HERE).transform_filter("datum.seed == 'mean'")
    options = {0: "all layers", **{place: f"{place}: {name}" for place, name in layers.items()}}
    return (
        alt.layer(
            span(base.transform_filter(SEEDS_OF_HEADLINE), x, y), lines, pointed(here, x, y, tips), *names(ends, "epoch", "share", shown.activations)
        )
        .add_params(choice("state", "Units", ("dead", "saturated")), choice("layer", "Layer", [*options], [*options.values()]), choice(*SHOW))
        .properties(height=300)
    )
