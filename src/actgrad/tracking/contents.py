"""Name, tags and params of the MLflow run of a live or a published run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.meta_dataset import MetaDataset

from actgrad.analysis.runs import configuration
from actgrad.config.schema import Config, Tracking
from actgrad.results.paths import RUNS
from actgrad.results.run import RunResult
from actgrad.tracking.store import without_password

PATCH = "git_diff.patch"
"""The file of an MLflow run with the difference from its commit."""

FORMAT = 2
"""Version of what is logged. With a higher number, `publish` updates older MLflow runs."""
COMPLETE = "complete"
"""Tag: FORMAT and the sha256 of metrics.json. It is set last, so it says that the MLflow run has everything from the run's files."""
SUPERSEDED = "superseded"
"""Tag of the pipeline's MLflow runs: `true` if the study does not list the run any more, or has retrained it."""
MEAN_OF = "mean_of"
"""Tag of an MLflow run that is a mean over runs of the study: the keys of these runs."""
DESCRIPTION = "mlflow.note.content"
"""MLflow's own tag for the description of a run or an experiment."""
SOURCE = {"mlflow.source.name": "src/train.py", "mlflow.source.type": "LOCAL"}


def of_pipeline(run_dir: str) -> bool:
    """Whether the pipeline trains into this folder; a run by hand has another one."""
    return run_dir.startswith(f"{RUNS}/")


def tracking_of(config: Config) -> Tracking:
    """Where a run is logged. Runs of the pipeline belong to the study."""
    return config.tracking.of_study() if of_pipeline(config.run_dir) else config.tracking


def run_name(key: str) -> str:
    """<activation>-<seed> · <condition>. The dataset is in the name of the MLflow experiment."""
    _, activation, condition, seed = parts(key)
    return f"{activation}-{seed} · {condition}"


def parts(key: str) -> tuple[str, str, str, str]:
    """Dataset, activation, condition and seed of a run."""
    dataset, activation, last = key.split("/")
    condition, _, seed = last.rpartition("-")
    return dataset, activation, condition, seed


def complete_tag(metrics_sha256: str) -> str:
    """The value of the tag COMPLETE, for the sha256 of a metrics.json."""
    return f"{FORMAT}-{metrics_sha256}"


# --- tags


def names(key: str, build: str) -> dict[str, str]:
    """Names by which MLflow's page can group and filter runs, as tags and as params.

    Args:
        key: of the run.
        build: dotted path of the function that builds its network.
    """
    _, activation, condition, seed = parts(key)
    *_, module, function = build.split(".")
    return {"activation": activation, "condition": condition, "model": module if function == "build" else function, "seed": seed}


def starting_tags(key: str, build: str, fingerprint: str, validation_split: str, data_sha256: str) -> dict[str, str]:
    """The tags of a run that are known before training."""
    known = {"fingerprint": fingerprint, "validation_split": validation_split, "data_sha256": data_sha256}
    return {"key": key, "dataset": parts(key)[0], **names(key, build), **known}


def finished_tags(result: RunResult) -> dict[str, str]:
    """All tags that can be computed from the files of a finished run."""
    metrics = result.metrics
    return starting_tags(result.key, build(result), metrics["fingerprint"], metrics["validation_split"], metrics["data_sha256"]) | {
        "status": metrics["status"],
        "core_sha256": metrics["core_sha256"],
        "config_sha256": metrics["files"]["config.yaml"],
        "weights_sha256": metrics["weights_sha256"],
    }


def build(result: RunResult) -> str:
    """Dotted path of the function that builds the network of a run."""
    return configuration(result)["model"]["build"]


def mlflow_status(metrics: Mapping[str, Any]) -> str:
    """MLflow's status for a run that has ended, from its metrics.json."""
    return "FINISHED" if metrics["status"] == "finished" else "FAILED"


def dataset(name: str, source: str, sha256: str) -> MetaDataset:
    """A dataset, as MLflow lists it among the inputs of a run."""
    return MetaDataset(CodeDatasetSource({"source": source}), name=name, digest=sha256[:36])  # type: ignore[abstract]  # as MLflow itself does


# --- params


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys."""
    items: dict[str, Any] = {}
    for key, value in values.items():
        items |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return items


def live_params(config: Config) -> dict[str, Any]:
    """Dotted key -> value of a whole configuration, without passwords and without the condition's other runs, plus `names`."""
    values = flat(config.model_dump(exclude={"condition": {"activations", "seeds"}, "activation": {"conditions"}}))
    whole = {name: without_password(value) if name == "tracking.uri" else value for name, value in values.items()}
    return whole | names(config.key, config.model.build)


def published_params(result: RunResult, folder: Path) -> dict[str, Any]:
    """The part of `live_params` that can be computed from the files of a run."""
    known = {"run_dir": folder.as_posix(), "data.name": result.dataset, "condition.name": result.condition}
    return known | flat(configuration(result)) | names(result.key, build(result))
