"""One run, trained on real digits."""

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import yaml

from actgrad.config.schema import Config
from actgrad.data.dataset import Dataset
from actgrad.errors import UserError
from actgrad.networks.names import LAYERS
from actgrad.pipeline import progress
from actgrad.results import run as results
from actgrad.results.run import RunResult
from actgrad.training import batches, determinism
from actgrad.training.epochs import Epoch
from actgrad.training.names import HISTORY
from conftest import ROOT, train


def test_order_is_a_permutation_and_a_function_of_seed_and_epoch():
    assert sorted(batches.order(3, 5, 100)) == list(range(100))
    assert np.array_equal(batches.order(3, 5, 100), batches.order(3, 5, 100))
    assert not np.array_equal(batches.order(3, 5, 100), batches.order(3, 6, 100))
    assert not np.array_equal(batches.order(3, 5, 100), batches.order(4, 5, 100))


def test_a_run_trained_twice_is_the_same_to_the_bit(run_config, few_digits, trained, tmp_path):
    _, first, _ = trained
    second, _ = train(run_config("activation=tanh"), few_digits)
    first.write(tmp_path / "first")
    second.write(tmp_path / "second")
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes(), path.name


def test_another_seed_gives_other_weights(run_config, few_digits, trained):
    other, _ = train(run_config("activation=tanh", "seed=1"), few_digits)
    assert other.metrics["weights_sha256"] != trained[1].metrics["weights_sha256"]


def test_what_a_run_measures(trained, few_digits):
    config, result, network = trained
    assert yaml.safe_load(result.config) == config.deciding()
    assert set(Config.model_fields) - set(config.deciding()) == {"run", "run_dir", "condition", "data", "tracking"}
    assert result.history["epoch"].tolist() == [1, 2]
    assert result.history["step"].tolist() == [10, 20]
    assert result.gradients.columns.tolist() == ["step", *LAYERS]
    assert (result.gradients[list(LAYERS)] > 0).all(axis=None)
    assert result.gradients["conv1"].dtype == np.float32
    last, best = result.metrics["last"], result.metrics["best"]
    for part, prefix in (("val", "val"), ("test", "test")):
        probabilities = network.predict(few_digits.images[part].astype(np.float32), verbose=0)
        labels = few_digits.labels[part]
        assert last[f"{prefix}/accuracy"] == pytest.approx(np.mean(probabilities.argmax(axis=1) == labels), abs=1e-6)
        assert last[f"{prefix}/loss"] == pytest.approx(-np.log(probabilities[np.arange(len(labels)), labels]).mean(), rel=1e-4)
    assert best["val/accuracy"] == result.history["val/accuracy"].max()
    assert best["epoch"] == result.history.loc[result.history["val/accuracy"].idxmax(), "epoch"]
    assert result.metrics["status"] == "finished"
    assert result.metrics["validation_split"] == "val"


def test_without_a_validation_split_the_test_split_validates_and_says_so(run_config, few_digits):
    empty = {name: part[:0] if name == "val" else part for name, part in few_digits.images.items()}
    no_val = Dataset(empty, few_digits.labels | {"val": few_digits.labels["val"][:0]}, few_digits.class_names)
    result, _ = train(run_config("recipe.epochs=1"), no_val)
    assert result.metrics["validation_split"] == "test"
    assert result.metrics["last"]["val/accuracy"] == result.metrics["last"]["test/accuracy"]
    assert results.validation_label(result.metrics) == "test as validation"


def test_a_probe_batch_takes_every_class_of_a_sorted_split(few_digits):
    order = np.argsort(few_digits.labels["test"], kind="stable")
    _, labels = batches.probe_batch(few_digits.images["test"][order], few_digits.labels["test"][order], 30)
    assert len(labels) == 30
    assert set(labels) == set(range(10))
    assert len(batches.probe_batch(few_digits.images["test"], few_digits.labels["test"], 10**6)[1]) == len(few_digits.labels["test"])


def test_a_loss_that_is_not_finite_ends_the_run_as_diverged(run_config, few_digits, tmp_path):
    seen = []

    class Observer:
        def epoch_finished(self, epoch):
            seen.append(epoch)

    result, _ = train(run_config("activation=linear", "recipe.optimizer=SGD", "recipe.learning_rate=1e30"), few_digits, [Observer()])
    assert result.metrics["status"] == "diverged"
    assert result.metrics["last"] == result.metrics["best"] == {}
    assert len(result.history) == 0
    assert 1 <= len(result.gradients) < 10
    assert np.isfinite(result.gradients[list(LAYERS)]).all(axis=None)
    assert result.probe["epoch"].unique().tolist() == [0]
    assert [epoch.number for epoch in seen] == [0, 1]
    assert result.write(tmp_path / "run") == RunResult.read(tmp_path / "run").metrics


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_last_step_that_blows_up_is_seen_by_the_validation_loss(run_config, few_digits, tmp_path, epochs):
    """The gradient of the only step of an epoch is finite, the weights after it are not."""
    overrides = ["recipe.optimizer=SGD", "recipe.learning_rate=1e30", "recipe.batch_size=300", f"recipe.epochs={epochs}"]
    result, _ = train(run_config("activation=relu", *overrides), few_digits)
    assert result.metrics["status"] == "diverged"
    assert len(result.history) == 0
    assert result.write(tmp_path) == RunResult.read(tmp_path).metrics


@pytest.fixture
def in_bfloat16(run_config, few_digits):
    """A run that was trained so; afterwards, Keras as a run finds it."""
    result, _ = train(run_config("activation=maxout", "condition=standardized", "recipe.batch_size=8", "recipe.precision=mixed_bfloat16"), few_digits)
    yield result
    determinism.start(0, 2)


def test_bfloat16_and_standardized_inputs_train(in_bfloat16):
    assert in_bfloat16.metrics["status"] == "finished"
    assert in_bfloat16.metrics["last"]["train/accuracy"] > 0.3


@pytest.mark.usefixtures("in_bfloat16")
def test_a_run_is_the_same_after_one_in_bfloat16_in_the_same_process(trained, few_digits):
    config, alone, _ = trained
    result, _ = train(config, few_digits)
    assert result.metrics == alone.metrics
    pd.testing.assert_frame_equal(result.activation, alone.activation)


@pytest.mark.slow
def test_keras_is_loaded_without_scikit_learn_which_can_be_imported_afterwards():
    code = """
import gc, sys
from actgrad.pipeline.keras_process import load_keras
load_keras()
load_keras()
from actgrad.training import loop
from actgrad.tracking import live
print("sklearn" in sys.modules, gc.isenabled())
import sklearn
sklearn.__version__
"""
    found = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], env=found, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_a_batch_larger_than_the_training_split_is_refused(run_config, few_digits):
    with pytest.raises(UserError, match=r"recipe.batch_size=301 is more than the 300 training images of digits; choose fewer"):
        train(run_config("recipe.batch_size=301"), few_digits)


def test_another_thread_count_in_one_process_is_refused(run_config, few_digits):
    with pytest.raises(UserError, match=r"recipe.threads=3 cannot be set in a process that already uses another number"):
        train(run_config("recipe.threads=3"), few_digits)


def test_a_terminal_shows_a_bar_and_a_log_a_line_an_epoch(run_config, capsys, monkeypatch):
    epoch = Epoch(1, 10, dict.fromkeys(HISTORY, 0.5), pd.DataFrame(), pd.DataFrame())
    log = progress.Progress(run_config(), 20)
    assert log.callbacks == []
    log.epoch_finished(epoch)
    out, err = capsys.readouterr()
    assert out == "digits/relu/baseline-0  epoch 1/2  train/loss 0.5000, train/accuracy 0.5000, val/loss 0.5000, val/accuracy 0.5000\n"
    assert err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    bar = progress.Progress(run_config(), 20)
    assert bar.callbacks == [bar]
    bar.on_train_batch_end(9, {"loss": 0.25, "accuracy": 0.75})
    bar.epoch_finished(epoch)
    bar.on_train_batch_end(9, {"loss": 0.25, "accuracy": 0.75})
    bar.epoch_finished(Epoch(2, 20, epoch.history, epoch.gradients, epoch.probe))
    out, err = capsys.readouterr()
    assert "digits/relu/baseline-0  epoch 2/2" in out
    assert "digits/relu/baseline-0: 100%" in err
    assert "20/20" in err
    assert "loss=0.2500, accuracy=0.7500" in err or "accuracy=0.7500, loss=0.2500" in err
