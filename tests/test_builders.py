"""What a user's builder may do, and which networks are refused."""

import sys
from collections.abc import Callable

import numpy as np
import pytest

from actgrad.config.schema import Config, Model
from actgrad.networks.build import build as build_network
from conftest import image_set, layer_named, refuses, sentence, train

OWN = """
import keras
from keras import layers

def good(input_shape, classes, activation, initializer, *, units, label="own"):
    inputs = keras.Input(input_shape)
    x = layers.Dense(units, kernel_initializer=initializer("first"), name="first")(layers.Flatten()(inputs))
    return keras.Model(inputs, layers.Dense(classes, name="last")(activation("first_activation")(x)))

def inside(input_shape, classes, activation, initializer):
    inputs = keras.Input(input_shape)
    return keras.Model(inputs, layers.Dense(classes)(layers.Dense(9, activation=activation(), name="first")(layers.Flatten()(inputs))))

def softmax(input_shape, classes, activation, initializer):
    inputs = keras.Input(input_shape)
    x = activation("first_activation")(layers.Dense(9, kernel_initializer=initializer("first"), name="first")(layers.Flatten()(inputs)))
    return keras.Model(inputs, layers.Dense(classes, activation="softmax", kernel_initializer=initializer("output"), name="output")(x))

def logits(input_shape, classes, activation, initializer):
    inputs = keras.Input(input_shape)
    x = activation("first_activation")(layers.Dense(9, kernel_initializer=initializer("first"), name="first")(layers.Flatten()(inputs)))
    return keras.Model(inputs, layers.Dense(classes, kernel_initializer=initializer("output"), name="output")(x))

def sequential(input_shape, classes, activation, initializer):
    return keras.Sequential([keras.Input(input_shape), layers.Flatten(), layers.Dense(9), activation(), layers.Dense(classes)])

def no_model(input_shape, classes, activation, initializer):
    return layers.Dense(classes)

def nothing(input_shape, classes, activation, initializer):
    activation()

def no_activation(input_shape, classes, activation, initializer):
    return keras.Sequential([keras.Input(input_shape), layers.Flatten(), layers.Dense(classes)])

def wide(input_shape, classes, activation, initializer):
    return keras.Sequential([keras.Input(input_shape), layers.Flatten(), layers.Dense(9), activation(), layers.Dense(classes + 1)])

def image(input_shape, classes, activation, initializer):
    return keras.Sequential([keras.Input(input_shape), layers.Dense(9), activation(), layers.Dense(classes)])

def sigmoid(input_shape, classes, activation, initializer):
    return keras.Sequential([keras.Input(input_shape), layers.Flatten(), layers.Dense(9), activation(), layers.Dense(classes, activation="sigmoid")])

def at_the_end(input_shape, classes, activation, initializer):
    return keras.Sequential([keras.Input(input_shape), layers.Flatten(), layers.Dense(classes), activation()])

def narrow(input_shape, classes, activation, initializer):
    return keras.Sequential([keras.Input((5, 5, 1)), layers.Flatten(), layers.Dense(9), activation(), layers.Dense(classes)])

def raising(input_shape, classes, activation, initializer):
    raise RuntimeError("no such luck")

def applied(input_shape, classes, activation, initializer):
    inputs = keras.Input(input_shape)
    return keras.Model(inputs, layers.Dense(classes)(activation(layers.Flatten()(inputs))))

def few(input_shape, classes):
    return None

def untrainable(input_shape, classes, activation, initializer):
    network = sequential(input_shape, classes, activation, initializer)
    network.trainable = False
    return network

def two_outputs(input_shape, classes, activation, initializer):
    inputs = keras.Input(input_shape)
    x = activation()(layers.Dense(9)(layers.Flatten()(inputs)))
    return keras.Model(inputs, {"a": layers.Dense(classes)(x), "b": layers.Dense(3)(x)})

def half(input_shape, classes, activation, initializer):
    keras.config.set_dtype_policy("mixed_float16")
    return sequential(input_shape, classes, activation, initializer)

class OwnStep(keras.Sequential):
    def train_step(self, data):
        raise RuntimeError("never called")

def own_step(input_shape, classes, activation, initializer):
    return OwnStep([keras.Input(input_shape), layers.Flatten(), layers.Dense(9), activation(), layers.Dense(classes)])

number = 3
"""
IMAGES = image_set(8, channels=1)


@pytest.fixture
def own(tmp_path, monkeypatch, run_config) -> Callable[..., Config]:
    """The configuration of a run with a builder of own_nets, a user's module, and these arguments."""
    (tmp_path / "own_nets.py").write_text(OWN)
    (tmp_path / "broken_nets.py").write_text("import no_such_module")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_nets", raising=False)

    def composed(name: str, *overrides: str, **arguments) -> Config:
        model = Model(build=name if "." in name else f"own_nets.{name}", config=arguments)
        return run_config(*overrides).model_copy(update={"model": model})

    return composed


def test_a_builder_of_ones_own_is_given_shape_classes_activation_and_initializer(own):
    network = build_network(own("good", "activation=tanh", "seed=5", units=7), IMAGES, 10)
    assert network.from_logits
    assert [layer.name for layer in network.activations] == ["first_activation"]
    assert layer_named(network.model, "first").kernel.shape == (64, 7)
    assert network.model.output_shape == (None, 10)
    again, other = (build_network(own("good", f"seed={seed}", units=7), IMAGES, 10) for seed in (5, 6))
    assert np.array_equal(layer_named(network.model, "first").kernel, layer_named(again.model, "first").kernel)
    assert not np.array_equal(layer_named(network.model, "first").kernel, layer_named(other.model, "first").kernel)


def test_a_network_that_ends_in_a_sigmoid_is_refused(own, few_digits):
    with refuses("unmeasurable-model", "sigmoid", "logits or a softmax"):
        train(own("sigmoid", "activation=relu", "recipe.epochs=1"), few_digits)


@pytest.mark.parametrize("name", ["inside", "sequential"])
@pytest.mark.slow
def test_a_builder_may_put_the_activation_into_a_layer_or_return_a_sequential_model(own, few_digits, name):
    config = own(name, "activation=sigmoid", "recipe.epochs=1")
    network = build_network(config, IMAGES, 10)
    assert (len(network.activations), network.from_logits) == (1, True)
    assert network.model(IMAGES.astype(np.float32)).shape == (8, 10)
    result, _ = train(config, few_digits)
    assert result.metrics["status"] == "finished"
    assert len(result.activated) == 1


@pytest.mark.slow
def test_a_softmax_at_the_end_is_trained_as_probabilities(own, few_digits):
    config = own("softmax", "activation=tanh")
    network = build_network(config, IMAGES, 10)
    assert not network.from_logits
    assert network.with_probabilities() is network.model
    result, trained = train(config, few_digits)
    probabilities = trained.predict(few_digits.images["test"].astype(np.float32), verbose=0)
    labels = few_digits.labels["test"]
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(len(labels)), abs=1e-5)
    assert result.metrics["last"]["test/loss"] == pytest.approx(-np.log(probabilities[np.arange(len(labels)), labels]).mean(), rel=1e-4)
    assert result.metrics["last"]["test/accuracy"] == pytest.approx(np.mean(probabilities.argmax(axis=1) == labels), abs=1e-6)
    assert result.metrics["linearity"] == {}  # a softmax is not affine, so linearity is not measured
    assert (result.layers, result.activated) == (["first", "output"], ["first_activation"])


@pytest.mark.slow
def test_probabilities_learn_what_logits_learn(own, few_digits):
    """The same network with and without a softmax inside."""
    inside, outside = (train(own(name, "activation=tanh"), few_digits)[0] for name in ("softmax", "logits"))
    assert inside.history["train/loss"].tolist() == pytest.approx(outside.history["train/loss"].tolist(), rel=1e-3)
    first = [result.gradients.iloc[0].to_dict() for result in (inside, outside)]
    assert first[0] == pytest.approx(first[1], rel=1e-4)


@pytest.mark.parametrize(
    ("build", "config", "code", "expected"),
    [
        (
            "actgrad.networks.mlp.build",
            {"dept": 3},
            "wrong-arguments",
            "model.config.dept is not taken by actgrad.networks.mlp.build, which takes depth, width, residual, normalization",
        ),
        (
            "actgrad.networks.mlp.build",
            {"depth": 3, "residual": False, "normalization": "none"},
            "wrong-arguments",
            "model.config.width is missing; actgrad.networks.mlp.build needs depth, width, residual, normalization",
        ),
        (
            "actgrad.networks.mlp.build",
            {"depth": 0, "width": 8, "residual": False, "normalization": "none"},
            "wrong-value",
            "model.config.depth=0 cannot be used: input should be greater than 0",
        ),
        (
            "actgrad.networks.mlp.build",
            {"depth": 1.5, "width": "8", "residual": False, "normalization": "group"},
            "wrong-value",
            "model.config.depth=1.5 cannot be used: input should be a valid integer; "
            "model.config.width='8' cannot be used: input should be a valid integer; "
            "model.config.normalization='group' cannot be used: input should be 'none', 'batch' or 'layer'",
        ),
        (
            "actgrad.networks.lenet5.build",
            {"filters": [6, 16], "kernel_size": 5, "dense_units": 84, "pooling": "max", "batch_normalization": False},
            "wrong-value",
            "model.config.filters=[6, 16] cannot be used: list should have at least 3 items after validation, not 2",
        ),
        ("own_nets.good", {}, "wrong-arguments", "model.config.units is missing; own_nets.good needs units, label"),
        ("own_nets.good", {"units": 7, "size": 3}, "wrong-arguments", "model.config.size is not taken by own_nets.good, which takes units, label"),
        ("own_nets.no_model", {"units": 7}, "wrong-arguments", "model.config.units is not taken by own_nets.no_model, which takes none"),
        (
            "own_nets.good",
            {"units": "many"},
            "own-code-failed",
            "Received an invalid value for `units`, expected a positive integer. Received: units=many",
        ),
        ("own_nets.absent", {}, "not-a-function", "model.build=own_nets.absent "),
        ("own_nets.number", {}, "not-a-function", "model.build=own_nets.number "),
        ("no_nets.build", {}, "not-a-function", "PYTHONPATH"),
        (
            "broken_nets.build",
            {},
            "own-code-failed",
            "model.build=broken_nets.build: its module cannot be imported (ModuleNotFoundError: No module named 'no_such_module'",
        ),
        (
            "own_nets.few",
            {},
            "wrong-arguments",
            "model.build=own_nets.few must take (input_shape, classes, activation, initializer, **config); it takes (input_shape, classes)",
        ),
        ("own_nets.no_model", {}, "wrong-network", "model.build=own_nets.no_model returns Dense, not a keras.Model"),
        ("own_nets.nothing", {}, "wrong-network", "model.build=own_nets.nothing returns NoneType, not a keras.Model"),
        ("own_nets.no_activation", {}, "no-activation", "Dense(64, activation=activation()), or activation()(x)"),
        ("own_nets.wide", {}, "wrong-network", "model.build=own_nets.wide returns (11,) an image; let it return one number a class, 10"),
        ("own_nets.image", {}, "wrong-network", "model.build=own_nets.image returns (8, 8, 10) an image; let it return one number a class, 10"),
        ("own_nets.two_outputs", {}, "wrong-network", "has several outputs; let it return one number a class, 10"),
        ("own_nets.half", {}, "wrong-network", "changes Keras' dtype_policy for the whole process; leave it, and set recipe.precision"),
        ("own_nets.own_step", {}, "wrong-network", "with a train_step of its own, which would not be used; leave it out"),
        ("own_nets.raising", {}, "own-code-failed", "model.build=own_nets.raising fails: no such luck"),
        ("own_nets.applied", {}, "own-code-failed", "write activation()(x), or layers.Dense(64, activation=activation())"),
    ],
)
def test_what_is_no_network_is_refused_with_a_sentence(own, build, config, code, expected):
    with refuses(code, expected):
        build_network(own(build, **config), IMAGES, 10)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sigmoid", "let it return logits or a softmax"),
        ("at_the_end", "in a loop, or in its output"),
        ("untrainable", "the model has no trainable weight"),
    ],
)
def test_a_network_that_cannot_be_trained_or_measured_is_refused(own, few_digits, name, expected):
    with refuses("unmeasurable-model", expected):
        train(own(name, "activation=tanh"), few_digits)


def test_a_network_for_other_images_is_refused(own):
    with refuses("own-code-failed", "model.build=own_nets.narrow", "(8, 8, 1): "):
        build_network(own("narrow"), IMAGES, 10)


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (
            ["model=mycnn"],
            "unknown-name",
            "model=mycnn is not known; known: lenet5, mlp; a new one is a file conf/model/mycnn.yaml, with `build: my_pkg.nets.build`, "
            "where my_pkg is on PYTHONPATH and build is a function (input_shape, classes, activation, initializer, **config) -> keras.Model, "
            "and `config: {}`, which holds its other arguments",
        ),
        (["model.name=other"], "unknown-key", "model.name is not a key of this configuration; known there: build, config"),
    ],
)
def test_train_refuses_a_model_that_is_not_known_with_one_sentence(script, arguments, code, expected):
    assert sentence(script("train.py", "data=digits", *arguments), code) == expected


@pytest.mark.slow
@pytest.mark.parametrize(("name", "warned"), [("sequential", True), ("logits", False)])
def test_a_network_that_does_not_use_its_initializer_is_said_to_be_one(script, tmp_path, name, warned):
    """Under another kernel_initializer, it was trained to the same bytes without a word."""
    assert script("download.py", "data=digits").returncode == 0
    (tmp_path / "own_nets.py").write_text(OWN)
    chosen = [f"model.build=own_nets.{name}", "model.config={}", "recipe.epochs=1", "tracking.enabled=false"]
    done = script("train.py", "data=digits", *chosen, PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert ("does not use its initializer, so recipe.kernel_initializer changes nothing" in done.stderr) == warned
