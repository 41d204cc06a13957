"""Users' own layers and networks in training: what they may do, and error sentences for the rest."""

import importlib
import sys
from functools import partial

import keras
import numpy as np
import pytest

from actgrad.config.schema import Activation, Model
from actgrad.networks.own_code import guarded
from actgrad.results.run import FILES
from actgrad.training.own_state import unknown_state
from conftest import LAYERS, SITES, refuses, sentence, train
from test_resume import Killed, Memory

OWN = """
import keras, numpy as np, tensorflow as tf
from keras import ops

class Layer(keras.layers.Layer):
    pass

class Step(Layer):
    def call(self, z): return ops.cast(z > 0, z.dtype)
class Round(Layer):
    def call(self, z): return ops.round(z)
class Stopped(Layer):
    def call(self, z): return ops.stop_gradient(ops.tanh(z))

class InNumpy(Layer):
    def call(self, z): return np.tanh(z)
class ToNumpy(Layer):
    def call(self, z): return ops.convert_to_tensor(np.tanh(ops.convert_to_numpy(z)))
class WholeNumbers(Layer):
    def call(self, z): return ops.cast(z, "int32")
class If(Layer):
    def call(self, z): return z if ops.max(z) > 0 else 0 * z
class InTraining(Layer):
    def call(self, z, training=False):
        if training:
            raise KeyError("scale")
        return ops.tanh(z)
class Unpacks(Layer):
    def call(self, z):
        examples, units = z.shape
        return ops.tanh(z)
class BadGradient(Layer):
    def call(self, z):
        if isinstance(z, keras.KerasTensor):
            return ops.tanh(z)
        def backward(upstream):
            raise IndexError("no such piece")
        return tf.custom_gradient(lambda z: (tf.tanh(z), backward))(z)
class NoLayer(Layer):
    def __init__(self, **kwargs):
        raise KeyError("slope")

class Leaky(Layer):
    def call(self, z, training=False):
        return ops.where(z > 0, z, (self.slope(z) if training and not isinstance(z, keras.KerasTensor) else 0.2) * z)
class ByKeras(Leaky):
    def slope(self, z): return keras.random.uniform(ops.shape(z), 0.1, 0.3)
class ByGenerator(Leaky):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.generator = tf.random.Generator.from_seed(3)
    def slope(self, z): return self.generator.uniform(tf.shape(z), 0.1, 0.3)
class ByTensorFlow(Leaky):
    def slope(self, z): return tf.random.uniform(tf.shape(z), 0.1, 0.3)
class ByPython(Leaky):
    steps = 0
    def next(self):
        ByPython.steps += 1
        return np.float32(0.1 + 0.001 * ByPython.steps)
    def slope(self, z): return tf.ensure_shape(tf.numpy_function(self.next, [], tf.float32), [])
class CountsInEvaluation(Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.calls = tf.Variable(0.0, trainable=False)
    def call(self, z, training=False):
        if not training:
            self.calls.assign_add(1.0)
        return ops.tanh(z)
class DrawsInEvaluation(Layer):
    def call(self, z, training=False):
        if not training:
            tf.random.uniform(())
        return ops.tanh(z)
class Counting(Leaky):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.steps = tf.Variable(0.0, trainable=False)
    def slope(self, z): return 0.01 * self.steps.assign_add(1.0)

def network(input_shape, classes, activation, initializer):
    inputs = x = keras.Input(input_shape)
    x = keras.layers.Flatten()(x)
    x = activation()(keras.layers.Dense(8)(x))
    return keras.Model(inputs, keras.layers.Dense(classes)(Fails()(x)))

class Fails(Layer):
    def call(self, x, training=False):
        if training and not isinstance(x, keras.KerasTensor):
            raise TypeError("no step")
        return x
"""


@pytest.fixture
def own(tmp_path, monkeypatch, run_config):
    """The configuration of a run with a layer of own_acts, a user's module."""
    (tmp_path / "own_acts.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_acts", raising=False)
    return lambda name, *overrides: run_config(*overrides).model_copy(update={"activation": Activation(name="x", layer=f"own_acts.{name}")})


@pytest.mark.parametrize("name", ["Step", "Round", "Stopped"])
@pytest.mark.slow
def test_below_a_step_function_gradients_are_zero_and_units_dead(own, few_digits, name):
    result, _ = train(own(name, "recipe.epochs=1"), few_digits)
    norms = result.steps.pivot(index="step", columns="layer", values="grad_norm")
    assert (norms[list(LAYERS[:-1])] == 0).all().all()
    assert (norms["output"] > 0).all()
    assert {layer: census["dead"] for layer, census in result.metrics["census"].items()} == dict(zip(SITES, (6, 16, 120, 84), strict=True))


@pytest.mark.parametrize(
    ("name", "code", "expected"),
    [
        ("InNumpy", "own-code-failed", ["(241, 2)", "numpy array"]),
        ("ToNumpy", "own-code-failed", ["(241, 2)", "numpy array"]),
        ("WholeNumbers", "no-gradient", ["int32"]),
        ("If", "own-code-failed", ["Using a symbolic `tf.Tensor` as a Python `bool` is not allowed"]),
        ("InTraining", "own-code-failed", ["(241, 2): scale"]),
        ("Unpacks", "own-code-failed", ["model.build=actgrad.networks.lenet5.build", "too many values to unpack (expected 2)"]),
        ("BadGradient", "own-code-failed", ["(own_acts.py, line ", "no such piece"]),
        ("NoLayer", "wrong-arguments", ["activation.config={}", "which takes no arguments: slope"]),
    ],
)
@pytest.mark.slow
def test_a_layer_that_cannot_be_trained_is_refused_with_its_name_and_the_reason(own, few_digits, name, code, expected):
    with refuses(code, f"own_acts.{name}", *expected):
        train(own(name), few_digits)


def test_a_network_whose_first_step_fails_is_refused_with_its_name_and_the_place(own, few_digits):
    config = own("Step").model_copy(update={"activation": Activation(name="x", layer="ReLU"), "model": Model(build="own_acts.network")})
    with refuses("own-code-failed", "model.build=own_acts.network", "(own_acts.py, line ", "no step"):
        train(config, few_digits)


@pytest.mark.parametrize(
    "name", ["ByGenerator", "ByTensorFlow", *(pytest.param(name, marks=pytest.mark.slow) for name in ("ByKeras", "Counting", "ByPython"))]
)
@pytest.mark.slow
def test_a_layer_with_state_of_its_own_ends_in_the_same_bytes_after_an_interruption(own, few_digits, tmp_path, capsys, name):
    config, start = own(name, "recipe.epochs=3"), partial(sys.modules.pop, "own_acts", None)  # as a new process would
    whole, _ = train(config, few_digits)
    start()
    interrupted = Memory(tmp_path / "c.npz", killed_after=2)
    kept = name not in ("ByTensorFlow", "ByPython")
    if kept:
        with pytest.raises(Killed):
            train(config, few_digits, checkpoint=interrupted)
    else:
        train(config, few_digits, checkpoint=interrupted)
    assert (tmp_path / "c.npz").exists() == kept
    assert ("checkpoint: none is kept, because" in capsys.readouterr().err) == (not kept)
    start()
    resumed, _ = train(config, few_digits, checkpoint=Memory(tmp_path / "c.npz"))
    for result, folder in ((whole, "whole"), (resumed, "resumed")):
        result.write(tmp_path / folder)
    for file in FILES:
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "resumed" / file).read_bytes(), file


@pytest.mark.parametrize(("name", "expected"), [("CountsInEvaluation", 1), ("DrawsInEvaluation", None), ("ByKeras", 1), ("Counting", 1), ("Step", 0)])
def test_state_that_keras_does_not_know_is_found_in_training_and_in_evaluation(own, name, expected):
    own(name)
    own_acts = importlib.import_module("own_acts")
    inputs = keras.Input((3,))
    x = keras.layers.Dense(4)(inputs)
    model = keras.Model(inputs, getattr(own_acts, name)()(x))
    found = unknown_state(model, (3,))
    assert (found if found is None else len(found)) == expected


OWN_LAYER = {"activation.layer": "own_acts.Layer", "model.build": "actgrad.networks.lenet5.build"}


def test_a_fault_that_is_not_of_the_users_code_is_not_put_on_it():
    with pytest.raises(RuntimeError, match=r"^of this project$"), guarded(OWN_LAYER):
        raise RuntimeError("of this project")


def test_what_keras_makes_of_the_users_code_is_his_to_mend():
    with refuses("own-code-failed", "activation.layer=own_acts.Layer"), guarded(OWN_LAYER):
        keras.ops.matmul(np.ones((2, 3), np.float32), np.ones((2, 3), np.float32))


def test_a_file_that_the_users_code_cannot_use_is_named(own, tmp_path):
    own("Layer")
    (tmp_path / "own_acts.py").write_text("def opens(): open('/nowhere/slopes.txt')\ndef asks(): raise TimeoutError('no answer')\n")
    own_acts = importlib.import_module("own_acts")
    with pytest.raises(FileNotFoundError, match=r"/nowhere/slopes\.txt"), guarded(OWN_LAYER):
        own_acts.opens()
    with refuses("own-code-failed", "(own_acts.py, line 2)", "no answer"), guarded(OWN_LAYER):
        own_acts.asks()


@pytest.mark.slow
def test_steps_are_counted(run_config, few_digits, monkeypatch):
    from actgrad.training.batches import Batches

    of = Batches.of
    monkeypatch.setattr(Batches, "of", lambda self, order: of(self, order).take(1))
    with pytest.raises(RuntimeError, match="the optimizer took 3 steps, and 4 were planned"):
        train(run_config("activation=relu", "recipe.epochs=1"), few_digits)


def test_keras_limit_of_steps_does_not_count(run_config, few_digits):
    keras.config.set_max_steps_per_epoch(1)
    result, _ = train(run_config("activation=relu", "recipe.epochs=1"), few_digits)
    assert result.metrics["steps"] == -(-len(few_digits.images["train"]) // 32) == result.steps["step"].max()
    assert np.isfinite(result.steps["grad_norm"]).all()


@pytest.mark.slow
def test_a_layer_that_ends_the_process_ends_in_a_sentence(script, tmp_path):
    (tmp_path / "exits.py").write_text("import keras\nclass Exits(keras.layers.Layer):\n    def call(self, z): raise SystemExit(0)\n")
    assert script("download.py", "data=digits").returncode == 0
    layer = ("activation.name=x", "activation.layer=exits.Exits", "activation.config={}")
    done = script("train.py", "data=digits", *layer, "tracking.enabled=false", PYTHONPATH=str(tmp_path))
    said = sentence(done, "own-code-failed")
    assert "digits/x/baseline-0" in said
    assert "SystemExit(0)" in said
