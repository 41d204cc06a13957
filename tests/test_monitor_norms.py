"""Norms and ratios of each step, compared with values computed by hand, and the step and layer of each update."""

import contextlib
import warnings

import keras
import numpy as np
import pytest
from keras import layers

from actgrad import GradientMonitor
from actgrad.monitor.gradient_monitor import CAPACITY
from monitor_models import BACKEND, X, Y, line

pytestmark = pytest.mark.usefixtures("names_from_the_start")


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
    # each variable is clipped separately: the kernel to norm 1, but not the bias, whose 0.5 is below that
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
        with warnings.catch_warnings(action="ignore"):  # Keras warns too
            model.fit(X, Y, batch_size=2, verbose=0, callbacks=[seen])
        assert (seen.steps.set_index("layer")["grad_norm"] > 0).to_dict() == {"used": True, "unused": False}


@pytest.mark.parametrize("size", [1e-25, 1e25])
@pytest.mark.slow
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


# --- custom training steps and loops


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
@pytest.mark.slow
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


@pytest.mark.slow
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
