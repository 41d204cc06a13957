"""The report page: one self-contained HTML file."""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from actgrad.analysis import learning_rates as tuning
from actgrad.analysis import tables
from actgrad.analysis.evidence import STUDY, Evidence
from actgrad.config.schema import TUNED
from actgrad.report.figures import Drawing
from actgrad.results import run as results

PLAIN = ' <>/:;=,()+-.!?*@"'
"""Characters that an SVG may keep in an address between single quotes; base64 would be a third longer."""
TEMPLATES = Path(__file__).parent / "templates"


def report(evidence: Evidence, findings: Sequence[Mapping[str, Any]], drawings: Sequence[Drawing]) -> str:
    """The page of one dataset. Every name that comes from a configuration or a dataset is escaped."""
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["data_uri"] = lambda svg: "data:image/svg+xml," + quote(svg, safe=PLAIN)
    environment.tests["known"] = lambda number: number is not None and number == number  # neither None nor NaN
    every = [cell for cells in evidence.studies.values() for of_activation in cells.values() for cell in of_activation]
    first = every[0]
    configuration = tables.configuration(first)
    trials = evidence.trials
    return environment.get_template("report.html").render(
        dataset=evidence.dataset,
        activations=list(evidence.cells),
        seeds=[cell.seed for cell in next(iter(evidence.cells.values()))],
        recipe=configuration["recipe"],
        data=configuration["data"],
        configuration=yaml.safe_dump({name: configuration[name] for name in ("data", "recipe", "model")}, sort_keys=False),
        validation_split=first.metrics["validation_split"],
        validation=results.validation_label(first.metrics),
        diverged=[cell.key for cell in every if cell.metrics["status"] == "diverged"],
        keys={name: [cell.key for of_activation in cells.values() for cell in of_activation] for name, cells in evidence.studies.items()},
        summary=[row | {"cells": tables.seeds_in_words(row)} for row in tables.summary(evidence.cells).to_dict("records")],
        findings=findings,
        verdicts=Counter(finding["verdict"] for finding in findings),
        pairs={(row["first"], row["second"]): row for row in evidence.pairs.to_dict("records")},
        units=tables.unit_totals(tables.census(evidence.cells)).to_dict("records"),
        at_edge=[] if trials is None else tuning.best(trials).query("at_edge")["activation"].tolist(),
        experiments={name: tables.differences(evidence.cells, cells) for name, cells in evidence.experiments.items()},
        worse_when_tuned=tables.worse_when_tuned(evidence.studies, TUNED),
        pairs_under=_pairs_under(evidence),
        sizes={name: (len(next(iter(cells.values()))), len(cells) * (len(cells) - 1) // 2) for name, cells in evidence.studies.items()},
        study=STUDY,
        drawings={drawing.name: drawing for drawing in drawings},
        provenance={name: sorted({str(cell.metrics[name]) for cell in every}) for name in ("data_sha256", "code_sha256")},
        environments=sorted({", ".join(f"{name} {value}" for name, value in cell.metrics["environment"].items()) for cell in every}),
    )


def _pairs_under(evidence: Evidence) -> dict[tuple[str, str], dict[str, Mapping[str, Any]]]:
    """Pairs that every experiment of several activations has: pair -> study or experiment -> row of tables.pairs."""
    compared = {name: cells for name, cells in evidence.studies.items() if len(cells) > 1}
    shared = [name for name in evidence.cells if all(name in cells for cells in compared.values())]
    if len(compared) < 2:
        return {}
    rows = evidence.pairs_under.to_dict("records")
    return {pair: {row["experiment"]: row for row in rows if (row["first"], row["second"]) == pair} for pair in itertools.combinations(shared, 2)}
