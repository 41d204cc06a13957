"""The network: its layers, sizes and initial weights."""

import keras
import numpy as np
import pytest

from actgrad.networks import inputs, lenet5
from actgrad.networks.names import LAYERS
from conftest import image_set

COLOUR = np.zeros((1, 32, 32, 3), np.uint8)
COUNTS = {"conv1": 456, "conv2": 2416, "conv3": 48120, "dense1": 645204, "output": 850}
OUTPUTS = {"conv1": (32, 32, 6), "pool1": (16, 16, 6), "conv2": (16, 16, 16), "pool2": (8, 8, 16), "conv3": (8, 8, 120), "flatten": (7680,)}


def build(run_config, *overrides: str, images: np.ndarray = COLOUR, classes: int = 10) -> keras.Model:
    return lenet5.build(run_config(*overrides), images, classes)


@pytest.mark.parametrize("name", ["linear", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "gelu", "silu"])
def test_parameters_and_outputs_of_each_layer(run_config, name):
    network = build(run_config, f"activation={name}")
    assert {layer: network.get_layer(layer).count_params() for layer in LAYERS} == COUNTS
    assert {layer: network.get_layer(layer).output.shape[1:] for layer in OUTPUTS} == OUTPUTS
    assert network.count_params() == 697046


def test_prelu_adds_one_parameter_a_channel(run_config):
    assert build(run_config, "activation=prelu").count_params() == 697046 + 6 + 16 + 120 + 84


@pytest.mark.parametrize("pieces", [2, 3, 4])
def test_maxout_keeps_the_number_of_parameters(run_config, pieces):
    network = build(run_config, "activation=maxout", f"activation.config.pieces={pieces}")
    assert network.count_params() == pytest.approx(697046, rel=0.02)
    assert pieces != 2 or network.count_params() == 692388  # as conf/activation/maxout.yaml says


def test_a_layer_of_pieces_has_at_least_one_unit():
    assert lenet5.widened(1, 9) == 9


@pytest.mark.parametrize(("shape", "classes"), [((8, 8, 1), 10), ((4, 4, 3), 2), ((28, 28, 1), 26), ((33, 17, 3), 5)])
def test_any_input_shape_and_number_of_classes(run_config, shape, classes):
    images = image_set(2, seed=3)[:, :1, :1, :1] * np.ones(shape, np.uint8)
    probabilities = build(run_config, images=images, classes=classes)(images.astype(np.float32)).numpy()
    assert probabilities.shape == (2, classes)
    assert probabilities.sum(axis=1) == pytest.approx([1, 1], abs=1e-5)


def test_runs_of_one_seed_start_with_the_same_weights(run_config):
    tanh, relu, other = build(run_config, "activation=tanh"), build(run_config, "activation=relu"), build(run_config, "activation=relu", "seed=1")
    for layer in LAYERS:
        assert np.array_equal(tanh.get_layer(layer).kernel, relu.get_layer(layer).kernel)
        assert not np.array_equal(relu.get_layer(layer).kernel, other.get_layer(layer).kernel)
        assert not relu.get_layer(layer).bias.numpy().any()
    assert not np.array_equal(relu.get_layer("conv1").kernel.numpy().ravel()[:100], relu.get_layer("conv2").kernel.numpy().ravel()[:100])


def test_kernels_are_glorot_uniform(run_config):
    kernel = build(run_config).get_layer("dense1").kernel.numpy()
    limit = np.sqrt(6 / (7680 + 84))
    assert np.abs(kernel).max() == pytest.approx(limit, rel=1e-3)
    assert kernel.std() == pytest.approx(limit / np.sqrt(3), rel=1e-2)


def test_pooling_is_maximum_or_average(run_config):
    image = np.zeros((1, 8, 8, 1), np.float32)
    image[0, 0, 0, 0] = 4
    for pooling, expected in (("max", 4), ("average", 1)):
        network = build(run_config, f"model.pooling={pooling}", images=image.astype(np.uint8))
        assert float(np.max(network.get_layer("pool1")(image))) == expected


def test_standardized_inputs_have_mean_zero_and_deviation_one_per_channel(run_config):
    images = image_set(50, size=8) // np.array([1, 2, 4], np.uint8) + np.array([0, 50, 9], np.uint8)
    scaled = build(run_config, "condition=standardized", images=images).get_layer("input_scaling")(images.astype(np.float32)).numpy()
    assert scaled.mean(axis=(0, 1, 2)) == pytest.approx([0, 0, 0], abs=1e-4)
    assert scaled.std(axis=(0, 1, 2)) == pytest.approx([1, 1, 1], abs=1e-4)
    assert inputs.scaled(images, "standardized", images) == pytest.approx(scaled, abs=1e-4)
    blank = build(run_config, "condition=standardized", images=COLOUR).get_layer("input_scaling")
    assert np.isfinite(blank(COLOUR.astype(np.float32))).all()


def test_raw_pixels_stay_as_they_are(run_config):
    images = image_set(2)
    assert inputs.scaled(images, "none", images).tolist() == images.tolist()
    assert "input_scaling" not in [layer.name for layer in build(run_config).layers]
