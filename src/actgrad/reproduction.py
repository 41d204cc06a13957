"""A dataset's cells trained again in a copy, and compared with the committed ones, byte for byte."""

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from actgrad import config, repository, results
from actgrad.config import Study
from actgrad.errors import UserError

IDENTICAL, WITHIN, DIFFERENT = "identical", "within tolerance", "different"
TOLERANCE = 0.05
"""How much an accuracy may differ on another CPU, with another number of threads or other packages; docs/reproducibility.md has what was measured."""


@dataclass(frozen=True)
class Verdict:
    """How a cell that was trained again compares with the committed one: IDENTICAL, WITHIN or DIFFERENT, and in what it differs."""

    key: str
    word: str
    differences: str = ""


def verify(copy: Path, dataset: str, study: Study, threads: int | None) -> list[str]:
    """Clone the last commit into `copy`, train a dataset's cells and make its report there with an empty DVC cache and a store of
    its own, and print how each compares with the committed one.

    Args:
        threads: of each cell, instead of the recipe's.

    Returns:
        The keys of cells that are different.

    Raises:
        UserError: if there is no commit to clone, or a cell cannot be trained.
    """
    commit = repository.commit()
    if commit is None:
        raise UserError("there is no commit to verify: verify.py trains the last commit of a git repository again; git init, and commit your results")
    if repository.difference():
        print("Your uncommitted changes are left out: what is verified is the last commit.")
    subprocess.run(["git", "clone", "--quiet", str(repository.PROJECT), str(copy)], check=True)
    if not (copy / results.recipe_path(dataset)).is_file():
        raise UserError(f"the last commit has no results of {dataset}; train it with dvc repro report@{dataset}, and commit them")
    committed = Committed(copy, dataset, study)
    if threads:
        for path in (copy / "conf" / "recipe").glob("*.yaml"):
            path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"threads": threads}, sort_keys=False))
    _run(copy, "src/sweep.py", f"data={dataset}")
    _run(copy, "-m", "dvc", "repro", "--quiet", f"report@{dataset}")
    verdicts = list(committed.compared())
    print(f"\n{dataset} at commit {commit}, trained again:\n")
    for verdict in verdicts:
        print(f"  {verdict.key:<{max(len(one.key) for one in verdicts)}}  {verdict.word}{verdict.differences and ': '}{verdict.differences}")
    counts = Counter(verdict.word for verdict in verdicts)
    print(f"\n{len(verdicts)} cells: " + ", ".join(f"{counts[word]} {word}" for word in (IDENTICAL, WITHIN, DIFFERENT)))
    for what, differing in (("dvc.lock", committed.lock_differs()), (f"reports/{dataset}", committed.report_differs())):
        print(f"{what}: {f'{len(differing)} entries differ ({differing[0]} among them)' if differing else IDENTICAL}")
    return [verdict.key for verdict in verdicts if verdict.word == DIFFERENT]


def _run(copy: Path, *command: str) -> None:
    done = subprocess.run([sys.executable, *command], cwd=copy, env=os.environ | {"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"}, check=False)
    if done.returncode:
        raise UserError(f"python {' '.join(command)} failed in a copy of the last commit, see above")


def compare(before: Mapping[str, Any], after: Mapping[str, Any], same_bytes: bool, environment: Mapping[str, tuple[str, str]]) -> Verdict:
    """Two trainings of a cell, by their metrics.json and by whether all their files are the same.

    A difference is excused by another environment only, as long as no accuracy moves by more than TOLERANCE.

    Args:
        environment: what differs of the environment, as `environment_differences` gives it.
    """
    if same_bytes and before == after:
        return Verdict(after["key"], IDENTICAL)
    named = [name for name in ("status", "data_sha256", "code_sha256", "weights_sha256") if before[name] != after[name]]
    moved = {name: abs(value - after["last"].get(name, float("inf"))) for name, value in before["last"].items()}
    accuracies = [difference for name, difference in moved.items() if name.endswith("accuracy")]
    largest = max(moved, key=moved.get, default=None)
    excused = environment and not {"status", "data_sha256", "code_sha256"} & set(named) and all(one <= TOLERANCE for one in accuracies)
    differences = [*named, *(f"{name} {was} -> {now}" for name, (was, now) in environment.items())]
    if largest is not None and moved[largest] > 0:
        differences.append(f"{largest} by {moved[largest]:.2g}, the most of all")
    return Verdict(after["key"], WITHIN if excused else DIFFERENT, ", ".join(differences) or "files")


def environment_differences(before: Mapping[str, Any], after: Mapping[str, Any], threads: tuple[int, int]) -> dict[str, tuple[str, str]]:
    """Name -> (before, after) of what differs in two cells' environment, the recipe's number of threads among it."""
    names = [*before["environment"], *(name for name in after["environment"] if name not in before["environment"])]
    differing = {name: (before["environment"].get(name, "none"), after["environment"].get(name, "none")) for name in names}
    differing["threads"] = (str(threads[0]), str(threads[1]))
    return {name: pair for name, pair in differing.items() if pair[0] != pair[1]}


class Committed:
    """What the last commit, and the files of this work tree, say of a dataset's cells; to be read before they are trained again."""

    def __init__(self, copy: Path, dataset: str, study: Study):
        self._outs = _outs(copy)
        self._threads = yaml.safe_load((copy / results.recipe_path(dataset)).read_text())["threads"]
        self._study, self._dataset, self._copy = study, dataset, copy
        self._metrics = {folder: self._read(folder) for folder in self.folders()}
        self._report = _md5s(copy / "reports" / dataset)

    def folders(self) -> Iterator[Path]:
        for activation in self._study.activations:
            for seed in self._study.seeds:
                yield results.folder(self._dataset, activation, seed)
        for name in self._study.experiments:
            listed = config.experiment(name)
            for activation in listed.activations:
                for seed in listed.seeds:
                    yield results.folder(f"{self._dataset}/{name}", activation, seed)

    def _read(self, folder: Path) -> dict[str, Any] | None:
        """Its metrics.json: git has those of the study; those of an experiment are where its folder has been trained or pulled."""
        for root in (self._copy, repository.PROJECT):
            if (root / folder / "metrics.json").is_file():
                return json.loads((root / folder / "metrics.json").read_text())
        return None

    def compared(self) -> Iterator[Verdict]:
        """Each cell, now that it has been trained again in the copy."""
        outs = _outs(self._copy)
        threads = yaml.safe_load((self._copy / results.recipe_path(self._dataset)).read_text())["threads"]
        for folder, before in self._metrics.items():
            after = json.loads((self._copy / folder / "metrics.json").read_text())
            of_cell = [out for out in outs if Path(out) == folder.parent or Path(out).parent == folder]
            same = all(outs[out] == self._outs.get(out) for out in of_cell)
            if before is None:
                there = "the folder's checksum in dvc.lock differs, and its files are not here to compare: dvc pull them, and verify again"
                yield Verdict(after["key"], IDENTICAL) if same else Verdict(after["key"], DIFFERENT, there)
            else:
                yield compare(before, after, same, environment_differences(before, after, (self._threads, threads)))

    def lock_differs(self) -> list[str]:
        """Outs whose checksum in dvc.lock is not the committed one."""
        return _differing(self._outs, _outs(self._copy))

    def report_differs(self) -> list[str]:
        """Files of the report that are not the committed ones."""
        return _differing(self._report, _md5s(self._copy / "reports" / self._dataset))


def _outs(project: Path) -> dict[str, str]:
    """Path -> md5 of every out in a project's dvc.lock."""
    stages = yaml.safe_load((project / "dvc.lock").read_text())["stages"].values()
    return {out["path"]: out["md5"] for stage in stages for out in stage.get("outs", ())}


def _differing(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    return sorted(name for name in {*before, *after} if before.get(name) != after.get(name))


def _md5s(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): hashlib.md5(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}
