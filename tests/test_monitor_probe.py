"""Measurements of the probe, compared with values computed by hand or by plain automatic differentiation."""

import logging

import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers

import actgrad
from actgrad import ActivationProbe, GradientMonitor
from actgrad.diagnosis.signal import sentence
from actgrad.monitor import probe
from actgrad.monitor.names import COUNTS
from monitor_models import BACKEND, IMAGES, LABELS, X, Y, convolutional

pytestmark = pytest.mark.usefixtures("names_from_the_start")


def chain(*slopes: float) -> keras.Model:
    """Layers of 3 units with identity weights, each with a leaky ReLU of one of these slopes; then the sum of the units."""
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
    """Below 0 the derivative is the slope, so each layer passes on that share of the gradient."""
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


def test_what_is_lost_between_two_layers_is_said_in_plain_words():
    table = pd.DataFrame({"layer": ["a", "b"], "hidden": True, "preact_grad_rms": [1e-3, 1.0], "slope_ms": 1.0, "gain": 1e-6})
    assert sentence(table).endswith("The largest part, 1,000-fold, is lost at a, by the weights and layers that follow it.")


def test_a_small_gradient_on_a_side_branch_is_not_where_the_gradient_is_lost():
    """As in squeeze and excitation: site 1 is on a side branch, and behind it the gradient is as large as before."""
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
@pytest.mark.slow
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
    """A strided convolution, average pooling and a residual path, compared with a Jacobian from finite differences, column by column."""
    keras.utils.set_random_seed(2)
    inputs = keras.Input((6, 6, 2))
    first = layers.Activation("tanh", name="first")(layers.Conv2D(2, 3, padding="same")(inputs))
    x = layers.AveragePooling2D(2)(first)
    summed = layers.Add()([layers.Conv2D(2, 2, padding="same", name="inside")(x), x])
    second = layers.Activation("tanh", name="second")(summed)
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(second)))
    out = model.layers[-1]
    out.kernel.assign(np.sign(keras.ops.convert_to_numpy(out.kernel)))  # so that the gradient has the same size everywhere
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
    assert ratio.iloc[0] < 0.9  # the gradient is divided by the batch's deviation, which is above the moving one of 1
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


def test_the_gradient_through_residual_paths_is_predicted():
    """Most of it comes back along the shortcuts; little is left in the branches."""
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


@pytest.mark.slow
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
                continue  # JAX has no float64 by default
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


@pytest.mark.slow
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
    model.base(100 * x, training=True)  # so that the statistics of a batch differ
    as_it_is = actgrad.inspect(model, x, y, loss="mse").table["preact_grad_rms_batch"]
    model.base.trainable = False
    frozen = actgrad.inspect(model, x, y, loss="mse").table["preact_grad_rms_batch"]
    assert as_it_is.tolist() == frozen.tolist()
