"""All files of a report."""

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

import pandas as pd

from actgrad.analysis import tables
from actgrad.analysis.claims import ledgers
from actgrad.analysis.evidence import Evidence
from actgrad.analysis.ranking import ranking
from actgrad.config.schema import Data
from actgrad.report import figures, page
from actgrad.report.provenance import provenance
from actgrad.results.run import csv_bytes, json_bytes

RUNS_AT = "../../runs"
"""The folder of all runs, relative to a report's page in reports/<dataset>."""


def content(evidence: Evidence, data: Data, runs_at: str | None = None, processes: int = 1) -> dict[str, bytes]:
    """The files of a report's folder: name -> content.

    Args:
        data: the configuration of the dataset.
        runs_at: path of the folder of all runs, relative to the page; None if runs have no files.
        processes: with 2, a second process counts alarms and draws figures, if the system can fork one.
    """
    with _alarms(evidence, processes) as counted:
        ranked, facts = ranking(evidence), provenance(evidence, data)
        shown = figures.shown(evidence, ranked)
        counted()
    known = {one.name: one.data(evidence) for one in figures.FIGURES}
    names = [name for name, table in known.items() if table is not None]
    with _drawing(shown, names, processes) as drawn:
        judged = ledgers(evidence)
        slots = page.slots(evidence, ranked, judged, shown, names, runs_at)
        drawings = drawn()
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
    files |= {f"{name}.csv": csv_bytes(table) for name, table in known.items() if table is not None}
    return files | {f"figures/{drawing.name}.svg": drawing.svg.encode() for drawing in drawings}


@contextmanager
def _second_process(value: Any, processes: int) -> Iterator[ProcessPoolExecutor | None]:
    """A forked process that shares a value, because sending the value would take longer than the work. None if it cannot be forked."""
    if processes < 2 or sys.platform != "linux":
        yield None
        return
    with ProcessPoolExecutor(1, get_context("fork"), _TAKEN.append, (value,)) as pool:
        yield pool


_TAKEN: list[Any] = []


@contextmanager
def _alarms(evidence: Evidence, processes: int) -> Iterator[Callable[[], None]]:
    """Count the alarms in the background. The yielded function waits for them."""
    with _second_process(evidence, processes) as pool:
        future = pool and pool.submit(_counted)
        yield lambda: evidence.__dict__.update({"alarms": future.result()} if future else {})


def _counted() -> pd.DataFrame:
    return _TAKEN[-1].alarms


@contextmanager
def _drawing(shown: figures.Shown, names: Sequence[str], processes: int) -> Iterator[Callable[[], list[figures.Drawing]]]:
    """Draw figures in the background. The yielded function waits for them."""
    with _second_process(shown, processes) as pool:
        future = pool and pool.submit(_drawn, names)
        yield lambda: future.result() if future else _drawn(names, shown)


def _drawn(names: Sequence[str], shown: figures.Shown | None = None) -> list[figures.Drawing]:
    return [figures.drawing(one, shown or _TAKEN[-1]) for one in figures.FIGURES if one.name in names]
