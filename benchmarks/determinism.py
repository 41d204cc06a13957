"""Measure the price of determinism: the same cell trained with TensorFlow's op determinism on and off, each time in a new process.

Every round trains both, in an order that alternates. Seconds an epoch, their ratio within a round, and how far the results of one
configuration lie from each other go to benchmarks/determinism.json.
"""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import numpy as np
from hydra import compose, initialize_config_dir
from measuring import machine, ratio, rounded
from tqdm import tqdm

from actgrad import files
from actgrad.config import schema as config
from actgrad.console import dataset_name, load_keras, run_script
from actgrad.data import storage as datasets
from actgrad.results import run as results

WAYS = ("on", "off")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, epilog="example: python benchmarks/determinism.py data=digits data=cifar10_jpeg")
    parser.add_argument("datasets", metavar="data=NAME", nargs="*", default=["data=cifar10_jpeg"], help="datasets in data/; default: cifar10_jpeg")
    parser.add_argument("--rounds", metavar="N", type=int, default=7, help="default: %(default)s; fewer than 6 give no 95 %% interval")
    parser.add_argument(
        "--epochs", metavar="N", type=int, default=2, help="of each training; the first, which compiles, is not timed; default: %(default)s"
    )
    parser.add_argument("--threads", metavar="N", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    names = [dataset_name(one) for one in arguments.datasets]
    if arguments.worker:
        train(names[0], arguments.epochs, arguments.threads, *arguments.worker)
        return
    measured = {name: measure(name, arguments) for name in names}
    command = f"python benchmarks/determinism.py {' '.join(arguments.datasets)} --rounds {arguments.rounds} --epochs {arguments.epochs}"
    report = {"command": f"{command} --threads {arguments.threads}", "rounds": arguments.rounds, "machine": machine(), "datasets": measured}
    files.write_bytes(Path(__file__).with_suffix(".json"), results.json_bytes(report))
    print(json.dumps(measured, indent=2))


def measure(name: str, arguments: argparse.Namespace) -> dict[str, object]:
    found: dict[str, list[dict]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        for number in tqdm(range(arguments.rounds), desc=name, unit="round", disable=not sys.stderr.isatty()):
            for way in WAYS if number % 2 else reversed(WAYS):
                target = Path(folder, f"{way}-{number}.npz")
                options = [f"data={name}", "--epochs", str(arguments.epochs), "--threads", str(arguments.threads), "--worker", way, str(target)]
                subprocess.run([sys.executable, __file__, *options], check=True)
                with np.load(target) as arrays:
                    found[way].append({key: arrays[key] for key in arrays.files})
    seconds = {way: np.array([float(one["seconds"]) for one in found[way]]) for way in WAYS}
    return {
        "seconds_an_epoch": {way: rounded(np.median(seconds[way])) for way in WAYS},
        "on_to_off": ratio(seconds["on"], seconds["off"]),
        "different_weights": {way: len({one["weights"].tobytes() for one in found[way]}) for way in WAYS},
        "distance": {way: distance(found[way]) for way in WAYS},
    }


def distance(trainings: list[dict]) -> dict[str, float | None]:
    """The largest of all pairs: of the weights, relative to their norm, and of validation accuracy."""
    pairs = list(itertools.combinations(trainings, 2))
    norm = np.linalg.norm(trainings[0]["weights"])
    return {
        "weights": rounded(max((np.linalg.norm(a["weights"] - b["weights"]) / norm for a, b in pairs), default=0)),
        "val/accuracy": rounded(max((abs(float(a["accuracy"] - b["accuracy"])) for a, b in pairs), default=0)),
    }


def train(name: str, epochs: int, threads: int, way: str, target: str) -> None:
    """Train one cell of relu, and write its time and its weights."""
    overrides = [f"data={name}", "activation=relu", f"recipe.epochs={epochs}", f"recipe.threads={threads}", "test=false", "run_dir=unused"]
    with initialize_config_dir(str(config.CONF), version_base="1.3"):
        cell = config.cell_config(compose("config", overrides))
    dataset = datasets.load(cell.data)
    load_keras()
    import tensorflow as tf

    from actgrad.training import loop as training

    times = []

    class Clock:
        def epoch_finished(self, _):
            times.append(time.perf_counter())

    off = patch.object(tf.config.experimental, "enable_op_determinism", lambda: None)
    if way == "off":
        off.start()
    result, network = training.train(cell, dataset, [Clock()])
    weights = np.concatenate([weight.ravel() for weight in network.get_weights()])
    np.savez(target, seconds=np.median(np.diff(times)[1:]), weights=weights, accuracy=result.metrics["last"][results.VAL_ACCURACY])


if __name__ == "__main__":
    run_script(main)
