"""Figures about changes under other conditions."""

import altair as alt

from actgrad.analysis import learning_rates as search
from actgrad.analysis import tables
from actgrad.analysis.claims.leaky import slopes as slopes_of
from actgrad.analysis.runs import learned
from actgrad.report.figures.drawing import Layers, Shown, figure
from actgrad.report.figures.styling import INK, SOFT, STYLES, colour, dash, faded, names


@figure("Mean test accuracy under each condition", lambda evidence: tables.conditions(evidence.conditions) if evidence.other_conditions else None)
def conditions(shown: Shown) -> Layers:
    """Each dot is the mean of an activation over the runs that learned; point at it or tap it for the interval. The lowest and the highest have
    their names. In brackets: those of which no run learned."""
    order = list(shown.evidence.conditions)
    lost = {condition: [name for name, of in runs.items() if not learned(of)] for condition, runs in shown.evidence.conditions.items()}
    base = alt.Chart(alt.NamedData("conditions"))
    y = alt.Y("condition:N", title=None, sort=order, axis=alt.Axis(labelLimit=120, grid=True))
    x = alt.X(
        "mean:Q",
        title="test accuracy",
        axis=alt.Axis(format="~%", tickCount=8, labelExpr="datum.value > 1 ? '' : datum.label"),
        scale=alt.Scale(zero=False, padding=60),
    )
    tips = ["condition:N", "activation:N", "seeds:Q", *(alt.Tooltip(f"{name}:Q", format=".1%") for name in ("mean", "low", "high"))]
    dots = base.mark_point(filled=True, size=75, cursor="pointer").encode(x=x, y=y, color=colour(shown.activations), opacity=faded(0.8), tooltip=tips)
    ranked = base.transform_joinaggregate(lowest="min(mean)", highest="max(mean)", groupby=["condition"])

    def first(test: str) -> alt.Chart:  # one of several with the same mean, because their names would cover each other
        return ranked.transform_filter(test).transform_window(place="row_number()", groupby=["condition"]).transform_filter("datum.place == 1")

    lowest = first("datum.mean == datum.lowest && datum.lowest < datum.highest").mark_text(align="right", dx=-8, tooltip=None)
    highest = first("datum.mean == datum.highest").mark_text(align="left", dx=8, tooltip=None)
    ends = [end.encode(x=x, y=y, text="activation:N", opacity=faded()) for end in (lowest, highest)]
    rows = [{"condition": name, "lost": f"({', '.join(of_condition)})"} for name, of_condition in lost.items() if of_condition]
    failed = alt.Chart(alt.Data(values=rows)).mark_text(align="left", color=SOFT, tooltip=None).encode(x=alt.value(4), y=y, text="lost:N")
    return alt.layer(dots, *ends, *([failed] if rows else [])).properties(height=30 * len(order))


@figure("Accuracy and learning rate in short trials", lambda evidence: None if evidence.trials is None else tables.learning_rates(evidence.trials))
def learning_rates(shown: Shown) -> Layers:
    """Validation accuracy of short trials. Rings mark the best rate of each activation. A diverged trial counts as 0."""
    assert shown.evidence.trials is not None  # without a table there is no figure
    best = search.best(shown.evidence.trials).set_index("activation")["learning_rate"]
    base = alt.Chart(alt.NamedData("trials"))
    x = alt.X(
        "learning_rate:Q",
        title="learning rate",
        scale=alt.Scale(type="log"),
        axis=alt.Axis(format=".1~g", tickCount=5, grid=False, labelOverlap=True),
    )
    y = alt.Y("mean:Q", title="validation accuracy", axis=alt.Axis(format="~%"))
    tips = ["activation:N", "learning_rate:Q", alt.Tooltip("mean:Q", title="validation accuracy", format=".1%")]
    lines = base.mark_line(point=alt.OverlayMarkDef(size=25)).encode(
        x=x, y=y, color=colour(shown.activations), strokeDash=dash(shown.activations), opacity=faded(), tooltip=tips
    )
    chosen = " || ".join(f"(datum.activation == '{name}' && datum.learning_rate == {float(rate)!r})" for name, rate in best.items())
    rings = base.transform_filter(chosen).mark_point(size=130, strokeWidth=1.5, color=INK).encode(x=x, y=y, opacity=faded(), tooltip=tips)
    return alt.layer(lines, rings, *names(base, "learning_rate", "mean", shown.activations)).properties(height=300)


@figure("Test accuracy by the slope of leaky ReLU", slopes_of)
def slopes(shown: Shown) -> Layers:
    """Standardized inputs. 0 is ReLU, “learned” is PReLU, “random” RReLU. Each dot is a run, the bar the mean over the runs that learned."""
    table = slopes_of(shown.evidence)
    assert table is not None  # without a table there is no figure
    base = alt.Chart(alt.Data(values=table.astype(object).where(table.notna(), None).to_dict("records")))
    x = alt.X("slope:N", title="slope for negative inputs", sort=list(table["slope"].unique()), axis=alt.Axis(labelAngle=0))
    y = alt.Y("accuracy:Q", title="test accuracy", axis=alt.Axis(format="~%"), scale=alt.Scale(zero=False))
    of_run = ["slope:N", "seed:N", alt.Tooltip("key:N", title="run"), alt.Tooltip("accuracy:Q", format=".1%")]
    dots = base.mark_point(filled=True, size=50, opacity=0.8, color=STYLES["leaky_relu"][0]).encode(x=x, y=y, tooltip=of_run)
    means = base.transform_filter("datum.learned").transform_aggregate(accuracy="mean(accuracy)", groupby=["slope"])
    bars = means.mark_tick(thickness=3, size=26, color=INK).encode(
        x=x, y=y, tooltip=["slope:N", alt.Tooltip("accuracy:Q", title="mean", format=".1%")]
    )
    return alt.layer(dots, bars).properties(height=260)
