"""How far a network is from one affine map."""

import keras
import numpy as np
import pytest

from actgrad.networks.build import build
from actgrad.training import linearity
from conftest import train


def logits_of(network: keras.Model) -> keras.Model:
    return keras.Model(network.input, network.get_layer("probabilities").input)


@pytest.mark.slow
def test_a_trained_network_without_a_non_linearity_folds(run_config, few_digits):
    result, network = train(run_config("activation=linear", "condition=average_pooling"), few_digits)
    assert result.key == "digits/linear/average_pooling-0"
    assert result.metrics["linearity"]["folding_error"] < 1e-5
    assert result.metrics["linearity"]["superposition_error"] < 1e-5
    images = few_digits.images["val"]
    matrix, offset = linearity.fold(logits_of(network))
    assert (matrix.shape, offset.shape) == ((10, 64), (10,))
    logits = logits_of(network)(images.astype(np.float32)).numpy()
    assert images.reshape(len(images), -1) @ matrix.T + offset == pytest.approx(logits, abs=1e-4 * float(np.abs(logits).max()))


@pytest.mark.parametrize("overrides", [["activation=linear"], ["activation=relu", "condition=average_pooling"], ["activation=tanh"]])
def test_a_non_linearity_anywhere_does_not_fold(run_config, few_digits, overrides):
    errors = linearity.errors(build(run_config(*overrides), few_digits.images["train"], 10).model, few_digits.images["test"])
    assert min(errors.values()) > 1e-2


def test_a_known_distance_from_affine_is_returned():
    """|x| folds into 0 at the black image. The mean of the images 2 and -4 gives |-1| = 1, but the mean of their outputs is 3."""
    inputs = keras.Input((1, 1, 1))
    model = keras.Model(inputs, keras.layers.Flatten()(keras.ops.abs(inputs)))
    errors = linearity.errors(model, np.array([2.0, -4.0]).reshape(2, 1, 1, 1))
    assert errors == {"folding_error": pytest.approx(1), "superposition_error": pytest.approx(2 / 4)}


def test_one_image_is_enough_to_fold(run_config, few_digits):
    errors = linearity.errors(build(run_config("activation=tanh"), few_digits.images["train"], 10).model, few_digits.images["test"][:1])
    assert errors["folding_error"] > 1e-2
    assert errors["superposition_error"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("activation", ["linear", "tanh"])
@pytest.mark.parametrize("depth", [1, 3])
def test_a_perceptron_folds_without_an_activation_alone(run_config, few_digits, activation, depth):
    network = build(run_config(f"activation={activation}", "model=mlp", f"model.config.depth={depth}"), few_digits.images["train"], 10)
    errors = linearity.errors(network.model, few_digits.images["test"])
    assert all(error < 1e-5 for error in errors.values()) if activation == "linear" else all(error > 1e-2 for error in errors.values())


def test_a_network_that_is_zero_everywhere_is_affine():
    inputs = keras.Input((1, 1, 1))
    model = keras.Model(inputs, keras.layers.Flatten()(0 * keras.ops.abs(inputs)))
    errors = linearity.errors(model, np.array([2.0, -4.0, 1.0]).reshape(3, 1, 1, 1))
    assert errors == {"folding_error": 0, "superposition_error": 0}


@pytest.mark.parametrize("worst", [np.inf, -np.inf, np.nan])
def test_logits_that_are_not_finite_have_no_distance(worst):
    inputs = keras.Input((1, 1, 1))
    model = keras.Model(inputs, keras.layers.Flatten()(inputs * worst))
    assert linearity.errors(model, np.array([2.0, -4.0]).reshape(2, 1, 1, 1)) == {}
    where = keras.Model(inputs, keras.layers.Flatten()(keras.ops.where(inputs > 1, worst, inputs)))
    assert linearity.errors(where, np.array([1.0, -4.0, 0.5, 2.0]).reshape(4, 1, 1, 1)) == {}
