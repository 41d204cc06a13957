"""One run, trained on real digits."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from actgrad.config import loading
from actgrad.config.schema import Config
from actgrad.data import storage
from actgrad.data.dataset import Dataset
from actgrad.pipeline import progress
from actgrad.results import run as results
from actgrad.results.run import RunResult
from actgrad.training import batches, determinism, prepared
from actgrad.training.epochs import Epoch
from actgrad.training.loop import weights_sha256
from actgrad.training.names import HISTORY
from conftest import LAYERS, ROOT, SITES, refuses, train


def test_order_is_a_permutation_and_a_function_of_seed_and_epoch():
    assert sorted(batches.order(3, 5, 100)) == list(range(100))
    assert np.array_equal(batches.order(3, 5, 100), batches.order(3, 5, 100))
    assert not np.array_equal(batches.order(3, 5, 100), batches.order(3, 6, 100))
    assert not np.array_equal(batches.order(3, 5, 100), batches.order(4, 5, 100))


def test_batches_follow_the_order_that_is_asked_for():
    images, labels = np.arange(7, dtype=np.uint8).reshape(7, 1, 1, 1), np.arange(7) * 10
    made = batches.Batches(images, labels, 3)

    def seen(order: list[int]) -> list[tuple[list[float], list[int]]]:
        return [(x.numpy().ravel().tolist(), y.numpy().tolist()) for x, y in made.of(np.array(order))]

    assert seen([6, 0, 3, 1, 2, 5, 4]) == [([6, 0, 3], [60, 0, 30]), ([1, 2, 5], [10, 20, 50]), ([4], [40])]
    assert seen([2, 4]) == [([2, 4], [20, 40])]
    assert seen([1, 0, 2, 3, 4, 5]) == [([1, 0, 2], [10, 0, 20]), ([3, 4, 5], [30, 40, 50])]
    assert {x.dtype.name for x, _ in made.of(np.arange(7))} == {"float32"}


def test_a_run_trained_twice_is_the_same_to_the_bit(run_config, few_digits, trained, tmp_path):
    _, first, _ = trained
    second, _ = train(run_config("activation=tanh"), few_digits)
    first.write(tmp_path / "first")
    second.write(tmp_path / "second")
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes(), path.name


def same_files(first: Path, second: Path) -> bool:
    names = {path.name for path in first.iterdir()}
    assert names == {path.name for path in second.iterdir()} == set(results.FILES)
    return all((first / name).read_bytes() == (second / name).read_bytes() for name in names)


OTHERS = (["seed=1"], ["recipe.learning_rate=0.01", "recipe.epochs=1"], ["recipe.kernel_initializer=he_normal", "seed=3"])
"""Runs that are trained one after the other with the same network."""


@pytest.mark.parametrize(
    "overrides",
    [
        ["activation=prelu"],
        pytest.param(["activation=relu", "condition=batch_norm", "recipe.steps_per_execution=4"], marks=pytest.mark.slow),
        pytest.param(["activation=maxout", "condition=standardized", "recipe.optimizer=RMSprop"], marks=pytest.mark.slow),
        pytest.param(["activation=sigmoid", "model=mlp", "model.config.residual=true", "recipe.precision=mixed_bfloat16"], marks=pytest.mark.slow),
    ],
    ids=["prelu", "batch_norm", "maxout", "bfloat16"],
)
@pytest.mark.slow
def test_a_run_after_others_of_its_network_has_the_bytes_of_the_first(run_config, few_digits, tmp_path, overrides):
    """Their shared network is traced once. It must keep nothing from earlier runs."""
    prepared._kept.clear()
    alone, trained = train(run_config(*overrides), few_digits)
    alone.write(tmp_path / "alone")
    (network,) = (network for network, _ in prepared._kept.values())
    for others in OTHERS:
        other, _ = train(run_config(*overrides, *others), few_digits)
        assert other.metrics["weights_sha256"] != alone.metrics["weights_sha256"]
    other.write(tmp_path / "after another")
    again, trained_again = train(run_config(*overrides), few_digits)
    again.write(tmp_path / "again")
    assert [one for one, _ in prepared._kept.values()] == [network]
    assert same_files(tmp_path / "alone", tmp_path / "again")
    assert all(np.array_equal(one, two) for one, two in zip(trained.get_weights(), trained_again.get_weights(), strict=True))
    prepared._kept.clear()
    train(run_config(*overrides, *OTHERS[-1]), few_digits)[0].write(tmp_path / "first")
    assert same_files(tmp_path / "after another", tmp_path / "first")
    determinism.start(0, 2)


@pytest.mark.slow
def test_the_network_of_an_earlier_run_keeps_its_weights(run_config, few_digits):
    """The next run of the process reuses the variables, but not those of the returned network."""
    result, network = train(run_config("activation=elu"), few_digits)
    train(run_config("activation=elu", "seed=1"), few_digits)
    assert weights_sha256(network) == result.metrics["weights_sha256"]


def test_runs_that_differ_in_more_than_their_first_values_share_no_network(run_config, few_digits):
    found = []
    for overrides in ([], ["activation=tanh"], ["recipe.batch_size=30"], ["recipe.optimizer=SGD"], ["model.config.pooling=average"]):
        prepared.prepare(run_config("activation=relu", *overrides), few_digits)
        found += [network for network, _ in prepared._kept.values()]
    assert len({*map(id, found)}) == 5


@pytest.mark.slow
def test_a_run_after_others_has_the_bytes_of_one_in_a_process_of_its_own(run_config, few_digits, tmp_path):
    code = """
import sys
from pathlib import Path
from conftest import Dataset, compose, initialize_config_dir, loading, storage, train, ROOT, SHRUNK
from actgrad.training import determinism
with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
    config = loading.run_config(compose("config", [*SHRUNK, *sys.argv[1:]]))
digits = storage.load(config.data)
few = Dataset(*({name: part[::4] for name, part in parts.items()} for parts in (digits.images, digits.labels)), digits.class_names, digits.sha256)
train(config, few)[0].write(Path("alone"))
"""
    overrides = ["activation=maxout", "seed=2"]
    storage.prepare(loading.data_config("digits", []), tmp_path / storage.path("digits"))
    env = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT / 'tests'}"}
    subprocess.run([sys.executable, "-c", code, *overrides], cwd=tmp_path, env=env, check=True, capture_output=True)
    train(run_config("activation=maxout", "seed=1"), few_digits)
    train(run_config("activation=maxout", "recipe.learning_rate=0.01", "recipe.kernel_initializer=he_uniform"), few_digits)
    train(run_config(*overrides), few_digits)[0].write(tmp_path / "after")
    assert same_files(tmp_path / "alone", tmp_path / "after")


def test_another_seed_gives_other_weights(run_config, few_digits, trained):
    other, _ = train(run_config("activation=tanh", "seed=1"), few_digits)
    assert other.metrics["weights_sha256"] != trained[1].metrics["weights_sha256"]


def test_what_a_run_measures(trained, few_digits):
    config, result, network = trained
    assert yaml.safe_load(result.config) == config.deciding()
    assert set(Config.model_fields) - set(config.deciding()) == {"run", "run_dir", "condition", "data", "tracking"}
    assert result.history["epoch"].tolist() == [1, 2]
    assert result.history["step"].tolist() == [10, 20]
    assert result.steps.columns.tolist() == ["step", "layer", "grad_norm", "update_norm", "weight_norm"]
    assert result.steps["step"].tolist() == [step for step in range(1, 21) for _ in LAYERS]
    assert result.steps["layer"].tolist() == list(LAYERS) * 20
    norms = result.steps[["grad_norm", "update_norm", "weight_norm"]]
    assert (norms > 0).all(axis=None)
    assert set(norms.dtypes) == {np.dtype(np.float32)}
    assert result.gradients.columns.tolist() == ["step", *LAYERS]
    assert result.layers == list(LAYERS)
    assert result.activated == list(SITES)
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


@pytest.mark.slow
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
    assert result.metrics["steps"] == len(result.gradients) == result.steps["step"].max()
    assert result.probes["step"].unique().tolist() == [0, *(step for step in (1, 2, 4, 8) if step <= len(result.gradients))]
    assert result.metrics["census"] == {}
    assert [epoch.number for epoch in seen] == [0, 1]
    assert result.write(tmp_path / "run") == RunResult.read(tmp_path / "run").metrics


@pytest.mark.parametrize("epochs", [1, 2])
@pytest.mark.slow
def test_a_last_step_that_blows_up_is_seen_by_the_validation_loss(run_config, few_digits, tmp_path, epochs):
    """The gradient of an epoch's only step is finite, but the weights after it are not."""
    overrides = ["recipe.optimizer=SGD", "recipe.learning_rate=1e30", "recipe.batch_size=300", f"recipe.epochs={epochs}"]
    result, _ = train(run_config("activation=relu", *overrides), few_digits)
    assert result.metrics["status"] == "diverged"
    assert len(result.history) == 0
    assert result.write(tmp_path) == RunResult.read(tmp_path).metrics


@pytest.fixture
def in_bfloat16(run_config, few_digits):
    """A run that was trained in bfloat16. Afterwards, Keras is reset as at the start of a run."""
    result, _ = train(run_config("activation=maxout", "condition=standardized", "recipe.batch_size=8", "recipe.precision=mixed_bfloat16"), few_digits)
    yield result
    determinism.start(0, 2)


@pytest.mark.slow
def test_bfloat16_and_standardized_inputs_train(in_bfloat16):
    assert in_bfloat16.metrics["status"] == "finished"
    assert in_bfloat16.metrics["last"]["train/accuracy"] > 0.3


@pytest.mark.usefixtures("in_bfloat16")
@pytest.mark.slow
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
    with refuses("batch-too-large", "recipe.batch_size=301", "300 training images of digits"):
        train(run_config("recipe.batch_size=301"), few_digits)


def test_another_thread_count_in_one_process_is_refused(run_config, few_digits):
    with refuses("threads-fixed", "recipe.threads=3"):
        train(run_config("recipe.threads=3"), few_digits)


def probe_of(*rms: float) -> pd.DataFrame:
    """The end of an epoch with these root mean squares of dL/dz; the last one is of the output."""
    return pd.DataFrame({"epoch": 1, "step": 10, "hidden": [*[True] * (len(rms) - 1), False], "preact_grad_rms": rms})


def test_a_log_has_a_line_an_epoch(run_config, capsys):
    epoch = Epoch(1, 10, dict.fromkeys(HISTORY, 0.5), pd.DataFrame(), probe_of(0.00712, 0.03, 1.52, 7.0))
    log = progress.Progress(run_config(), 20)
    assert log.callbacks == []
    log.epoch_finished(epoch)
    log.epoch_finished(Epoch(2, 20, epoch.history, epoch.steps, probe_of(0.2, 7.0)))  # one activated layer
    log.epoch_finished(Epoch(3, 24, {}, epoch.steps, epoch.probes[:0]))
    out, err = capsys.readouterr()
    values = "train/loss 0.5000, train/accuracy 0.5000, val/loss 0.5000, val/accuracy 0.5000"
    assert out.splitlines() == [
        f"digits/relu/baseline-0  epoch 1/2  {values}, grad first 0.0071, last 1.5",
        f"digits/relu/baseline-0  epoch 2/2  {values}",
        "digits/relu/baseline-0  epoch 3/2  diverged: loss or gradient is not finite after step 24",
    ]
    assert err == ""


@pytest.mark.parametrize("steps_per_execution", [1, 4])
@pytest.mark.slow
def test_a_terminal_shows_a_bar_that_counts_every_step(run_config, few_digits, capsys, monkeypatch, steps_per_execution):
    """Although the first epoch is trained in parts, and an execution may have fewer steps than Keras reports."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    config = run_config("activation=tanh", f"recipe.steps_per_execution={steps_per_execution}")
    bar = progress.Progress(config, 20)
    assert bar.callbacks == [bar]
    counts = []

    class Counting:
        def epoch_finished(self, epoch):
            counts.append((epoch.number, bar._bar.n))

    result, _ = train(config, few_digits, [Counting(), bar], bar.callbacks)
    assert counts == [(0, 0), (1, 10), (2, 20)]
    out, err = capsys.readouterr()
    signal = result.probe[(result.probe["epoch"] == 2) & result.probe["hidden"]]["preact_grad_rms"]
    assert out.splitlines()[-1].startswith("digits/tanh/baseline-0  epoch 2/2  train/loss ")
    assert out.splitlines()[-1].endswith(f", grad first {signal.iloc[0]:.2g}, last {signal.iloc[-1]:.2g}")
    assert "digits/tanh/baseline-0: 100%" in err
    assert "20/20" in err
    assert f"loss={result.history['train/loss'].iloc[-1]:.4f}" in err
    assert f"accuracy={result.history['train/accuracy'].iloc[-1]:.4f}" in err


def test_the_bar_of_a_training_that_goes_on_starts_where_it_was(run_config, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    bar = progress.Progress(run_config(), 20)
    bar.resumed([Epoch(number, 10 * number, {}, pd.DataFrame(), pd.DataFrame()) for number in (0, 1)])
    bar.set_params({"steps": 10})
    bar.on_train_begin()
    assert bar._bar.n == 10
    bar.on_train_batch_end(2, {"loss": 0.25, "accuracy": 0.75})
    assert bar._bar.n == 13
    bar.on_train_batch_end(11, {"loss": 0.25, "accuracy": 0.75})  # from an execution of four steps, of which only two exist
    assert bar._bar.n == 20
    bar._bar.close()
    assert capsys.readouterr().out == "digits/relu/baseline-0  goes on after epoch 1/2\n"
