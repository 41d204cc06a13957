"""Results of reports about alarms and remedies, for diagnose()."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from actgrad.errors import UserError

COUNTS = ("rule", "source", "threshold", "failed", "learned", "fired_failed", "fired_learned")
REMEDIES = ("remedy", "points", "low", "high", "runs", "failed_with", "failed_without")
FILES = {"alarms": ("alarms.csv", COUNTS), "remedies": ("remedies.csv", REMEDIES)}


def with_report(before: Mapping[str, list[dict[str, Any]]], dataset: str, root: Path = Path()) -> dict[str, list[dict[str, Any]]]:
    """The content of diagnosis/experience.json, with a dataset's rows replaced by those of reports/<dataset>/. A report without a failed run has
    no alarms.

    Args:
        root: the repository.

    Raises:
        UserError: if there is no such report, or older code made it.
    """
    folder = root / "reports" / dataset
    if not (folder / "remedies.csv").is_file():
        raise UserError("missing-report", f"{folder} has no remedies.csv; make the report with dvc repro report@{dataset}")
    return {
        part: sorted(
            [*(row for row in before[part] if row["dataset"] != dataset), *_rows(folder / name, columns, dataset)], key=lambda row: row["dataset"]
        )
        for part, (name, columns) in FILES.items()
    }


def _rows(path: Path, columns: tuple[str, ...], dataset: str) -> list[dict[Any, Any]]:
    if not path.is_file():
        return []
    table = pd.read_csv(path)[[*columns]].round(2)
    return table.astype(object).where(table.notna(), None).assign(dataset=dataset).to_dict("records")
