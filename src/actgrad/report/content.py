"""All files of a report."""

from actgrad.analysis import tables
from actgrad.analysis.claims import ledger
from actgrad.analysis.evidence import Evidence
from actgrad.analysis.ranking import ranking
from actgrad.config.schema import Data
from actgrad.report import figures
from actgrad.report.page import page
from actgrad.report.provenance import provenance
from actgrad.results.run import csv_bytes, json_bytes


def content(evidence: Evidence, data: Data, processes: int = 1) -> dict[str, bytes]:
    """The files of the folder of a report: name -> content.

    Args:
        data: the configuration of the dataset.
        processes: how many draw the figures.
    """
    findings, drawings, facts = ledger(evidence), figures.drawings(evidence, processes), provenance(evidence, data)
    files = {
        "index.html": page(evidence, findings, drawings, facts).encode(),
        "claims.json": json_bytes(findings),
        "provenance.json": json_bytes(facts),
        "summary.csv": csv_bytes(tables.summary(evidence.runs)),
        "ranking.csv": csv_bytes(ranking(evidence)),
        "pairs.csv": csv_bytes(evidence.pairs_under),
        "conditions.csv": csv_bytes(tables.conditions(evidence.conditions)),
    }
    for drawing in drawings:
        files |= {f"{drawing.name}.csv": csv_bytes(drawing.data)}
        files |= {f"figures/{drawing.name}.svg": drawing.svg, f"figures/{drawing.name}.png": drawing.png}
    return files
