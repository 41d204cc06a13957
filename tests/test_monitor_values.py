"""What GradientMonitor and ActivationProbe measure, against values that are worked out by hand or by plain automatic differentiation."""

import contextlib
import json
import logging
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers

import actgrad
from actgrad import ActivationProbe, GradientMonitor
from actgrad.__main__ import main
from actgrad.diagnosis.rules import RULES, Measurements, diagnose
from actgrad.diagnosis.signal import sentence
from actgrad.monitor import probe
from actgrad.monitor.gradient_monitor import CAPACITY
from actgrad.monitor.names import COUNTS
from conftest import ROOT
from monitor_models import BACKEND, IMAGES, LABELS, convolutional, recurrent

X = np.array([[1.0, 2.0], [3.0, -1.0]], np.float32)
Y = np.array([[1.0], [0.0]], np.float32)


@pytest.fixture(autouse=True)
def names_from_the_start():
    keras.utils.clear_session()


def line(optimizer: keras.optimizers.Optimizer) -> keras.Model:
    """y = x w + b with w = (0.5, -1), b = 0.25; its loss is the mean square of the error."""
    model = keras.Sequential([keras.Input((2,)), layers.Dense(1, name="line")])
    model.layers[0].set_weights([np.array([[0.5], [-1.0]], np.float32), np.array([0.25], np.float32)])
    model.compile(optimizer, "mse")
    return model


def classifier() -> keras.Model:
    model = keras.Sequential([keras.Input((2,)), layers.Dense(3, activation="softmax")])
    model.compile("sgd", "categorical_crossentropy")
    return model


def sparse() -> keras.Model:
    model = classifier()
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


def test_norms_of_one_step_by_hand():
    seen = GradientMonitor()
    line(keras.optimizers.SGD(0.1)).fit(X, Y, batch_size=2, epochs=1, verbose=0, shuffle=False, callbacks=[seen])
    # outputs -1.25 and 2.75, errors -2.25 and 2.75; the gradient is the mean of 2 * error * (x, 1)
    gradient = np.array([-2.25 * 1 + 2.75 * 3, -2.25 * 2 - 2.75 * 1, -2.25 + 2.75])
    (row,) = seen.steps.to_dict("records")
    assert (row["step"], row["layer"]) == (1, "line")
    assert row["grad_norm"] == pytest.approx(np.linalg.norm(gradient), rel=1e-6)
    assert row["update_norm"] == pytest.approx(0.1 * np.linalg.norm(gradient), rel=1e-5)
    assert row["weight_norm"] == pytest.approx(np.linalg.norm([0.5, -1, 0.25]), rel=1e-6)
    assert row["grad_rms"] == pytest.approx(np.linalg.norm(gradient) / np.sqrt(3), rel=1e-6)
    assert row["update_ratio"] == pytest.approx(row["update_norm"] / row["weight_norm"])
    assert seen.layers.to_dict("records") == [{"layer": "line", "kind": "Dense", "parameters": 3}]


def test_an_update_that_is_a_thousandth_of_the_weights_is_returned_as_that():
    seen = GradientMonitor()
    model = line("sgd")
    model.compile(keras.optimizers.SGD(1.0, weight_decay=1e-3), lambda _, p: 0 * p)
    model.fit(X, Y, batch_size=2, verbose=0, callbacks=[seen])
    assert seen.steps["grad_norm"].tolist() == [0]
    assert seen.steps["update_ratio"].tolist() == pytest.approx([1e-3], rel=1e-4)


def test_clipping_is_seen_after_it_or_before_it():
    norms = {}
    for at in ("gradient", "update"):
        seen = GradientMonitor(at=at)
        line(keras.optimizers.SGD(0.1, clipnorm=1.0)).fit(X, Y, batch_size=2, verbose=0, callbacks=[seen])
        norms[at] = seen.steps["grad_norm"].tolist()
    # each variable is clipped by itself, so the layer has two of norm 1, and 0.5 * 2 of the bias is below that
    assert norms["gradient"] == pytest.approx([np.linalg.norm([6.0, -7.25, 0.5])], rel=1e-6)
    assert norms["update"] == pytest.approx([np.linalg.norm([1.0, 0.5])], rel=1e-6)


def test_accumulated_gradients_are_seen_when_they_are_applied():
    seen = GradientMonitor(at="update")
    model = line(keras.optimizers.SGD(0.1, gradient_accumulation_steps=2))
    model.fit(X, Y, batch_size=1, verbose=0, shuffle=False, callbacks=[seen])
    assert np.isnan(seen.steps["grad_norm"].iloc[0])
    assert seen.steps["grad_norm"].iloc[1] == pytest.approx(np.linalg.norm([6.0, -7.25, 0.5]), rel=1e-6)
    assert seen.steps["update_norm"].iloc[0] == 0
    assert np.isnan(seen.steps["update_ratio"].iloc[0])
    found = seen.diagnose()
    assert not (found["step"] == 1).any()


def test_a_weight_without_a_gradient_has_one_of_zero():
    inputs = keras.Input((2,))
    outputs = layers.Dense(1, name="used")(inputs) + 0 * keras.ops.stop_gradient(layers.Dense(1, name="unused")(inputs))
    model = keras.Model(inputs, outputs)
    for at in ("gradient", "update"):
        model.compile("sgd", "mse")
        seen = GradientMonitor(at=at)
        with warnings.catch_warnings(action="ignore"):  # Keras says it too
            model.fit(X, Y, batch_size=2, verbose=0, callbacks=[seen])
        assert (seen.steps.set_index("layer")["grad_norm"] > 0).to_dict() == {"used": True, "unused": False}


@pytest.mark.parametrize("size", [1e-25, 1e25])
def test_a_gradient_whose_square_is_no_float32_keeps_its_size(size):
    seen = GradientMonitor()
    model = line(keras.optimizers.SGD(0.0))
    model.compile(keras.optimizers.SGD(0.0), lambda _, p: size * p)
    model.fit(X, Y, batch_size=2, verbose=0, callbacks=[seen])
    assert seen.steps["grad_norm"].tolist() == pytest.approx([size * np.linalg.norm([2.0, 0.5, 1.0])], rel=1e-5)


def test_a_scaled_loss_is_measured_without_its_scale():
    norms = []
    for optimizer in (keras.optimizers.SGD(0.01), keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.01))):
        seen = GradientMonitor()
        line(optimizer).fit(X, Y, batch_size=2, verbose=0, callbacks=[seen])
        norms += seen.steps["grad_norm"].tolist()
    assert norms[0] == pytest.approx(norms[1], rel=1e-6)


# --- the probe


def chain(*slopes: float) -> keras.Model:
    """Layers of 3 units whose weights are the unit matrix, with the activation slope * z, below 0 none; then the sum."""
    inputs = keras.Input((3,))
    x = inputs
    for i, slope in enumerate(slopes):
        x = layers.Dense(3, kernel_initializer="identity", name=f"dense_{i}")(x)
        x = layers.ReLU(negative_slope=slope, name=f"act_{i}")(x)
    model = keras.Model(inputs, layers.Dense(1, kernel_initializer="ones", name="sum")(x))
    model.compile("sgd", lambda _, p: p[:, 0])
    return model


NEGATIVE = -np.ones((4, 3), np.float32)


def test_a_planted_attenuation_is_returned_exactly():
    """Below 0 the derivative is the slope, so each layer leaves that share of the gradient."""
    probe = ActivationProbe(chain(0.1, 0.001, 0.5), NEGATIVE, np.zeros(4, np.float32))
    table = probe.measure().set_index("layer")
    assert table["preact_grad_rms"].tolist() == pytest.approx([0.1 * 0.001 * 0.5, 0.001 * 0.5, 0.5, 1.0], rel=1e-5)
    assert table.loc[["act_0", "act_1", "act_2"], "slope_ms"].tolist() == pytest.approx([0.01, 1e-6, 0.25], rel=1e-5)
    assert table.loc[["act_0", "act_1"], "gain"].tolist() == pytest.approx([1.0, 1.0], rel=1e-5)
    found = actgrad.inspect(chain(0.1, 0.001, 0.5), NEGATIVE, np.zeros(4, np.float32))
    assert found.attenuation == pytest.approx(4, abs=1e-4)
    assert found.sentence == (
        "The gradient vanishes: at act_0 it is 10,000 times smaller than at act_2. "
        "The largest part, 1,000-fold, is lost at act_1, by the slope of its activation function."
    )


def test_a_small_gradient_on_a_side_branch_is_not_where_the_gradient_is_lost():
    """As with squeeze and excitation: site 1 stands beside the way back, and after it the gradient is as large as before."""
    table = pd.DataFrame(
        {"layer": ["a", "b", "side", "c"], "hidden": True, "preact_grad_rms": [1e-5, 1e-4, 1e-12, 1e-1], "slope_ms": 0.1, "gain": 1.0}
    )
    assert "1,000-fold, is lost at b" in sentence(table)
    assert sentence(table).endswith("It is smallest at side, 1.0e+11 times smaller than at c.")
    table.loc[2, "preact_grad_rms"] = 0.0
    assert sentence(table).endswith("It is smallest at side, where it is 0.")


def test_a_branch_on_which_the_gradient_vanishes_is_named_though_it_arrives_beside_it():
    table = pd.DataFrame({"layer": ["short", "deep", "head"], "hidden": True, "preact_grad_rms": [0.2, 2e-6, 0.4], "slope_ms": 0.1, "gain": 1.0})
    said = sentence(table)
    assert said.startswith("The gradient vanishes on a side branch: it is smallest at deep, 200,000 times smaller than at head. Beside it: ")
    assert said.endswith("The gradient does not vanish: at short it is 0.5 times what it is at head.")


def test_what_is_no_number_is_not_dead():
    model = keras.Sequential([keras.Input((2,)), layers.Dense(3, activation="relu", name="d"), layers.Dense(1)])
    model.compile("sgd", "mse")
    row = ActivationProbe(model, X * np.float32(np.nan), Y).measure().iloc[0]
    assert row["dead"] == 0
    assert np.isnan(row["slope_ms"])


def test_a_gradient_too_small_to_square_is_not_zero():
    table = ActivationProbe(chain(1e-12, 1e-13, 0.5), NEGATIVE, np.zeros(4, np.float32)).measure()
    assert table["preact_grad_rms"].iloc[0] == pytest.approx(5e-26, rel=1e-4)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="TensorFlow's own warning")
def test_several_probes_in_one_process_warn_of_nothing(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("tensorflow"), "propagate", True)
    for _ in range(6):
        ActivationProbe(chain(0.1, 0.1), NEGATIVE, np.zeros(4, np.float32)).measure()
    assert not [record for record in caplog.records if "retracing" in record.getMessage()]


def test_exactly_so_many_units_are_dead_and_come_back():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(10, activation="relu", name="d"), layers.Dense(1)])
    model.compile("sgd", "mse")
    probe = ActivationProbe(model, np.ones((5, 3), np.float32), np.zeros((5, 1), np.float32))

    def with_dead(*units: int) -> dict:
        model.layers[0].set_weights([np.zeros((3, 10)), np.where(np.isin(np.arange(10), units), -1.0, 1.0)])
        return probe.measure().set_index("layer").loc["d", list(COUNTS)].to_dict()

    assert with_dead(0, 1, 2) == {"units": 10, "dead": 3, "newly_dead": 0, "revived": 0, "revived_since_last": 0}
    assert with_dead(2, 5) == {"units": 10, "dead": 2, "newly_dead": 1, "revived": 2, "revived_since_last": 2}
    assert with_dead(0, 2) == {"units": 10, "dead": 2, "newly_dead": 0, "revived": 1, "revived_since_last": 1}
    assert probe.census(np.ones((5, 3), np.float32)).to_dict("records") == [{"layer": "d", "units": 10, "dead": 2}]


def test_the_gain_is_that_of_the_jacobian_of_what_lies_between(monkeypatch):
    """A strided convolution, average pooling and a residual path: against the Jacobian that differences give, column by column."""
    keras.utils.set_random_seed(2)
    inputs = keras.Input((6, 6, 2))
    first = layers.Activation("tanh", name="first")(layers.Conv2D(2, 3, padding="same")(inputs))
    x = layers.AveragePooling2D(2)(first)
    summed = layers.Add()([layers.Conv2D(2, 2, padding="same", name="inside")(x), x])
    second = layers.Activation("tanh", name="second")(summed)
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(second)))
    out = model.layers[-1]
    out.kernel.assign(np.sign(keras.ops.convert_to_numpy(out.kernel)))  # a gradient of the same size everywhere
    model.compile("sgd", "mse")
    tail = keras.Model(first, summed)
    basis = np.eye(72, dtype=np.float32).reshape(72, 6, 6, 2)
    columns = keras.ops.convert_to_numpy(tail(basis)) - keras.ops.convert_to_numpy(tail(0 * basis))
    expected = (columns.astype(float) ** 2).sum() / 72
    x = np.random.default_rng(0).normal(size=(600, 6, 6, 2)).astype("float32")
    monkeypatch.setattr(probe, "GAIN_EXAMPLES", 600)  # enough for 3 %
    table = ActivationProbe(model, x, np.zeros((600, 3), np.float32)).measure().set_index("layer")
    assert table.loc["first", "gain"] == pytest.approx(expected, rel=0.03)


def test_batch_normalisation_has_two_gradients():
    model = keras.Sequential(
        [keras.Input((3,)), layers.Dense(4), layers.BatchNormalization(), layers.ReLU(), layers.Dense(4, activation="relu"), layers.Dense(1)]
    )
    model.compile("sgd", "mse")
    x = 5 * np.random.default_rng(0).normal(size=(32, 3)).astype("float32")
    table = ActivationProbe(model, x, np.zeros((32, 1), np.float32)).measure()
    ratio = table["preact_grad_rms_batch"] / table["preact_grad_rms"]
    assert ratio.iloc[0] < 0.9  # the batch's deviation is above the moving one of 1, and divides the gradient
    assert "preact_grad_rms_batch" not in ActivationProbe(chain(0.1, 0.1), NEGATIVE, np.zeros(4, np.float32)).measure()


def test_the_winning_pieces_of_maxout_count():
    from actgrad.networks.layers import Maxout

    model = keras.Sequential([keras.Input((2,)), layers.Dense(4, name="pieces"), Maxout(2, name="m"), layers.Dense(1, kernel_initializer="ones")])
    model.layers[0].set_weights([np.zeros((2, 4)), np.array([1.0, 0.0, 0.0, 2.0])])
    model.compile("sgd", lambda _, p: p[:, 0])
    row = ActivationProbe(model, np.ones((3, 2), np.float32), np.zeros(3, np.float32)).measure().iloc[0]
    assert (row["layer"], row["units"], row["dead"]) == ("m", 2, 0)
    assert (row["preact_grad_rms"], row["slope_ms"]) == pytest.approx((1.0, 1.0))


def test_the_probe_follows_the_weights_at_the_steps_it_names():
    model = convolutional()
    model.compile("adam", "sparse_categorical_crossentropy")
    seen = GradientMonitor(probe=(IMAGES[:16], LABELS[:16]), census=IMAGES)
    model.fit(IMAGES, LABELS, batch_size=4, epochs=2, verbose=0, callbacks=[seen])
    assert sorted(set(seen.probes["step"])) == [0, 1, 2, 4, 8, 10, 16, 20]
    assert seen.probes.groupby("layer")["preact_grad_rms"].nunique().gt(6).all()
    assert list(seen.census["layer"]) == ["conv2d"]
    assert set(seen.attenuation.index) == set(seen.probes["step"])


def test_the_gradient_through_residual_paths_is_predicted():
    """Most of it comes back beside the branches, in which little of it is left."""
    inputs = keras.Input((16,))
    x = layers.Dense(64)(inputs)
    for _ in range(6):
        branch = layers.Activation("tanh")(x)
        x = layers.Add()([x, layers.Dense(64, kernel_initializer=keras.initializers.VarianceScaling(0.01))(branch)])
    model = keras.Model(inputs, layers.Dense(4)(x))
    model.compile("sgd", "mse")
    random = np.random.default_rng(0)
    table = ActivationProbe(model, random.normal(size=(256, 16)).astype("float32"), random.normal(size=(256, 4)).astype("float32")).measure()
    measured, predicted = -np.log10(table["preact_grad_rms"].iloc[0] / table["preact_grad_rms"].iloc[5]), -np.log10(table["predicted"][:5].prod())
    assert table["preact_grad_rms"].iloc[5] < 1
    assert predicted == pytest.approx(measured, abs=0.1)


def test_small_gradients_of_a_float16_model_are_seen():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        table = ActivationProbe(chain(0.1, 0.01, 0.01, 0.1), NEGATIVE, np.zeros(4, np.float32)).measure()
        large = ActivationProbe(chain(0.1, 100.0), 1e3 * NEGATIVE, np.zeros(4, np.float32)).measure()
    finally:
        keras.config.set_dtype_policy("float32")
    assert table["preact_grad_rms"].tolist() == pytest.approx([1e-6, 1e-5, 1e-3, 1e-1, 1.0], rel=1e-2)
    assert table["predicted"].iloc[:4].tolist() == pytest.approx([0.1, 0.01, 0.01, 0.1], rel=1e-2)
    assert large["preact_grad_rms"].tolist() == pytest.approx([10, 100, 1], rel=1e-2)


def test_what_regularises_is_no_part_of_the_loss_beside_that_of_chance():
    model = keras.Sequential([keras.Input((2,)), layers.Dense(5, kernel_initializer="zeros", kernel_regularizer="l2", activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    (row,) = ActivationProbe(model, X, np.array([1, 4])).measure().to_dict("records")
    assert row["loss"] == pytest.approx(np.log(5))
    assert row["loss_at_chance"] == pytest.approx(np.log(5))
    model.layers[0].set_weights([np.eye(2, 5), np.zeros(5)])
    before = ActivationProbe(model, X, np.array([1, 4])).measure()["loss"].iloc[0]
    assert before == pytest.approx(float(np.mean(-np.log(np.exp(X @ np.eye(2, 5))[[0, 1], [1, 4]] / np.exp(X @ np.eye(2, 5)).sum(axis=1)))))


def test_losses_of_several_outputs_and_losses_that_the_model_adds_are_measured():
    inputs = keras.Input((2,))
    x = layers.Dense(3, activation="tanh", name="t")(inputs)
    two = keras.Model(inputs, [layers.Dense(1)(x), layers.Dense(2)(x)])
    found = actgrad.inspect(two, X, [Y, X], loss=["mse", "mae"])
    assert found.table["layer"].tolist() == ["t", "output_0", "output_1"]

    class Reconstructs(layers.Layer):
        def call(self, first, second):
            self.add_loss(keras.ops.mean(keras.ops.square(first - second)))
            return second

    own = keras.Model(inputs, Reconstructs(name="r")(inputs, layers.Dense(2)(x)))
    own.compile("sgd")
    seen = GradientMonitor(probe=(X, None))
    own.fit(X, batch_size=2, verbose=0, callbacks=[seen])
    assert seen.probes.query("layer == 't'")["preact_grad_rms"].gt(0).all()


def test_a_given_loss_is_applied_as_compile_applies_it():
    """Labels without the last axis, a function of the user's, and half precision."""
    model = keras.Sequential([keras.Input((2,)), layers.Dense(3, activation="tanh"), layers.Dense(1)])
    y = np.array([1.0, -1.0], np.float32)
    given = actgrad.inspect(model, X, y, loss=lambda y, p: keras.ops.square(y - p)).table
    model.compile("sgd", lambda y, p: keras.ops.square(y - p))
    compiled = actgrad.inspect(model, X, y).table
    pd.testing.assert_frame_equal(given, compiled)
    for policy in ("mixed_bfloat16", "float64"):
        keras.config.set_dtype_policy(policy)
        try:
            if policy == "float64" and BACKEND == "jax":
                continue  # it has none unless it is told to
            half = keras.Sequential([keras.Input((2,)), layers.Dense(3, activation="tanh"), layers.Dense(1)])
        finally:
            keras.config.set_dtype_policy("float32")
        half.set_weights(model.get_weights())
        assert actgrad.inspect(half, X, y, loss="mse").table["preact_grad_rms"].tolist() == pytest.approx(given["preact_grad_rms"].tolist(), rel=0.05)


def test_the_loss_of_chance_is_reduced_and_weighted_as_the_loss_is():
    x, y, weights = np.ones((24, 2), np.float32), np.arange(24) % 3, np.full(24, 5.0, np.float32)
    chances = []
    for loss, sample_weight in (("sum", None), ("sum_over_batch_size", weights), ("sum_over_batch_size", None)):
        model = keras.Sequential([keras.Input((2,)), layers.Dense(3, kernel_initializer="zeros", activation="softmax")])
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(reduction=loss))
        seen = ActivationProbe(model, x, y, sample_weight).measure()
        assert seen["loss"].iloc[0] == pytest.approx(seen["loss_at_chance"].iloc[0], rel=1e-5)
        chances.append(seen["loss_at_chance"].iloc[0] / np.log(3))
    assert chances == pytest.approx([24, 5, 1], rel=1e-5)


def test_a_layer_that_is_told_to_normalise_by_its_moving_statistics_does_so_in_both_gradients():
    class FineTuned(keras.Model):
        def __init__(self):
            super().__init__()
            self.base = keras.Sequential([layers.Dense(4), layers.BatchNormalization(), layers.ReLU(name="base")])
            self.head = keras.Sequential([layers.Dense(4), layers.BatchNormalization(), layers.ReLU(name="head"), layers.Dense(1)])

        def call(self, x, training=None):
            return self.head(self.base(x, training=False), training=training)

    x, y = 5 * np.random.default_rng(0).normal(size=(32, 3)).astype("float32"), np.zeros((32, 1), np.float32)
    model = FineTuned()
    model(x)
    model.base(100 * x, training=True)  # so that a batch's statistics are other ones
    as_it_is = actgrad.inspect(model, x, y, loss="mse").table["preact_grad_rms_batch"]
    model.base.trainable = False
    frozen = actgrad.inspect(model, x, y, loss="mse").table["preact_grad_rms_batch"]
    assert as_it_is.tolist() == frozen.tolist()


# --- layers and sites


def sites(*middle: keras.Layer, shape: tuple[int, ...] = (6, 3)) -> list[str]:
    model = keras.Sequential([keras.Input(shape), *middle, layers.Flatten(), layers.Dense(1, name="out")])
    model.compile("sgd", "mse")
    table = ActivationProbe(model, np.random.default_rng(0).normal(size=(4, *shape)).astype("float32"), np.zeros((4, 1), np.float32)).measure()
    return table["layer"].tolist()[:-1]


def test_a_site_acts_on_each_element_by_itself():
    class Normalises(layers.Layer):
        def call(self, x):
            return (x - keras.ops.mean(x, axis=1, keepdims=True)) / (1 + keras.ops.std(x, axis=1, keepdims=True))

    class Squares(layers.Layer):
        def call(self, x):
            return x * x

    assert sites(layers.Dense(3, activation=layers.LeakyReLU(name="leaky"), name="d")) == ["d"]
    assert sites(layers.Softmax(axis=1)) == []
    assert sites(Normalises(name="n")) == []
    assert sites(Squares(name="s")) == ["s"]


def test_a_last_layer_of_ones_own_is_the_output_and_no_activation():
    class Own(layers.Layer):
        def build(self, shape):
            self.kernel = self.add_weight(shape=(shape[-1], 3))

        def call(self, x):
            return x @ self.kernel

    class Distance(layers.Layer):
        def call(self, pair):
            return keras.ops.sum(keras.ops.square(pair[0] - pair[1]), axis=-1, keepdims=True)

    inputs = keras.Input((2,))
    hidden = layers.Dense(4, activation="tanh", name="t")(inputs)
    own, known = keras.Model(inputs, Own()(hidden)), keras.Model(inputs, layers.Dense(3, use_bias=False)(hidden))
    known.layers[-1].set_weights(own.layers[-1].get_weights())
    y = np.zeros((2, 3), np.float32)
    pd.testing.assert_frame_equal(actgrad.inspect(own, X, y, loss="mse").table, actgrad.inspect(known, X, y, loss="mse").table)
    siamese = keras.Model(inputs, Distance()([hidden, layers.Dense(4, activation="tanh", name="u")(inputs)]))
    assert actgrad.inspect(siamese, X, Y, loss="mse").table["layer"].tolist() == ["t", "u", "output"]


def test_a_function_is_measured_as_it_is_now_and_not_as_it_was_found():
    class Scaled(layers.Layer):
        def build(self, _):
            self.factor = self.add_weight(shape=(), initializer="ones")

        def call(self, x):
            return keras.ops.tanh(self.factor * x)

    class Gate(layers.Layer):
        def call(self, x, gate):
            return keras.ops.tanh(x) * gate

    model = keras.Sequential([keras.Input((2,)), layers.Dense(3), Scaled(name="s"), layers.Dense(1)])
    model.compile("sgd", "mse")
    seen = ActivationProbe(model, X, Y)
    seen.measure()
    model.layers[1].factor.assign(0.01)
    assert seen.measure()["slope_ms"].iloc[0] == pytest.approx(1e-4, rel=0.02)
    inputs = keras.Input((2,))
    gated = keras.Model(inputs, layers.Dense(1)(Gate(name="g")(layers.Dense(3)(inputs), gate=layers.Dense(3, activation="tanh", name="t")(inputs))))
    with pytest.warns(UserWarning, match=r"\(tanh in g\) are not measured"):
        assert actgrad.inspect(gated, X, Y, loss="mse").table["layer"].tolist() == ["t", "output"]
    by_name = keras.Model(inputs, layers.Dense(1)(layers.ReLU(name="r")(inputs=layers.Dense(3)(inputs))))
    assert actgrad.inspect(by_name, X, Y, loss="mse").table["layer"].tolist() == ["r", "output"]


def test_a_layer_that_is_called_in_a_loop_is_named_and_the_rest_measured():
    class Repeats(layers.Layer):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(3, activation="tanh", name="again")

        def build(self, shape):
            self.dense.build(shape)

        def call(self, x):
            return keras.ops.fori_loop(0, 3, lambda _, z: self.dense(z), x)

    class Biased(layers.Layer):
        """With a table that is no batch, as for relative positions."""

        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(3, activation="relu", name="table")

        def call(self, x):
            return x + keras.ops.sum(self.dense(keras.ops.ones((7, 2))), axis=0)

    model = keras.Sequential([keras.Input((2,)), layers.Dense(3, activation="relu", name="first"), Repeats(), Biased(), layers.Dense(1)])
    model(X)
    model.compile("sgd", "mse")
    if BACKEND == "torch":  # whose loops are Python's
        return
    with pytest.warns(UserWarning, match="again: called in a loop"):
        assert ActivationProbe(model, X, Y).measure()["layer"].tolist() == ["first", "output"]


def test_functions_that_cannot_be_seen_are_said_wherever_they_are_called():
    class Own(layers.Layer):
        def __init__(self):
            super().__init__(name="own")
            self.function = keras.activations.get("gelu")

        def build(self, shape):
            self.kernel = self.add_weight(shape=(shape[-1], 3))

        def call(self, x):
            return self.function(x @ self.kernel)

    with pytest.warns(UserWarning, match=r"\(gelu in own\) are not measured; use keras.layers.Activation"):
        assert sites(Own()) == []
    inner = keras.Input((6, 3))
    nested = keras.Model(inner, keras.ops.relu(inner) + keras.ops.tanh(inner))
    with pytest.warns(UserWarning, match=r"\(relu, tanh\) are not measured"):
        assert sites(nested) == []
    with pytest.warns(UserWarning, match="what s applies acts on several units together"):
        assert sites(layers.Dense(3, activation="softmax", name="s")) == []
    with pytest.warns(UserWarning, match="what happens inside TimeDistributed is a loop"):
        assert sites(layers.TimeDistributed(layers.Dense(2, activation="relu"))) == []
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="actgrad")
        assert sites(layers.Dense(3, activation="gelu", name="d")) == ["d"]


def test_layers_of_one_name_are_told_apart_by_what_they_lie_in():
    class Tower(layers.Layer):
        def __init__(self, name, **more):
            super().__init__(name=name)
            self.fc, self.act = layers.Dense(3, name="fc", **more), layers.ReLU(name="act")

        def call(self, x):
            return self.act(self.fc(x))

    model = keras.Sequential([Tower("p"), Tower("q"), layers.Dense(1, name="out")])
    model.compile("sgd", "mse")
    seen = GradientMonitor(probe=(X, Y))
    model.fit(X, Y, verbose=0, callbacks=[seen])
    assert seen.layers["layer"].tolist() == ["p/fc", "q/fc", "out"]
    assert seen.probes["layer"].unique().tolist() == ["p/act", "q/act", "output"]

    class Twice(keras.Model):
        def __init__(self):
            super().__init__()
            self.one, self.other = layers.Dense(3, name="same"), layers.Dense(1, name="same")

        def call(self, x):
            return self.other(self.one(x))

    model = Twice()
    model(X)
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="two layers of the model are called 'same'"):
        model.fit(X, Y, verbose=0, callbacks=[GradientMonitor()])


def test_layers_of_a_model_that_is_not_built_stand_in_the_order_of_their_calls():
    class Backwards(keras.Model):
        def __init__(self):
            super().__init__()
            self.last, self.first = layers.Dense(1, name="last"), layers.Dense(3, name="first")

        def call(self, x):
            return self.last(self.first(x))

    model = Backwards()
    model.compile("sgd", "mse")
    seen = GradientMonitor()
    model.fit(X, Y, verbose=0, callbacks=[seen])
    assert seen.layers["layer"].tolist() == ["first", "last"]


def test_a_shared_weight_is_of_the_layer_that_made_it():
    class Tied(layers.Layer):
        def __init__(self):
            super().__init__(name="tied")
            self.down = layers.Dense(2, name="down", use_bias=False)

        def build(self, shape):
            self.down.build(shape)
            self.kernel = self.down.kernel
            self.scale = self.add_weight(shape=(1,), initializer="ones")

        def call(self, x):
            return self.scale * (self.down(x) @ keras.ops.transpose(self.kernel))

    model = keras.Sequential([keras.Input((2,)), Tied()])
    model.compile("sgd", "mse")
    seen = GradientMonitor()
    model.fit(X, X, verbose=0, callbacks=[seen])
    assert seen.layers.sort_values("layer")[["layer", "parameters"]].to_numpy().tolist() == [["down", 4], ["tied", 1]]


def test_a_model_that_is_compiled_anew_is_measured_as_it_is_now():
    model = keras.Sequential([keras.Input((2,)), layers.Dense(3, activation="tanh", name="a"), layers.Dense(1, name="b")])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    seen = GradientMonitor(probe=(X, Y))
    model.fit(X, Y, batch_size=2, verbose=0, callbacks=[seen])
    model.layers[0].trainable = False
    model.compile(keras.optimizers.SGD(0.0), lambda y, p: 10 * keras.ops.square(y - p))
    model.fit(X, Y, batch_size=2, verbose=0, callbacks=[seen])
    assert seen.steps[["step", "layer"]].to_numpy().tolist() == [[1, "a"], [1, "b"], [2, "b"]]
    norms = seen.steps.set_index(["step", "layer"])["grad_norm"]
    assert norms[2, "b"] == pytest.approx(10 * norms[1, "b"], rel=1e-5)
    rms = seen.probes.query("layer == 'a'").set_index("step")["preact_grad_rms"]
    assert rms[2] == pytest.approx(10 * rms[1], rel=1e-5)
    assert seen.layers["layer"].tolist() == ["a", "b"]


def test_what_is_measured_again_at_one_step_replaces_what_was_measured():
    model = chain(0.1, 0.1)
    seen = GradientMonitor(probe=(NEGATIVE, np.zeros(4, np.float32)))
    with seen.watching(model, model.optimizer):
        seen.measure()
        seen.measure()
        with pytest.raises(ValueError, match="used by a fit or loop that still runs"), seen.watching(model, model.optimizer):
            pass
    assert seen.probes["step"].tolist() == [0, 0, 0]
    assert len(seen.attenuation) == 1
    with pytest.raises(ValueError, match="has no probe to measure"):
        GradientMonitor().measure()


# --- findings, page, command


def test_rules_fire_where_their_thresholds_are_passed():
    steps = pd.DataFrame({"step": [1, 2], "layer": "d", "grad_norm": [1.0, np.nan], "update_norm": 1.0, "weight_norm": 1.0})
    steps = steps.assign(grad_rms=[5e-7, np.nan], update_ratio=[5e-3, 0.5])
    found = diagnose(Measurements(steps, pd.DataFrame(), pd.DataFrame({"layer": ["d"], "kind": ["Dense"], "parameters": [1]})))
    assert set(zip(found["rule"], found["source"].str.split(" ").str[0], found["step"], strict=True)) == {
        ("vanishing gradient", "TheDeepChecker", 1),
        ("exploding gradient", "SageMaker", 2),
        ("update ratio", "DeepDiagnosis", 2),
        ("update ratio", "TheDeepChecker", 2),
        ("update ratio", "Karpathy", 2),
    }


def test_a_gradient_that_doubles_at_each_check_is_found_and_one_that_is_not_finite_is_null_in_json(tmp_path):
    steps = pd.DataFrame({"step": range(1, 8), "layer": "d", "grad_norm": [*(2.5 ** np.arange(6)), np.inf], "update_norm": 1.0, "weight_norm": 1.0})
    steps = steps.assign(grad_rms=1e-3, update_ratio=1e-3)
    found = diagnose(Measurements(steps, pd.DataFrame(), pd.DataFrame({"layer": ["d"], "kind": ["Dense"], "parameters": [1]})))
    assert found[["rule", "step"]].to_numpy().tolist() == [["exploding gradient", 7], ["growing gradient", 6]]
    seen = GradientMonitor()
    model = line("sgd")
    model.compile("sgd", lambda _, p: p * float("inf"))
    model.fit(X, Y, verbose=0, callbacks=[seen])
    seen.diagnose(tmp_path / "diagnosis.json")
    written = json.loads((tmp_path / "diagnosis.json").read_text(), parse_constant=pytest.fail)
    assert [row["value"] for row in written["findings"] if row["rule"] == "exploding gradient"] == [None]


def test_rho_of_a_unit_is_its_mean_distance_from_the_middle_of_its_range():
    model = keras.Sequential([keras.Input((1,)), layers.Dense(4, activation="sigmoid", name="s"), layers.Dense(1)])
    model.compile("sgd", "mse")
    model.layers[0].set_weights([np.zeros((1, 4)), np.log([19.0, 1 / 19, 9.0, 1.0])])  # sigmoid: 0.95, 0.05, 0.9, 0.5; rho 0.9, 0.9, 0.8, 0
    row = ActivationProbe(model, np.ones((3, 1), np.float32), np.zeros((3, 1), np.float32)).measure().iloc[0]
    assert row["rho_over_0.85"] == 0.5


def test_the_first_layer_is_compared_with_the_last_though_a_gradient_is_not_a_number():
    layer = ["first", "last"] * 3
    steps = pd.DataFrame({"step": [1, 1, 2, 2, 3, 3], "layer": layer, "grad_norm": [1e-5, 1.0, np.nan, np.nan, 71.0, 1.0], "update_norm": 1.0})
    steps = steps.assign(weight_norm=1.0, grad_rms=1e-3, update_ratio=1e-3)
    found = diagnose(Measurements(steps, pd.DataFrame(), pd.DataFrame({"layer": ["first", "last"], "kind": "Dense", "parameters": 1})))
    ours = found[found["source"].str.startswith("AUTOTRAINER")]
    assert ours[["rule", "layer", "step", "times"]].to_numpy().tolist() == [
        ["vanishing gradient", "first", 1, 1],
        ["exploding gradient", "first", 3, 1],
    ]
    assert ours["value"].tolist() == pytest.approx([1e-5, 71])


def test_dead_units_are_found_and_written_and_shown(tmp_path):
    model = keras.Sequential([keras.Input((3,)), layers.Dense(10, activation="relu", name="d"), layers.Dense(2, activation="softmax", name="out")])
    model.layers[0].set_weights([np.zeros((3, 10)), np.where(np.arange(10) < 8, -1.0, 1.0)])
    model.compile("sgd", "sparse_categorical_crossentropy")
    x, y = np.ones((32, 3), np.float32), np.arange(32) % 2
    seen = GradientMonitor(probe=(x, y), census=np.concatenate([x, np.full((1, 3), 2, np.float32)]))
    model.fit(x, y, verbose=0, callbacks=[seen])
    found = seen.diagnose(tmp_path / "diagnosis.json")
    dead = found[found["rule"] == "dead ReLU"]
    assert set(dead["layer"]) == {"d"}
    assert len(dead) == 4
    assert dead["value"].tolist() == pytest.approx([0.8] * 4)
    written = json.loads((tmp_path / "diagnosis.json").read_text())
    assert (len(written["findings"]), written["rules"]) == (len(found), len(RULES))
    assert seen.units[["layer", "unit", "died"]].to_dict("records") == [{"layer": "d", "unit": unit, "died": 0} for unit in range(8)]
    assert seen.units["dead_in_census"].all()
    page = seen.report(tmp_path / "gradients.html").read_text()
    assert "more than 50 % of units" in page
    assert "http" not in page.partition("<script>")[0]


def test_a_gradient_of_zero_is_drawn_at_the_lower_end_of_the_axis(tmp_path):
    model = keras.Sequential([keras.Input((2,)), layers.Dense(2, activation="relu", name="d"), layers.Dense(1, name="out")])
    model.layers[0].set_weights([np.zeros((2, 2)), np.full(2, -1.0)])
    model.compile("sgd", "mse")
    seen = GradientMonitor()
    model.fit(X, Y, batch_size=2, verbose=0, callbacks=[seen])
    specs = json.loads(re.search("const SPECS = (.*?);\n", seen.report(tmp_path / "page.html").read_text())[1])
    drawn = {row["layer"]: row["grad_norm"] for rows in specs["gradients"]["datasets"].values() for row in rows if "grad_norm" in row}
    assert drawn["out"] > 0
    assert drawn["d"] == pytest.approx(drawn["out"] / 10)


def test_what_cannot_be_seen_is_said_once():
    model = recurrent()
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.warns(UserWarning, match=r"what happens inside GRU is a loop, so only its weights are measured") as said:
        ActivationProbe(model, np.ones((4, 12)), np.zeros(4)).measure()
    assert len([one for one in said if "actgrad" in str(one.message)]) == 1


@pytest.mark.skipif(BACKEND != "tensorflow", reason="a train_step is written for one backend")
def test_more_updates_than_steps_are_said():
    import tensorflow as tf

    class Twice(keras.Model):
        def train_step(self, data):
            x, y = data
            for _ in range(2):
                with tf.GradientTape() as tape:
                    loss = self.compute_loss(x, y, self(x, training=True))
                self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
            return {"loss": loss}

    inputs = keras.Input((2,))
    model = Twice(inputs, layers.Dense(1)(inputs))
    model.compile("sgd", "mse")
    seen = GradientMonitor()
    with pytest.warns(UserWarning, match="optimizer was given 4 updates in 2 steps"):
        model.fit(X, Y, batch_size=1, verbose=0, callbacks=[seen])
    assert seen.steps["step"].max() == 4


@pytest.mark.skipif(BACKEND != "tensorflow", reason="a train_step is written for one backend")
def test_updates_of_some_weights_at_a_time_are_booked_to_these():
    import tensorflow as tf

    class Alternates(keras.Model):
        def train_step(self, data):
            x, y = data
            for layer in reversed(self.layers[1:]):
                with tf.GradientTape() as tape:
                    loss = self.compute_loss(x, y, self(x, training=True))
                self.optimizer.apply(tape.gradient(loss, layer.trainable_variables), layer.trainable_variables)
            return {"loss": loss}

    inputs = keras.Input((2,))
    model = Alternates(inputs, layers.Dense(1, name="b")(layers.Dense(2, name="a")(inputs)))
    model.compile("sgd", "mse")
    model.optimizer.build(model.trainable_variables)
    seen = GradientMonitor()
    with pytest.warns(UserWarning, match="optimizer was given 600 updates in 300 steps"):
        model.fit(np.tile(X, (300, 1)), np.tile(Y, (300, 1)), batch_size=2, verbose=0, callbacks=[seen])
    assert not seen.diagnose()["rule"].eq("exploding gradient").any()
    assert np.isfinite(list(seen.model.history.history.values())).all()
    norms = seen.steps.pivot_table(index="step", columns="layer", values="grad_norm")
    assert len(norms) == 600
    assert norms.loc[1::2, "b"].notna().all()
    assert norms.loc[1::2, "a"].isna().all()
    assert norms.loc[2::2, "a"].notna().all()
    assert norms.loc[2::2, "b"].isna().all()


@pytest.mark.skipif(BACKEND != "tensorflow", reason="a train_step is written for one backend")
def test_updates_that_do_not_fit_into_the_record_are_said_and_have_no_row():
    import tensorflow as tf

    class Often(keras.Model):
        def train_step(self, data):
            x, y = data
            for _ in tf.range(CAPACITY + 10):
                with tf.GradientTape() as tape:
                    loss = self.compute_loss(x, y, self(x, training=True))
                self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
            return {"loss": loss}

    inputs = keras.Input((2,))
    model = Often(inputs, layers.Dense(1)(inputs))
    model.compile("sgd", "mse", run_eagerly=True)
    seen = GradientMonitor()
    with pytest.warns(UserWarning, match="actgrad") as said:
        history = model.fit(X, Y, batch_size=2, verbose=0, callbacks=[seen]).history
    assert any("10 updates of one step did not fit into the record" in str(one.message) for one in said)
    assert seen.steps["step"].tolist() == list(range(11, CAPACITY + 11))
    assert np.isfinite(history["grad_norm/dense"]).all()
    assert not seen.diagnose()["rule"].eq("exploding gradient").any()


@pytest.mark.skipif(BACKEND == "torch", reason="PyTorch has one step an execution")
def test_the_last_execution_of_an_epoch_may_have_fewer_steps():
    def batches():
        yield from [(X, Y)] * 5

    model = line("sgd")
    model.compile("sgd", "mse", steps_per_execution=2)
    seen = GradientMonitor(probe=(X, Y))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*ran out of data.*")
        model.fit(batches(), shuffle=False, verbose=0, callbacks=[seen])
    assert seen.steps["step"].max() == seen.probes["step"].max() == 5


def test_a_loop_with_callbacks_of_its_own_ends_with_its_list():
    model, seen = line("sgd"), GradientMonitor()

    def loop():
        callbacks = keras.callbacks.CallbackList([seen], model=model)
        callbacks.on_train_begin()
        model.train_on_batch(X, Y)
        callbacks.on_train_batch_end(0)
        raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        loop()
    assert len(seen.steps) == 1
    model.fit(X, Y, verbose=0)
    assert len(seen.steps) == 1
    seen.set_model(model)
    seen.on_train_begin()
    model.train_on_batch(X, Y)
    seen.stop()
    model.train_on_batch(X, Y)
    assert len(seen.steps) == 2


DISTRIBUTED = """
import tensorflow as tf
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
import keras, numpy as np
from actgrad import GradientMonitor
x, y = np.ones((8, 3), "float32"), np.zeros((8, 1), "float32")
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, activation="relu"), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
monitor = GradientMonitor(probe=(x, y))
model.fit(x, y, batch_size=4, verbose=0, callbacks=[monitor])
monitor.report("page.html")
print(len(monitor.steps), len(monitor.layers), sorted(set(monitor.probes["step"])))
"""


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "tensorflow", reason="tf.distribute is of TensorFlow")
def test_under_tf_distribute_the_probe_alone_is_measured_and_this_is_said_once(tmp_path):
    done = at_a_shell("-c", DISTRIBUTED, cwd=tmp_path)
    assert done.stdout == "0 2 [0, 1, 2]\n", done.stderr
    assert done.stderr.count("trained by tf.distribute on 2 replicas, whose steps cannot be recorded; only the probe is measured") == 1


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda: keras.Sequential([keras.Input((2,)), layers.Dense(1)]).fit(X, Y, callbacks=[GradientMonitor()]), "compile"),
        (lambda: line("sgd").fit(X, Y, verbose=0, callbacks=[GradientMonitor(probe=(X[:, :1], Y))]), "the model cannot be called on the probe's x: "),
        (lambda: line("sgd").fit(X, Y, verbose=0, callbacks=[GradientMonitor(probe=(X, Y[:1]))]), "the parts of the probe have [1, 2] examples"),
        (lambda: GradientMonitor(probe=X), "probe must be (x, y)"),
        (lambda: GradientMonitor(at="middle"), "choose 'gradient' or 'update'"),
        (lambda: GradientMonitor(census=X), "give probe=(x, y) too"),
        (
            lambda: line("sgd").fit(X, Y, verbose=0, callbacks=[GradientMonitor(probe=(X, Y), census=X[:, :1])]),
            "the census does not fit the model: ",
        ),
        (
            lambda: classifier().fit(X, np.eye(2, 3), verbose=0, callbacks=[GradientMonitor(probe=(X, np.eye(2, 7)))]),
            "the model's loss cannot be computed on the probe: ",
        ),
        (
            lambda: ActivationProbe(sparse(), X, np.array([5, 7])),
            "the labels of the probe go from 5 to 7, but the model has 3 classes; they must be 0 to 2",
        ),
        (lambda: ActivationProbe(sparse(), X[:, :1], np.array([0, 1])), "expected axis -1 of input shape to have value 2"),
        (lambda: actgrad.inspect(keras.Sequential([keras.Input((2,)), layers.Dense(1)]), X, Y), "the model has no loss"),
        (lambda: actgrad.inspect("model.keras", X, Y), "the model is a str; give a keras.Model"),
        (lambda: actgrad.inspect(line("sgd"), X[:0], Y[:0]), "the probe has no example"),
        (lambda: actgrad.inspect(line("sgd"), X.tolist(), Y), "x of the probe is a list of "),
        (lambda: actgrad.inspect(line("sgd"), zip(X, Y, strict=True), Y), "x of the probe is a zip; give an array of some hundred examples"),
        (lambda: actgrad.inspect(line("sgd"), X, 1.0), "y of the probe is a "),
    ],
)
def test_a_mistake_gets_one_sentence(use, message):
    with pytest.raises(ValueError) as raised:
        use()
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_model_without_a_weight_to_train_is_refused():
    model = line("sgd")
    model.trainable = False
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="no trainable weight"):
        model.fit(X, Y, verbose=0, callbacks=[GradientMonitor()])


def at_a_shell(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "KERAS_BACKEND": BACKEND}
    return subprocess.run([sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True)


def test_a_saved_model_is_inspected_at_a_shell(tmp_path):
    model = convolutional()
    model.compile("adam", "sparse_categorical_crossentropy")
    model.save(tmp_path / "model.keras")
    np.savez(tmp_path / "data.npz", x_val=IMAGES, y_val=LABELS)
    done = at_a_shell("-m", "actgrad", "inspect", "model.keras", "data.npz", "--csv", "table.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("Fewer than two layers")
    assert "optimizer" not in done.stderr
    assert pd.read_csv(tmp_path / "table.csv")["layer"].tolist() == ["conv2d", "dense"]


@pytest.mark.parametrize(
    "arguments",
    [("none.keras", "data.npz"), ("model.keras", "none.npz"), ("data.npz", "data.npz"), ("model.keras", "model.keras"), ("model.keras", "text.npz")],
)
def test_files_that_cannot_be_inspected_are_refused_in_one_line(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    convolutional().save("model.keras")
    np.savez("data.npz", x=IMAGES)
    Path("text.npz").write_text("not numbers")
    assert main(["inspect", *arguments]) == 1
    said = capsys.readouterr()
    assert "pickle" not in said.err
    assert (said.out, said.err.count("\n"), said.err[:7]) == ("", 1, "error: ")


def test_the_package_imports_neither_keras_nor_a_backend(tmp_path):
    program = "import sys, actgrad; print([name for name in ('keras', 'tensorflow', 'jax', 'torch', 'mlflow', 'hydra') if name in sys.modules])"
    assert at_a_shell("-c", program, cwd=tmp_path).stdout == "[]\n"
