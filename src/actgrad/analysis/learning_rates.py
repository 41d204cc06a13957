"""Results of a search for learning rates, and the rates that it chooses."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from actgrad.errors import UserError
from actgrad.results.paths import trials_path
from actgrad.training.names import VAL_ACCURACY, VAL_LOSS

TUNED = "standardized_tuned"
"""The condition that uses the rates found."""

COLUMNS = ("activation", "learning_rate", "seed", "epochs", "status", "val_accuracy", "val_loss", "dead_share")


def read(folders: Sequence[Path]) -> pd.DataFrame:
    """One row per trial: COLUMNS. Accuracy and loss are after its last epoch, empty if it diverged. dead_share is the share of dead units at its
    last measurement.

    Args:
        folders: the run folders of the trials.
    """
    rows = [_row(folder) for folder in folders]
    return pd.DataFrame(rows, columns=list(COLUMNS)).sort_values(["activation", "learning_rate", "seed"], ignore_index=True)


def _row(folder: Path) -> dict[str, object]:
    values = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    probes = pd.read_csv(folder / "probe.csv")
    units = probes[probes["hidden"] & (probes["step"] == probes["step"].max())]
    return {
        "activation": values["activation"]["name"],
        "learning_rate": values["recipe"]["learning_rate"],
        "seed": values["seed"],
        "epochs": values["recipe"]["epochs"],
        "status": metrics["status"],
        "val_accuracy": metrics["last"].get(VAL_ACCURACY),
        "val_loss": metrics["last"].get(VAL_LOSS),
        "dead_share": units["dead"].sum() / units["units"].sum(),
    }


def merged(before: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """New trials, and the earlier ones of activations that have no new trial."""
    kept = before[~before["activation"].isin(table["activation"])]
    return pd.concat([kept, table], ignore_index=True).sort_values(["activation", "learning_rate", "seed"], ignore_index=True)


def replaced(before: pd.DataFrame, table: pd.DataFrame) -> list[str]:
    """A sentence for each activation whose new trials differ in number or length from the earlier ones that they replace."""
    old, new = (_counted(rows) for rows in (before, table))
    return [f"{name}: {new[name]} replace {old[name]}" for name in new if name in old and new[name] != old[name]]


def _counted(table: pd.DataFrame) -> dict[Any, str]:
    """Activation -> number and epochs of its trials, in words."""
    lengths = {name: (len(rows), sorted(set(rows["epochs"]))) for name, rows in table.groupby("activation")}
    return {name: f"{number} trials of {', '.join(map(str, epochs))} epochs" for name, (number, epochs) in lengths.items()}


def best(table: pd.DataFrame) -> pd.DataFrame:
    """The learning rate of each activation with the highest validation accuracy, mean over seeds. If several are equal, the smallest.

    A rate with a diverged trial is not chosen.

    Returns:
        One row per activation: activation, learning_rate, epochs, val_accuracy, and `at_edge`: whether no smaller or no larger rate was tried.

    Raises:
        UserError: if every learning rate of an activation has a trial that diverged.
    """
    tried = table.groupby("activation").agg(smallest=("learning_rate", "min"), largest=("learning_rate", "max"), seeds=("seed", "nunique"))
    whole = table[table["status"] == "finished"]
    means = whole.groupby(["activation", "learning_rate"]).agg(
        epochs=("epochs", "first"), val_accuracy=("val_accuracy", "mean"), size=("seed", "size")
    )
    means = means.reset_index().join(tried, on="activation")
    means = means[means["size"] == means["seeds"]]
    if lost := sorted(set(table["activation"]) - set(means["activation"])):
        raise UserError(
            "all-diverged", f"every learning rate of {', '.join(lost)} diverged; try smaller ones with recipe.learning_rate=NUMBER,NUMBER"
        )
    chosen = means.loc[means.groupby("activation")["val_accuracy"].idxmax()].copy()
    chosen["at_edge"] = chosen["learning_rate"].eq(chosen["smallest"]) | chosen["learning_rate"].eq(chosen["largest"])
    return chosen[["activation", "learning_rate", "epochs", "val_accuracy", "at_edge"]]


def rates_text(dataset: str, table: pd.DataFrame, before: Mapping[str, float]) -> str:
    """The text of conf/rates/<dataset>.yaml: the best learning rate of each activation. Activations without a trial keep their
    earlier rates."""
    chosen = best(table)
    rates = {**before, **dict(zip(chosen["activation"], chosen["learning_rate"], strict=True))}
    older = ", ".join(sorted(set(rates) - set(chosen["activation"])))
    return (
        "# @package recipe\n"
        f"# For each activation, the learning rate with the highest validation accuracy among the trials in {trials_path(dataset)},\n"
        f"# which src/tune.py trained.{f' Without trials there, and from before: {older}.' if older else ''}\n"
        + yaml.safe_dump({"learning_rate": rates}, sort_keys=False)
    )
