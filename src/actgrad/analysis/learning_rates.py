"""What a search for learning rates found, and the recipe that comes of it."""

import json
from pathlib import Path

import pandas as pd
import yaml

from actgrad.config.schema import TUNED
from actgrad.errors import UserError
from actgrad.results import run as results


def read(folder: Path, since: float = 0) -> pd.DataFrame:
    """One row a trial: activation, learning_rate, seed, epochs, status, val_accuracy and val_loss (at the last epoch; empty if it diverged).

    Trials whose result is older than `since`, in seconds of the clock, are left out: an earlier search may have been interrupted.
    """
    rows = []
    for path in (path for path in folder.rglob("metrics.json") if path.stat().st_mtime >= since):
        configuration = yaml.safe_load((path.parent / "config.yaml").read_text())
        metrics = json.loads(path.read_text())
        rows.append(
            {
                "activation": configuration["activation"]["name"],
                "learning_rate": configuration["recipe"]["learning_rate"],
                "seed": configuration["seed"],
                "epochs": configuration["recipe"]["epochs"],
                "status": metrics["status"],
                "val_accuracy": metrics["last"].get(results.VAL_ACCURACY),
                "val_loss": metrics["last"].get(results.VAL_LOSS),
            }
        )
    return pd.DataFrame(rows).sort_values(["activation", "learning_rate", "seed"], ignore_index=True)


def merged(before: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """New trials, and of earlier ones those of the activations that the new ones leave out."""
    kept = before[~before["activation"].isin(table["activation"])]
    return pd.concat([kept, table], ignore_index=True).sort_values(["activation", "learning_rate", "seed"], ignore_index=True)


def best(table: pd.DataFrame) -> pd.DataFrame:
    """The learning rate of each activation with the highest validation accuracy, mean over seeds; of equal ones the smallest.

    Returns:
        One row an activation: activation, learning_rate, epochs, val_accuracy, and `at_edge`: whether no smaller or no larger rate was tried of it.

    Raises:
        UserError: if every trial of an activation diverged.
    """
    tried = table.groupby("activation").agg(smallest=("learning_rate", "min"), largest=("learning_rate", "max"), seeds=("seed", "nunique"))
    whole = table[table["status"] == "finished"]
    means = whole.groupby(["activation", "learning_rate"]).agg(
        epochs=("epochs", "first"), val_accuracy=("val_accuracy", "mean"), size=("seed", "size")
    )
    means = means.reset_index().join(tried, on="activation")
    means = means[means["size"] == means["seeds"]]
    if lost := sorted(set(table["activation"]) - set(means["activation"])):
        raise UserError(f"every learning rate of {', '.join(lost)} diverged; try smaller ones with recipe.learning_rate=NUMBER,NUMBER")
    chosen = means.loc[means.groupby("activation")["val_accuracy"].idxmax()].copy()
    chosen["at_edge"] = chosen["learning_rate"].eq(chosen["smallest"]) | chosen["learning_rate"].eq(chosen["largest"])
    return chosen[["activation", "learning_rate", "epochs", "val_accuracy", "at_edge"]]


def recipe(dataset: str, base: str, table: pd.DataFrame) -> str:
    """The text of a recipe: `base` (YAML), with the best learning rate of each activation."""
    rates = {row.activation: row.learning_rate for row in best(table).itertuples()}
    values = yaml.safe_load(base) | {"name": f"{dataset}_{TUNED}", "learning_rate": rates}
    head = (
        f"# The recipe {yaml.safe_load(base)['name']} with, for each activation, the learning rate of the highest validation accuracy\n"
        f"# among the trials in {results.tuning_path(dataset)}: python src/tune.py data={dataset}.\n"
    )
    return head + yaml.safe_dump(values, sort_keys=False)
