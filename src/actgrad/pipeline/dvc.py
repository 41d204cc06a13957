"""train.py and DVC as other scripts run them."""

import json
import subprocess
import sys

from actgrad.config import schema as config
from actgrad.config.schema import CONF, Study
from actgrad.errors import UserError

TRAIN = (sys.executable, str(CONF.parent / "src" / "train.py"))


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


def stale() -> set[str]:
    """The stages that dvc repro would run."""
    return set(json.loads(dvc("status", "--json")))  # of all at once: DVC takes half a second for each that is named
