"""A layer without any gradient in a whole training is named once, at the end."""

import numpy as np
import pandas as pd
import pytest

from actgrad.pipeline.run import without_gradient

OWN = """
import keras
from keras import ops

class Stopped(keras.layers.Layer):
    def call(self, z): return ops.stop_gradient(ops.tanh(z))

class Step(keras.layers.Layer):
    def call(self, z): return ops.cast(z > 0, z.dtype)
"""
TINY = ["data=digits", "recipe.epochs=1", "recipe.steps_per_execution=1", "recipe.probe_size=16", "tracking.enabled=false"]
SAID = (
    "no gradient reaches conv1, conv2, conv3, dense1: what comes after them lets none pass, as a step function or stop_gradient; "
    "mend the activation or the network, unless you mean it"
)


@pytest.mark.parametrize("layer", ["Stopped", "Step"])
@pytest.mark.slow
def test_layers_that_no_gradient_reaches_are_named_once(script, tmp_path, layer):
    (tmp_path / "own_layers.py").write_text(OWN)
    assert script("download.py", "data=digits").returncode == 0
    of_layer = [f"activation.name={layer.lower()}", f"activation.layer=own_layers.{layer}", "activation.config={}"]
    done = script("train.py", *TINY, *of_layer, PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, f"digits/{layer.lower()}/baseline-0: {SAID}\n")


@pytest.mark.slow
def test_a_training_that_reaches_every_layer_says_nothing(script):
    assert script("download.py", "data=digits").returncode == 0
    assert script("train.py", *TINY).stderr == ""


def table(**norms: list[float]) -> pd.DataFrame:
    return pd.DataFrame([{"step": i + 1, "layer": layer, "grad_norm": norm} for layer, of in norms.items() for i, norm in enumerate(of)])


@pytest.mark.parametrize(
    ("norms", "expected"),
    [
        ({"conv2": [0, 0], "conv1": [0, 0], "output": [1, 2]}, ["conv2", "conv1"]),
        ({"conv1": [1, 0], "output": [1, 2]}, []),  # as if all units have died
        ({"conv1": [0, 1e-30], "output": [1, 2]}, []),
        ({"conv1": [0, np.nan], "output": [1, np.nan]}, ["conv1"]),
    ],
)
def test_a_layer_without_gradient_has_none_at_any_step(norms, expected):
    assert without_gradient(table(**norms)) == expected


def test_a_run_that_diverged_at_once_has_no_such_layer():
    assert without_gradient(pd.DataFrame({"step": [], "layer": [], "grad_norm": []})) == []
