"""All files of a report."""

from actgrad.analysis import tables
from actgrad.analysis.claims import ledgers
from actgrad.analysis.evidence import Evidence
from actgrad.analysis.ranking import ranking
from actgrad.config.schema import Data
from actgrad.report import figures
from actgrad.report.page import page
from actgrad.report.provenance import provenance
from actgrad.results.run import csv_bytes, json_bytes

RUNS_AT = "../../runs"
"""The folder of all runs, seen from the page of a report in reports/<dataset>."""


def content(evidence: Evidence, data: Data, runs_at: str | None = None) -> dict[str, bytes]:
    """The files of the folder of a report: name -> content.

    Args:
        data: the configuration of the dataset.
        runs_at: where the folder of all runs is, seen from the page; None where runs have no files.
    """
    ranked, judged, facts = ranking(evidence), ledgers(evidence), provenance(evidence, data)
    shown = figures.shown(evidence, ranked)
    known = {one: one.data(evidence) for one in figures.FIGURES}
    drawings = [figures.drawing(one, shown) for one, table in known.items() if table is not None]
    files = {
        "index.html": page(evidence, ranked, judged, shown, drawings, facts, runs_at).encode(),
        "claims.json": json_bytes(judged[evidence.headline]),
        "provenance.json": json_bytes(facts),
        "summary.csv": csv_bytes(tables.summary(evidence.runs)),
        "ranking.csv": csv_bytes(ranked),
        "pairs.csv": csv_bytes(evidence.pairs_under),
        "conditions.csv": csv_bytes(tables.conditions(evidence.conditions)),
    }
    files |= {f"{one.name}.csv": csv_bytes(table) for one, table in known.items() if table is not None}
    return files | {f"figures/{drawing.name}.svg": drawing.svg.encode() for drawing in drawings}
