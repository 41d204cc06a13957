"""What an MLflow run holds of a run: tags, params, metrics and files. It is the same for a live run and a published one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import yaml

from actgrad.config.schema import Config
from actgrad.errors import UserError
from actgrad.files import sha256
from actgrad.results.paths import RUNS
from actgrad.results.run import RunResult
from actgrad.tracking.store import without_password
from actgrad.training.names import HISTORY, TEST

if TYPE_CHECKING:
    from actgrad.training.epochs import Epoch

STEP_POINTS = 200
"""Maximum number of steps whose norms are logged."""
STEP_METRICS = ("grad_norm", "update_ratio")
"""What is logged of these steps: the norm of a layer's gradient, and that of its update by that of its weights."""
PROBE_METRICS = ("preact_grad_rms", "dead", "newly_dead", "revived", "saturated")
"""Columns of probe.csv that are logged."""
PATCH = "git_diff.patch"
"""The file of an MLflow run that holds the difference from its commit."""

COMPLETE = "complete"
"""Tag: sha256 of metrics.json. It is set last, so it says that the MLflow run holds all that the files of this run say."""
SUPERSEDED = "superseded"
"""Tag of the pipeline's MLflow runs: `true` if the study does not list the run any more, or has trained it anew."""


def of_pipeline(run_dir: str) -> bool:
    """Whether the pipeline trains into this folder; a run by hand has another one."""
    return run_dir.startswith(f"{RUNS}/")


def run_name(key: str) -> str:
    """<activation>/<condition>-<seed>: the dataset is the name of the MLflow experiment."""
    return key.partition("/")[2]


# --- tags


def starting_tags(key: str, fingerprint: str, validation_split: str, data_sha256: str) -> dict[str, str]:
    """The tags of a run that are known before it is trained."""
    dataset, activation, last = key.split("/")
    condition, _, seed = last.rpartition("-")
    return {
        "key": key,
        "dataset": dataset,
        "activation": activation,
        "condition": condition,
        "seed": seed,
        "fingerprint": fingerprint,
        "validation_split": validation_split,
        "data_sha256": data_sha256,
    }


def finished_tags(result: RunResult, folder: Path) -> dict[str, str]:
    """All tags that follow from the files of a finished run."""
    metrics = result.metrics
    return starting_tags(result.key, metrics["fingerprint"], metrics["validation_split"], metrics["data_sha256"]) | {
        "status": metrics["status"],
        "core_sha256": metrics["core_sha256"],
        "config_sha256": sha256(folder / "config.yaml"),
        "weights_sha256": metrics["weights_sha256"],
    }


def mlflow_status(result: RunResult) -> str:
    """MLflow's own word for the status of a run that has ended."""
    return "FINISHED" if result.metrics["status"] == "finished" else "FAILED"


# --- params


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys."""
    items: dict[str, Any] = {}
    for key, value in values.items():
        items |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return items


def live_params(config: Config) -> dict[str, Any]:
    """Dotted key -> value of a whole configuration, without the password in an address, and without the other runs of the condition."""
    values = flat(config.model_dump(exclude={"condition": {"activations", "seeds"}}))
    return {name: without_password(value) if name == "tracking.uri" else value for name, value in values.items()}


def published_params(result: RunResult, folder: Path) -> dict[str, Any]:
    """Those of `live_params` that follow from the files of a run."""
    return {"run_dir": folder.as_posix(), "data.name": result.dataset, "condition.name": result.condition} | flat(_configuration(result))


def _configuration(result: RunResult) -> dict[str, Any]:
    return yaml.load(result.config, yaml.CSafeLoader)  # ten times as fast as the loader that is written in Python


# --- metrics


def run_metrics(result: RunResult) -> dict[tuple[str, int], float]:
    """(metric name, optimizer step) -> value of all metrics of a finished run.

    Raises:
        UserError: if its history has an epoch twice.
    """
    if result.history["epoch"].duplicated().any():
        raise UserError(f"history.csv of {result.key} is damaged: it has an epoch twice; remove the folder of the run, and train it again")
    history, metrics = result.history, result.metrics
    planned = metrics["steps"] if history.empty else int(history["step"].iloc[0]) * _configuration(result)["recipe"]["epochs"]
    values = _metrics(result.steps, result.probes, set(thinned(planned)))
    for row in history.to_dict("records"):
        values |= {(name, row["step"]): row[name] for name in HISTORY}
    return values | {(name, metrics["steps"]): metrics["last"][name] for name in TEST if name in metrics["last"]}


def epoch_metrics(epoch: "Epoch", planned: int) -> dict[tuple[str, int], float]:
    """(metric name, optimizer step) -> value of all metrics of one epoch.

    Args:
        epoch: what was measured.
        planned: optimizer steps of the whole training.
    """
    if epoch.number == 1 and not epoch.history:  # it diverged, and the files of the run will not say how many steps were planned
        planned = epoch.step
    values = {(name, epoch.step): value for name, value in epoch.history.items()}
    return values | _metrics(epoch.steps, epoch.probes, set(thinned(planned)))


def _metrics(steps: pd.DataFrame, probes: pd.DataFrame, chosen: set[int]) -> dict[tuple[str, int], float]:
    rows = steps[steps["step"].isin(chosen)]
    with np.errstate(divide="ignore", invalid="ignore"):
        rows = rows.assign(update_ratio=rows["update_norm"] / rows["weight_norm"])
    measured = pd.concat([_by_name(rows, STEP_METRICS), _by_name(probes, PROBE_METRICS)])
    return {(f"{row.name}/{row.layer}", int(row.step)): float(row.value) for row in measured.itertuples(index=False)}


def _by_name(rows: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """One row a value that is there: step, layer, name, value."""
    return rows.melt(["step", "layer"], list(names), var_name="name").astype({"value": float}).dropna()


def thinned(steps: int) -> list[int]:
    """At most STEP_POINTS of the steps 1 … steps, at even distances, both ends among them."""
    return np.unique(np.linspace(1, steps, min(steps, STEP_POINTS)).round().astype(int)).tolist()
