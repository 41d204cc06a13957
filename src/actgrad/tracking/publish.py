"""Bring an MLflow experiment in line with the files in runs/."""

import functools
import time
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from pathlib import Path

import mlflow
from mlflow.entities import Metric, Param, Run, RunTag

from actgrad import git
from actgrad.config.schema import Tracking
from actgrad.files import PROJECT, sha256
from actgrad.results import fingerprint as fingerprints
from actgrad.results.locks import one_mlflow_run
from actgrad.results.paths import record_path
from actgrad.results.run import FILES, RunResult
from actgrad.tracking import store
from actgrad.tracking.contents import (
    COMPLETE,
    SUPERSEDED,
    finished_tags,
    mlflow_status,
    of_pipeline,
    published_params,
    run_metrics,
    run_name,
)
from actgrad.tracking.reading import file_names, logged_steps
from actgrad.tracking.store import exclusive, use, using

BATCH = 1000
"""MLflow's maximum number of metrics in one request."""


def publish(tracking: Tracking, runs: Sequence[tuple[RunResult, Path]], not_here: Collection[str] = ()) -> int:
    """Bring an MLflow experiment in line with the finished runs of a dataset, each given with its folder.

    Missing MLflow runs are added, incomplete ones are completed, and doubles are deleted. The pipeline's MLflow runs of another
    fingerprint, or of a run that is not listed any more, are tagged as superseded. Runs by hand are left alone. It can be
    repeated, and several processes may do it at once. A trained model is in no file, so it cannot be added.

    Args:
        tracking: the store and the MLflow experiment.
        runs: the finished runs.
        not_here: keys of further runs that the study lists, but whose files are not here. Their MLflow runs are left alone.

    Returns:
        How many MLflow runs were made or completed.
    """
    changed, commits = 0, _Commits()
    with using(tracking) as uri:
        with exclusive(uri):
            experiment = store.experiment(uri, tracking.experiment)
        recorded: dict[str, list[Run]] = {}
        for run in mlflow.search_runs([experiment], output_format="list"):
            recorded.setdefault(run.data.tags.get("key", ""), []).append(run)
        for result, folder in runs:
            if not _in_line(recorded.get(result.key, []), result, folder, commits):
                # one run at a time, so that trainings that start meanwhile need not wait long
                with one_mlflow_run(result.metrics["fingerprint"]), exclusive(uri):
                    changed += _bring_in_line(experiment, result, folder, commits)
        listed = {"", *(result.key for result, _ in runs), *not_here}
        _supersede(run for key, of_key in recorded.items() if key not in listed for run in of_key)
    return changed


def publish_run(tracking: Tracking, result: RunResult, folder: Path) -> None:
    """Log one finished run from its files. The caller holds one_mlflow_run(fingerprint), and handles whatever error the store raises."""
    uri = use(tracking)
    with exclusive(uri):
        _bring_in_line(store.experiment(uri, tracking.experiment), result, folder, _Commits())


def complete(run: Run, result: RunResult, folder: Path, logged: Set[tuple[str, int]]) -> bool:
    """Give an MLflow run those tags, metrics and files of a finished run that it lacks.

    Args:
        run: the MLflow run.
        result: the finished run.
        folder: its folder.
        logged: (metric name, step) of the metrics that the MLflow run has.

    Returns:
        Whether it lacked a metric or a file.
    """
    client, run_id = mlflow.MlflowClient(), run.info.run_id
    missing = {at: value for at, value in run_metrics(result).items() if at not in logged}
    log_metrics(run_id, missing)
    present = file_names(run_id)
    lacking = [name for name in FILES if name not in present]
    for name in lacking:
        client.log_artifact(run_id, str(folder / name))
    _set_tags(run, finished_tags(result, folder))
    client.set_tag(run_id, COMPLETE, sha256(folder / "metrics.json"))  # last: it says that the rest is there
    return bool(missing or lacking)


def log_metrics(run_id: str, metrics: Mapping[tuple[str, int], float]) -> None:
    """Log values by metric name and step."""
    now = int(time.time() * 1000)
    entries = [Metric(name, value, now, step) for (name, step), value in metrics.items()]
    for start in range(0, len(entries), BATCH):
        mlflow.MlflowClient().log_batch(run_id, entries[start : start + BATCH])


def supersede_others(experiment: str, key: str, fingerprint: str) -> list[Run]:
    """Tag the pipeline's MLflow runs of a run that have another fingerprint; returns those that have this one, the newest first."""
    same, others = _by_fingerprint(mlflow.search_runs([experiment], f"tags.key = '{key}'", output_format="list"), fingerprint)
    _supersede(others)
    return same


# --- one run


def _in_line(recorded: Sequence[Run], result: RunResult, folder: Path, commits: "_Commits") -> bool:
    """Whether the MLflow runs of a finished run are as `_bring_in_line` leaves them. It asks the store nothing."""
    same, others = _by_fingerprint(recorded, result.metrics["fingerprint"])
    return (
        len(same) == 1
        and not _other_tags(same[0], _tags(same[0], result, folder, commits) | {COMPLETE: sha256(folder / "metrics.json")})
        and bool(same[0].data.params)
        and same[0].info.status == mlflow_status(result)
        and all(run.data.tags.get(SUPERSEDED) == "true" for run in others if _of_pipeline(run))
    )


def _bring_in_line(experiment: str, result: RunResult, folder: Path, commits: "_Commits") -> bool:
    """Make or complete the MLflow run of a finished run, delete its doubles, and tag its predecessors as superseded."""
    client, whole = mlflow.MlflowClient(), sha256(folder / "metrics.json")
    same = supersede_others(experiment, result.key, result.metrics["fingerprint"])
    # keep the most complete one; among equals the one with a model, which is in no file, or else the newest
    same.sort(key=lambda run: (run.data.tags.get(COMPLETE) == whole, bool(run.outputs and run.outputs.model_outputs)), reverse=True)
    for double in same[1:]:
        client.delete_run(double.info.run_id)
    run = same[0] if same else client.create_run(experiment, run_name=run_name(result.key))
    run_id = run.info.run_id
    if not run.data.params:
        client.log_batch(run_id, params=[Param(name, str(value)) for name, value in published_params(result, folder).items()])
    _set_tags(run, _tags(run, result, folder, commits))
    changed = run.data.tags.get(COMPLETE) != whole and complete(run, result, folder, logged_steps(run_id))
    if run.info.status != mlflow_status(result):
        client.set_terminated(run_id, mlflow_status(result))
    return changed


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
    """Whether an MLflow run is of the pipeline, or was adopted by it: one by hand whose fingerprint was that of a listed run."""
    run_dir = run.data.params.get("run_dir")
    return run_dir is None or of_pipeline(run_dir) or SUPERSEDED in run.data.tags


def _tags(run: Run, result: RunResult, folder: Path, commits: "_Commits") -> dict[str, str]:
    """The tags that an MLflow run of a finished and listed run is to have."""
    tags = finished_tags(result, folder) | {SUPERSEDED: "false"}
    if "git_commit" not in run.data.tags and (commit := commits.of(result, folder)):
        tags |= {"git_commit": commit, "git_dirty": "false"}
    return tags


def _other_tags(run: Run, tags: Mapping[str, str]) -> dict[str, str]:
    """Those of some tags that an MLflow run does not have."""
    return {name: value for name, value in tags.items() if run.data.tags.get(name) != value}


def _set_tags(run: Run, tags: Mapping[str, str]) -> None:
    if changed := _other_tags(run, tags):
        mlflow.MlflowClient().log_batch(run.info.run_id, tags=[RunTag(name, value) for name, value in changed.items()])


class _Commits:
    """The commits that list finished runs. It asks git once for each file and commit."""

    def __init__(self) -> None:
        self._record = functools.cache(_record)
        self._core_sha256 = functools.cache(_core_sha256)

    def of(self, result: RunResult, folder: Path) -> str | None:
        """The commit whose record lists these very files of a run, if it also has the core that trained it."""
        commit, record = self._record(record_path(result.dataset, result.activation_name))
        held = commit and sha256(folder / "metrics.json") in record and self._core_sha256(commit) == result.metrics["core_sha256"]
        return commit if held else None


def _record(path: Path) -> tuple[str | None, str]:
    """The record of an activation that is committed: the last commit that changed it, and its text."""
    commit = git.commit_of(path)
    return commit, (PROJECT / path).read_text() if commit else ""


def _core_sha256(commit: str) -> str | None:
    with git.source(commit) as folder:
        try:
            return folder and fingerprints.core_sha256(folder / "src" / "actgrad")
        except FileNotFoundError:  # a commit of other modules
            return None
