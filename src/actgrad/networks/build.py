"""Build the network of a run with the builder that its configuration names."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from pydantic import ValidationError

from actgrad.errors import UserError
from actgrad.monitor.hooks import first_line
from actgrad.networks.activations import ActivationFactory
from actgrad.networks.initial_weights import initializers
from actgrad.networks.inputs import channel_statistics
from actgrad.networks.own_code import is_own, located

if TYPE_CHECKING:
    from actgrad.config.schema import Config

GIVEN = ("input_shape", "classes", "activation", "initializer")
"""The first arguments of every builder, before the values of model.config."""
NOT_USED = ("train_step", "test_step", "compute_loss")
"""Methods of a network that a study does not call, because it trains all networks alike."""
EXAMPLES = 16
"""Number of images on which a new network is tested."""


@dataclass(frozen=True)
class Network:
    """A network before it is trained.

    Attributes:
        model: raw pixels (batch, height, width, channels) -> logits, or probabilities, (batch, classes).
        activations: its layers of the activation under test.
        from_logits: whether the model returns logits.
    """

    model: keras.Model
    activations: list[keras.Layer]
    from_logits: bool

    def with_probabilities(self) -> keras.Model:
        """Raw pixels -> probabilities, with the same weights."""
        if not self.from_logits:
            return self.model
        probabilities = keras.layers.Softmax(dtype="float32", name="probabilities")(self.model.output)
        return keras.Model(self.model.input, probabilities, name=self.model.name)


def build(
    config: "Config", train_images: np.ndarray, classes: int, precision: str | None = None, builder: Callable[..., keras.Model] | None = None
) -> Network:
    """The network of a run, from raw pixels.

    Args:
        config: of the run; its seed and recipe decide the initial weights.
        train_images: uint8 (n, height, width, channels); gives the input shape and, for standardized inputs, mean and standard deviation.
        classes: number of classes.
        precision: replaces the recipe's precision.
        builder: replaces the builder that model.build names.

    Raises:
        UserError: if the builder cannot be imported, refuses its arguments, or does not return such a network.
    """
    keras.config.set_dtype_policy(precision or config.recipe.precision)
    shape, path = train_images.shape[1:], config.model.build
    settings = _keras_settings()
    activation, initializer = ActivationFactory(config.activation), initializers(config.recipe.kernel_initializer, config.seed)
    built = _call(config, builder or _located(path), shape, classes, activation, initializer)
    if not isinstance(built, keras.Model):
        raise UserError("wrong-network", f"model.build={path} returns {type(built).__name__}, not a keras.Model; return the network")
    if own := [name for name in NOT_USED if getattr(type(built), name) is not getattr(keras.Model, name)]:
        raise UserError("wrong-network", f"model.build={path} returns a network with a {own[0]} of its own, which would not be used; leave it out")
    if changed := [name for name, value in _keras_settings().items() if value != settings[name]]:
        raise UserError("wrong-network", f"model.build={path} changes Keras' {changed[0]} for the whole process; leave it, and set recipe.precision")
    if not activation.made:
        raise UserError(
            "no-activation", f"model.build={path} makes no layer of its activation; write Dense(64, activation=activation()), or activation()(x)"
        )
    inputs = x = keras.Input(shape, name="image")
    if config.recipe.input_scaling == "standardized":
        mean, deviation = channel_statistics(train_images)
        x = keras.layers.Rescaling(list(1 / deviation), list(-mean / deviation), name="input_scaling")(x)
    try:
        model = keras.Model(inputs, built(x), name="network")
        returned = model(train_images[:EXAMPLES].astype(np.float32))
    except Exception as error:  # a user's network may raise anything
        raise UserError(
            "own-code-failed", f"the network of {_named(config)} fails on images of shape {shape}: {first_line(error)}; {_remedy(activation)}"
        ) from None
    if not keras.ops.is_tensor(returned):
        raise UserError("wrong-network", f"the network of model.build={path} has several outputs; let it return one number a class, {classes}")
    outputs = keras.ops.convert_to_numpy(returned)
    if outputs.shape[1:] != (classes,):
        raise UserError(
            "wrong-network", f"the network of model.build={path} returns {outputs.shape[1:]} an image; let it return one number a class, {classes}"
        )
    return Network(model, activation.made, from_logits=not _are_probabilities(outputs.astype(float)))


def _keras_settings() -> dict[str, object]:
    config = keras.config
    return {"dtype_policy": config.dtype_policy().name, **{name: getattr(config, name)() for name in ("floatx", "epsilon", "image_data_format")}}


def _located(path: str) -> Callable[..., Any]:
    builder = located("model.build", path)
    if not callable(builder):
        raise UserError("not-a-function", f"model.build={path} is not a function; is its module on PYTHONPATH, and a function of that name in it?")
    return builder


def _call(config: "Config", builder: Callable[..., Any], *given: Any) -> Any:
    values = config.model.config
    _check_arguments(config.model.build, builder, values)
    try:
        return builder(*given, **values)
    except ValidationError as error:
        wrong = [f"model.config.{'.'.join(map(str, one['loc']))}={one['input']!r} cannot be used: {_lower(one['msg'])}" for one in error.errors()]
        raise UserError("wrong-value", "; ".join(wrong)) from None
    except UserError:
        raise
    except Exception as error:  # a user's builder may raise anything
        raise UserError("own-code-failed", f"{_named(config)} fails: {first_line(error)}; mend it, or change a value of model.config") from None


def _check_arguments(path: str, builder: Callable[..., Any], values: Mapping[str, Any]) -> None:
    """Raise UserError unless a builder takes the arguments GIVEN, and these values by name."""
    parameters = inspect.signature(builder).parameters.values()
    by_place = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    if len(by_place) < len(GIVEN) and not any(one.kind == one.VAR_POSITIONAL for one in parameters):
        raise UserError("wrong-arguments", f"model.build={path} must take ({', '.join(GIVEN)}, **config); it takes {inspect.signature(builder)}")
    own = {one.name: one for one in parameters if one.kind == one.KEYWORD_ONLY or one in by_place[len(GIVEN) :]}
    takes_all = any(one.kind == one.VAR_KEYWORD for one in parameters)
    if unknown := [name for name in values if name not in own and not takes_all]:
        raise UserError("wrong-arguments", f"model.config.{unknown[0]} is not taken by {path}, which takes {', '.join(own) or 'none'}")
    if missing := [name for name, one in own.items() if one.default is one.empty and name not in values]:
        raise UserError("wrong-arguments", f"model.config.{missing[0]} is missing; {path} needs {', '.join(own)}")


def _are_probabilities(outputs: np.ndarray) -> bool:
    """Whether each row of outputs is a distribution over classes, within bfloat16's precision; else they are logits."""
    return bool(((outputs >= 0) & (outputs <= 1)).all() and np.allclose(outputs.sum(axis=-1), 1, atol=1e-2))


def _remedy(activation: ActivationFactory) -> str:
    if activation.pieces == 1:
        return "mend it"
    return "a layer before this activation needs activation.width(units) units, and the activation a layer of its own: activation()(x)"


def _named(config: "Config") -> str:
    """The possible sources of an error: the builder, and the activation layer if it is the user's own."""
    builder, layer = f"model.build={config.model.build}", f"activation.layer={config.activation.layer}"
    return f"{builder} with {layer}" if is_own(config.activation.layer) else builder


def _lower(text: str) -> str:
    return text[0].lower() + text[1:]
