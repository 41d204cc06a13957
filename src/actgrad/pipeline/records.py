"""Records of an activation's runs that git keeps: a table with checksums, and metrics for `dvc metrics show`."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from actgrad.analysis.runs import LEARNED, outcome_of
from actgrad.errors import UserError
from actgrad.files import sha256, write_bytes
from actgrad.pipeline import composed
from actgrad.results import paths
from actgrad.results.run import FILES, csv_bytes, identity_of, json_bytes
from actgrad.training.names import HISTORY, TEST, TEST_ACCURACY

COLUMNS = ("run", "status", "fingerprint", "files_sha256", "weights_sha256", "data_sha256", "core_sha256", *HISTORY, *TEST, "environment")


def write(dataset: str, activation: str) -> None:
    """Write the table and the metrics of an activation's runs. A folder that holds a different run counts as empty.

    The mean accuracy of a condition is over the runs that learned, as in the report. Failed and diverged runs are counted separately.
    """
    runs = composed.read(dataset, activation).runs
    there = [(run, json.loads((run.folder / "metrics.json").read_text())) for run in runs if (identity_of(run.folder) or ("",))[0] == run.key]
    rows = [row(run.folder) for run, _ in there]
    write_bytes(paths.record_path(dataset, activation), csv_bytes(pd.DataFrame(rows, columns=list(COLUMNS))))
    learned = [(run, metrics) for run, metrics in there if outcome_of(metrics) == LEARNED]
    accuracies: dict[str, list[float]] = {run.condition: [] for run, _ in there}
    for run, metrics in learned:
        accuracies[run.condition].append(metrics["last"][TEST_ACCURACY])
    summary = {
        "runs": len(there),
        "failed": len(there) - len(learned),
        "test_accuracy": {condition: round(float(np.mean(values)), 4) if values else None for condition, values in accuracies.items()},
    }
    write_bytes(paths.summary_path(dataset, activation), json_bytes(summary))


def absent(dataset: str, activation: str) -> int:
    """How many runs of the table, which are still listed, have no folder here: in a clone whose results were not pulled."""
    if not paths.record_path(dataset, activation).is_file():
        return 0
    missing = {run.folder.name for run in composed.read(dataset, activation).runs if not (run.folder / FILES[-1]).is_file()}
    return len(missing & set(read(dataset, activation)["run"]))


def row(folder: Path) -> dict[str, Any]:
    """The record of one run, from its folder. metrics.json lists the sha256 of the other files, so its own sha256 covers all of them."""
    metrics = json.loads((folder / "metrics.json").read_text())
    return {
        "run": folder.name,
        "files_sha256": sha256(folder / FILES[-1]),
        **{name: metrics[name] for name in ("status", "fingerprint", "weights_sha256", "data_sha256", "core_sha256")},
        **metrics["last"],
        "environment": json.dumps(metrics["environment"]),
    }


def read(dataset: str, activation: str, root: Path = Path()) -> pd.DataFrame:
    """The table that `write` wrote, in the repository `root`: COLUMNS.

    Raises:
        UserError: if it is missing or damaged.
    """
    path = root / paths.record_path(dataset, activation)
    if not path.is_file():
        raise UserError("missing-run", f"{path} is missing; train its runs with dvc repro report@{dataset}")
    try:
        table = pd.read_csv(io.BytesIO(path.read_bytes()))
        whole = set(table.columns) == set(COLUMNS) and table["run"].astype(str).str.fullmatch(r"\w+-\d+").all()
    except ValueError:
        whole = False
    if not whole:
        raise UserError(
            "damaged-result", f"{path} is damaged, perhaps by a merge conflict; resolve that, or remove it: dvc repro train@{dataset}-{activation}"
        )
    return table
