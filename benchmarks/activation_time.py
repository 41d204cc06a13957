"""Measure what each activation function of conf/activation costs: its layers alone, and a whole training step of LeNet-5.

Each round measures every activation once, on a batch of real images, in an order that rotates. The results are medians over the
rounds, and ratios to ReLU within a round. The claim relu-is-cheap is judged on them.
"""

import sys
import timeit
from collections.abc import Callable

import numpy as np
import pandas as pd
from measuring import parsed, ratio, rounded, write
from tqdm import tqdm

from actgrad.config import composing, loading
from actgrad.config.schema import Config
from actgrad.console import run_script
from actgrad.data import storage
from actgrad.pipeline.keras_process import load_keras

EXAMPLE = "python benchmarks/activation_time.py data=digits --rounds 7"
BATCH, THREADS, WARM_UP, CALLS = 256, 2, 2, 8
"""Images per batch, threads, rounds that are discarded, and calls in a row whose mean is one measurement."""
KINDS = ("layers", "step")
Calls = tuple[Callable[[], object], Callable[[], object]]
"""Timed functions of an activation: one for each of KINDS."""


def main() -> None:
    name, arguments = parsed(__doc__, EXAMPLE, rounds=(15, 1, "fewer than 6 give no 95 %% intervals"))
    dataset = storage.load(loading.data_config(name, []))
    batch = min(BATCH, len(dataset.images["train"]))
    overrides = [f"data={name}", "activation=relu", "recipe=article", f"recipe.batch_size={batch}", f"recipe.threads={THREADS}", "run_dir=unused"]
    config = composing.composed(overrides)
    listed = loading.study(loading.CONF.parent / "params.yaml").activations
    names = dict.fromkeys([*listed, *sorted(path.stem for path in loading.CONF.glob("activation/*.yaml"))])
    activations = {one: loading.activation_config(one) for one in names}
    load_keras()  # here, because it takes seconds, and --help and a refused value should be fast
    from actgrad.training import determinism

    determinism.start(0, THREADS)
    calls = {one: layers_and_step(config.model_copy(update={"activation": activation}), dataset) for one, activation in activations.items()}
    times = measure(calls, arguments.rounds)
    rows = {one: summary(times[one], times["relu"]) for one in times}
    print(pd.json_normalize(list(rows.values())).set_index(pd.Index(rows)).filter(regex="ms$|value$"))
    print(f"{len(rows)} activations on {name}, batch {batch}, {arguments.rounds} rounds: benchmarks/activation_time.json")
    write({"dataset": name, "batch_size": batch, "rounds": arguments.rounds, "activations": rows}, answers={})


def layers_and_step(config: Config, dataset: storage.Dataset) -> Calls:
    """Forward and backward through the four activation layers alone, and one training step."""
    import keras
    import tensorflow as tf

    from actgrad.networks.build import build

    built = build(config, dataset.images["train"], len(dataset.class_names))
    network, layers = built.with_probabilities(), built.activations
    images = tf.constant(dataset.images["train"][: config.recipe.batch_size], tf.float32)
    labels = tf.constant(dataset.labels["train"][: config.recipe.batch_size])
    weights = [weight for layer in layers for weight in layer.trainable_variables]
    inside = network.get_layer(built.model.layers[-1].name)  # the builder's own model
    pre_activations = keras.Model(inside.input, [layer.input for layer in layers])(images)
    ones = [tf.ones_like(layer(z)) for layer, z in zip(layers, pre_activations, strict=True)]

    @tf.function
    def both_ways(pre_activations, upstream):  # upstream is an argument, because TensorFlow would drop a product with a constant 1
        with tf.GradientTape() as tape:
            tape.watch(pre_activations)
            outputs = [layer(z) for layer, z in zip(layers, pre_activations, strict=True)]
        return outputs, tape.gradient(outputs, [*pre_activations, *weights], upstream)

    network.compile(optimizer=config.recipe.optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    batches = tf.data.Dataset.from_tensors((images, labels)).repeat()
    network.fit(batches, steps_per_epoch=1, shuffle=False, verbose=0)  # builds the training step
    iterator = iter(batches)  # for the function that fit calls at each step, with the least overhead
    return lambda: both_ways(pre_activations, ones), lambda: network.train_function(iterator)


def measure(calls: dict[str, Calls], rounds: int) -> dict[str, np.ndarray]:
    """Milliseconds of each activation: (rounds, KINDS)."""
    names = list(calls)
    times: dict[str, list[list[float]]] = {name: [] for name in calls}
    for number in tqdm(range(WARM_UP + rounds), desc="activation time", unit="round", disable=not sys.stderr.isatty()):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            times[name].append([timeit.timeit(call, number=CALLS) / CALLS * 1000 for call in calls[name]])
    return {name: np.array(times[name][WARM_UP:]) for name in names}


def summary(times: np.ndarray, relu: np.ndarray) -> dict[str, object]:
    """Median milliseconds of each of KINDS, and the median ratio to ReLU with its 95 % interval."""
    row: dict[str, object] = {f"{kind}_ms": rounded(np.median(times[:, i])) for i, kind in enumerate(KINDS)}
    return row | {f"{kind}_to_relu": ratio(times[:, i], relu[:, i]) for i, kind in enumerate(KINDS)}


if __name__ == "__main__":
    run_script(main)
