"""Bring an MLflow experiment in line with the files in runs/."""

import functools
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag

from actgrad import git
from actgrad.config.loading import data_config
from actgrad.config.schema import Tracking
from actgrad.errors import UserError
from actgrad.files import PROJECT, sha256
from actgrad.results import fingerprint as fingerprints
from actgrad.results.locks import one_mlflow_run
from actgrad.results.paths import record_path
from actgrad.results.run import FILES, RunResult, read_metrics
from actgrad.tracking import contents, descriptions, experiments, store
from actgrad.tracking.contents import COMPLETE, DESCRIPTION, SUPERSEDED, complete_tag, mlflow_status, of_pipeline, parts, run_name
from actgrad.tracking.metrics import Values, run_metrics
from actgrad.tracking.reading import file_names, logged_steps
from actgrad.tracking.store import exclusive, use, using

BATCH = 1000
"""MLflow's maximum number of metrics in one request."""


def publish(tracking: Tracking, folders: Sequence[Path], not_here: Collection[str] = ()) -> int:
    """Bring an MLflow experiment in line with the finished runs of a dataset.

    Missing MLflow runs are added, incomplete ones are completed, and duplicates are deleted. The pipeline's MLflow runs are tagged
    as superseded if they have another fingerprint, or if their run is not listed any more. Runs by hand are left alone. This can be
    repeated, and several processes may do it at once. Trained models are in no file, so they cannot be added. Missing saved views
    of the experiment are written.

    Args:
        tracking: the store and the MLflow experiment.
        folders: of the finished runs, those of the study's first condition first.
        not_here: keys of further runs that the study lists, but whose files are not here. Their MLflow runs are left alone.

    Returns:
        Number of MLflow runs that were made or completed.

    Raises:
        UserError: if the store fails, or a file of a run is damaged.
    """
    changed, commits, listed = 0, _Commits(), {"", *not_here}
    with using(tracking) as uri:
        with exclusive(uri):
            experiment = store.experiment(uri, tracking.experiment)
        recorded: dict[str, list[Run]] = {}
        for run in mlflow.search_runs([experiment], output_format="list"):
            recorded.setdefault(run.data.tags.get("key", ""), []).append(run)
        for folder in folders:
            metrics = read_metrics(folder)
            listed.add(metrics["key"])
            if not _in_line(recorded.get(metrics["key"], []), metrics, folder, commits):
                # one run at a time, so that starting trainings wait only briefly
                with one_mlflow_run(metrics["fingerprint"]), exclusive(uri):
                    changed += _bring_in_line(experiment, RunResult.read(folder), folder, commits)
        _supersede(run for key, of_key in recorded.items() if key not in listed for run in of_key)
        if folders:
            experiments.present_study(experiment, RunResult.read(folders[0]))
    return changed


def publish_run(tracking: Tracking, result: RunResult, folder: Path) -> None:
    """Log one finished run from its files. The caller must hold one_mlflow_run(fingerprint), and handle any error of the store."""
    uri = use(tracking)
    with exclusive(uri):
        _bring_in_line(store.experiment(uri, tracking.experiment), result, folder, _Commits())


def complete(run: Run, result: RunResult, folder: Path, logged: Collection[tuple[str, int]], present: Collection[str]) -> bool:
    """Give an MLflow run the description, tags, metrics and files of a finished run that it lacks.

    Args:
        run: the MLflow run.
        result: the finished run.
        folder: its folder.
        logged: (metric name, step) of the metrics that the MLflow run has.
        present: names of the files that it has.

    Returns:
        Whether it lacked a metric or a file.
    """
    client, run_id = mlflow.MlflowClient(), run.info.run_id
    missing = {at: value for at, value in run_metrics(result).items() if at not in logged}
    log_metrics(run_id, missing)
    lacking = [name for name in FILES if name not in present]
    for name in lacking:
        client.log_artifact(run_id, str(folder / name))
    _set_tags(run, contents.finished_tags(result) | contents.SOURCE | {DESCRIPTION: descriptions.of_run(result, folder)})
    client.set_tag(run_id, COMPLETE, complete_tag(sha256(folder / "metrics.json")))  # last, because it says that the rest is there
    return bool(missing or lacking)


def log_metrics(run_id: str, metrics: Values) -> None:
    """Log values by metric name and step."""
    now = int(time.time() * 1000)
    entries = [Metric(name, value, now, step) for (name, step), value in metrics.items()]
    for start in range(0, len(entries), BATCH):
        mlflow.MlflowClient().log_batch(run_id, entries[start : start + BATCH])


def log_dataset(run_id: str, name: str, source: str, sha256: str) -> None:
    """Log the dataset that a run was trained on, as an input of its MLflow run."""
    given = contents.dataset(name, source, sha256).to_dict()
    entity = Dataset(given["name"], given["digest"], given["source_type"], given["source"], given.get("schema"), given.get("profile"))
    mlflow.MlflowClient().log_inputs(run_id, [DatasetInput(entity, [InputTag("mlflow.data.context", "training")])])


def supersede_others(experiment: str, key: str, fingerprint: str) -> list[Run]:
    """Tag the pipeline's MLflow runs of a run with other fingerprints. Returns those with this fingerprint, newest first."""
    same, others = _by_fingerprint(mlflow.search_runs([experiment], f"tags.key = '{key}'", output_format="list"), fingerprint)
    _supersede(others)
    return same


# --- one run


def _in_line(recorded: Sequence[Run], metrics: Mapping[str, Any], folder: Path, commits: "_Commits") -> bool:
    """Whether the MLflow runs of a finished run are as `_bring_in_line` leaves them. Reads only metrics.json, and does not query the store."""
    same, others = _by_fingerprint(recorded, metrics["fingerprint"])
    return (
        len(same) == 1
        and not _other_tags(same[0], commits.tags(same[0], metrics, folder) | {COMPLETE: complete_tag(sha256(folder / "metrics.json"))})
        and same[0].info.status == mlflow_status(metrics)
        and all(run.data.tags.get(SUPERSEDED) == "true" for run in others if _of_pipeline(run))
    )


def _bring_in_line(experiment: str, result: RunResult, folder: Path, commits: "_Commits") -> bool:
    """Make or complete the MLflow run of a finished run, delete its duplicates, and tag its predecessors as superseded."""
    client, whole, name = mlflow.MlflowClient(), complete_tag(sha256(folder / "metrics.json")), run_name(result.key)
    same = supersede_others(experiment, result.key, result.metrics["fingerprint"])
    # keep the most complete one; if equal, one with a model, which is in no file; else the newest
    same.sort(key=lambda run: (run.data.tags.get(COMPLETE) == whole, _has_model(run)), reverse=True)
    kept = [run for run in same[:1] if _has_model(run) or not _older(run)]
    for other in same[len(kept) :]:
        client.delete_run(other.info.run_id)
    run = kept[0] if kept else client.create_run(experiment, run_name=name, tags=contents.finished_tags(result))
    run_id = run.info.run_id
    if missing := {key: value for key, value in contents.published_params(result, folder).items() if key not in run.data.params}:
        client.log_batch(run_id, params=[Param(key, str(value)) for key, value in missing.items()])
    if not run.inputs or not run.inputs.dataset_inputs:
        log_dataset(run_id, result.dataset, _source(result.dataset), result.metrics["data_sha256"])
    _set_tags(run, commits.tags(run, result.metrics, folder))
    changed = False
    if run.data.tags.get(COMPLETE) != whole:
        logged, present = (logged_steps(run_id), file_names(run_id)) if kept else ((), ())
        changed = complete(run, result, folder, logged, present)
    if (run.info.status, run.info.run_name) != (mlflow_status(result.metrics), name):
        client.update_run(run_id, mlflow_status(result.metrics), name)  # without an end time, because no file has the duration
    return changed


def _older(run: Run) -> bool:
    """Whether an MLflow run was completed by older code, which logged other metrics. Logged metrics cannot be removed."""
    return not run.data.tags.get(COMPLETE, complete_tag("")).startswith(complete_tag(""))


def _has_model(run: Run) -> bool:
    return bool(run.outputs and run.outputs.model_outputs)


@functools.cache
def _source(dataset: str) -> str:
    """The source of a dataset, from its file in conf/; empty if that file is gone."""
    try:
        return data_config(dataset, []).source
    except UserError:
        return ""


def _supersede(runs: Iterable[Run]) -> None:
    for run in runs:
        if _of_pipeline(run):
            _set_tags(run, {SUPERSEDED: "true"})


def _by_fingerprint(runs: Iterable[Run], fingerprint: str) -> tuple[list[Run], list[Run]]:
    """MLflow runs with this fingerprint, and those without."""
    same: list[Run] = []
    others: list[Run] = []
    for run in runs:
        (same if run.data.tags.get("fingerprint") == fingerprint else others).append(run)
    return same, others


def _of_pipeline(run: Run) -> bool:
    """Whether an MLflow run is the pipeline's, or a run by hand that was adopted because it had a listed run's fingerprint."""
    run_dir = run.data.params.get("run_dir")
    return run_dir is None or of_pipeline(run_dir) or SUPERSEDED in run.data.tags


def _other_tags(run: Run, tags: Mapping[str, str]) -> dict[str, str]:
    """The tags among `tags` that an MLflow run lacks."""
    return {name: value for name, value in tags.items() if run.data.tags.get(name) != value}


def _set_tags(run: Run, tags: Mapping[str, str]) -> None:
    if changed := _other_tags(run, tags):
        mlflow.MlflowClient().log_batch(run.info.run_id, tags=[RunTag(name, value) for name, value in changed.items()])


class _Commits:
    """The commits that list finished runs. Asks git only once per file and commit."""

    def __init__(self) -> None:
        self._record = functools.cache(_record)
        self._core_sha256 = functools.cache(_core_sha256)

    def tags(self, run: Run, metrics: Mapping[str, Any], folder: Path) -> dict[str, str]:
        """The tags of a listed run that its files do not contain: that it is listed, and the commit, if known."""
        tags = {SUPERSEDED: "false"}
        if "git_commit" not in run.data.tags and (commit := self.of(metrics, folder)):
            tags |= {"git_commit": commit, "git_dirty": "false", "mlflow.source.git.commit": commit}
        return tags

    def of(self, metrics: Mapping[str, Any], folder: Path) -> str | None:
        """The commit whose record lists exactly these files of a run, if it also has the core that trained it."""
        dataset, activation, *_ = parts(metrics["key"])
        commit, record = self._record(record_path(dataset, activation))
        held = commit and sha256(folder / "metrics.json") in record and self._core_sha256(commit) == metrics["core_sha256"]
        return commit if held else None


def _record(path: Path) -> tuple[str | None, str]:
    """The committed record of an activation: the last commit that changed it, and its text."""
    commit = git.commit_of(path)
    return commit, (PROJECT / path).read_text() if commit else ""


def _core_sha256(commit: str) -> str | None:
    with git.source(commit) as folder:
        try:
            return fingerprints.core_sha256(folder / "src" / "actgrad") if folder else None
        except FileNotFoundError:  # a commit with other modules
            return None
