"""The training of one network, measured. Knows nothing of Hydra, DVC, MLflow or paths."""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from actgrad.networks import activations, lenet5
from actgrad.networks.names import LAYERS
from actgrad.training import determinism, linearity
from actgrad.training.batches import batches, in_order, order, probe_batch, steps_per_epoch, validation_split
from actgrad.training.epochs import Epoch, Measured, Observer, StateStore, gradient_rows, restore, state_of
from actgrad.training.layer_probe import LayerProbe
from actgrad.training.names import HISTORY, TEST, VAL_ACCURACY
from actgrad.training.recorded_model import RecordedModel

if TYPE_CHECKING:
    from actgrad.config.schema import Config
    from actgrad.data.storage import Dataset


def train(
    config: "Config",
    dataset: "Dataset",
    observers: Sequence[Observer] = (),
    callbacks: Sequence[keras.callbacks.Callback] = (),
    checkpoint: StateStore | None = None,
) -> tuple[Measured, keras.Model]:
    """Train one network and measure every step of it.

    With a checkpoint, the state after each epoch is kept, and a training whose state it has goes on from there: the result is
    the same, byte for byte.

    A loss (training, validation or test) or gradient that is not finite ends it: its status is `diverged`, and what was
    measured until then is returned.

    Returns:
        What was measured, and the trained network from raw pixels to probabilities.

    Raises:
        UserError: if a batch is larger than the training split, or the network cannot be built as configured.
    """
    recipe = config.recipe
    steps = steps_per_epoch(config, dataset)
    images, labels = dataset.images["train"], dataset.labels["train"]
    split = validation_split(dataset.images)
    validation = dataset.images[split], dataset.labels[split]

    determinism.start(config.seed, recipe.threads)
    curve = activations.curve(config.activation)
    network = lenet5.build(config, images, len(dataset.class_names))
    model = compiled(network, config, steps)
    probe = LayerProbe(network, lenet5.ACTIVATION_LAYERS, LAYERS[-1], *probe_batch(*validation, recipe.probe_size))
    train_split = tf.constant(images), tf.constant(labels)
    validation_batches = in_order(*validation)

    def observed(epoch: Epoch) -> Epoch:
        for observer in observers:
            observer.epoch_finished(epoch)
        return epoch

    start = Epoch(0, 0, {}, gradient_rows(np.zeros((0, len(LAYERS)), np.float32), 0), probe.measure())
    if checkpoint is not None and (state := checkpoint.load()) is not None:
        epochs = [start, *restore(state, model)]
        for observer in observers:
            observer.resumed(epochs)
    else:
        epochs = [observed(start)]
    for number in range(len(epochs), recipe.epochs + 1):
        of_epoch = batches(*train_split, order(config.seed, number, len(images)), recipe.batch_size)
        fitted = model.fit(of_epoch, shuffle=False, verbose=0, callbacks=list(callbacks)).history
        norms = model.grad_norms.numpy()
        first_step = (number - 1) * steps
        history = dict(zip(HISTORY, (fitted["loss"][0], fitted["accuracy"][0], *_evaluate(model, validation_batches)), strict=True))
        finite = np.isfinite(norms).all(axis=1)
        if not (finite.all() and np.isfinite(list(history.values())).all()):
            rows = norms if finite.all() else norms[: finite.argmin()]
            epochs.append(observed(Epoch(number, first_step + len(rows), {}, gradient_rows(rows, first_step), epochs[0].probe[:0])))
            break
        epochs.append(Epoch(number, number * steps, history, gradient_rows(norms, first_step), probe.measure()))
        if checkpoint is not None:
            checkpoint.save(state_of(model, epochs[1:]))
        observed(epochs[-1])
    return _measured(config, dataset, curve, epochs, model), network


def compiled(network: keras.Model, config: "Config", steps: int) -> RecordedModel:
    """The network up to its logits, as it is trained: sharing its layers, compiled, and monitored at every step."""
    model = RecordedModel(network.input, network.get_layer(LAYERS[-1]).output, monitored=LAYERS, steps_per_epoch=steps)
    model.compile(
        optimizer=getattr(keras.optimizers, config.recipe.optimizer)(config.recipe.learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy("accuracy")],
        steps_per_execution=config.recipe.steps_per_execution,
        jit_compile=False,
    )
    model.optimizer.build(model.trainable_variables)  # so that a kept state has somewhere to go before the first step
    return model


def _evaluate(model: keras.Model, data: tf.data.Dataset) -> tuple[float, float]:
    """Mean loss and accuracy."""
    measured = model.evaluate(data, verbose=0, return_dict=True)
    return measured["loss"], measured["accuracy"]


def _measured(config: "Config", dataset: "Dataset", curve: pd.DataFrame, epochs: list[Epoch], model: RecordedModel) -> Measured:
    finished = [epoch for epoch in epochs if epoch.history]
    test_labels = dataset.labels["test"]
    metrics: dict[str, Any] = {
        "status": "finished",
        "validation_split": validation_split(dataset.images),
        "epochs": len(finished),
        "steps": epochs[-1].step,
        "largest_class": float(np.bincount(test_labels).max() / len(test_labels)),
        "last": {},
        "best": {},
        "linearity": {},
        "weights_sha256": weights_sha256(model),
    }
    if len(finished) < config.recipe.epochs:
        metrics["status"] = "diverged"
    elif config.test:
        test_images = dataset.images["test"]
        measured = dict(zip(TEST, _evaluate(model, in_order(test_images, test_labels)), strict=True))
        if np.isfinite(list(measured.values())).all():
            metrics["last"] = finished[-1].history | measured
            metrics["linearity"] = linearity.errors(model, test_images)
        else:
            metrics["status"] = "diverged"
    else:
        metrics["last"] = finished[-1].history
    if finished:
        best = max(finished, key=lambda epoch: epoch.history[VAL_ACCURACY])
        metrics["best"] = {"epoch": best.number} | best.history
    history = [{"epoch": epoch.number, "step": epoch.step, **epoch.history} for epoch in finished]
    return Measured(
        history=pd.DataFrame(history, columns=["epoch", "step", *HISTORY]),
        gradients=pd.concat([epoch.gradients for epoch in epochs], ignore_index=True),
        probe=pd.concat([_numbered(epoch) for epoch in epochs], ignore_index=True),
        activation=curve,
        metrics=metrics,
    )


def _numbered(epoch: Epoch) -> pd.DataFrame:
    rows = epoch.probe.copy()
    rows.insert(0, "epoch", epoch.number)
    rows.insert(1, "step", epoch.step)
    return rows


def weights_sha256(model: keras.Model) -> str:
    """sha256 over the bytes of every weight, in the order of the layers."""
    digest = hashlib.sha256()
    for weight in model.get_weights():
        digest.update(weight.tobytes())
    return digest.hexdigest()
