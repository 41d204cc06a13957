"""Figures about how well networks learn."""

import altair as alt

from actgrad.analysis import tables
from actgrad.analysis.claims.article import ARTICLE, follows_article
from actgrad.report.figures.drawing import Layers, Shown, figure
from actgrad.report.figures.styling import (
    FOLDS,
    HERE,
    SEEDS,
    SHOW,
    STYLES,
    choice,
    colour,
    dash,
    faded,
    names,
    pointed,
    rows_of_names,
    said_if_none,
    span,
)

RUN = ["activation:N", alt.Tooltip("seed:N"), alt.Tooltip("key:N", title="run"), "outcome:N"]
NO_MEAN = (
    "show == 'mean' ? ['No run ' + (length(chosen) == 1 ? 'with ' + chosen[0] + ' ' : length(chosen) ? 'with these activations ' : '') + 'learned,',"
    " 'so there is no mean to draw.'] : 'No run finished an epoch.'"
)
ROW = 27
"""Height of an activation's row, in pixels."""


@figure("Test accuracy, seed by seed", lambda evidence: tables.seeds(evidence.runs))
def seeds(shown: Shown) -> Layers:
    """Each dot is a run; the bar is the 95 % interval of their mean. Runs left of a dotted line, if there is one, failed and are left out of the
    mean."""
    base = alt.Chart(alt.NamedData("seeds"))
    here, row = base.transform_filter(HERE), alt.Y("rank:O", axis=None)
    x = alt.X(
        "accuracy:Q", title="test accuracy after the last epoch", axis=alt.Axis(format="~%", tickCount=6), scale=alt.Scale(zero=False, nice=True)
    )
    each = here.transform_aggregate(mean="mean(mean)", low="mean(low)", high="mean(high)", groupby=["activation", "rank"])
    interval = [alt.Tooltip(f"{name}:Q", format=".1%") for name in ("mean", "low", "high")]
    clipped = each.transform_calculate(low="max(0, datum.low)", high="min(1, datum.high)").transform_filter("isValid(datum.mean)")
    rules = clipped.mark_rule(strokeWidth=3).encode(
        x="low:Q", x2="high:Q", y=row, color=colour(shown.activations), opacity=faded(0.45), tooltip=["activation:N", *interval]
    )
    ticks = clipped.mark_tick(thickness=3, size=18).encode(
        x="mean:Q", y=row, color=colour(shown.activations), opacity=faded(), tooltip=["activation:N", *interval]
    )
    numbers = [
        alt.Tooltip("accuracy:Q", title="test accuracy", format=".1%"),
        alt.Tooltip("val_best:Q", title="best validation accuracy", format=".1%"),
    ]
    dots = here.mark_point(filled=True, size=55, cursor="pointer").encode(
        x=x, y=row, color=colour(shown.activations), opacity=faded(0.85), tooltip=[*RUN, *numbers, alt.Tooltip("best_epoch:Q", title="best epoch")]
    )
    limits = here.transform_aggregate(threshold="max(threshold)", lowest="min(accuracy)").transform_calculate(
        some="datum.lowest < datum.threshold", limit="datum.lowest < datum.threshold ? datum.threshold : datum.lowest"
    )
    failed = limits.mark_rule(strokeDash=[2, 3]).encode(x="limit:Q", opacity=alt.condition("datum.some", alt.value(1), alt.value(0)))
    lowest = base.transform_calculate(from_here="isValid(datum.low) ? max(0, datum.low) : datum.accuracy")
    everywhere = span(lowest, "from_here:Q", row)
    return alt.layer(span(base, x, row), everywhere, rules, ticks, dots, failed, rows_of_names(base)).properties(height=ROW * len(shown.activations))


@figure("Gradient lost on its way to the first layer", lambda evidence: tables.attenuations(evidence.runs))
def attenuation(shown: Shown) -> Layers:
    """Before training. 100× means that a hundredth of dL/dz arrives at the first layer. Dots are runs, bars are means."""
    base = alt.Chart(alt.NamedData("seeds"))
    here, row = base.transform_filter(HERE), alt.Y("rank:O", axis=None)
    x = alt.X("attenuation:Q", title="times smaller", axis=alt.Axis(labelExpr=FOLDS, tickMinStep=1, tickCount=5), scale=alt.Scale(zero=True))
    folds = here.transform_calculate(fold="pow(10, datum.attenuation)")
    tips = [*RUN, alt.Tooltip("fold:Q", title="times smaller", format=",.3~r")]
    bars = (
        here.transform_aggregate(decades="max(decades)", groupby=["activation", "rank"])
        .transform_calculate(fold="pow(10, datum.decades)")
        .mark_bar(height=11)
        .encode(
            x="decades:Q",
            y=row,
            color=colour(shown.activations),
            opacity=faded(0.45),
            tooltip=["activation:N", alt.Tooltip("fold:Q", title="times smaller", format=",.3~r")],
        )
    )
    dots = folds.mark_point(filled=True, size=40, cursor="pointer").encode(
        x=x, y=row, color=colour(shown.activations), opacity=faded(0.9), tooltip=tips
    )
    return alt.layer(span(base, x, row), bars, dots, rows_of_names(base)).properties(height=ROW * len(shown.activations))


@figure("Learning curves", lambda evidence: tables.learning_curves(evidence.runs))
def learning_curves(shown: Shown) -> Layers:
    """Accuracy after each epoch: mean over the runs that learned, with a band from lowest to highest. Names are in the order of the lines' ends."""
    base = alt.Chart(alt.NamedData("curves")).transform_filter("datum.split == split")
    here = base.transform_filter(HERE).transform_filter(SEEDS)
    x, y = alt.X("epoch:Q", axis=alt.Axis(tickMinStep=1, grid=False)), alt.Y("accuracy:Q", axis=alt.Axis(format="~%"), scale=alt.Scale(zero=False))
    tips = ["activation:N", "seed:N", "epoch:Q", alt.Tooltip("accuracy:Q", format=".1%")]
    lines = here.mark_line(tooltip=None).encode(
        x=x, y=y, color=colour(shown.activations), strokeDash=dash(shown.activations), detail="seed:N", opacity=faded()
    )
    bands = here.mark_area(tooltip=None).encode(
        x=x, y=alt.Y("low:Q", title="accuracy"), y2="high:Q", color=colour(shown.activations), opacity=faded(0.1)
    )
    ends = base.transform_filter(HERE).transform_filter("datum.seed == 'mean'")
    return (
        alt.layer(
            span(base.transform_filter(SEEDS), x, y),
            bands,
            lines,
            pointed(here, x, y, tips),
            *names(ends, "epoch", "accuracy", shown.activations),
            said_if_none(base, NO_MEAN),
        )
        .add_params(choice("split", "Split", ("validation", "training")), choice(*SHOW))
        .properties(height=300)
    )


@figure(
    "The article's ReLU network and this one",
    lambda evidence: tables.article_curve(evidence.runs, ARTICLE) if follows_article(evidence) else None,
)
def article_curve(shown: Shown) -> Layers:
    """Circles: the article's log, one run, validated on the test split. Lines: ReLU here, mean over the runs that learned."""
    table = tables.article_curve(shown.evidence.runs, ARTICLE).assign(
        split=lambda rows: rows["split"].map({"train": "training", "val": "validation"})
    )
    base = alt.Chart(alt.Data(values=table.astype(object).where(table.notna(), None).to_dict("records")))
    kinds = alt.Color("split:N", title=None, scale=alt.Scale(range=["#7f7f7f", STYLES["relu"][0]]))
    x, y = alt.X("epoch:Q", axis=alt.Axis(tickMinStep=1)), alt.Y("mean:Q", title="accuracy", axis=alt.Axis(format="~%"), scale=alt.Scale(zero=False))
    tips = ["split:N", "epoch:Q", alt.Tooltip("mean:Q", title="here", format=".1%"), alt.Tooltip("article:Q", format=".1%")]
    lines = base.mark_line().encode(x=x, y=y, color=kinds)
    return alt.layer(lines, base.mark_point(size=50).encode(x=x, y="article:Q", color=kinds, tooltip=tips)).properties(height=280)
