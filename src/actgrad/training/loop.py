"""The training of one cell, measured. Knows nothing of Hydra, DVC, MLflow or paths."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
import yaml

from actgrad.config.schema import Config
from actgrad.data.storage import Dataset, probe_batch
from actgrad.errors import UserError
from actgrad.monitor import gradients
from actgrad.monitor.gradients import Probe, TappedModel
from actgrad.networks import activations, lenet5, seeding
from actgrad.results import fingerprint as provenance
from actgrad.results import run as results
from actgrad.results.run import LAYERS, CellResult
from actgrad.training import linearity as affine

EVALUATION_BATCH = 1000


@dataclass(frozen=True)
class Epoch:
    """What one epoch measured.

    Attributes:
        number: 0 is before any update.
        step: optimizer steps taken until its end.
        history: the metrics of results.HISTORY; empty for epoch 0 and for an epoch that diverged.
        gradients: step, and the gradient norm of each of LAYERS.
        probe: a row per layer; empty for an epoch that diverged.
    """

    number: int
    step: int
    history: dict[str, float]
    gradients: pd.DataFrame
    probe: pd.DataFrame


class Observer(Protocol):
    """Looks on while a cell is trained."""

    def resumed(self, epochs: Sequence[Epoch]) -> None:
        """These epochs were finished before, by a training that was interrupted."""

    def epoch_finished(self, epoch: Epoch) -> None: ...


class Keeper(Protocol):
    """Keeps the state of an unfinished training."""

    def load(self) -> dict[str, np.ndarray] | None: ...

    def save(self, state: dict[str, np.ndarray]) -> None: ...


def train(
    config: Config,
    dataset: Dataset,
    observers: Sequence[Observer] = (),
    callbacks: Sequence[keras.callbacks.Callback] = (),
    keeper: Keeper | None = None,
) -> tuple[CellResult, keras.Model]:
    """Train one cell and measure every step of it.

    With a keeper, the state after each epoch is kept, and a training whose state it has goes on from there: the result is
    the same, byte for byte.

    A loss (training, validation or test) or gradient that is not finite ends it: its status is `diverged`, and what was
    measured until then is returned.

    Returns:
        The result, and the trained network from raw pixels to probabilities.

    Raises:
        UserError: if a batch is larger than the training split, or the network cannot be built as configured.
    """
    recipe = config.recipe
    steps = steps_per_epoch(config, dataset)
    images, labels = dataset.images["train"], dataset.labels["train"]
    validation = [part[dataset.validation_split] for part in (dataset.images, dataset.labels)]

    seeding.make_deterministic(config.seed, recipe.threads)
    curve = activations.curve(config.activation)
    network = lenet5.build(config, images, len(dataset.class_names))
    model = compiled(network, config, steps)
    probe = Probe(network, *probe_batch(*validation, recipe.probe_size))
    train_split = tf.constant(images), tf.constant(labels)
    validation_batches = _in_order(*validation)

    def observed(epoch: Epoch) -> Epoch:
        for observer in observers:
            observer.epoch_finished(epoch)
        return epoch

    start = Epoch(0, 0, {}, gradient_rows(np.zeros((0, len(LAYERS)), np.float32), 0), probe.measure())
    if keeper is not None and (state := keeper.load()) is not None:
        epochs = [start, *restore(state, model)]
        for observer in observers:
            observer.resumed(epochs)
    else:
        epochs = [observed(start)]
    for number in range(len(epochs), recipe.epochs + 1):
        batches = _batches(*train_split, seeding.order(config.seed, number, len(images)), recipe.batch_size)
        fitted = model.fit(batches, shuffle=False, verbose=0, callbacks=list(callbacks)).history
        norms = model.grad_norms.numpy()
        first_step = (number - 1) * steps
        history = dict(zip(results.HISTORY, (fitted["loss"][0], fitted["accuracy"][0], *_evaluate(model, validation_batches)), strict=True))
        finite = np.isfinite(norms).all(axis=1)
        if not (finite.all() and np.isfinite(list(history.values())).all()):
            rows = norms if finite.all() else norms[: finite.argmin()]
            epochs.append(observed(Epoch(number, first_step + len(rows), {}, gradient_rows(rows, first_step), epochs[0].probe[:0])))
            break
        epochs.append(Epoch(number, number * steps, history, gradient_rows(norms, first_step), probe.measure()))
        if keeper is not None:
            keeper.save(state_of(model, epochs[1:]))
        observed(epochs[-1])
    return _result(config, dataset, curve, epochs, model), network


def state_of(model: TappedModel, epochs: Sequence[Epoch]) -> dict[str, np.ndarray]:
    """All that a training needs to go on after these epochs: weights, optimizer, and what was measured."""
    weights = {f"weight_{i}": variable.numpy() for i, variable in enumerate(model.variables)}
    optimizer = {f"optimizer_{i}": variable.numpy() for i, variable in enumerate(model.optimizer.variables)}
    measured = [{"number": one.number, "step": one.step, "history": one.history, "probe": gradients.records(one.probe)} for one in epochs]
    norms = np.concatenate([one.gradients[list(LAYERS)].to_numpy() for one in epochs])
    return weights | optimizer | {"norms": norms, "epochs": np.array(json.dumps(measured))}


def restore(state: dict[str, np.ndarray], model: TappedModel) -> list[Epoch]:
    """Set the model to a state, and return the epochs that it was kept after."""
    for kind, variables in (("weight", model.variables), ("optimizer", model.optimizer.variables)):
        for i, variable in enumerate(variables):
            variable.assign(state[f"{kind}_{i}"])
    epochs, first = [], 0
    for one in json.loads(str(state["epochs"])):
        rows = gradient_rows(state["norms"][first : one["step"]], first)
        epochs.append(Epoch(one["number"], one["step"], one["history"], rows, gradients.probe_table(one["probe"])))
        first = one["step"]
    return epochs


def steps_per_epoch(config: Config, dataset: Dataset) -> int:
    """Optimizer steps of one epoch; the last batch may be smaller than the others.

    Raises:
        UserError: if not even one batch is full.
    """
    batch, examples = config.recipe.batch_size, len(dataset.images["train"])
    if batch > examples:
        raise UserError(f"recipe.batch_size={batch} is more than the {examples} training images of {config.data.name}; choose fewer")
    return math.ceil(examples / batch)


def compiled(network: keras.Model, config: Config, steps: int) -> TappedModel:
    """The network up to its logits, as it is trained: sharing its layers, compiled, with the tap in its training step."""
    model = TappedModel(network.input, network.get_layer("output").output, steps_per_epoch=steps)
    model.compile(
        optimizer=getattr(keras.optimizers, config.recipe.optimizer)(config.recipe.learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        steps_per_execution=config.recipe.steps_per_execution,
        jit_compile=False,
    )
    model.optimizer.build(model.trainable_variables)  # so that a kept state has somewhere to go before the first step
    return model


def gradient_rows(norms: np.ndarray, first_step: int) -> pd.DataFrame:
    """Norms (steps, layers) as rows numbered from first_step + 1."""
    rows = pd.DataFrame(norms, columns=list(LAYERS))
    rows.insert(0, "step", np.arange(first_step + 1, first_step + 1 + len(norms)))
    return rows


def _batches(images: tf.Tensor, labels: tf.Tensor, order: np.ndarray, batch_size: int) -> tf.data.Dataset:
    def gather(chosen):
        return tf.cast(tf.gather(images, chosen), tf.float32), tf.gather(labels, chosen)

    return tf.data.Dataset.from_tensor_slices(order).batch(batch_size).map(gather).prefetch(2)


def _in_order(images: np.ndarray, labels: np.ndarray) -> tf.data.Dataset:
    return _batches(tf.constant(images), tf.constant(labels), np.arange(len(images)), EVALUATION_BATCH)


def _evaluate(model: keras.Model, batches: tf.data.Dataset) -> tuple[float, float]:
    """Mean loss and accuracy."""
    measured = model.evaluate(batches, verbose=0, return_dict=True)
    return measured["loss"], measured["accuracy"]


def _result(config: Config, dataset: Dataset, curve: pd.DataFrame, epochs: list[Epoch], model: TappedModel) -> CellResult:
    finished = [epoch for epoch in epochs if epoch.history]
    metrics: dict[str, Any] = {
        "key": config.key,
        "status": "finished",
        "validation_split": dataset.validation_split,
        "epochs": len(finished),
        "steps": epochs[-1].step,
        "last": {},
        "best": {},
        "affine": {},
        "data_sha256": dataset.sha256,
        "weights_sha256": weights_sha256(model),
        "fingerprint": provenance.fingerprint(config.deciding(), dataset.sha256),
        "code_sha256": provenance.code_sha256(),
        "environment": provenance.environment(),
    }
    if len(finished) < config.recipe.epochs:
        metrics["status"] = "diverged"
    elif config.test:
        test_images = dataset.images["test"]
        measured = dict(zip(results.TEST, _evaluate(model, _in_order(test_images, dataset.labels["test"])), strict=True))
        if np.isfinite(list(measured.values())).all():
            metrics["last"] = finished[-1].history | measured
            metrics["affine"] = affine.errors(model, test_images)
        else:
            metrics["status"] = "diverged"
    else:
        metrics["last"] = finished[-1].history
    if finished:
        best = max(finished, key=lambda epoch: epoch.history[results.VAL_ACCURACY])
        metrics["best"] = {"epoch": best.number} | best.history
    return CellResult(
        config=yaml.safe_dump(config.deciding(), sort_keys=False),
        history=pd.DataFrame(
            [{"epoch": epoch.number, "step": epoch.step, **epoch.history} for epoch in finished], columns=["epoch", "step", *results.HISTORY]
        ),
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
