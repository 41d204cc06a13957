"""Values and derivatives of the activation functions, and users' own layers."""

import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from actgrad.config.schema import Activation
from actgrad.monitor.backends import backend
from actgrad.networks import activations, layers
from conftest import refuses

ALL = ["linear", "sigmoid", "tanh", "relu", "leaky_relu", "prelu", "elu", "gelu", "silu", "maxout"]


def value(layer: keras.layers.Layer, *z: float) -> list[float]:
    return layer(tf.constant(z, tf.float32, (len(z), 1))).numpy().ravel().tolist()


def derivative(layer: keras.layers.Layer, z: tf.Tensor) -> tf.Tensor:
    return backend().derivative(layer, z)


def slope(layer: keras.layers.Layer, *z: float) -> list[float]:
    return derivative(layer, tf.constant(z, tf.float32, (len(z), 1))).numpy().ravel().tolist()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("linear", [-1, 0, 1]),
        ("sigmoid", [0.26894143, 0.5, 0.7310586]),
        ("tanh", [-0.7615942, 0, 0.7615942]),
        ("relu", [0, 0, 1]),
        ("leaky_relu", [-0.01, 0, 1]),
        ("prelu", [-0.25, 0, 1]),
        ("elu", [np.exp(-1) - 1, 0, 1]),
        ("gelu", [-0.15865525, 0, 0.84134475]),  # z times the standard normal distribution function at z
        ("silu", [-0.26894143, 0, 0.7310586]),
    ],
)
def test_values_at_minus_one_zero_and_one(run_config, name, expected):
    assert value(activations.build(run_config(f"activation={name}").activation), -1, 0, 1) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("linear", [1, 1, 1]),
        ("sigmoid", [0.19661193, 0.25, 0.19661193]),
        ("tanh", [0.41997434, 1, 0.41997434]),
        ("relu", [0, 0, 1]),
        ("leaky_relu", [0.01, 0.01, 1]),
        ("prelu", [0.25, 0.25, 1]),
        ("elu", [np.exp(-1), 1, 1]),
        ("silu", [0.07232949, 0.5, 0.92767051]),
    ],
)
def test_derivatives_at_minus_one_zero_and_one(run_config, name, expected):
    got = slope(activations.build(run_config(f"activation={name}").activation), -1, 0, 1)
    kink = name in ("leaky_relu", "prelu", "elu")  # at 0, the derivative of either side is accepted
    assert [got[0], got[2]] == pytest.approx([expected[0], expected[2]], abs=1e-6)
    assert kink or got[1] == pytest.approx(expected[1], abs=1e-6)


def test_the_sigmoid_never_passes_more_than_a_quarter(run_config):
    curve = activations.curve(run_config("activation=sigmoid").activation)
    assert curve["derivative"].max() == pytest.approx(0.25)
    assert curve.loc[curve["derivative"].idxmax(), "z"] == pytest.approx(0, abs=1e-6)
    assert slope(activations.build(run_config("activation=sigmoid").activation), -20, 20) == pytest.approx([0, 0], abs=1e-8)


def test_tanh_passes_all_at_zero_and_nothing_far_out(run_config):
    curve = activations.curve(run_config("activation=tanh").activation)
    assert curve["derivative"].max() == pytest.approx(1)
    assert slope(activations.build(run_config("activation=tanh").activation), -20, 20) == pytest.approx([0, 0], abs=1e-8)


@pytest.mark.parametrize("name", ALL)
def test_the_curve_is_that_of_the_layer_and_its_derivative_fits_its_differences(run_config, name):
    curve = activations.curve(run_config(f"activation={name}").activation)
    differences = np.gradient(curve["value"], curve["z"])
    smooth = np.abs(curve["z"]) > 0.1  # at a kink, the difference mixes both sides
    assert curve["derivative"][smooth].to_numpy() == pytest.approx(differences[smooth], abs=5e-3)


def test_prelu_learns_one_slope_a_channel(run_config):
    for shape in ((None, 8, 8, 6), (None, 84)):
        layer = activations.build(run_config("activation=prelu").activation)
        layer.build(shape)
        assert layer.count_params() == shape[-1]
        assert np.allclose(layer.get_weights()[0], 0.25)


def test_maxout_takes_the_largest_of_neighbouring_pieces(run_config):
    layer = activations.build(run_config("activation=maxout", "activation.config.pieces=3").activation)
    z = tf.constant([[1.0, 5.0, 2.0, -1.0, -3.0, -2.0]])
    assert layer(z).numpy().tolist() == [[5.0, -1.0]]
    assert derivative(layer, z).numpy().tolist() == [[0, 1, 0, 1, 0, 0]]


def test_a_layer_of_ones_own_needs_no_change_here(tmp_path, monkeypatch):
    (tmp_path / "my_acts.py").write_text(
        "import keras\n"
        "class Snake(keras.layers.Layer):\n"
        "    def __init__(self, a=1.0, **kwargs):\n"
        "        super().__init__(**kwargs)\n"
        "        self.a = a\n"
        "    def call(self, z):\n"
        "        return z + keras.ops.sin(self.a * z) ** 2 / self.a\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    layer = activations.build(Activation(name="snake", layer="my_acts.Snake", config={"a": 2.0}))
    assert value(layer, 1.0) == pytest.approx([1 + np.sin(2) ** 2 / 2])
    assert slope(layer, 1.0) == pytest.approx([1 + np.sin(4)])


def test_a_module_that_cannot_be_imported_is_named(tmp_path, monkeypatch):
    (tmp_path / "broken_acts.py").write_text("import no_such_module")
    monkeypatch.syspath_prepend(tmp_path)
    with refuses("own-code-failed", "broken_acts.Snake", "ModuleNotFoundError", "no_such_module"):
        activations.build(Activation(name="x", layer="broken_acts.Snake"))


@pytest.mark.parametrize(
    ("body", "code", "expected"),
    [
        ("    def call(self, z):\n        raise ValueError('no')\n", "own-code-failed", "(241, 2): no"),
        ("    def __init__(self):\n        super().__init__()\n", "wrong-arguments", "super().__init__(**kwargs)"),
        ("    def call(self, z):\n        return z * keras.random.uniform(())\n", "random-activation", "training=True"),
    ],
)
def test_a_layer_of_ones_own_that_does_not_work_is_refused_with_a_sentence(tmp_path, monkeypatch, body, code, expected):
    (tmp_path / "odd_acts.py").write_text(f"import keras\nclass Odd(keras.layers.Layer):\n{body}")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "odd_acts", raising=False)
    with refuses(code, "odd_acts.Odd", expected):
        activations.curve(Activation(name="x", layer="odd_acts.Odd"))


@pytest.mark.parametrize(
    "call",
    [
        "keras.ops.relu(z - keras.ops.mean(z, axis=0))",
        "z - keras.ops.mean(z, axis=(1, 2), keepdims=True) if z.ndim == 4 else z",
        "keras.ops.softmax(z) if training else keras.ops.relu(z)",
        "z[:, :1] if z.ndim == 4 else z",
    ],
)
def test_an_activation_of_ones_own_that_mixes_images_places_or_units_is_refused(tmp_path, monkeypatch, call):
    (tmp_path / "odd_acts.py").write_text(
        f"import keras\nclass Odd(keras.layers.Layer):\n    def call(self, z, training=False):\n        return {call}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "odd_acts", raising=False)
    with refuses("not-an-activation", "odd_acts.Odd"):
        activations.curve(Activation(name="x", layer="odd_acts.Odd"))


@pytest.mark.parametrize("layer", ["Softmax", "LayerNormalization"])
def test_a_layer_that_does_not_act_on_each_unit_by_itself_is_no_activation(layer):
    with refuses("not-an-activation", layer):
        activations.curve(Activation(name="x", layer=layer))


@pytest.mark.parametrize(
    ("layer", "config", "code", "expected"),
    [
        ("Relu", {}, "not-a-layer", "keras.layers"),
        ("nowhere.Snake", {}, "not-a-layer", "PYTHONPATH"),
        ("math.sqrt", {}, "not-a-layer", "PYTHONPATH"),
        ("LeakyReLU", {"slope": 0.1}, "wrong-arguments", "which takes negative_slope"),
        ("LeakyReLU", {"negative_slope": -1}, "wrong-arguments", "{'negative_slope': -1}"),
        ("Activation", {"activation": "swoosh"}, "wrong-arguments", "{'activation': 'swoosh'}"),
        ("actgrad.networks.layers.Maxout", {"pieces": 1}, "wrong-arguments", "pieces must be a whole number of at least 2, got 1"),
    ],
)
def test_a_layer_that_cannot_be_built_is_refused(layer, config, code, expected):
    with refuses(code, layer, expected):
        activations.build(Activation(name="x", layer=layer, config=config))


def test_rrelu_draws_a_slope_for_each_element_and_takes_their_mean_in_evaluation():
    layer = layers.RReLU(seed=1)
    z = np.array([[-1.0] * 1000, [2.0] * 1000], np.float32)
    evaluated, trained = np.asarray(layer(z)), np.asarray(layer(z, training=True))
    assert evaluated[:, 0] == pytest.approx([-1 / 5.5, 2])
    assert (evaluated == evaluated[:, :1]).all()
    divisors = -1 / trained[0]
    assert 3 <= divisors.min() < 3.1
    assert 7.9 < divisors.max() <= 8
    assert divisors.mean() == pytest.approx(5.5, abs=0.15)
    assert (trained[1] == 2).all()
    assert not np.array_equal(trained, np.asarray(layer(z, training=True)))
    with pytest.raises(ValueError, match="lower and upper must be 0 < lower <= upper"):
        layers.RReLU(lower=0)
