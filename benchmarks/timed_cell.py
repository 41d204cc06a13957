"""train.py, which prints the name of each part that it has ended, for training_time.py's clock: python timed_cell.py KEY=VALUE …"""

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

TRAIN = Path(__file__).resolve().parents[1] / "src" / "train.py"
sys.path.insert(0, str(TRAIN.parent))


def ends(part: str) -> None:
    print(f"part {part}", flush=True)


def before(owner: Any, name: str, part: str) -> None:
    """The first call of a function ends the part that leads to it."""
    _wrap(owner, name, lambda function, *args, **kwargs: (ends(part), function(*args, **kwargs))[1])


def after(owner: Any, name: str, part: str) -> None:
    """The return from a function ends the part that it is of."""

    def call(function, *args, **kwargs):
        result = function(*args, **kwargs)
        ends(part)
        return result

    _wrap(owner, name, call)


def _wrap(owner: Any, name: str, call: Callable) -> None:
    function = getattr(owner, name)
    done = []

    def wrapped(*args, **kwargs):
        if done:
            return function(*args, **kwargs)
        done.append(True)
        return call(function, *args, **kwargs)

    setattr(owner, name, wrapped)


from actgrad import datasets  # noqa: E402  after the path is set
from actgrad.pipeline import run as cells

before(datasets, "load", "interpreter, Hydra, configuration")
after(datasets, "load", "dataset")
load_keras = cells.load_keras


def load_all() -> None:
    load_keras()
    from actgrad.training import loop as training

    ends("TensorFlow, Keras")
    from actgrad.tracking import store as tracking

    ends("MLflow, Matplotlib")
    after(tracking.Run, "_start", "MLflow run begun")
    before(training.TappedModel, "fit", "network and first probe")
    before(training, "_result", "epochs")
    after(training, "_result", "test split, affinity, checksums")
    after(training.CellResult, "write", "files of the cell")
    after(tracking.Run, "_finish", "MLflow: metrics, figures, model")


cells.load_keras = load_all
sys.argv[0] = str(TRAIN)
runpy.run_path(str(TRAIN), run_name="__main__")
