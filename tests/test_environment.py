"""The environment as a part of the fingerprint, and user settings that change no number."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from actgrad.config import loading
from actgrad.data import storage
from actgrad.pipeline import environment as surroundings
from actgrad.pipeline.environment import environment
from actgrad.results import fingerprint as fingerprints
from actgrad.results.run import FILES
from conftest import as_project


@pytest.fixture(scope="module")
def deciding(run_config) -> dict[str, Any]:
    return run_config().deciding()


def fingerprint(deciding: dict[str, Any], environment: dict[str, str]) -> str:
    return fingerprints.fingerprint(deciding, "d", "c", environment)


def test_what_the_environment_holds():
    found = environment()
    assert list(found)[:8] == ["python", "tensorflow", "keras", "numpy", "pandas", "pyarrow", "cpu", "gpu"]
    assert found["python"] == platform.python_version()
    assert (found["tensorflow"], found["numpy"]) == (tf.__version__, np.__version__)
    assert all(isinstance(value, str) and value for value in found.values())
    assert environment() == found


@pytest.mark.parametrize("name", ["python", "tensorflow", "keras", "numpy", "pandas", "pyarrow", "cpu", "gpu"])
def test_another_version_or_processor_is_another_fingerprint(deciding, monkeypatch, name):
    before = environment()
    install(monkeypatch, name)
    monkeypatch.setattr(surroundings, "_versions", surroundings._versions.__wrapped__)  # as in a new process
    after = environment()
    assert after == before | {name: "9.9"}
    assert fingerprint(deciding, after) != fingerprint(deciding, before)


def install(monkeypatch, name: str) -> None:
    """Pretend that this machine has another package version or processor."""
    installed = surroundings.version
    if name == "python":
        monkeypatch.setattr(platform, "python_version", lambda: "9.9")
    elif name in ("cpu", "gpu"):
        monkeypatch.setattr(surroundings, {"cpu": "_cpu", "gpu": "gpu"}[name], lambda: "9.9")
    else:
        monkeypatch.setattr(surroundings, "version", lambda package: "9.9" if package == name else installed(package))


def test_the_versions_are_those_that_the_process_has_imported(monkeypatch):
    before = environment()
    install(monkeypatch, "keras")
    assert environment() == before


@pytest.mark.parametrize(
    "name",
    [
        "NVIDIA_TF32_OVERRIDE",
        "XLA_FLAGS",
        "TF_XLA_FLAGS",
        "TF_SOME_FLAG_OF_THE_FUTURE",
        "ONEDNN_MAX_CPU_ISA",
        "OPENBLAS_CORETYPE",
        "MKL_CBWR",
        "NPY_DISABLE_CPU_FEATURES",
        "NPY_ENABLE_CPU_FEATURES",
        "GLIBC_TUNABLES",
        "KERAS_NNX_ENABLED",
        "TF_DETERMINISTIC_OPS",
        "TF_CUDNN_DETERMINISTIC",
        "TF_NUM_INTRAOP_THREADS",
        "CUBLAS_WORKSPACE_CONFIG",
    ],
)
def test_a_flag_that_may_change_numbers_is_another_fingerprint(deciding, monkeypatch, name):
    monkeypatch.delenv(name, raising=False)
    found = [fingerprint(deciding, environment())]
    for value in ("0", "1"):
        monkeypatch.setenv(name, value)
        assert environment()[name] == value
        found.append(fingerprint(deciding, environment()))
    assert len(set(found)) == 3


@pytest.mark.parametrize(
    "name",
    [
        "TF_CPP_MIN_LOG_LEVEL",
        "TF_USE_LEGACY_KERAS",
        "TF_CLI_CONFIG_FILE",
        "TF_VAR_x",
        "KERAS_BACKEND",
        "KERAS_HOME",
        "OPENBLAS_NUM_THREADS",
        "TF_ENABLE_ONEDNN_OPTS",
        "PATH",
        "HOME",
        "CI",
    ],
)
def test_a_harmless_variable_leaves_the_environment(monkeypatch, name):
    monkeypatch.delenv(name, raising=False)
    before = environment()
    monkeypatch.setenv(name, "another")
    assert environment() == before


def test_the_gpu_is_the_first_that_tensorflow_uses(monkeypatch, tmp_path):
    found = ["GPU:0", "GPU:1"]
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: found if kind == "GPU" else [])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda device: {"device_name": f"Fast {device}"})
    monkeypatch.setattr(surroundings, "GPU_DEVICES", (str(tmp_path / "nvidiactl"),))
    assert surroundings.gpu.__wrapped__() == "none"
    (tmp_path / "nvidiactl").touch()
    assert surroundings.gpu.__wrapped__() == "Fast GPU:0"
    found.clear()  # a driver without a GPU, or CUDA_VISIBLE_DEVICES=
    assert surroundings.gpu.__wrapped__() == "none"


TRIED = {
    "KERAS_BACKEND": "jax",
    "KERAS_MAX_EPOCHS": "1",
    "KERAS_MAX_STEPS_PER_EPOCH": "5",
    "TF_CPP_MIN_LOG_LEVEL": "0",
    "TF_CPP_MAX_VLOG_LEVEL": "0",
    "TF_CLI_CONFIG_FILE": "terraform.rc",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "PYTHONHASHSEED": "7",
    "PYTHONUNBUFFERED": "1",
    "PYTHONUTF8": "0",
    "CUDA_VISIBLE_DEVICES": "",
    "MALLOC_ARENA_MAX": "1",
    "LANG": "C",
    "LC_ALL": "C",
    "TZ": "Asia/Kolkata",
    "COLUMNS": "20",
    "NO_COLOR": "1",
    "CI": "1",
}
"""Variables that have been tested to change no byte."""


@pytest.mark.slow
def test_neither_a_users_keras_json_nor_harmless_variables_change_a_byte_of_a_run(tmp_path):
    storage.prepare(loading.data_config("digits", []), tmp_path / storage.path("digits"))
    (tmp_path / "keras").mkdir()
    settings = {"floatx": "float64", "epsilon": 0.1, "backend": "jax", "image_data_format": "channels_first"}
    (tmp_path / "keras" / "keras.json").write_text(json.dumps(settings))
    (tmp_path / "empty").mkdir()
    processes = [start(tmp_path, "with", KERAS_HOME=str(tmp_path / "keras"), **TRIED), start(tmp_path, "without", KERAS_HOME=str(tmp_path / "empty"))]
    for process in processes:
        printed, _ = process.communicate()
        assert process.returncode == 0, printed
    for name in FILES:
        assert (tmp_path / "with" / name).read_bytes() == (tmp_path / "without" / name).read_bytes(), name
    assert json.loads((tmp_path / "keras" / "keras.json").read_text()) == settings


def start(folder: Path, run_dir: str, **more: str) -> subprocess.Popen:
    small = ["data=digits", "recipe.epochs=1", "recipe.batch_size=256", "recipe.probe_size=16", "tracking.enabled=false", f"run_dir={run_dir}"]
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), **as_project(folder), **more}
    command = [sys.executable, folder / "src" / "train.py", *small]
    return subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
