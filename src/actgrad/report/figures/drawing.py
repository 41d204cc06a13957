"""Turn a chart function into a figure: one specification that is interactive on the page and also rendered as SVG."""

import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import pandas as pd
import vl_convert
from altair.utils.schemapi import debug_mode

from actgrad.analysis import details, tables
from actgrad.analysis.evidence import Evidence
from actgrad.report.figures.styling import CONFIG, DARK, shared

WIDTH = 640
"""Width of an SVG file in pixels. On the page, a figure uses the available width."""
STARTED = threading.Event()
"""Set once the drawing library runs in this process. A process that is forked then lacks its threads, and would wait for them for ever."""
NEAR_ZERO = 0.3
"""Below this |z|, every point of a function is drawn, because derivatives jump at 0; elsewhere every fourth."""
COMMON = (f'font-family="{CONFIG["font"]}"', f'font-size="{CONFIG["axis"]["labelFontSize"]}px"')
"""Attributes of most texts of a picture, which stand once, at its root."""
DEFAULTS = ('opacity="1"', 'stroke-width="1"', 'stroke-dasharray="1,0"', 'x2="0"', 'y2="0"', 'text-anchor="start"', 'font-weight="normal"')
"""Attributes that change nothing. With COMMON they were a quarter of a picture."""
Layers = alt.LayerChart | alt.FacetChart
"""Return type of alt.layer. No chart here has facets."""


@dataclass(frozen=True)
class Shown:
    """The data that charts are made from.

    Attributes:
        rows: the tables that figures refer to by name, each with all conditions.
    """

    evidence: Evidence
    rows: Mapping[str, pd.DataFrame]

    @property
    def activations(self) -> list[str]:
        return list(dict.fromkeys(name for runs in self.evidence.conditions.values() for name in runs))


def shown(evidence: Evidence, ranking: pd.DataFrame) -> Shown:
    """The tables of analysis/details.py, and those that do not belong to single runs."""
    conditions = evidence.conditions
    share = [tables.share_of_next(runs).assign(condition=name) for name, runs in conditions.items()]
    curves = tables.activation_functions(evidence.runs).assign(condition=evidence.headline)
    drawn = (curves["z"].abs() < NEAR_ZERO) | (curves.groupby("activation", sort=False).cumcount() % 4 == 0)
    rows = {
        "seeds": details.seeds(conditions, ranking),
        "curves": details.curves(conditions),
        "signals": _fewer(details.signals(conditions), evidence.headline, details.START, details.END),
        "units": _fewer(details.units(conditions), evidence.headline),
        "shares": pd.concat(share),
        "functions": curves[drawn],
        "conditions": tables.conditions(conditions),
        "linearity": tables.linearity(conditions),
    }
    if evidence.depth is not None:
        rows["depth"] = tables.depth(evidence.depth)
    if evidence.trials is not None:
        rows["trials"] = tables.learning_rates(evidence.trials)
    if evidence.times:
        rows["times"] = tables.times(evidence.times, evidence.runs)
    return Shown(evidence, rows)


def _fewer(table: pd.DataFrame, headline: str, *ends: str) -> pd.DataFrame:
    """The rows that the page holds, so that it stays below a megabyte.

    Layers are those that a control offers, which are the headline's. Single seeds are those of the headline.

    Args:
        ends: values of `when` of which all rows are kept, because a figure shows every layer then.
    """
    of_headline = table["condition"] == headline
    kept = (of_headline | (table["seed"] == details.MEAN)) & (table["place"] <= table.loc[of_headline, "place"].max())
    return table[kept | table["when"].isin(ends) if ends else kept]


@dataclass(frozen=True)
class Drawing:
    """A finished figure: file name, title, caption, names of its tables (`rows`), specification and picture."""

    name: str
    title: str
    caption: str
    rows: Sequence[str]
    spec: Mapping[str, Any]
    svg: str


@dataclass(frozen=True)
class Figure:
    """A figure of the report, before it is drawn. `data` is its table for the headline; None if there is nothing to draw."""

    name: str
    title: str
    caption: str
    data: Callable[[Evidence], pd.DataFrame | None]
    chart: Callable[[Shown], Layers]


FIGURES: list[Figure] = []


def figure(title: str, data: Callable[[Evidence], pd.DataFrame | None]) -> Callable:
    """Decorator that adds a function to the report's figures. Its docstring is the caption. Figures without data are left out."""

    def register(chart: Callable[[Shown], Layers]) -> Callable[[Shown], Layers]:
        FIGURES.append(Figure(chart.__name__, title, " ".join((chart.__doc__ or "").split()), data, chart))
        return chart

    return register


def drawing(one: Figure, shown: Shown) -> Drawing:
    """Draw a figure in its first state, for the headline."""
    with debug_mode(False):  # else Altair checks each part of a chart as it is made, which takes longer than to draw it
        chart = one.chart(shown).add_params(*shared(shown.evidence.headline)).properties(width="container")
    spec = json.loads(renumbered("view_", json.dumps(chart.to_dict(validate=False)))) | {"config": CONFIG}
    used = sorted(set(re.findall(r"'name': '(\w+)'", str(spec))) & {*shown.rows})
    return Drawing(one.name, one.title, one.caption, used, spec, picture(spec, {name: _first(shown, name) for name in used}))


def _first(shown: Shown, name: str) -> pd.DataFrame:
    """The rows of a table that the picture needs, fewer than the page needs. If there is no mean, a seed's rows let the figure say so."""
    rows = shown.rows[name]
    if "condition" in rows and name not in ("conditions", "linearity"):
        rows = rows[rows["condition"] == shown.evidence.headline]
    if "seed" not in rows or name == "seeds":
        return rows
    means = rows[rows["seed"] == details.MEAN]
    return means if len(means) else rows[rows["seed"] == rows["seed"].min()]


def picture(spec: Mapping[str, Any], rows: Mapping[str, pd.DataFrame]) -> str:
    """A specification as SVG, with its own style sheet, so that it follows the reader's theme."""
    whole = {**spec, "width": WIDTH, "datasets": {name: records(table) for name, table in rows.items()}}
    STARTED.set()
    svg = vl_convert.vegalite_to_svg(whole)
    svg = re.sub(r' (aria-[a-z]+|role|pointer-events|class)="[^"]*"', "", svg)
    svg = re.sub(r'<path d="M0(\.5)?,0(\.5)?h0v0h0Z"/>|<path d="[^"]*" display="none"/>', "", svg)
    svg = re.sub(r'<path [^>]*\bopacity="0"[^>]*/>', "", svg)
    svg = re.sub(r' (d|transform|x2?|y2?)="[^"]*"', lambda part: re.sub(r"\d+\.\d{2,}", lambda number: f"{float(number[0]):.1f}", part[0]), svg)
    svg = renumbered("clip", re.sub(f" ({'|'.join(DEFAULTS + COMMON)})", "", svg))
    rules = "".join(f'[fill="{light}"]{{fill:{dark}}}[stroke="{light}"]{{stroke:{dark}}}' for light, dark in DARK.items())
    return svg.replace(">", f" {' '.join(COMMON)}><style>@media (prefers-color-scheme:dark){{{rules}}}</style>", 1)


def warm_up() -> None:
    """Start the drawing library, which takes as long as three pictures."""
    picture({"mark": "point", "data": {"values": []}}, {})


def renumbered(name: str, text: str) -> str:
    """A text whose numbered names start from 0, because Altair and Vega number on from figure to figure."""
    numbers: dict[str, str] = {}
    return re.sub(rf"\b{name}(\d+)\b", lambda found: numbers.setdefault(found[0], f"{name}{len(numbers)}"), text)


def records(table: pd.DataFrame) -> list[dict[Any, Any]]:
    """The rows as plain values. Numbers that are not finite are missing."""
    return table.replace([float("inf"), float("-inf")], float("nan")).astype(object).where(table.notna(), None).to_dict("records")
