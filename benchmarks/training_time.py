"""Measure what a cell costs beside the script that a user would write without this project, each in a process of its own.

Every round trains each of them once, on the same data, in an order that rotates. Seconds an epoch (by the lines that they print; the
first epoch, which compiles, left out), seconds outside the epochs, memory at its peak and their ratios to the plain script within a
round go to benchmarks/training_time.json, with where the seconds outside go and how fast this processor multiplies matrices.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import numpy as np
import yaml
from measuring import environment, machine, ratio, rounded
from tqdm import tqdm

from actgrad import config, datasets, files, pipeline, results
from actgrad.console import dataset_name, run_script
from actgrad.errors import UserError
from actgrad.statistics import estimate

HERE = Path(__file__).resolve().parent
PLAIN, ACTGRAD, BFLOAT16 = "plain Keras", "actgrad", "actgrad, bfloat16"
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class Timed:
    """One process.

    Attributes:
        epoch: median seconds from one line of an epoch to the next.
        outside: seconds that it ran less its epochs, of which the first counts as long as the median of the others.
        memory: resident at its peak, MiB.
        accuracy: of validation, after the last epoch; NaN where none is printed.
        parts: seconds by name, of a process that prints them.
    """

    epoch: float
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
    epochs, found = arguments.epochs, defaultdict(list)
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
                torch = [arguments.torch, str(HERE / "plain_torch.py"), *own, str(recipe["threads"])]
                ways |= {"plain PyTorch": torch, "PyTorch with norms": [*torch, "norms"]}
            first = number % len(ways)
            for way in [*ways][first:] + [*ways][:first]:
                found[way].append(timed(ways[way], epochs, recipe["threads"], f"sqlite:///{folder}/mlflow.db"))
    return {way: found[way] for way in ways}


def timed(command: Sequence[str], epochs: int, threads: int, store: str) -> Timed:
    """Run a script that prints a line an epoch."""
    alike = dict.fromkeys(("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), str(threads))
    used = environment(MLFLOW_TRACKING_URI=store, TF_CPP_MIN_LOG_LEVEL="3", **alike)
    ends, accuracy, parts = [], float("nan"), {}
    with tempfile.TemporaryFile("w+") as errors:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=used)
        for line in process.stdout:
            if re.search(r"\bepoch \d+/", line):
                ends.append(time.perf_counter())
            if value := re.search(r"val/accuracy (\S+)", line):
                accuracy = float(value[1])
            if part := re.match(r"part (.+): (\S+)", line):
                parts[part[1]] = float(part[2])
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        errors.seek(0)
        said = errors.read().strip().splitlines()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode or len(ends) != epochs:
        raise UserError(f"{' '.join(command)} failed: {' '.join(said[-1:])}")
    if parts:
        parts["end of the process"] = wall - sum(parts.values())
    epoch = float(np.median(np.diff(ends)))
    return Timed(epoch, wall - (ends[-1] - ends[0]) - epoch, usage.ru_maxrss / 1024, accuracy, parts)


def summary(processes: Sequence[Timed], plain: Sequence[Timed]) -> dict[str, object]:
    """Medians, and the median ratio to the plain script with its 95 % interval by order statistics."""
    row: dict[str, object] = {}
    for value, unit in (("epoch", "s"), ("outside", "s"), ("memory", "mib")):
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
