"""Measure what each activation function of conf/activation costs, alone and within a training step of LeNet-5.

Every round measures each of them once, on a batch of real images, in an order that rotates. Medians over the rounds, and the
ratios to relu within a round, go to benchmarks/activation_time.json.
"""

import argparse
import sys
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import numpy as np
import pandas as pd
from measuring import machine, ratio, rounded
from tqdm import tqdm

from actgrad import files
from actgrad.config import schema as config
from actgrad.console import dataset_name, load_keras, run_script
from actgrad.data import storage as datasets
from actgrad.errors import UserError
from actgrad.results import run as results

BATCH, THREADS, WARM_UP, CALLS = 256, 2, 2, 8
"""Images a batch, threads, rounds thrown away, and calls in a row that one measurement is the mean of."""

KINDS = ("layers", "step")
Calls = tuple[Callable[[], object], Callable[[], object]]
"""What is timed of an activation: a call for each of KINDS."""


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see --help")


def main() -> None:
    parser = Parser(description=__doc__, epilog="example: python benchmarks/activation_time.py data=digits --rounds 7")
    parser.add_argument("dataset", metavar="data=NAME", nargs="?", default="data=cifar10_jpeg", help="a dataset in data/; default: %(default)s")
    parser.add_argument("--rounds", metavar="N", type=int, default=15, help="default: %(default)s; fewer than 6 give no 95 %% intervals")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        raise UserError(f"--rounds {arguments.rounds} measures nothing; choose 1 or more")
    data, model = config.data_config(dataset_name(arguments.dataset), []), config.model_config("lenet5")
    listed = config.study(config.CONF.parent / "params.yaml").activations
    activations = {name: config.activation_config(name) for name in [*listed, *sorted(path.stem for path in config.CONF.glob("activation/*.yaml"))]}
    dataset = datasets.load(data)
    load_keras()  # here, because it takes seconds, which --help and a refused value need not wait for
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    batch = min(BATCH, len(dataset.images["train"]))
    recipe = config.recipe_config("article").model_copy(update={"batch_size": batch, "threads": THREADS})
    cell = config.Config(
        seed=0,
        run_dir="",
        experiment=config.NO_EXPERIMENT,
        test=False,
        data=data,
        activation=config.activation_config("relu"),
        model=model,
        recipe=recipe,
        tracking=config.Tracking(enabled=False, uri="", experiment=""),
    )
    calls = {name: layers_and_step(cell.model_copy(update={"activation": activation}), dataset) for name, activation in activations.items()}
    times = measure(calls, arguments.rounds)
    rows = {name: summary(times[name], times["relu"]) for name in times}
    report = {"command": f"python benchmarks/activation_time.py data={data.name}", "dataset": data.name, "batch_size": batch}
    report |= {"rounds": arguments.rounds, "machine": machine(), "activations": rows}
    files.write_bytes(Path(__file__).with_suffix(".json"), results.json_bytes(report))
    print(pd.json_normalize(list(rows.values())).set_index(pd.Index(rows)).filter(regex="ms$|value$"))
    print(f"benchmarks/activation_time.json: {len(rows)} activations on {data.name}, batch {batch}, {arguments.rounds} rounds")


def layers_and_step(cell: config.Config, dataset: datasets.Dataset) -> Calls:
    """Forward and backward through the four activation layers alone, and one training step."""
    import keras
    import tensorflow as tf

    from actgrad.networks import lenet5
    from actgrad.training import loop as training

    network = lenet5.build(cell, dataset.images["train"], len(dataset.class_names))
    images = tf.constant(dataset.images["train"][: cell.recipe.batch_size], tf.float32)
    labels = tf.constant(dataset.labels["train"][: cell.recipe.batch_size])
    layers = [network.get_layer(lenet5.activation_name(layer)) for layer in results.ACTIVATED_LAYERS]
    weights = [weight for layer in layers for weight in layer.trainable_variables]
    pre_activations = keras.Model(network.input, [layer.input for layer in layers])(images)
    ones = [tf.ones_like(layer(z)) for layer, z in zip(layers, pre_activations, strict=True)]

    @tf.function
    def both_ways(pre_activations, upstream):  # upstream is an argument, lest TensorFlow drop what multiplies by a constant 1
        with tf.GradientTape() as tape:
            tape.watch(pre_activations)
            outputs = [layer(z) for layer, z in zip(layers, pre_activations, strict=True)]
        return outputs, tape.gradient(outputs, [*pre_activations, *weights], upstream)

    model = training.compiled(network, cell, training.steps_per_epoch(cell, dataset))
    batches = tf.data.Dataset.from_tensors((images, labels)).repeat()
    model.fit(batches, steps_per_epoch=1, shuffle=False, verbose=0)  # builds what the step needs
    iterator = iter(batches)  # for the function that fit calls at each step, without fit's own work around it: the least overhead
    return lambda: both_ways(pre_activations, ones), lambda: model.train_function(iterator)


def measure(calls: dict[str, Calls], rounds: int) -> dict[str, np.ndarray]:
    """Milliseconds of each activation: (rounds, KINDS)."""
    names, times = list(calls), {name: [] for name in calls}
    for number in tqdm(range(WARM_UP + rounds), desc="activation time", unit="round", disable=not sys.stderr.isatty()):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            times[name].append([timeit.timeit(call, number=CALLS) / CALLS * 1000 for call in calls[name]])
    return {name: np.array(times[name][WARM_UP:]) for name in names}


def summary(times: np.ndarray, relu: np.ndarray) -> dict[str, object]:
    """Median milliseconds of each of KINDS, and the median ratio to relu with its 95 % interval by order statistics."""
    row: dict[str, object] = {f"{kind}_ms": rounded(np.median(times[:, i])) for i, kind in enumerate(KINDS)}
    for i, kind in enumerate(KINDS):
        row[f"{kind}_to_relu"] = ratio(times[:, i], relu[:, i])
    return row


if __name__ == "__main__":
    run_script(main)
