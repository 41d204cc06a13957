"""GradientMonitor never changes weights, optimizer, random streams, losses or the saved file."""

import gc
import importlib
import re
import warnings
import zipfile

import keras
import numpy as np
import pytest

from actgrad import GradientMonitor
from monitor_models import BACKEND, CASES, LABELS, TOKENS, compiled, fit, state

PARAMETERS = [pytest.param(name, marks=pytest.mark.slow if case.slow else ()) for name, case in CASES.items()]
FIRST = CASES["sequential"]


@pytest.fixture(autouse=True)
def float32_again():
    yield
    keras.config.set_dtype_policy("float32")


def monitor(name: str, **more) -> GradientMonitor:
    return GradientMonitor(probe=CASES[name].probe, **more)


def equal(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("name", PARAMETERS)
@pytest.mark.parametrize("at", ["gradient", pytest.param("update", marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore:actgrad")
@pytest.mark.slow
def test_a_fit_with_the_monitor_is_the_same_to_the_bit(name, at, monkeypatch):
    if name == "jit_compile" and BACKEND == "tensorflow":  # Keras would not compile, because the tests' results are deterministic
        monkeypatch.setattr(importlib.import_module("tensorflow.python.framework.config"), "is_op_determinism_enabled", lambda: False)
    plain, watched = compiled(CASES[name]), None
    history = fit(plain, CASES[name])
    after, following = state(plain), np.random.random()  # noqa: NPY002
    watched, seen = compiled(CASES[name]), monitor(name, at=at)
    logs = fit(watched, CASES[name], seen)
    assert equal(after, state(watched))
    assert {key: logs[key] for key in history} == history
    assert np.random.random() == following  # noqa: NPY002  # the stream that fit shuffles by
    assert len(seen.steps) == len(seen.layers) * seen.steps["step"].max() > 0
    assert seen.steps["weight_norm"].gt(0).any()
    assert set(seen.layers["layer"]) == {key.partition("/")[2] for key in logs if key.startswith("grad_norm/")}


def test_a_model_is_fitted_with_it_without_it_and_with_it_again():
    plain = compiled(FIRST)
    for _ in range(3):
        fit(plain, FIRST, epochs=1)
    watched, seen = compiled(FIRST), monitor("sequential")
    fit(watched, FIRST, seen, epochs=1)
    once = len(seen.steps)
    fit(watched, FIRST, epochs=1)
    assert len(seen.steps) == once
    fit(watched, FIRST, seen, epochs=1)
    assert len(seen.steps) == 2 * once
    assert equal(state(plain), state(watched))


class Stops(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):  # noqa: ARG002
        if batch == 1:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_an_interrupted_fit_leaves_a_model_that_goes_on_as_it_would_have():
    plain, watched, seen = compiled(FIRST), None, monitor("sequential")
    with pytest.raises(KeyboardInterrupt):
        fit(plain, FIRST, Stops())
    fit(plain, FIRST)
    after = state(plain)
    watched = compiled(FIRST)
    with pytest.raises(KeyboardInterrupt):
        fit(watched, FIRST, seen, Stops())
    assert seen.steps["step"].max() == 2
    fit(watched, FIRST, seen)
    assert equal(after, state(watched))
    assert seen.steps["step"].max() == 2 + 2 * 3
    assert clean(watched)


def clean(model: keras.Model) -> bool:
    """Whether a model and its parts contain no trace of a monitor."""
    owners = [model, model.optimizer, *model._flatten_layers(include_self=False)]
    return not any(
        {"apply", "stateless_apply", "make_train_function", "call", "activation"} & {n for n, v in vars(o).items() if hasattr(v, "wrappers")}
        for o in owners
    )


@pytest.mark.parametrize("kept", [False, True], ids=["exception dropped", "exception kept"])
@pytest.mark.slow
def test_a_plain_fit_after_an_interrupted_one_is_not_recorded(kept):
    model, seen = compiled(FIRST), monitor("sequential")
    try:
        fit(model, FIRST, seen, Stops())
    except KeyboardInterrupt as error:
        interrupted = error if kept else None  # its traceback keeps the frames of fit alive, as in a notebook
    gc.collect()
    assert clean(model) != kept
    fit(model, FIRST)
    assert clean(model)
    assert seen.steps["step"].max() == 2
    fit(model, FIRST, seen, epochs=1)
    assert seen.steps["step"].max() == 2 + 3
    assert (interrupted is not None) == kept


def test_a_monitor_that_refuses_leaves_the_model_as_it_was():
    model = compiled(FIRST)
    with pytest.raises(ValueError, match="the model cannot be called on the probe's x"):
        fit(model, FIRST, GradientMonitor(probe=(TOKENS[:16], LABELS[:16])))
    assert clean(model)


@pytest.mark.slow
def test_two_monitors_in_one_fit_do_not_disturb_each_other():
    plain = compiled(FIRST)
    fit(plain, FIRST)
    after = state(plain)
    watched, seen = compiled(FIRST), [monitor("sequential"), monitor("sequential", at="update")]
    fit(watched, FIRST, *seen)
    assert equal(after, state(watched))
    assert clean(watched)
    first, second = (one.steps for one in seen)
    assert first[["step", "layer", "update_norm"]].equals(second[["step", "layer", "update_norm"]])
    assert np.allclose(first["grad_norm"], second["grad_norm"])  # nothing is clipped
    fit(watched, FIRST)
    assert len(seen[0].steps) == len(first)


@pytest.mark.slow
def test_a_model_that_is_saved_meanwhile_or_afterwards_is_the_same_file(tmp_path):
    def saved(name: str, *callbacks: keras.callbacks.Callback) -> list[bytes]:
        model = compiled(FIRST)
        fit(model, FIRST, *callbacks, keras.callbacks.ModelCheckpoint(tmp_path / f"{name}-{{epoch}}.keras"))
        model.save(tmp_path / f"{name}-3.keras")
        files = [zipfile.ZipFile(tmp_path / f"{name}-{epoch}.keras") for epoch in (1, 2, 3)]
        parts = [file.read(part) for file in files for part in sorted(file.namelist()) if part != "metadata.json"]  # it contains the time
        return [re.sub(rb'"shared_object_id": \d+', b"", part) for part in parts]  # an address in memory

    assert saved("plain") == saved("watched", monitor("sequential"))


@pytest.mark.slow
def test_the_progress_bar_stays_short_and_the_history_has_every_layer(capsys):
    model = compiled(FIRST)
    with warnings.catch_warnings(action="ignore"):
        history = model.fit(*FIRST.probe, epochs=1, verbose=2, callbacks=[monitor("sequential")]).history
    assert "grad_norm" not in capsys.readouterr().out
    assert {"grad_norm/conv2d", "update_ratio/dense", "dead/conv2d"} <= set(history)


@pytest.mark.slow
def test_a_monitor_is_of_one_model_and_of_one_fit_at_a_time():
    seen = monitor("sequential")

    class Again(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):  # noqa: ARG002
            with pytest.raises(ValueError, match="used by a fit or loop that still runs"):
                fit(self.model, FIRST, seen)

    fit(compiled(FIRST), FIRST, seen, Again(), epochs=1)
    with pytest.raises(ValueError, match="has measured another model"):
        fit(compiled(FIRST), FIRST, seen)
