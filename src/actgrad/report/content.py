"""All files of a report."""

import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from typing import Any, TypeVar

import pandas as pd

from actgrad.analysis import tables
from actgrad.analysis.claims import ledgers
from actgrad.analysis.evidence import Evidence
from actgrad.analysis.ranking import ranking
from actgrad.config.schema import Data
from actgrad.errors import UserError
from actgrad.report import figures, page
from actgrad.report.provenance import provenance
from actgrad.results.run import json_bytes

T = TypeVar("T")
RUNS_AT = "../../runs"
"""The folder of all runs, relative to a report's page in reports/<dataset>."""
DIGITS = 8
"""Significant digits of a number in a file. From the 16th on, a logarithm depends on the type of processor."""


def content(evidence: Evidence, data: Data, runs_at: str | None = None, processes: int = 1) -> dict[str, bytes]:
    """The files of a report's folder: name -> content.

    Args:
        data: the configuration of the dataset.
        runs_at: path of the folder of all runs, relative to the page; None if runs have no files.
        processes: with 2, a second process counts alarms, makes tables and draws figures, if the system can fork one.

    Raises:
        UserError: no-memory, if that process is killed.
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
        drawings = [finished() for finished in drawn.values()]
    files = {
        "index.html": page.page(evidence, judged, shown, drawings, facts, slots).encode(),
        "claims.json": json_bytes([{name: _rounded(value) for name, value in one.items()} for one in judged[evidence.headline]]),
        "provenance.json": json_bytes(facts),
        "summary.csv": _csv(tables.summary(evidence.runs)),
        "ranking.csv": _csv(ranked),
        "pairs.csv": _csv(evidence.pairs_under),
        "conditions.csv": _csv(tables.conditions(evidence.conditions)),
        "remedies.csv": _csv(evidence.remedies),
    }
    files |= {f"{name}.csv": table for name, table in known.items()}
    return files | {f"figures/{drawing.name}.svg": drawing.svg.encode() for drawing in drawings}


def _csv(table: pd.DataFrame) -> bytes:
    return table.to_csv(index=False, lineterminator="\n", float_format=f"%.{DIGITS}g").encode()


def _rounded(value: Any) -> Any:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


_TAKEN: dict[str, Any] = {}
"""What the functions below work on, in either process: `evidence` and `shown`."""


@contextmanager
def _helper(evidence: Evidence, processes: int) -> Iterator[Callable]:
    """Yield `later`, which gives a function and its arguments to a second process. Calling its result waits for it.

    The process is forked, because sending the evidence would take longer than the work. A process in which the drawing library runs cannot fork
    another that draws; there, and on other systems than Linux, the function is called in this process.
    """
    _TAKEN["evidence"] = evidence
    forks = processes > 1 and sys.platform == "linux" and not figures.STARTED.is_set()
    with ExitStack() as stack:
        stack.callback(_TAKEN.clear)
        pool = ProcessPoolExecutor(1, get_context("fork")) if forks else None
        if pool:
            stack.callback(pool.shutdown, cancel_futures=True)

        def later(function: Callable[..., T], *arguments: Any) -> Callable[[], T]:
            if pool is None:
                return functools.partial(function, *arguments)
            return pool.submit(function, *arguments).result

        try:
            yield later
        except BrokenProcessPool as broken:
            told = "the second process of the report was killed, mostly because memory has run out; close other programs, and start it again"
            raise UserError("no-memory", told) from broken


def _counted() -> tuple[pd.DataFrame, dict[str, bytes]]:
    """The alarms, and the tables of the figures as CSV."""
    evidence: Evidence = _TAKEN["evidence"]
    known = {one.name: one.data(evidence) for one in figures.FIGURES}
    return evidence.alarms, {name: _csv(table) for name, table in known.items() if table is not None}


def _take(rows: Mapping[str, pd.DataFrame]) -> None:
    _TAKEN["shown"] = figures.Shown(_TAKEN["evidence"], rows)


def _drawing(name: str) -> figures.Drawing:
    return next(figures.drawing(one, _TAKEN["shown"]) for one in figures.FIGURES if one.name == name)
