"""The report page: one self-contained HTML file."""

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from actgrad import results
from actgrad.config import Study
from actgrad.plots import Drawing
from actgrad.results import CellResult

TEMPLATES = Path(__file__).parent / "templates"


def report(
    dataset: str,
    study: Study,
    cells: Mapping[str, Sequence[CellResult]],
    table: pd.DataFrame,
    pairs: pd.DataFrame,
    findings: Sequence[Mapping[str, Any]],
    drawings: Sequence[Drawing],
) -> str:
    """The page of one dataset. Every name that comes from a configuration or a dataset is escaped."""
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["data_uri"] = lambda svg: f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"
    every = [cell for of_activation in cells.values() for cell in of_activation]
    configuration = yaml.safe_load(every[0].config)
    return environment.get_template("report.html").render(
        dataset=dataset,
        activations=study.activations,
        seeds=study.seeds,
        recipe=configuration["recipe"],
        data=configuration["data"],
        data_sha256=every[0].metrics["data_sha256"],
        validation_split=every[0].metrics["validation_split"],
        validation=results.validation_label(every[0].metrics),
        diverged=[cell.key for cell in every if cell.metrics["status"] == "diverged"],
        keys=[cell.key for cell in every],
        summary=table.to_dict("records"),
        findings=findings,
        verdicts=Counter(finding["verdict"] for finding in findings),
        pairs={(row["first"], row["second"]): row for row in pairs.to_dict("records")},
        drawings=drawings,
    )
