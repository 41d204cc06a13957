"""Measure what a cell costs beside the script that a user would write without this project, each in a process of its own.

Every round trains each of them once, on the same data. They take turns of a quarter of a second, in an order that rotates, while all others
are stopped: a restless machine is as restless for each. What they print says when their epochs end, on a clock that stops with them.
Seconds an epoch, of that clock and of the processor (the first, which compiles, left out), seconds outside the epochs, memory at its
peak and their ratios to the plain script within a round go to benchmarks/training_time.json, with where the seconds outside go and how
fast this processor multiplies matrices. All processes of a round are in memory at once, 10 GB with PyTorch's.
"""

import argparse
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import numpy as np
import psutil
import yaml
from measuring import environment, machine, ratio, rounded
from tqdm import tqdm

from actgrad import files
from actgrad.analysis.statistics import estimate
from actgrad.config import schema as config
from actgrad.console import dataset_name, run_script
from actgrad.data import storage as datasets
from actgrad.errors import UserError
from actgrad.pipeline import dvc as pipeline
from actgrad.results import run as results

HERE = Path(__file__).resolve().parent
PLAIN, ACTGRAD, BFLOAT16 = "plain Keras", "actgrad", "actgrad, bfloat16"
PRECISIONS = ("float32", "bfloat16")
TURN = 0.25
"""Seconds that a process runs before the next one does."""


@dataclass(frozen=True)
class Timed:
    """One process.

    Attributes:
        epoch: mean seconds from one line of an epoch to the next.
        processor: seconds of all its threads in the same time.
        outside: seconds that it ran less its epochs, of which the first counts as long as the mean of the others.
        memory: resident at its peak, MiB.
        accuracy: of validation, after the last epoch; NaN where none is printed.
        parts: seconds by name; of a process that prints no names, one part.
    """

    epoch: float
    processor: float
    outside: float
    memory: float
    accuracy: float
    parts: dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, epilog="example: python benchmarks/training_time.py data=digits --rounds 6")
    parser.add_argument("dataset", metavar="data=NAME", nargs="?", default="data=cifar10_jpeg", help="a dataset in data/; default: %(default)s")
    parser.add_argument("--rounds", metavar="N", type=int, default=6, help="default: %(default)s; fewer than 6 give no 95 %% interval")
    parser.add_argument("--epochs", metavar="N", type=int, default=3, help="of each training; default: %(default)s")
    parser.add_argument("--torch", metavar="PYTHON", help="an interpreter with PyTorch, to compare with; it is no part of this environment")
    arguments = parser.parse_args()
    if arguments.rounds < 1 or arguments.epochs < 3:
        raise UserError(f"--rounds {arguments.rounds} --epochs {arguments.epochs} measures nothing; choose at least 1 and 3")
    name = dataset_name(arguments.dataset)
    dataset = datasets.load(config.data_config(name, []))
    recipe = yaml.safe_load(pipeline.composed_recipe(f"data={name}"))
    timed = measure(name, recipe, arguments)
    plain = timed[PLAIN]
    rows = {way: summary(processes, plain) for way, processes in timed.items()}
    report = {
        "command": f"python benchmarks/training_time.py data={name} --rounds {arguments.rounds} --epochs {arguments.epochs}"
        + (" --torch PYTHON" if arguments.torch else ""),
        "dataset": name,
        "images": {part: len(dataset.images[part]) for part in ("train", "val")},
        "image_shape": list(dataset.images["train"].shape[1:]),
        "batch_size": recipe["batch_size"],
        "threads": recipe["threads"],
        "rounds": arguments.rounds,
        "epochs": arguments.epochs,
        "machine": machine(),
        "ways": rows,
        "outside_s": {part: rounded(np.median([one.parts[part] for one in timed[ACTGRAD]])) for part in timed[ACTGRAD][0].parts if part != "epochs"},
        "bfloat16_accuracy": accuracy_difference(timed[BFLOAT16], timed[ACTGRAD]),
        "matrix_product_gflops": {precision: rounded(matrix_product(recipe["threads"], precision)) for precision in PRECISIONS},
    }
    files.write_bytes(Path(__file__).with_suffix(".json"), results.json_bytes(report))
    for way, row in rows.items():
        print(f"{way:<22} {row['epoch_s']:>6} s an epoch  {row['epoch_to_plain']}  outside {row['outside_s']} s  {row['memory_mib']} MiB")
    print(f"benchmarks/training_time.json: {len(rows)} ways on {name}, {arguments.rounds} rounds")


def measure(name: str, recipe: dict[str, Any], arguments: argparse.Namespace) -> dict[str, list[Timed]]:
    epochs, threads, found = arguments.epochs, recipe["threads"], defaultdict(list)
    own = [str(datasets.path(name)), str(epochs), str(recipe["batch_size"])]
    with tempfile.TemporaryDirectory() as folder:
        for number in tqdm(range(arguments.rounds), desc=name, unit="round", disable=not sys.stderr.isatty()):
            cell = [str(HERE / "timed_cell.py"), f"data={name}", "activation=relu", f"seed={number}", f"recipe.epochs={epochs}"]
            ways = {
                PLAIN: [sys.executable, str(HERE / "plain_keras.py"), *own],
                "the tap alone": [sys.executable, str(HERE / "tapped_keras.py"), *own],
                ACTGRAD: [sys.executable, *cell, f"run_dir={folder}/float32-{number}"],
                BFLOAT16: [sys.executable, *cell, f"run_dir={folder}/bfloat16-{number}", "recipe.precision=mixed_bfloat16"],
            }
            if arguments.torch:
                torch = [arguments.torch, str(HERE / "plain_torch.py"), *own, str(threads)]
                ways |= {"plain PyTorch": torch, "PyTorch with norms": [*torch, "norms"]}
            first = number % len(ways)
            stores = {way: f"sqlite:///{folder}/{place}.db" for place, way in enumerate(ways)}  # one that is stopped holds up no other
            trainings = {way: Training(ways[way], epochs, threads, stores[way]) for way in [*ways][first:] + [*ways][:first]}
            side_by_side([*trainings.values()])
            for way, training in trainings.items():
                found[way].append(training.timed())
    return {way: found[way] for way in ways}


def side_by_side(trainings: Sequence["Training"]) -> None:
    """Run processes to their ends, in turns: while one runs, all others are stopped."""
    with ExitStack() as started:
        for training in trainings:
            started.enter_context(training)
        while trainings:
            trainings = [training for training in trainings if training.run(TURN)]


class Training(AbstractContextManager):
    """A script that prints a line an epoch, in a process of its own, which runs only while it is told to."""

    def __init__(self, command: Sequence[str], epochs: int, threads: int, store: str):
        self._command, self._epochs = command, epochs
        alike = dict.fromkeys(("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), str(threads))
        self._environment = environment(MLFLOW_TRACKING_URI=store, TF_CPP_MIN_LOG_LEVEL="3", **alike)
        self._process: subprocess.Popen | None = None
        self._ran = 0.0
        """Seconds, those left out in which it was stopped."""
        self._lines: list[tuple[float, float, str]] = []
        """What it printed, after how many seconds, and after how many of the processor's."""

    def __exit__(self, *_: object) -> None:
        if self._process and self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def run(self, seconds: float) -> bool:
        """Run for so long; returns whether there is more to run."""
        began, before = time.perf_counter(), self._ran
        self._go()
        while (left := before + seconds - self._ran) > 0:
            ready, _, _ = select.select([self._process.stdout], [], [], left)
            printed = os.read(self._process.stdout.fileno(), 65536) if ready else None
            self._ran = before + time.perf_counter() - began
            if printed:
                used = sum(psutil.Process(self._process.pid).cpu_times()[:2])
                self._lines += [(self._ran, used, line) for line in printed.decode().splitlines() if line]
            elif ready:
                _, status, self._usage = os.wait4(self._process.pid, 0)
                self._process.returncode = os.waitstatus_to_exitcode(status)
                self._ran = before + time.perf_counter() - began
                if self._process.returncode:
                    raise UserError(f"{' '.join(self._command)} failed: {' '.join(line for *_, line in self._lines[-1:])}")
                return False
        os.killpg(self._process.pid, signal.SIGSTOP)
        return True

    def _go(self) -> None:
        if self._process:
            os.killpg(self._process.pid, signal.SIGCONT)
            return
        piped = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        self._process = subprocess.Popen(self._command, **piped, env=self._environment, start_new_session=True)

    def timed(self) -> Timed:
        """What the whole run took."""
        ends = np.array([when for *when, line in self._lines if re.search(r"\bepoch \d+/", line)])
        accuracies = [float(value[1]) for *_, line in self._lines if (value := re.search(r"val/accuracy (\S+)", line))]
        marks = [(at, line.removeprefix("part ")) for at, _, line in self._lines if line.startswith("part ")]
        begins = [0.0, *(at for at, _ in marks)]
        parts = {name: end - begin for begin, (end, name) in zip(begins, [*marks, (self._ran, "end of the process")], strict=True)}
        epoch, processor = (ends[-1] - ends[0]) / (self._epochs - 1)
        return Timed(epoch, processor, self._ran - self._epochs * epoch, self._usage.ru_maxrss / 1024, (accuracies or [float("nan")])[-1], parts)


def summary(processes: Sequence[Timed], plain: Sequence[Timed]) -> dict[str, object]:
    """Medians, and the median ratio to the plain script with its 95 % interval by order statistics."""
    row: dict[str, object] = {}
    for value, unit in (("epoch", "s"), ("processor", "s"), ("outside", "s"), ("memory", "mib")):
        own, other = (np.array([getattr(one, value) for one in of]) for of in (processes, plain))
        row |= {f"{value}_{unit}": rounded(np.median(own)), f"{value}_to_plain": ratio(own, other)}
    return row


def accuracy_difference(processes: Sequence[Timed], reference: Sequence[Timed]) -> dict[str, float | None]:
    """Mean difference of validation accuracy between trainings of one seed, with its 95 % interval."""
    found = estimate([one.accuracy - other.accuracy for one, other in zip(processes, reference, strict=True)])
    return {name: None if value is None else rounded(value) for name, value in vars(found).items()}


def matrix_product(threads: int, precision: str) -> float:
    """GFLOP/s of this processor, in TensorFlow, in a process of its own."""
    program = f"""
import time
import tensorflow as tf
tf.config.threading.set_intra_op_parallelism_threads({threads})
a = tf.cast(tf.random.normal((2048, 2048)), "{precision}")
product = tf.function(lambda: tf.matmul(a, a))
times = []
for _ in range(25):
    began = time.perf_counter()
    product().numpy()
    times.append(time.perf_counter() - began)
print(2 * 2048**3 / sorted(times)[len(times) // 2] / 1e9)
"""
    return float(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    run_script(main)
