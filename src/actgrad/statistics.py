"""Numbers over cells. Pure."""

from collections.abc import Mapping, Sequence

import pandas as pd
import yaml

from actgrad import results
from actgrad.errors import UserError
from actgrad.results import LAYERS, CellResult

MEASURES = {
    "train_accuracy_last": ("last", results.TRAIN_ACCURACY),
    "val_accuracy_last": ("last", results.VAL_ACCURACY),
    "test_accuracy_last": ("last", results.TEST_ACCURACY),
    "best_epoch": ("best", "epoch"),
    "val_accuracy_best": ("best", results.VAL_ACCURACY),
    "test_accuracy_best": ("best", results.TEST_ACCURACY),
}


def summary(cells: Mapping[str, Sequence[CellResult]]) -> pd.DataFrame:
    """One row an activation: seeds, diverged, then mean and sample standard deviation over seeds of each of MEASURES and
    of the gradient norm of the first and the last layer at the first and the last step.

    Cells that diverged count in `diverged` and, in means, only where they have a value. A single seed has no deviation.
    """
    return pd.DataFrame([{"activation": name, **_row(of_activation)} for name, of_activation in cells.items()])


def _row(cells: Sequence[CellResult]) -> dict[str, object]:
    values = pd.DataFrame([_values(cell) for cell in cells])
    row: dict[str, object] = {
        "seeds": " ".join(cell.key.rpartition("-")[2] for cell in cells),
        "diverged": sum(cell.metrics["status"] == "diverged" for cell in cells),
    }
    for name in values:
        row |= {f"{name}_mean": values[name].mean(), f"{name}_sd": values[name].std(ddof=1)}
    return row


def belong_together(cells: Mapping[str, Sequence[CellResult]]) -> None:
    """Raise UserError unless all cells were trained on the same data, under the same recipe, seed for seed."""
    first = next(iter(cells.values()))[0]
    for cell in (cell for of_activation in cells.values() for cell in of_activation):
        if _common(cell) != _common(first):
            raise UserError(f"{cell.key} was trained on other data or under another recipe than {first.key}; train them alike: dvc repro")


def _common(cell: CellResult) -> tuple:
    configuration = yaml.safe_load(cell.config)
    return cell.metrics["data_sha256"], configuration["recipe"], configuration["model"]


def _values(cell: CellResult) -> dict[str, float | None]:
    values = {name: cell.metrics[group].get(metric) for name, (group, metric) in MEASURES.items()}
    if len(cell.gradients):
        for end, norms in (("first", cell.gradients.iloc[0]), ("last", cell.gradients.iloc[-1])):
            values |= {f"{layer}_gradient_norm_{end}": norms[layer] for layer in (LAYERS[0], LAYERS[-1])}
    return values
