"""Networks: their layers, sizes and initial weights, and what a builder of the user's own may do."""

import sys
from collections.abc import Callable

import keras
import numpy as np
import pytest

from actgrad.config.schema import Activation, Config, Model
from actgrad.errors import UserError
from actgrad.networks import inputs
from actgrad.networks.activations import ActivationFactory
from actgrad.networks.build import Network
from actgrad.networks.build import build as build_network
from conftest import LAYERS, SITES, image_set, layer_named, sentence, train

COLOUR = np.zeros((1, 32, 32, 3), np.uint8)
COUNTS = {"conv1": 456, "conv2": 2416, "conv3": 48120, "dense1": 645204, "output": 850}
OUTPUTS = {"conv1": (32, 32, 6), "pool1": (16, 16, 6), "conv2": (16, 16, 16), "pool2": (8, 8, 16), "conv3": (8, 8, 120), "flatten": (7680,)}
MLP = "model=mlp"


def network_of(run_config, *overrides: str, images: np.ndarray = COLOUR, classes: int = 10) -> Network:
    return build_network(run_config(*overrides), images, classes)


def build(run_config, *overrides: str, images: np.ndarray = COLOUR, classes: int = 10) -> keras.Model:
    return network_of(run_config, *overrides, images=images, classes=classes).model


# --- LeNet-5


@pytest.mark.parametrize("name", ["linear", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "gelu", "silu"])
def test_parameters_and_outputs_of_each_layer(run_config, name):
    network = build(run_config, f"activation={name}")
    assert {layer: layer_named(network, layer).count_params() for layer in LAYERS} == COUNTS
    assert {layer: layer_named(network, layer).output.shape[1:] for layer in OUTPUTS} == OUTPUTS
    assert network.count_params() == 697046


def test_the_activation_follows_each_layer_but_the_last(run_config):
    network = network_of(run_config, "activation=tanh")
    assert tuple(layer.name for layer in network.activations) == SITES
    assert all(layer_named(network.model, site).input is layer_named(network.model, site.removesuffix("_activation")).output for site in SITES)


def test_prelu_adds_one_parameter_a_channel(run_config):
    assert build(run_config, "activation=prelu").count_params() == 697046 + 6 + 16 + 120 + 84


@pytest.mark.parametrize("pieces", [2, 3, 4])
def test_maxout_keeps_the_number_of_parameters(run_config, pieces):
    network = build(run_config, "activation=maxout", f"activation.config.pieces={pieces}")
    assert network.count_params() == pytest.approx(697046, rel=0.02)
    assert pieces != 2 or network.count_params() == 692388  # as conf/activation/maxout.yaml says


def maxout(pieces: int) -> ActivationFactory:
    return ActivationFactory(Activation(name="maxout", layer="actgrad.networks.layers.Maxout", config={"pieces": pieces}))


def test_a_layer_of_pieces_has_at_least_one_unit():
    assert maxout(9).width(1) == 9
    assert maxout(4).width(84) == 42 * 4
    assert ActivationFactory(Activation(name="relu", layer="ReLU")).width(84) == 84


@pytest.mark.parametrize(("shape", "classes"), [((8, 8, 1), 10), ((4, 4, 3), 2), ((28, 28, 1), 26), ((33, 17, 3), 5)])
def test_any_input_shape_and_number_of_classes(run_config, shape, classes):
    images = image_set(2, seed=3)[:, :1, :1, :1] * np.ones(shape, np.uint8)
    network = network_of(run_config, images=images, classes=classes)
    logits = network.model(images.astype(np.float32)).numpy()
    probabilities = network.with_probabilities()(images.astype(np.float32)).numpy()
    assert probabilities.shape == (2, classes)
    assert probabilities.sum(axis=1) == pytest.approx([1, 1], abs=1e-5)
    assert probabilities == pytest.approx(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), rel=1e-4)


def test_runs_of_one_seed_start_with_the_same_weights(run_config):
    tanh, relu, other = build(run_config, "activation=tanh"), build(run_config, "activation=relu"), build(run_config, "activation=relu", "seed=1")
    for layer in LAYERS:
        assert np.array_equal(layer_named(tanh, layer).kernel, layer_named(relu, layer).kernel)
        assert not np.array_equal(layer_named(relu, layer).kernel, layer_named(other, layer).kernel)
        assert not layer_named(relu, layer).bias.numpy().any()
    assert not np.array_equal(layer_named(relu, "conv1").kernel.numpy().ravel()[:100], layer_named(relu, "conv2").kernel.numpy().ravel()[:100])


def test_kernels_are_glorot_uniform(run_config):
    kernel = layer_named(build(run_config), "dense1").kernel.numpy()
    limit = np.sqrt(6 / (7680 + 84))
    assert np.abs(kernel).max() == pytest.approx(limit, rel=1e-3)
    assert kernel.std() == pytest.approx(limit / np.sqrt(3), rel=1e-2)


def test_pooling_is_maximum_or_average(run_config):
    image = np.zeros((1, 8, 8, 1), np.float32)
    image[0, 0, 0, 0] = 4
    for pooling, expected in (("max", 4), ("average", 1)):
        network = build(run_config, f"model.config.pooling={pooling}", images=image.astype(np.uint8))
        assert float(np.max(layer_named(network, "pool1")(image))) == expected


def test_standardized_inputs_have_mean_zero_and_deviation_one_per_channel(run_config):
    images = image_set(50, size=8) // np.array([1, 2, 4], np.uint8) + np.array([0, 50, 9], np.uint8)
    scaled = layer_named(build(run_config, "condition=standardized", images=images), "input_scaling")(images.astype(np.float32)).numpy()
    assert scaled.mean(axis=(0, 1, 2)) == pytest.approx([0, 0, 0], abs=1e-4)
    assert scaled.std(axis=(0, 1, 2)) == pytest.approx([1, 1, 1], abs=1e-4)
    mean, deviation = inputs.channel_statistics(images)
    assert (images - mean) / deviation == pytest.approx(scaled, abs=1e-4)
    blank = layer_named(build(run_config, "condition=standardized", images=COLOUR), "input_scaling")
    assert np.isfinite(blank(COLOUR.astype(np.float32))).all()


def test_raw_pixels_stay_as_they_are(run_config):
    images = image_set(2)
    network, standardized = build(run_config, images=images), build(run_config, "condition=standardized", images=images)
    pixels = images.astype(np.float32)
    assert np.array_equal(network(pixels), network.layers[-1](pixels))
    assert not np.allclose(standardized(pixels), standardized.layers[-1](pixels))


@pytest.mark.parametrize("overrides", [["activation=tanh"], ["activation=relu", "condition=standardized"]])
def test_a_network_that_returns_zeros_for_the_first_images_returns_logits(run_config, overrides):
    """As one without biases does for black images, or for standardized ones of one colour."""
    network = network_of(run_config, *overrides, images=np.zeros((2, 8, 8, 1), np.uint8))
    assert not network.model(np.zeros((1, 8, 8, 1))).numpy().any()
    assert network.from_logits


def test_small_logits_of_two_classes_are_logits(run_config):
    """Four numbers, and all of them from 0 to 1 in some seeds."""
    for seed in range(30):
        images = image_set(2, channels=1, seed=seed) // 128
        assert network_of(run_config, MLP, f"seed={seed}", images=images, classes=2).from_logits


# --- the multilayer perceptron


def test_a_deep_perceptron_trains(run_config, few_digits):
    result, _ = train(run_config("activation=relu", MLP, "model.config.depth=12", "recipe.epochs=5"), few_digits)
    assert result.metrics["status"] == "finished"
    assert result.layers == [*(f"dense{number}" for number in range(1, 13)), "output"]
    assert result.activated == [f"dense{number}_activation" for number in range(1, 13)]
    assert result.metrics["last"]["train/accuracy"] > 0.5  # a guess has 0.1
    assert [one["parameters"] for one in result.metrics["layers"]] == [64 * 84 + 84, *[84 * 84 + 84] * 11, 84 * 10 + 10]


def test_a_block_starts_alike_at_every_depth(run_config):
    shallow, deep = (build(run_config, MLP, f"model.config.depth={depth}") for depth in (2, 5))
    for layer in ("dense1", "dense2", "output"):
        assert np.array_equal(layer_named(shallow, layer).kernel, layer_named(deep, layer).kernel)
    assert not np.array_equal(layer_named(deep, "dense4").kernel, layer_named(deep, "dense5").kernel)


@pytest.mark.parametrize(("normalization", "layer"), [("batch", keras.layers.BatchNormalization), ("layer", keras.layers.LayerNormalization)])
def test_a_normalisation_stands_before_each_activation(run_config, normalization, layer):
    network = network_of(run_config, MLP, f"model.config.normalization={normalization}", "model.config.depth=3")
    for activation in network.activations:
        name = activation.name.removesuffix("_activation")
        between = layer_named(network.model, f"{name}_normalization")
        assert isinstance(between, layer)
        assert activation.input is between.output
        assert between.input is layer_named(network.model, name).output


@pytest.mark.parametrize("normalization", ["none", "batch", "layer"])
def test_a_residual_perceptron_adds_the_input_of_each_block_but_the_first(run_config, normalization):
    """With the weights of the later blocks at 0, and an activation that is 0 at 0, they hand on what the first one gave."""
    images = image_set(4, channels=1)
    overrides = ["activation=tanh", MLP, "model.config.residual=true", "model.config.depth=4", f"model.config.normalization={normalization}"]
    network = build(run_config, *overrides, images=images)
    for number in (2, 3, 4):
        layer = layer_named(network, f"dense{number}")
        layer.set_weights([0 * weight for weight in layer.get_weights()])
    inner = network.layers[-1]
    first, last = keras.Model(inner.input, [layer_named(inner, "dense1_activation").output, layer_named(inner, "output").input])(
        images.astype(np.float32)
    )
    assert np.array_equal(first, last)
    assert np.abs(first).max() > 0.1


# --- builders of the user's own

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

number = 3
"""
IMAGES = image_set(8, channels=1)


@pytest.fixture
def own(tmp_path, monkeypatch, run_config) -> Callable[..., Config]:
    """The configuration of a run with a builder of own_nets, a module of the user's, and these arguments."""
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
    with pytest.raises(UserError, match="the network ends in a sigmoid, which gives no distribution over classes; let it return logits or a softmax"):
        train(own("sigmoid", "activation=relu", "recipe.epochs=1"), few_digits)


@pytest.mark.parametrize("name", ["inside", "sequential"])
def test_a_builder_may_put_the_activation_into_a_layer_or_return_a_sequential_model(own, few_digits, name):
    config = own(name, "activation=sigmoid", "recipe.epochs=1")
    network = build_network(config, IMAGES, 10)
    assert (len(network.activations), network.from_logits) == (1, True)
    assert network.model(IMAGES.astype(np.float32)).shape == (8, 10)
    result, _ = train(config, few_digits)
    assert result.metrics["status"] == "finished"
    assert len(result.activated) == 1


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
    assert result.metrics["linearity"] == {}  # a softmax is not affine, so it says nothing of the rest
    assert (result.layers, result.activated) == (["first", "output"], ["first_activation"])


def test_probabilities_learn_what_logits_learn(own, few_digits):
    """The same network with the softmax inside it and without."""
    inside, outside = (train(own(name, "activation=tanh"), few_digits)[0] for name in ("softmax", "logits"))
    assert inside.history["train/loss"].tolist() == pytest.approx(outside.history["train/loss"].tolist(), rel=1e-3)
    first = [result.gradients.iloc[0].to_dict() for result in (inside, outside)]
    assert first[0] == pytest.approx(first[1], rel=1e-4)


@pytest.mark.parametrize(
    ("build", "config", "expected"),
    [
        (
            "actgrad.networks.mlp.build",
            {"dept": 3},
            "model.config.dept is not taken by actgrad.networks.mlp.build, which takes depth, width, residual, normalization",
        ),
        (
            "actgrad.networks.mlp.build",
            {"depth": 3, "residual": False, "normalization": "none"},
            "model.config.width is missing; actgrad.networks.mlp.build needs depth, width, residual, normalization",
        ),
        (
            "actgrad.networks.mlp.build",
            {"depth": 0, "width": 8, "residual": False, "normalization": "none"},
            "model.config.depth=0 cannot be used: input should be greater than 0",
        ),
        (
            "actgrad.networks.mlp.build",
            {"depth": 1.5, "width": "8", "residual": False, "normalization": "group"},
            "model.config.depth=1.5 cannot be used: input should be a valid integer; "
            "model.config.width='8' cannot be used: input should be a valid integer; "
            "model.config.normalization='group' cannot be used: input should be 'none', 'batch' or 'layer'",
        ),
        (
            "actgrad.networks.lenet5.build",
            {"filters": [6, 16], "kernel_size": 5, "dense_units": 84, "pooling": "max", "batch_normalization": False},
            "model.config.filters=[6, 16] cannot be used: list should have at least 3 items after validation, not 2",
        ),
        ("own_nets.good", {}, "model.config.units is missing; own_nets.good needs units, label"),
        ("own_nets.good", {"units": 7, "size": 3}, "model.config.size is not taken by own_nets.good, which takes units, label"),
        ("own_nets.no_model", {"units": 7}, "model.config.units is not taken by own_nets.no_model, which takes none"),
        (
            "own_nets.good",
            {"units": "many"},
            "model.build=own_nets.good fails: Received an invalid value for `units`, expected a positive integer. Received: units=many; "
            "mend it, or change a value of model.config",
        ),
        (
            "own_nets.absent",
            {},
            "model.build=own_nets.absent is not a function; is its module on PYTHONPATH, and a function of that name in it?",
        ),
        (
            "own_nets.number",
            {},
            "model.build=own_nets.number is not a function; is its module on PYTHONPATH, and a function of that name in it?",
        ),
        (
            "no_nets.build",
            {},
            "model.build=no_nets.build is not a function; is its module on PYTHONPATH, and a function of that name in it?",
        ),
        (
            "broken_nets.build",
            {},
            "model.build=broken_nets.build: its module cannot be imported (ModuleNotFoundError: No module named 'no_such_module'); mend it",
        ),
        (
            "own_nets.few",
            {},
            "model.build=own_nets.few must take (input_shape, classes, activation, initializer, **config); it takes (input_shape, classes)",
        ),
        ("own_nets.no_model", {}, "model.build=own_nets.no_model returns Dense, not a keras.Model; return the network"),
        ("own_nets.nothing", {}, "model.build=own_nets.nothing returns NoneType, not a keras.Model; return the network"),
        (
            "own_nets.no_activation",
            {},
            "model.build=own_nets.no_activation makes no layer of its activation; write Dense(64, activation=activation()), or activation()(x)",
        ),
        ("own_nets.wide", {}, "the network of model.build=own_nets.wide returns (11,) an image; let it return one number a class, 10"),
        ("own_nets.image", {}, "the network of model.build=own_nets.image returns (8, 8, 10) an image; let it return one number a class, 10"),
        ("own_nets.raising", {}, "model.build=own_nets.raising fails: no such luck; mend it, or change a value of model.config"),
        (
            "own_nets.applied",
            {},
            "model.build=own_nets.applied fails: activation is no layer but makes one: write activation()(x), "
            "or layers.Dense(64, activation=activation()); mend it, or change a value of model.config",
        ),
    ],
)
def test_what_is_no_network_is_refused_with_a_sentence(own, build, config, expected):
    with pytest.raises(UserError) as refused:
        build_network(own(build, **config), IMAGES, 10)
    assert str(refused.value) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sigmoid", "the network ends in a sigmoid, which gives no distribution over classes; let it return logits or a softmax"),
        ("at_the_end", "the network hides its activations from the probe: in a loop, or in its output; use them in layers between"),
    ],
)
def test_a_network_that_cannot_be_trained_or_measured_is_refused(own, few_digits, name, expected):
    with pytest.raises(UserError) as refused:
        train(own(name, "activation=tanh"), few_digits)
    assert str(refused.value) == expected


def test_a_network_for_other_images_is_refused(own):
    with pytest.raises(UserError, match=r"^the network of model.build=own_nets.narrow fails on images of shape \(8, 8, 1\): .*; mend it$"):
        build_network(own("narrow"), IMAGES, 10)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["model=mycnn"],
            "error: model=mycnn is not known; known: lenet5, mlp; a new one is a file conf/model/mycnn.yaml, with `build: my_pkg.nets.build`, "
            "where my_pkg is on PYTHONPATH and build is a function (input_shape, classes, activation, initializer, **config) -> keras.Model, "
            "and `config: {}`, which holds its other arguments",
        ),
        (["model.name=other"], "error: model.name is not a key of this configuration; known there: build, config"),
    ],
)
def test_train_refuses_a_model_that_is_not_known_with_one_sentence(script, arguments, expected):
    assert sentence(script("train.py", "data=digits", *arguments)) == expected
