"""train.py as other scripts run it, and the pipeline's training stages, trained by Hydra's launcher instead of one by one by DVC."""

import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from actgrad import config, results
from actgrad.config import CONF, Study
from actgrad.errors import UserError

TRAIN = (sys.executable, str(CONF.parent / "src" / "train.py"))


@dataclass(frozen=True)
class Batch:
    """Cells that one multirun of train.py trains.

    Attributes:
        overrides: of train.py.
        cells: stage -> the folders of its cells, which are its outs, or are in its out.
    """

    overrides: tuple[str, ...]
    cells: dict[str, tuple[Path, ...]]

    @property
    def folders(self) -> list[Path]:
        return [folder for of_stage in self.cells.values() for folder in of_stage]


def dvc(*arguments: str) -> str:
    """What a DVC command prints.

    Raises:
        UserError: with DVC's own message, if it fails.
    """
    done = subprocess.run([sys.executable, "-m", "dvc", *arguments], capture_output=True, text=True)
    if done.returncode:
        said = [line for line in f"{done.stdout}\n{done.stderr}".splitlines() if line.lower().startswith("error")]
        raise UserError(f"dvc {arguments[0]} failed: {' '.join(said).removeprefix('error: ').removeprefix('ERROR: ')}")
    return done.stdout


def composed_recipe(*overrides: str) -> str:
    """The recipe that train.py composes from these overrides, as YAML text.

    Raises:
        UserError: with train.py's own sentence, if it refuses them.
    """
    composed = subprocess.run([*TRAIN, *overrides, "--cfg", "job", "--package", "recipe"], capture_output=True, text=True)
    if composed.returncode:
        raise UserError(composed.stderr.strip().removeprefix("error: "))
    return composed.stdout.strip() + "\n"


def preparing(dataset: str, study: Study) -> list[str]:
    """The stages that training depends on.

    Raises:
        UserError: if an experiment of the study is not known, or lists no cells.
    """
    for name in study.experiments:
        config.experiment(name)
    return [f"download@{dataset}", f"recipe@{dataset}", *(f"experiment_recipe@{dataset}-{name}" for name in study.experiments)]


def training(dataset: str, study: Study) -> list[str]:
    """The stages that train a dataset's cells."""
    cells = [f"train@{dataset}-{activation}-{seed}" for activation in study.activations for seed in study.seeds]
    return cells + [f"experiment@{dataset}-{name}" for name in study.experiments]


def stale(stages: Iterable[str]) -> list[str]:
    """Those that dvc repro would run."""
    every = json.loads(dvc("status", "--json"))  # of all stages at once: DVC takes half a second for each that is named
    return [stage for stage in stages if stage in every]


def batches(dataset: str, study: Study, stages: Iterable[str]) -> Iterator[Batch]:
    """The multiruns that train these stages: one for all activations that lack the same seeds, one an experiment."""
    fixed = (f"data={dataset}", f"recipe={study.recipe}", "model=lenet5")
    lacking = defaultdict(list)
    stages = set(stages)
    for activation in study.activations:
        if seeds := tuple(seed for seed in study.seeds if f"train@{dataset}-{activation}-{seed}" in stages):
            lacking[seeds].append(activation)
    for seeds, activations in lacking.items():
        yield Batch(
            (*fixed, f"activation={','.join(activations)}", f"seed={','.join(map(str, seeds))}", _run_dir(dataset)),
            {f"train@{dataset}-{activation}-{seed}": (results.folder(dataset, activation, seed),) for activation in activations for seed in seeds},
        )
    for name in study.experiments:
        if (stage := f"experiment@{dataset}-{name}") in stages:
            listed = config.experiment(name)
            folders = [results.folder(f"{dataset}/{name}", activation, seed) for activation in listed.activations for seed in listed.seeds]
            yield Batch((*fixed, f"experiment={name}", _run_dir(f"{dataset}/{name}")), {stage: tuple(folders)})


def _run_dir(study: str) -> str:
    return f"run_dir=runs/{study}/${{activation.name}}-${{seed}}"


def train(batch: Batch, jobs: int) -> list[Path]:
    """Train a batch, and commit those of its stages to DVC that have all their cells; returns the folders of cells that failed."""
    began = time.time_ns()
    launcher = ("hydra/launcher=joblib", f"hydra.launcher.n_jobs={jobs}") if jobs > 1 else ()
    subprocess.run([*TRAIN, "-m", *launcher, *batch.overrides], check=False)
    missing = [folder for folder in batch.folders if not _written_since(began, folder / "metrics.json")]
    whole = [stage for stage, folders in batch.cells.items() if not set(folders) & set(missing)]
    if whole:
        dvc("commit", "--force", *whole)
    return missing


def _written_since(moment: int, path: Path) -> bool:
    """Whether a file was written, or confirmed, after a moment (nanoseconds); an older one is of an earlier training."""
    return path.is_file() and path.stat().st_mtime_ns >= moment
