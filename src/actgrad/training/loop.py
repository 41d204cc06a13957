"""Train one network and measure it. Independent of Hydra, DVC, MLflow and paths."""

import hashlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from actgrad.monitor.hooks import around
from actgrad.monitor.probe import PROBED_STEPS
from actgrad.networks import activations
from actgrad.networks.build import build
from actgrad.networks.own_code import guarded
from actgrad.training import determinism, linearity
from actgrad.training.batches import Batches, in_order, order, steps_per_epoch, validation_split
from actgrad.training.epochs import Epoch, Measured, Observer, StateStore, restore, state_of
from actgrad.training.names import HISTORY, TEST, VAL_ACCURACY
from actgrad.training.own_state import unknown_state
from actgrad.training.prepared import Prepared, prepare

if TYPE_CHECKING:
    from actgrad.config.schema import Config
    from actgrad.data.storage import Dataset


def train(
    config: "Config",
    dataset: "Dataset",
    observers: Sequence[Observer] = (),
    callbacks: Sequence[keras.callbacks.Callback] = (),
    checkpoint: StateStore | None = None,
    builder: Callable[..., keras.Model] | None = None,
) -> tuple[Measured, keras.Model]:
    """Train one network and measure every step of it.

    With a checkpoint, the state after each epoch is kept, and an interrupted training continues from its state. The result is the
    same, byte for byte.

    The training ends if a loss (training, validation or test) or gradient is not finite. The status is then `diverged`, and the
    measurements until then are returned.

    Args:
        builder: replaces the network builder that config.model.build names.

    Returns:
        The measurements, and the trained network from raw pixels to probabilities.

    Raises:
        UserError: if a batch is larger than the training split, the network cannot be built as configured, or the user's own code fails.
    """
    with guarded({"activation.layer": config.activation.layer, "model.build": config.model.build}):
        return _train(config, dataset, observers, callbacks, checkpoint, builder)


def _train(
    config: "Config",
    dataset: "Dataset",
    observers: Sequence[Observer],
    callbacks: Sequence[keras.callbacks.Callback],
    checkpoint: StateStore | None,
    builder: Callable[..., keras.Model] | None,
) -> tuple[Measured, keras.Model]:
    recipe = config.recipe
    steps = steps_per_epoch(config, dataset)
    images, labels = dataset.images["train"], dataset.labels["train"]
    split = validation_split(dataset.images)
    validation = dataset.images[split], dataset.labels[split]

    determinism.start(config.seed, recipe.threads)
    curve = activations.curve(config.activation)
    prepared = prepare(config, dataset, builder)
    model, measurements = prepared.model, prepared.measurements
    first_weights = measurements.weights()
    others = unknown_state(model, images.shape[1:]) if prepared.own else []
    if others is None:
        if checkpoint is not None:
            checkpoint.not_kept("code of your own has state in no variable, such as that of tf.random or of a Python function")
        checkpoint, others = None, []
    batches = Batches(images, labels, recipe.batch_size)
    validation_batches = in_order(*validation)

    def observed(epoch: Epoch) -> Epoch:
        for observer in observers:
            observer.epoch_finished(epoch)
        return epoch

    def trained(number: int) -> Epoch:
        """Train one epoch. The first epoch is trained in parts, because the probe is measured within it too."""
        visited, first_step, probes = order(config.seed, number, len(images)), (number - 1) * steps, []
        ends = [*(step for step in PROBED_STEPS if number == 1 and step < steps), steps]
        for begin, end in zip([0, *ends], ends, strict=False):
            part = batches.of(visited[begin * recipe.batch_size : end * recipe.batch_size])
            with metrics_kept(model) if begin else nullcontext(), warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Gradients do not exist")  # behind a step function they are 0, and recorded so
                fitted = model.fit(part, shuffle=False, verbose=0, callbacks=list(callbacks)).history
            if model.optimizer.iterations != first_step + end:
                raise RuntimeError(f"the optimizer took {int(model.optimizer.iterations)} steps, and {first_step + end} were planned")
            probes.append(measurements.probe(first_step + end, number if end == steps else None))
        updates = measurements.updates(first_step)
        history = dict(zip(HISTORY, (fitted["loss"][0], fitted["accuracy"][0], *_evaluate(model, validation_batches)), strict=True))
        wrong = updates.loc[~np.isfinite(updates["grad_norm"]), "step"]
        if wrong.empty and np.isfinite(list(history.values())).all():
            return Epoch(number, number * steps, history, updates, pd.concat(probes))
        last = number * steps if wrong.empty else int(wrong.iloc[0]) - 1
        within = pd.concat(probes)
        within = within[within["epoch"].isna() & (within["step"] <= last)]
        return Epoch(number, last, {}, updates[updates["step"] <= last], within)

    start = Epoch(0, 0, {}, measurements.updates(0), measurements.probe(0, 0))
    if checkpoint is not None and (state := checkpoint.load()) is not None:
        epochs = [start, *restore(state, model, others)]
        measurements.probe(epochs[-1].step, None)  # the next measurement is compared with this one
        for observer in observers:
            observer.resumed(epochs)
    else:
        epochs = [observed(start)]
    while len(epochs) <= recipe.epochs and (len(epochs) == 1 or epochs[-1].history):
        epochs.append(trained(len(epochs)))
        if checkpoint is not None and epochs[-1].history:
            checkpoint.save(state_of(model, others, epochs[1:]))
        observed(epochs[-1])
    measured = _measured(config, dataset, curve, epochs, prepared, builder)
    if measured.metrics["status"] == "finished":
        measured.metrics["distance"] = {name: float(np.linalg.norm(last - first_weights[name])) for name, last in measurements.weights().items()}
    return measured, prepared.trained()


@contextmanager
def metrics_kept(model: keras.Model) -> Iterator[None]:
    """Let the next `fit` continue the metrics of the last one, so that they cover all parts of an epoch."""
    undo = around(model, "reset_metrics", lambda _: None)
    try:
        yield
    finally:
        undo()


def _evaluate(model: keras.Model, data: tf.data.Dataset) -> tuple[float, float]:
    """Mean loss and accuracy."""
    measured = model.evaluate(data, verbose=0, return_dict=True)
    return measured["loss"], measured["accuracy"]


def _measured(
    config: "Config",
    dataset: "Dataset",
    curve: pd.DataFrame,
    epochs: list[Epoch],
    prepared: Prepared,
    builder: Callable[..., keras.Model] | None,
) -> Measured:
    model, measurements = prepared.model, prepared.measurements
    finished = [epoch for epoch in epochs if epoch.history]
    test_labels = dataset.labels["test"]
    metrics: dict[str, Any] = {
        "status": "finished",
        "validation_split": validation_split(dataset.images),
        "epochs": len(finished),
        "steps": epochs[-1].step,
        "layers": measurements.layers,
        "largest_class": float(np.bincount(test_labels).max() / len(test_labels)),
        "last": {},
        "best": {},
        "linearity": {},
        "census": {},
        "distance": {},
        "weights_sha256": weights_sha256(model),
    }
    if len(finished) < config.recipe.epochs:
        metrics["status"] = "diverged"
    elif config.test:
        test_images = dataset.images["test"]
        measured = dict(zip(TEST, _evaluate(model, in_order(test_images, test_labels)), strict=True))
        if np.isfinite(list(measured.values())).all():
            metrics["last"] = finished[-1].history | measured
            metrics["linearity"] = linearity.errors(_in_float32(model, config, dataset, builder), test_images) if prepared.network.from_logits else {}
        else:
            metrics["status"] = "diverged"
    else:
        metrics["last"] = finished[-1].history
    if metrics["status"] == "finished":
        metrics["census"] = measurements.census(dataset.images["train"])
    if finished:
        best = max(finished, key=lambda epoch: epoch.history[VAL_ACCURACY])
        metrics["best"] = {"epoch": best.number} | best.history
    history = [{"epoch": epoch.number, "step": epoch.step, **epoch.history} for epoch in finished]
    return Measured(
        history=pd.DataFrame(history, columns=["epoch", "step", *HISTORY]),
        steps=pd.concat([epoch.steps for epoch in epochs], ignore_index=True),
        probes=pd.concat([epoch.probes for epoch in epochs], ignore_index=True),
        activation=curve,
        metrics=metrics,
    )


def _in_float32(model: keras.Model, config: "Config", dataset: "Dataset", builder: Callable[..., keras.Model] | None) -> keras.Model:
    """The trained model in float32, because bfloat16's rounding is larger than the errors of an affine network."""
    if config.recipe.precision == "float32":
        return model
    precise = build(config, dataset.images["train"], len(dataset.class_names), precision="float32", builder=builder).model
    precise.set_weights(model.get_weights())
    return precise


def weights_sha256(model: keras.Model) -> str:
    """sha256 over the bytes of every weight, in the order of the layers."""
    digest = hashlib.sha256()
    for weight in model.get_weights():
        digest.update(weight.tobytes())
    return digest.hexdigest()
