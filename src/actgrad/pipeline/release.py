"""Check that the results in git come from the code and configuration in git."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from actgrad import git
from actgrad.config import loading
from actgrad.errors import UserError
from actgrad.pipeline import composed, records
from actgrad.pipeline.dvc import dvc, locked_stages
from actgrad.results import paths
from actgrad.results.fingerprint import CORE_SHA256

COMMITTED = ("src", "conf", "params.yaml", "dvc.yaml", "dvc.lock", "runs", "reports", "published")
"""What results are made from, and the results."""
REPORTS = Path("reports")
PUBLISHED = "published"
"""The DVC remote that is a folder in git."""


def problems() -> list[str]:
    """A sentence for each result that is not committed, is missing, or is not what code and configuration make now.

    Raises:
        UserError: if the project is in no git repository.
    """
    differing = git.uncommitted(*COMMITTED)
    if differing is None:
        raise UserError("no-commit", "this folder is in no git repository, so there are no committed results to check; git init, and commit")
    study, wrong = loading.study(), [f"{path} is not committed" for path in differing]
    if not paths.CORE_PATH.is_file() or paths.CORE_PATH.read_text().strip() != CORE_SHA256:
        wrong.append(f"{paths.CORE_PATH} is not the checksum of the code that decides numbers")
    lock = locked_stages()
    trained = [dataset for dataset in study.datasets if dataset in _reported(lock)]  # the official CIFAR-10 needs a download
    lost = [path for dataset in study.datasets if dataset not in trained for path in (paths.RUNS / dataset, REPORTS / dataset) if path.exists()]
    wrong += [f"{path} has results, and dvc.lock has no entry for them" for path in lost]
    if not trained:
        wrong.append("dvc.lock has no results of any dataset of params.yaml")
    elsewhere = [dataset for dataset in _reported(lock) if dataset not in study.datasets]  # trained with another params.yaml
    wrong += [f"{REPORTS / dataset} was made by other code than the rest" for dataset in elsewhere if not _same_code(lock, dataset, trained)]
    wrong += [sentence for dataset in elsewhere for activation in study.activations for sentence in _of_activation(dataset, activation)]
    for dataset in trained:
        stale = json.loads(dvc("status", "--json", "--with-deps", f"report@{dataset}"))
        wrong += [f"{stage} is not up to date" for stage in stale]
        for activation in study.activations:
            wrong += _of_activation(dataset, activation)
        states = json.loads(dvc("status", "--json", "--cloud", "--remote", PUBLISHED, "--with-deps", f"report@{dataset}")).values()
        if {*states} - {"deleted"}:  # which are in the remote, and not in this clone's cache
            wrong.append(f"{PUBLISHED}/ has not all runs of {dataset}: dvc push --remote {PUBLISHED} --with-deps report@{dataset}")
    return wrong


def _reported(lock: Mapping[str, Any]) -> list[str]:
    """The datasets whose reports dvc.lock knows."""
    return [stage.removeprefix("report@") for stage in lock if stage.startswith("report@")]


def _same_code(lock: Mapping[str, Any], dataset: str, others: Sequence[str]) -> bool:
    """Whether a report was made by the same files of src/ as the others, of which DVC knows whether they are up to date."""
    made_by = [{one["path"]: one["md5"] for one in lock[f"report@{name}"]["deps"] if one["path"].startswith("src/")} for name in (dataset, *others)]
    return all(one == made_by[0] for one in made_by)


def _of_activation(dataset: str, activation: str) -> list[str]:
    path = paths.composed_path(dataset, activation)
    if not path.is_file() or path.read_text() != composed.text(dataset, activation, loading.study()):
        return [f"{path} is not what conf/, params.yaml and the code compose"]
    rows = {row["run"]: row for row in records.read(dataset, activation).to_dict("records")}
    runs = composed.read(dataset, activation).runs
    if [run.folder.name for run in runs] != list(rows):
        return [f"{paths.record_path(dataset, activation)} does not list the runs of {path}"]
    return [
        f"{run.key} was trained with another configuration or code"
        for run in runs
        if rows[run.folder.name]["fingerprint"] != _expected(run, rows[run.folder.name])
    ]


def _expected(run: composed.ComposedRun, row: Mapping[Any, Any]) -> str:
    return run.fingerprint(row["data_sha256"], CORE_SHA256, json.loads(row["environment"]))
