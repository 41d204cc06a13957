"""Measure how much time GradientMonitor adds to a training step, and how long a measurement of its probe takes, on LeNet-5 and on a network
of 50 layers. Its 24 million weights are many for batches of 32 images, and few for 256.

Each round trains for some steps without and with the monitor, in an order that alternates, in one process. The first step, which
compiles, is not counted. Processor time of all threads is measured, because other work on the machine hardly affects it.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers
from measuring import ratio, rounded, shown, write
from tqdm import tqdm

from actgrad import ActivationProbe, GradientMonitor
from actgrad.console import run_script, script_parser

WAYS = PLAIN, MONITOR = "plain", "monitor"
CLASSES, PROBE = 10, 256


def lenet5() -> keras.Model:
    """The network of plain_keras.py, for 32x32 images of three channels."""
    return keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Conv2D(6, 5, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(16, 5, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(120, 5, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dense(84, activation="relu"),
            layers.Dense(CLASSES, activation="softmax"),
        ]
    )


def resnet50() -> keras.Model:
    return keras.applications.ResNet50V2(weights=None, input_shape=(32, 32, 3), classes=CLASSES)


def main() -> None:
    parser = script_parser(__doc__, "  python benchmarks/monitor_time.py --rounds 6\n")
    parser.add_argument("--rounds", type=int, default=12, metavar="N", help="fewer than 6 give no 95 %% interval; default: %(default)s")
    rounds = parser.parse_args().rounds
    found: dict[str, dict[str, Any]] = {}
    answers: dict[str, str] = {}
    for name, build, batch, steps in (("LeNet-5", lenet5, 256, 30), ("ResNet50V2", resnet50, 256, 1), ("ResNet50V2", resnet50, 32, 3)):
        network = f"{name}, {batch} images a step"
        one = found[network] = measured(network, build, batch, steps, rounds)
        answers[f"a step with GradientMonitor, to one without, processor time ({network}, {one['layers']} layers with weights)"] = shown(one["ratio"])
        answers[f"a measurement of the probe on {PROBE} images and {one['sites']} sites, in such steps ({network})"] = f"{one['probe_steps']:.1f}"
    write(found, answers)


def measured(name: str, build: Callable[[], keras.Model], batch: int, steps: int, rounds: int) -> dict[str, Any]:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(PROBE, 32, 32, 3)).astype("float32"), random.integers(0, CLASSES, PROBE)
    watched = GradientMonitor()
    models = {way: build() for way in WAYS}
    for model in models.values():
        model.compile("adam", "sparse_categorical_crossentropy")
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    with watched.watching(models[MONITOR], models[MONITOR].optimizer):

        def run(way: str, steps: int) -> float:
            began = time.process_time()
            for _ in range(steps):
                models[way].train_on_batch(x[:batch], y[:batch])
                if way == MONITOR:
                    watched.step_done()
            return time.process_time() - began

        for way in WAYS:
            run(way, 2)  # the first compiles
        for number in tqdm(range(rounds), desc=name, unit="round", disable=not sys.stderr.isatty()):
            for way in WAYS if number % 2 else reversed(WAYS):
                seconds[way].append(run(way, steps))
    probe = ActivationProbe(models[PLAIN], x, y)
    probe.measure()  # the first compiles
    began = time.process_time()
    table = probe.measure()
    measurement = time.process_time() - began
    step = float(np.median(seconds[PLAIN])) / steps
    return {
        "layers": len(watched.layers),
        "sites": len(table),
        "ratio": ratio(seconds[MONITOR], seconds[PLAIN]),
        "step_s": rounded(step),
        "probe_s": rounded(measurement),
        "probe_steps": rounded(measurement / step),
        "round_s": {way: [rounded(value) for value in values] for way, values in seconds.items()},
    }


if __name__ == "__main__":
    run_script(main)
