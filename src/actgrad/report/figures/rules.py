"""The figure about published rules: do their alarms predict failure?"""

import altair as alt
import pandas as pd

from actgrad.analysis.alarms import EPOCHS, totals
from actgrad.analysis.evidence import Evidence
from actgrad.report.figures.drawing import Layers, Shown, figure
from actgrad.report.figures.styling import STYLES

KINDS = {"runs that failed": "sensitivity", "runs that learned": "false_alarms"}
COLOURS = [STYLES["relu"][0], STYLES["linear"][0]]
ROW = 36
"""Height of a row, in pixels."""


def _known(evidence: Evidence) -> pd.DataFrame | None:
    """The table of alarms; None unless some runs failed and some learned."""
    return evidence.alarms if all(totals(evidence.alarms)) else None


@figure(f"Alarms in the first {EPOCHS} epochs", _known)
def alarms(shown: Shown) -> Layers:
    """Share of runs in which each published rule fires early, over all conditions, with its exact 95 % interval. A useful alarm has the first dot
    far to the right and the second far to the left. Where the first is missing, no run failed in which the rule can fire."""
    table = shown.evidence.alarms.astype(object).where(shown.evidence.alarms.notna(), None)  # the page's data can have no NaN
    rows = [
        {
            "rule": f"{one['rule']}: {one['threshold']}",
            "source": one["source"],
            "place": place,
            "runs": kind,
            "share": one[share],
            "low": one[f"{share}_low"],
            "high": one[f"{share}_high"],
            "fired": f"{one['fired_' + of]} of {one[of]}",
        }
        for place, one in enumerate(table.to_dict("records"))
        for (kind, share), of in zip(KINDS.items(), ("failed", "learned"), strict=True)
    ]
    base = alt.Chart(alt.Data(values=rows))
    y = alt.Y("place:O", axis=None)
    x = alt.X("share:Q", title="share of runs in which the rule fires", axis=alt.Axis(format="~%", tickCount=5), scale=alt.Scale(domain=[0, 1]))
    kinds = alt.Color("runs:N", title=None, sort=[*KINDS], scale=alt.Scale(domain=[*KINDS], range=COLOURS), legend=alt.Legend(orient="top"))
    offset = alt.YOffset("runs:N", sort=["", *KINDS], scale=alt.Scale(domain=["", *KINDS]))  # the first leaves room for the name
    tips = ["rule:N", "source:N", "runs:N", "fired:N", *(alt.Tooltip(f"{name}:Q", format=".0%") for name in ("share", "low", "high"))]
    intervals = base.mark_rule(strokeWidth=2, opacity=0.45).encode(x="low:Q", x2="high:Q", y=y, yOffset=offset, color=kinds, tooltip=tips)
    dots = base.mark_point(filled=True, size=45).encode(x=x, y=y, yOffset=offset, color=kinds, tooltip=tips)
    first = base.transform_filter(f"datum.runs == '{next(iter(KINDS))}'")
    names = first.mark_text(align="left", dy=-12, fontSize=11, limit=alt.ExprRef("width")).encode(
        x=alt.value(0), y=y, text="rule:N", tooltip=tips[:2]
    )
    return alt.layer(intervals, dots, names).properties(height=ROW * len(table))
