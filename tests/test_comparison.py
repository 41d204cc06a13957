"""`compare` on a user's own network and data."""

import subprocess
import sys
from typing import get_args

import keras
import numpy as np
import pandas as pd
import pytest
import yaml
from keras import layers
from sklearn.datasets import load_digits

import actgrad
import actgrad.comparison
from actgrad.analysis import statistics
from actgrad.analysis.runs import learned
from actgrad.analysis.runs import test_accuracy as accuracy_of
from actgrad.config.schema import Activation, Recipe, parse
from actgrad.networks.activations import curve
from conftest import NAMES, ROOT

DIGITS = load_digits()
X, Y = DIGITS.images[:400, ..., None] / 16, DIGITS.target[:400]


def build(activation) -> keras.Model:
    inputs = keras.Input((8, 8, 1))
    x = layers.Dense(24, activation=activation(), name="first")(layers.Flatten()(inputs))
    x = layers.Dense(24, activation=activation(), name="second")(x)
    return keras.Model(inputs, layers.Dense(10, activation="softmax", name="output")(x))


@pytest.mark.parametrize("name", [name for name in NAMES["activation"] if name != "rrelu"])  # which Keras lacks, and `compare` too
def test_an_activation_is_that_of_the_study(name):
    _, activation = actgrad.comparison._activation(name)
    of_study = parse(Activation, yaml.safe_load((ROOT / "conf" / "activation" / f"{name}.yaml").read_text()))
    pd.testing.assert_frame_equal(curve(activation), curve(of_study))


@pytest.fixture(scope="module")
def found() -> actgrad.comparison.Comparison:
    return actgrad.compare(build, ["sigmoid", "relu", "prelu"], (X, Y), seeds=2, epochs=2)


@pytest.mark.slow
def test_each_activation_is_trained_with_each_seed(found):
    assert {name: [run.seed for run in runs] for name, runs in found.runs.items()} == {name: [0, 1] for name in ("sigmoid", "relu", "prelu")}
    run = found.runs["relu"][1]
    assert run.layers == ["first", "second", "output"]
    assert run.activated == ["first", "second"]
    assert run.history["epoch"].tolist() == [1, 2]
    assert len(run.steps) == 2 * 9 * 3  # epochs, steps of 32 of 280 examples, layers
    assert run.metrics["status"] == "finished"


@pytest.mark.slow
def test_its_tables_are_those_of_a_study(found):
    accuracy = {name: {run.seed: run.metrics["last"]["test/accuracy"] for run in runs} for name, runs in found.runs.items()}
    pd.testing.assert_frame_equal(found.pairs, statistics.paired(accuracy))
    assert found.overview["test_accuracy"].to_dict() == pytest.approx(
        {name: np.mean([accuracy_of(run) for run in learned(runs)] or np.nan) for name, runs in found.runs.items()}, nan_ok=True
    )
    assert found.overview.loc["sigmoid", "attenuation"] > found.overview.loc["relu", "attenuation"]
    assert "sigmoid" in str(found)
    assert "<table" in found._repr_html_()


def test_the_same_call_gives_the_same_numbers(found):
    again = actgrad.compare(build, ["relu"], (X, Y), seeds=[1], epochs=2).runs["relu"][0]
    assert again.metrics["weights_sha256"] == found.runs["relu"][1].metrics["weights_sha256"]
    pd.testing.assert_frame_equal(again.steps, found.runs["relu"][1].steps)


def test_a_run_is_that_of_plain_keras(found):
    """With the same seed, and the same examples in the same order."""
    from actgrad.comparison import _dataset
    from actgrad.training.batches import order

    _, dataset = _dataset((X, Y), None)
    keras.utils.set_random_seed(0)
    model = build(lambda: layers.Activation("relu"))
    model.compile("adam", "sparse_categorical_crossentropy")
    for epoch in (1, 2):
        visited = order(0, epoch, len(dataset.labels["train"]))
        model.fit(dataset.images["train"][visited], dataset.labels["train"][visited], batch_size=32, shuffle=False, verbose=0)
    probabilities = model.predict(dataset.images["test"], verbose=0)
    accuracy = np.mean(probabilities.argmax(axis=1) == dataset.labels["test"])
    assert found.runs["relu"][0].metrics["last"]["test/accuracy"] == pytest.approx(accuracy, abs=1e-6)
    loss = -np.log(probabilities[np.arange(len(probabilities)), dataset.labels["test"]]).mean()
    assert found.runs["relu"][0].metrics["last"]["test/loss"] == pytest.approx(loss, rel=1e-4)


def test_the_page_of_a_study_is_written_and_nothing_else_is_touched(found, tmp_path):
    (tmp_path / "mine.txt").write_text("kept")
    path = found.report(tmp_path)
    assert path == tmp_path / "index.html"
    page = path.read_text()
    assert "What the activation function changes" in page
    assert "dying-relu" in (tmp_path / "claims.json").read_text()
    assert (tmp_path / "figures" / "preact_grads.svg").is_file()
    assert (tmp_path / "mine.txt").read_text() == "kept"


def test_the_help_names_the_optimizers():
    names = get_args(Recipe.model_fields["optimizer"].annotation)
    assert [name for name in names if f'"{name}"' not in actgrad.compare.__doc__] == []


def test_few_examples_are_enough():
    """Of each class, one example to train, one to validate and one to test."""
    _, dataset = actgrad.comparison._dataset((X[:30], np.arange(30) % 10), None)
    assert [np.bincount(labels).tolist() for labels in dataset.labels.values()] == [[1] * 10] * 3


def test_the_test_split_may_be_given():
    own = actgrad.compare(build, ["relu"], (X[:300], Y[:300]), test=(X[300:], Y[300:]), seeds=1, epochs=1, optimizer="AdamW")
    assert own.runs["relu"][0].steps["step"].max() == 9  # 270 of 300 examples are trained on


@pytest.mark.slow
def test_it_needs_no_pipeline(tmp_path):
    code = f"""
import sys
for name in ("dvc", "hydra", "mlflow"):
    sys.modules[name] = None
sys.path[:0] = [{str(ROOT / "src")!r}, {str(ROOT / "tests")!r}]
import keras
import actgrad
import actgrad.comparison
from keras import layers
def build(activation):
    inputs = keras.Input((8,))
    return keras.Model(inputs, layers.Dense(2)(layers.Dense(4, activation=activation())(layers.Dense(4, activation=activation())(inputs))))
import numpy as np
x = np.random.default_rng(0).normal(size=(100, 8))
print(actgrad.compare(build, ["tanh"], (x, (x[:, 0] > 0).astype(int)), seeds=1, epochs=1))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "tanh" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"activations": ["relu", "relu"]}, r"activations=\['relu', 'relu'\] must be one or more, each once"),
        ({"activations": []}, "must be one or more"),
        ({"activations": ["rellu"]}, "activation 'rellu' is not known; give a name of keras.activations, leaky_relu, prelu, maxout"),
        ({"activations": [keras.layers.ReLU]}, "must be names or dotted paths"),
        ({"activations": ["relu", "no_pkg.Snake"], "build": None}, "^activation=no_pkg.Snake is not a Keras layer"),
        ({"activations": "relu"}, r"activations='relu' is one name; write activations=\['relu'\]"),
        ({"seeds": 0}, "seeds must be 1 or more"),
        ({"epochs": 0}, "epochs=0 cannot be used"),
        ({"optimizer": "Lion"}, "optimizer='Lion' cannot be used"),
        ({"batch_size": 1000}, "^batch_size=1000 is more than the 280 training images; choose fewer$"),
        ({"seeds": [1, 1]}, r"a list of different whole numbers from 0 on; they are \[1, 1\]"),
        ({"seeds": "ab"}, "they are 'ab'"),
        ({"data": X}, r"data must be \(x, y\)"),
        ({"data": (X, Y[:10])}, r"data=\(x, y\) must be numbers \(n, …\) and labels \(n,\)"),
        ({"data": (X, Y + 0.5)}, "whole numbers from 0 on"),
        ({"data": (X, Y - 1)}, "data has negative labels, 41 of 400, such as -1; remove the examples that have no label, and number"),
        ({"data": (X, Y + 1)}, r"labels of data run from 1 to 10, and classes are numbered from 0; subtract 1, as in \(x, y - 1\)"),
        ({"data": (X, 2 * Y + 2)}, "labels of data run from 2 to 20, and classes are numbered from 0; number the classes from 0"),
        ({"data": (X[:5], Y[:5])}, "data has 5 examples, 1 of them of the class 0; each class needs 3, to train, validate, test: add some"),
        (
            {"data": (X[:9], Y[:9]), "test": (X[9:18], Y[:9])},
            "data has 9 examples, 1 of them of the class 0; each class needs 2, to train, validate: add",
        ),
        ({"data": (X, 0 * Y)}, "data has examples of one class"),
        ({"test": (X, Y + 1)}, "test has the label 10, and data has no example of it"),
        ({"test": (X[:, 1:], Y)}, r"an example of test has the shape \(7, 8, 1\), and one of data \(8, 8, 1\)"),
        ({"data": (X * np.nan, Y)}, "x of data has NaN or infinity"),
        ({"build": lambda _: 1 / 0}, "^build=test_comparison.<lambda> fails: division by zero; mend it$"),
        ({"build": lambda _: layers.Dense(10)}, "^build=test_comparison.<lambda> returns Dense, not a keras.Model"),
        ({"build": lambda _: build(lambda: "relu")}, "makes no layer of its activation"),
        ({"build": lambda activation: build(lambda: activation)}, r"write Dense\(64, activation=activation\(\)\)"),
        ({"build": lambda activation: activation(keras.Input((8,)))}, r"activation is no layer but makes one: write activation\(\)\(x\)"),
        ({"build": "relu"}, "build='relu' is not a function"),
        ({"build": keras.Sequential()}, "is not a function; give one that takes an activation and returns a network"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_sentence(arguments, said):
    given = {"build": build, "activations": ["relu"], "data": (X, Y), "epochs": 1} | arguments
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        with pytest.raises(ValueError, match=said):
            actgrad.compare(**given)
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    finally:
        keras.config.set_dtype_policy("float32")
