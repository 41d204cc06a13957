"""The instrument in a separate process: the `inspect` command, a training under tf.distribute, and the imports of the package."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from actgrad.__main__ import main
from conftest import ROOT
from monitor_models import BACKEND, IMAGES, LABELS, convolutional

pytestmark = pytest.mark.usefixtures("names_from_the_start")


def at_a_shell(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "KERAS_BACKEND": BACKEND}
    return subprocess.run([sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_a_saved_model_is_inspected_at_a_shell(tmp_path):
    model = convolutional()
    model.compile("adam", "sparse_categorical_crossentropy")
    model.save(tmp_path / "model.keras")
    np.savez(tmp_path / "data.npz", x_val=IMAGES, y_val=LABELS)
    done = at_a_shell("-m", "actgrad", "inspect", "model.keras", "data.npz", "--csv", "table.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("Fewer than two layers")
    assert "optimizer" not in done.stderr
    assert pd.read_csv(tmp_path / "table.csv")["layer"].tolist() == ["conv2d", "dense"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["none.keras", "data.npz"], "missing-file"),
        (["model.keras", "none.npz"], "missing-file"),
        (["model.keras", "model.keras"], "missing-part"),
        (["model.keras", "data.npz"], "missing-part"),
        (["model.keras", "text.npz"], "damaged-file"),
        (["model.keras", "unequal.npz"], "wrong-arrays"),
        (["model.keras", "nan.npz"], "wrong-arrays"),
        (["data.npz", "whole.npz"], "model-not-loaded"),
        (["model.keras", "whole.npz"], "unmeasurable-model"),
        (["model.keras", "narrow.npz", "--loss", "mse"], "unmeasurable-model"),
        (["model.keras", "whole.npz", "--examples", "1"], "wrong-value"),
        (["model.keras"], "usage"),
    ],
)
@pytest.mark.slow
def test_files_that_cannot_be_inspected_are_refused_in_one_line(arguments, code, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    convolutional().save("model.keras")
    np.savez("data.npz", x=IMAGES)
    np.savez("whole.npz", x=IMAGES, y=LABELS)
    np.savez("narrow.npz", x=IMAGES[:, :1], y=LABELS)
    np.savez("unequal.npz", x=IMAGES, y=LABELS[1:])
    np.savez("nan.npz", x=np.full_like(IMAGES, np.nan, dtype="float32"), y=LABELS)
    Path("text.npz").write_text("not numbers")
    assert main(["inspect", *arguments]) == 1
    said = capsys.readouterr()
    assert "pickle" not in said.err
    assert "probe" not in said.err
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert said.err.startswith(f"error[{code}]: ")


def test_without_a_backend_one_line_says_what_to_install(monkeypatch, capsys):
    """It was Keras' traceback."""
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert main(["inspect", "a.keras", "b.npz"]) == 1
    assert capsys.readouterr().err.startswith("error[missing-packages]: Keras needs TensorFlow, JAX or PyTorch, and none is installed; ")


def test_the_package_imports_neither_keras_nor_a_backend(tmp_path):
    program = "import sys, actgrad; print([name for name in ('keras', 'tensorflow', 'jax', 'torch', 'mlflow', 'hydra') if name in sys.modules])"
    assert at_a_shell("-c", program, cwd=tmp_path).stdout == "[]\n"


DISTRIBUTED = """
import tensorflow as tf
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
import keras, numpy as np
from actgrad import GradientMonitor
x, y = np.ones((8, 3), "float32"), np.zeros((8, 1), "float32")
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, activation="relu"), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
monitor = GradientMonitor(probe=(x, y))
model.fit(x, y, batch_size=4, verbose=0, callbacks=[monitor])
monitor.report("page.html")
print(len(monitor.steps), len(monitor.layers), sorted(set(monitor.probes["step"])))
"""


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "tensorflow", reason="tf.distribute is of TensorFlow")
def test_under_tf_distribute_the_probe_alone_is_measured_and_this_is_said_once(tmp_path):
    done = at_a_shell("-c", DISTRIBUTED, cwd=tmp_path)
    assert done.stdout == "0 2 [0, 1, 2]\n", done.stderr
    assert done.stderr.count("trained by tf.distribute on 2 replicas, whose steps cannot be recorded; only the probe is measured") == 1
