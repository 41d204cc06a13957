"""Measure what GradientMonitor adds to `model.fit`, and what one measurement of its probe takes, on LeNet-5 and on a network of 50 layers.

Each round fits the same model without and with the monitor, in an order that alternates, in one process. The first epoch of a fit, which
compiles, is not counted. Processor time of all threads together is measured, which other work on the machine hardly moves.
"""

import sys
import time
from collections.abc import Callable

import keras
import numpy as np
from keras import layers
from measuring import ratio, rounded, shown, write
from tqdm import tqdm

from actgrad import GradientMonitor
from actgrad.console import run_script, script_parser

WAYS = PLAIN, MONITOR = "plain", "monitor"
EXAMPLES, CLASSES = 512, 10


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


class Clock(keras.callbacks.Callback):
    """Processor seconds of each epoch."""

    def __init__(self):
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, _epoch, logs=None):  # noqa: ARG002
        self._began = time.process_time()

    def on_epoch_end(self, _epoch, logs=None):  # noqa: ARG002
        self.seconds.append(time.process_time() - self._began)


def main() -> None:
    parser = script_parser(__doc__, "  python benchmarks/monitor_time.py --rounds 6\n")
    parser.add_argument("--rounds", type=int, default=6, metavar="N", help="fewer than 6 give no 95 %% interval; default: %(default)s")
    rounds = parser.parse_args().rounds
    found, answers = {}, {}
    for name, build, batch, epochs in (("LeNet-5", lenet5, 64, 6), ("ResNet50V2", resnet50, 64, 3)):
        one = found[name] = measured(name, build, batch, epochs, rounds)
        answers[f"GradientMonitor on {name} ({one['layers']} layers with weights), to plain fit, processor time"] = shown(one["ratio"])
        answers[f"one measurement of the probe on {name} ({one['sites']} sites, 256 images), in steps of training"] = f"{one['probe_steps']:.1f}"
    write(found, answers)


def measured(name: str, build: Callable[[], keras.Model], batch: int, epochs: int, rounds: int) -> dict[str, object]:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(EXAMPLES, 32, 32, 3)).astype("float32"), random.integers(0, CLASSES, EXAMPLES)
    model = build()
    model.compile("adam", "sparse_categorical_crossentropy")
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for number in tqdm(range(rounds), desc=name, unit="round", disable=not sys.stderr.isatty()):
        for way in WAYS if number % 2 else reversed(WAYS):
            clock = Clock()
            monitor = [GradientMonitor()] if way == MONITOR else []
            model.fit(x, y, batch_size=batch, epochs=1 + epochs, verbose=0, callbacks=[clock, *monitor])
            seconds[way].append(float(np.mean(clock.seconds[1:])))
    watched = GradientMonitor(probe=(x[:256], y[:256]))
    with watched.watching(model, model.optimizer):
        watched.measure()
        began = time.process_time()
        watched.measure()
        probe = time.process_time() - began
    step = float(np.median(seconds[PLAIN])) * batch / EXAMPLES
    return {
        "layers": sum(bool(layer.trainable_variables) for layer in model.layers),
        "sites": int(watched.probes["layer"].nunique()),
        "ratio": ratio(seconds[MONITOR], seconds[PLAIN]),
        "step_s": rounded(step),
        "probe_s": rounded(probe),
        "probe_steps": rounded(probe / step),
        "epoch_s": {way: [rounded(value) for value in values] for way, values in seconds.items()},
    }


if __name__ == "__main__":
    run_script(main)
