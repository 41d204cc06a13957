"""Networks: their layers, sizes and initial weights."""

import keras
import numpy as np
import pytest

from actgrad.config.schema import Activation
from actgrad.networks import inputs
from actgrad.networks.activations import ActivationFactory
from actgrad.networks.build import Network
from actgrad.networks.build import build as build_network
from conftest import LAYERS, SITES, image_set, layer_named, train

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


def test_channel_statistics_are_those_of_all_images():
    images = np.random.default_rng(0).integers(0, 256, (inputs.BLOCK // 6 + 1, 3, 2, 2), np.uint8)
    mean, deviation = inputs.channel_statistics(images)
    assert mean == pytest.approx(images.mean(axis=(0, 1, 2)), rel=1e-12)
    assert deviation == pytest.approx(images.std(axis=(0, 1, 2)), rel=1e-12)


def test_raw_pixels_stay_as_they_are(run_config):
    images = image_set(2)
    network, standardized = build(run_config, images=images), build(run_config, "condition=standardized", images=images)
    pixels = images.astype(np.float32)
    assert np.array_equal(network(pixels), network.layers[-1](pixels))
    assert not np.allclose(standardized(pixels), standardized.layers[-1](pixels))


@pytest.mark.parametrize("overrides", [["activation=tanh"], ["activation=relu", "condition=standardized"]])
def test_a_network_that_returns_zeros_for_the_first_images_returns_logits(run_config, overrides):
    """A network without biases does so for black images, and for standardized images of one colour."""
    network = network_of(run_config, *overrides, images=np.zeros((2, 8, 8, 1), np.uint8))
    assert not network.model(np.zeros((1, 8, 8, 1))).numpy().any()
    assert network.from_logits


@pytest.mark.slow
def test_small_logits_of_two_classes_are_logits(run_config):
    """Four numbers, which all lie between 0 and 1 for some seeds."""
    for seed in range(30):
        images = image_set(2, channels=1, seed=seed) // 128
        assert network_of(run_config, MLP, f"seed={seed}", images=images, classes=2).from_logits


# --- the multilayer perceptron


@pytest.mark.slow
def test_a_deep_perceptron_trains(run_config, few_digits):
    result, _ = train(run_config("activation=relu", MLP, "model.config.depth=12", "recipe.epochs=5"), few_digits)
    assert result.metrics["status"] == "finished"
    assert result.layers == [*(f"dense{number}" for number in range(1, 13)), "output"]
    assert result.activated == [f"dense{number}_activation" for number in range(1, 13)]
    assert result.metrics["last"]["train/accuracy"] > 0.5  # guessing gives 0.1
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
    """If the later blocks have weights of 0 and an activation that is 0 at 0, they pass on the output of the first block."""
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
