"""Mistakes that GradientMonitor, ActivationProbe and inspect refuse with one sentence."""

import keras
import numpy as np
import pytest
from keras import layers

import actgrad
from actgrad import ActivationProbe, GradientMonitor
from monitor_models import X, Y, line

pytestmark = pytest.mark.usefixtures("names_from_the_start")


def classifier() -> keras.Model:
    model = keras.Sequential([keras.Input((2,)), layers.Dense(3, activation="softmax")])
    model.compile("sgd", "categorical_crossentropy")
    return model


def sparse() -> keras.Model:
    model = classifier()
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


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
