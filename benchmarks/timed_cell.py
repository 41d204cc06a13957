"""train.py, which prints where its time goes outside the epochs: python timed_cell.py KEY=VALUE …"""

import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

TRAIN = Path(__file__).resolve().parents[1] / "src" / "train.py"
sys.path.insert(0, str(TRAIN.parent))


class Clock:
    """Cuts the time that a process runs into parts that follow each other."""

    def __init__(self) -> None:
        self._last = psutil.Process().create_time()

    def ends(self, part: str) -> None:
        now = time.time()
        print(f"part {part}: {now - self._last:.3f}", flush=True)
        self._last = now

    def before(self, owner: Any, name: str, part: str) -> None:
        """The first call of a function ends the part that leads to it."""
        self._wrap(owner, name, lambda function, *args, **kwargs: (self.ends(part), function(*args, **kwargs))[1])

    def after(self, owner: Any, name: str, part: str) -> None:
        """The return from a function ends the part that it is of."""

        def call(function, *args, **kwargs):
            result = function(*args, **kwargs)
            self.ends(part)
            return result

        self._wrap(owner, name, call)

    def _wrap(self, owner: Any, name: str, call: Callable) -> None:
        function = getattr(owner, name)
        done = []

        def wrapped(*args, **kwargs):
            if done:
                return function(*args, **kwargs)
            done.append(True)
            return call(function, *args, **kwargs)

        setattr(owner, name, wrapped)


clock = Clock()
from actgrad import cells, datasets  # noqa: E402  here, because importing them is timed

clock.before(datasets, "load", "interpreter, Hydra, configuration")
clock.after(datasets, "load", "dataset")
load_keras = cells.load_keras


def load_all() -> None:
    load_keras()
    from actgrad import training

    clock.ends("TensorFlow, Keras")
    from actgrad import tracking

    clock.ends("MLflow, Matplotlib")
    clock.after(tracking.Run, "_start", "MLflow run begun")
    clock.before(training.TappedModel, "fit", "network and first probe")
    clock.before(training, "_result", "epochs")
    clock.after(training, "_result", "test split, affinity, checksums")
    clock.after(training.CellResult, "write", "files of the cell")
    clock.after(tracking.Run, "_finish", "MLflow: metrics, figures, model")


cells.load_keras = load_all
sys.argv[0] = str(TRAIN)
runpy.run_path(str(TRAIN), run_name="__main__")
