"""A network that is ready to be trained: compiled, and measured at every step."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import keras

from actgrad.networks.build import Network, build
from actgrad.networks.own_code import is_own
from actgrad.training.batches import probe_batch, steps_per_epoch, validation_split
from actgrad.training.measurements import Measurements

if TYPE_CHECKING:
    from actgrad.config.schema import Config
    from actgrad.data.storage import Dataset


@dataclass(frozen=True)
class Prepared:
    """A network before its first step.

    Attributes:
        network: its model is trained.
        measurements: of this model.
        result: gets the trained weights at the end.
        own: whether it contains the user's own code.
    """

    network: Network
    measurements: Measurements
    result: Network
    own: bool

    @property
    def model(self) -> keras.Model:
        return self.network.model

    def trained(self) -> keras.Model:
        """The network with its current weights, from raw pixels to probabilities."""
        if self.result is not self.network:
            self.result.model.set_weights(self.model.get_weights())
        return self.result.with_probabilities()


_kept: dict[str, tuple[Network, Measurements]] = {}
"""The last network of this process, to be trained again. Tracing takes half the time of a short training."""


def prepare(config: "Config", dataset: "Dataset", builder: Callable[..., keras.Model] | None = None) -> Prepared:
    """The network of a run, compiled.

    Successive runs that differ only in values that `_shared` leaves out use one network, whose variables are reset for each run. A user's
    own network or activation is always built anew, because it may draw random numbers when it is traced.

    Raises:
        UserError: if it cannot be built as configured.
    """
    images, classes = dataset.images["train"], len(dataset.class_names)
    fresh = build(config, images, classes, builder=builder)
    own = builder is not None or is_own(config.model.build) or is_own(config.activation.layer)
    if own or not dataset.sha256:  # a dataset without a checksum cannot be recognised
        return Prepared(fresh, _measured(fresh, config, dataset), fresh, own)
    key = str(_shared(config, dataset))
    if key not in _kept:
        _kept.clear()
        network = build(config, images, classes)
        _kept[key] = network, _measured(network, config, dataset)
    network, measurements = _kept[key]
    _set(network.model.variables, fresh.model.variables)
    optimizer = _optimizer(config)
    optimizer.build(fresh.model.trainable_variables)
    _set(network.model.optimizer.variables, optimizer.variables)
    measurements.restart()
    return Prepared(network, measurements, fresh, own)


def _shared(config: "Config", dataset: "Dataset") -> dict[str, object]:
    """The values that runs must share to use one network: all values except those that only set initial values of variables."""
    values = config.deciding() | {"data": dataset.sha256, "classes": dataset.class_names}
    recipe = {name: value for name, value in values["recipe"].items() if name not in ("learning_rate", "kernel_initializer", "epochs")}
    return values | {"seed": None, "recipe": recipe}


def _set(variables: list[keras.Variable], values: list[keras.Variable]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _optimizer(config: "Config") -> keras.optimizers.Optimizer:
    return getattr(keras.optimizers, config.recipe.optimizer)(config.recipe.learning_rate)


def _measured(network: Network, config: "Config", dataset: "Dataset") -> Measurements:
    """Compile the model of a network, and measure it from now on."""
    recipe, model, split = config.recipe, network.model, validation_split(dataset.images)
    model.compile(
        optimizer=_optimizer(config),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=network.from_logits),
        metrics=[keras.metrics.SparseCategoricalAccuracy("accuracy")],
        steps_per_execution=recipe.steps_per_execution,
        jit_compile=False,
    )
    model.optimizer.build(model.trainable_variables)  # so that a saved state can be restored before the first step
    probe = probe_batch(dataset.images[split], dataset.labels[split], recipe.probe_size)
    return Measurements(model, network.activations, *probe, steps_per_epoch(config, dataset))
