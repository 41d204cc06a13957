"""All files of a report."""

import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from typing import Any, TypeVar

import pandas as pd

from actgrad.analysis import tables
from actgrad.analysis.claims import ledgers
from actgrad.analysis.evidence import Evidence
from actgrad.analysis.ranking import ranking
from actgrad.config.schema import Data
from actgrad.report import figures, page
from actgrad.report.provenance import provenance
from actgrad.results.run import csv_bytes, json_bytes

T = TypeVar("T")
RUNS_AT = "../../runs"
"""The folder of all runs, relative to a report's page in reports/<dataset>."""


def content(evidence: Evidence, data: Data, runs_at: str | None = None, processes: int = 1) -> dict[str, bytes]:
    """The files of a report's folder: name -> content.

    Args:
        data: the configuration of the dataset.
        runs_at: path of the folder of all runs, relative to the page; None if runs have no files.
        processes: with 2, a second process counts alarms, makes tables and draws figures, if the system can fork one.
    """
    with _helper(evidence, processes) as later:
        counted = later(_counted)
        later(figures.warm_up)
        ranked, facts = ranking(evidence), provenance(evidence, data)
        shown = figures.shown(evidence, ranked)
        evidence.__dict__["alarms"], known = counted()
        later(_take, shown.rows)
        _take(shown.rows)
        drawn = {name: later(_drawing, name) for name in known}
        judged = ledgers(evidence)
        slots = page.slots(evidence, ranked, judged, shown, list(known), runs_at)
        made = {name: drawn[name]() for name in reversed(drawn)}  # from the end, so that those that are not begun are drawn here
    drawings = [made[name] for name in known]
    files = {
        "index.html": page.page(evidence, judged, shown, drawings, facts, slots).encode(),
        "claims.json": json_bytes(judged[evidence.headline]),
        "provenance.json": json_bytes(facts),
        "summary.csv": csv_bytes(tables.summary(evidence.runs)),
        "ranking.csv": csv_bytes(ranked),
        "pairs.csv": csv_bytes(evidence.pairs_under),
        "conditions.csv": csv_bytes(tables.conditions(evidence.conditions)),
        "remedies.csv": csv_bytes(evidence.remedies),
    }
    files |= {f"{name}.csv": table for name, table in known.items()}
    return files | {f"figures/{drawing.name}.svg": drawing.svg.encode() for drawing in drawings}


_TAKEN: dict[str, Any] = {}
"""What the functions below work on, in either process: `evidence` and `shown`."""


@contextmanager
def _helper(evidence: Evidence, processes: int) -> Iterator[Callable]:
    """Yield `later`, which gives a function and its arguments to a second process. Calling its result waits for it. What the second process has not
    begun by then is done in this one; so is everything if no process can be forked.

    It is forked, because sending the evidence would take longer than the work.
    """
    _TAKEN["evidence"] = evidence
    with ExitStack() as stack:
        stack.callback(_TAKEN.clear)
        pool = stack.enter_context(ProcessPoolExecutor(1, get_context("fork"))) if processes > 1 and sys.platform == "linux" else None

        def later(function: Callable[..., T], *arguments: Any) -> Callable[[], T]:
            future = pool.submit(function, *arguments) if pool else None
            return lambda: function(*arguments) if future is None or future.cancel() else future.result()

        yield later


def _counted() -> tuple[pd.DataFrame, dict[str, bytes]]:
    """The alarms, and the tables of the figures as CSV."""
    evidence: Evidence = _TAKEN["evidence"]
    tables = {one.name: one.data(evidence) for one in figures.FIGURES}
    return evidence.alarms, {name: csv_bytes(table) for name, table in tables.items() if table is not None}


def _take(rows: Mapping[str, pd.DataFrame]) -> None:
    _TAKEN["shown"] = figures.Shown(_TAKEN["evidence"], rows)


def _drawing(name: str) -> figures.Drawing:
    return next(figures.drawing(one, _TAKEN["shown"]) for one in figures.FIGURES if one.name == name)
