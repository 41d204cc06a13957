"""Results of reports about alarms and remedies, for diagnose()."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from actgrad.errors import UserError
from actgrad.report.readme import older

COUNTS = ("rule", "source", "threshold", "failed", "learned", "fired_failed", "fired_learned")
REMEDIES = ("remedy", "points", "low", "high", "runs", "failed_with", "failed_without")
FILES = {"alarms": ("alarms.csv", COUNTS), "remedies": ("remedies.csv", REMEDIES)}


def with_report(before: Mapping[str, list[dict[str, Any]]], dataset: str, root: Path = Path()) -> dict[str, list[dict[str, Any]]]:
    """The content of diagnosis/experience.json, with the rows about a dataset's images replaced by those of reports/<dataset>/. Two reports on the
    same images share runs, which would count twice. A report without a failed run has no alarms.

    Args:
        root: the repository.

    Raises:
        UserError: if there is no such report, or older code made it.
    """
    folder = root / "reports" / dataset
    if not (folder / "remedies.csv").is_file():
        raise UserError("missing-report", f"{folder} has no remedies.csv; make the report with dvc repro report@{dataset}")
    images = images_of(dataset, root)
    return {
        part: sorted(
            [*(row for row in before[part] if images_of(row["dataset"], root) != images), *_rows(folder / name, columns, dataset)],
            key=lambda row: row["dataset"],
        )
        for part, (name, columns) in FILES.items()
    }


def images_of(dataset: str, root: Path = Path()) -> list[str]:
    """The checksums of the dataset's file in the runs of its report; its name if there is no report."""
    path = root / "reports" / dataset / "provenance.json"
    return json.loads(path.read_text())["data_sha256"] if path.is_file() else [dataset]


def _rows(path: Path, columns: tuple[str, ...], dataset: str) -> list[dict[Any, Any]]:
    if not path.is_file():
        return []
    table = pd.read_csv(path)
    if not {*columns} <= {*table}:
        raise older(path.parent, dataset)
    table = table[[*columns]].round(2)
    return table.astype(object).where(table.notna(), None).assign(dataset=dataset).to_dict("records")
