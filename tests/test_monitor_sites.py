"""Which layers and activation functions of a model are measured, their names, and the warning about those that cannot be seen."""

import warnings

import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers

import actgrad
from actgrad import ActivationProbe, GradientMonitor
from monitor_models import BACKEND, X, Y, recurrent

pytestmark = pytest.mark.usefixtures("names_from_the_start")


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
        """A layer with a table that is no batch, as for relative positions."""

        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(3, activation="relu", name="table")

        def call(self, x):
            return x + keras.ops.sum(self.dense(keras.ops.ones((7, 2))), axis=0)

    model = keras.Sequential([keras.Input((2,)), layers.Dense(3, activation="relu", name="first"), Repeats(), Biased(), layers.Dense(1)])
    model(X)
    model.compile("sgd", "mse")
    if BACKEND == "torch":  # its loops run in Python
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


def test_what_cannot_be_seen_is_said_once():
    model = recurrent()
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.warns(UserWarning, match=r"what happens inside GRU is a loop, so only its weights are measured") as said:
        ActivationProbe(model, np.ones((4, 12)), np.zeros(4)).measure()
    assert len([one for one in said if "actgrad" in str(one.message)]) == 1


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


@pytest.mark.slow
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
