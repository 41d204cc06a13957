"""Train a dataset's runs again in a copy of the last commit, and compare them with the committed ones, byte for byte."""

import hashlib
import json
import subprocess
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from actgrad import git
from actgrad.config import loading
from actgrad.errors import UserError
from actgrad.files import PROJECT
from actgrad.pipeline import dvc, records

WORDS = IDENTICAL, WITHIN, DIFFERENT = "identical", "within tolerance", "different"
TOLERANCE = 0.05
"""How much an accuracy may differ with another CPU, number of threads or packages; see the measurements in docs/reproducibility.md."""
MEASURED = ("loss", "accuracy")


@dataclass(frozen=True)
class Verdict:
    """Comparison of a retrained run with the committed one: one of WORDS, and the differences."""

    run: str
    word: str
    differences: str = ""


def verify(copy: Path, dataset: str, threads: int | None) -> list[str]:
    """Clone the last commit into `copy`, train a dataset's runs and make its report there, with an empty DVC cache and its own MLflow
    store, and print how each run compares with the committed one.

    Args:
        threads: number of threads of each run, instead of the recipe's.

    Returns:
        Keys of different runs. Also `dvc.lock` or the report, if they differ although all runs are identical.

    Raises:
        UserError: if there is no commit to clone, or a run cannot be trained.
    """
    commit = git.commit()
    if commit is None:
        raise UserError(
            "no-commit", "there is no commit to verify: verify.py trains the last commit of a git repository again; git init, and commit your results"
        )
    cloned = subprocess.run(["git", "clone", "--quiet", str(PROJECT), str(copy)], capture_output=True, text=True)
    if cloned.returncode:
        raise UserError(
            "not-cloned",
            f"the last commit cannot be cloned ({' '.join(cloned.stderr.split())}); verify.py needs the project at the root of its repository",
        )
    study = loading.study(copy / "params.yaml")
    loading.require_dataset(dataset, study)
    before = _recorded(copy, dataset, study.activations)
    lock, report = _stages(copy, dataset), _md5s(copy / "reports" / dataset)
    print(f"commit {commit[:12]}, without what you have not committed, is trained again in {copy}", flush=True)
    if threads:
        for path in (copy / "conf" / "recipe").glob("*.yaml"):
            path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"threads": threads}, sort_keys=False))
    own = dvc.environment(MLFLOW_TRACKING_URI="sqlite:///mlflow.db")
    done = subprocess.run([*dvc.COMMAND, "repro", f"report@{dataset}"], cwd=copy, env=own, check=False)
    if done.returncode:
        raise UserError("command-failed", f"dvc repro report@{dataset} failed in a copy of the last commit, see above")
    after = _recorded(copy, dataset, study.activations)
    verdicts = [compare(key, row, after.get(key), {"threads": ("the recipe's", str(threads))} if threads else {}) for key, row in before.items()]
    verdicts += [Verdict(key, DIFFERENT, "the commit's record lacks it") for key in after if key not in before]
    print(f"\n{dataset} at commit {commit}, trained again:\n")
    for verdict in verdicts:
        print(f"  {verdict.run:<{max(len(one.run) for one in verdicts)}}  {verdict.word}{verdict.differences and ': '}{verdict.differences}")
    counts = Counter(verdict.word for verdict in verdicts)
    print(f"\n{len(verdicts)} runs: " + ", ".join(f"{counts[word]} {word}" for word in WORDS))
    different = [verdict.run for verdict in verdicts if verdict.word == DIFFERENT]
    for what, was, now in (("dvc.lock", lock, _stages(copy, dataset)), (f"reports/{dataset}", report, _md5s(copy / "reports" / dataset))):
        differing = sorted(name for name in {*was, *now} if was.get(name) != now.get(name))
        print(f"{what}: {f'{len(differing)} entries differ ({differing[0]} among them)' if differing else IDENTICAL}")
        different += [what] if differing and counts[IDENTICAL] == len(verdicts) else []
    return different


def _recorded(root: Path, dataset: str, activations: list[str]) -> dict[str, dict[Any, Any]]:
    """Key -> row of records.COLUMNS, for all runs of a dataset."""
    tables = {activation: records.read(dataset, activation, root) for activation in activations}
    return {f"{dataset}/{activation}/{row['run']}": row for activation, table in tables.items() for row in table.to_dict("records")}


def compare(key: str, before: Mapping[str, Any], after: Mapping[str, Any] | None, changed: Mapping[str, tuple[str, str]]) -> Verdict:
    """Compare two trainings of a run by their rows of records.COLUMNS. `after` is None if there is no second training.

    Differences are within tolerance only if the environment differs and no accuracy changes by more than TOLERANCE.

    Args:
        changed: intended changes: name -> (before, after).
    """
    if after is None:
        return Verdict(key, DIFFERENT, "it was not trained again")
    if before["files_sha256"] == after["files_sha256"]:
        return Verdict(key, IDENTICAL)
    environment = {**_environment_differences(before["environment"], after["environment"]), **changed}
    named = [name for name in ("status", "data_sha256", "core_sha256", "weights_sha256") if before[name] != after[name]]
    moved = {name: abs(before[name] - after[name]) for name in before if name.endswith(MEASURED) and not pd.isna(before[name] + after[name])}
    largest = max(moved, key=lambda name: moved[name], default=None)
    near = all(difference <= TOLERANCE for name, difference in moved.items() if name.endswith("accuracy"))
    excused = environment and near and not {"status", "data_sha256", "core_sha256"} & set(named)
    differences = [*named, *(f"{name} {was} -> {now}" for name, (was, now) in environment.items())]
    if largest is not None and moved[largest] > 0:
        differences.append(f"{largest} by {moved[largest]:.2g}, the most of all")
    return Verdict(key, WITHIN if excused else DIFFERENT, ", ".join(differences) or "files")


def _environment_differences(before: str, after: str) -> dict[str, tuple[str, str]]:
    """Name -> (before, after) of the differences between two environments, as records writes them."""
    was, now = json.loads(before), json.loads(after)
    names = dict.fromkeys([*was, *now])
    return {name: (was.get(name, "none"), now.get(name, "none")) for name in names if was.get(name) != now.get(name)}


def _stages(root: Path, dataset: str) -> dict[str, Any]:
    """The entries of a dataset in dvc.lock."""
    return {name: stage for name, stage in dvc.locked_stages(root).items() if name.partition("@")[2].split("-")[0] == dataset}


def _md5s(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): hashlib.md5(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}
