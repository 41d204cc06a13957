"""The parts of a process's environment that can change the bytes of a result."""

import functools
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

import archspec.cpu

PACKAGES = ("tensorflow", "keras", "numpy", "pandas", "pyarrow")
"""Packages that compute a run or write its files. pyarrow's version is in every parquet file."""

FLAGS = (
    *("KERAS_", "TF_", "XLA_", "NVIDIA_TF32", "CUDNN_", "CUBLAS_", "ONEDNN_", "DNNL_", "MKL_", "OPENBLAS_"),
    *("NPY_DISABLE_CPU_FEATURES", "NPY_ENABLE_CPU_FEATURES", "GLIBC_TUNABLES"),
)
"""Prefixes of environment variables that may change what TensorFlow, Keras or NumPy compute. Unknown variables count too."""
SET = {"TF_ENABLE_ONEDNN_OPTS": "1"}
"""Flags that a training process sets itself, whatever the user's environment says. TensorFlow uses oneDNN on some processors only, unless it
is told to; with it an epoch takes half the time, and the bytes are as repeatable."""
TERRAFORM = (
    "TF_CLI_",
    "TF_DATA_DIR",
    "TF_IGNORE",
    "TF_INPUT",
    "TF_IN_AUTOMATION",
    "TF_LOG",
    "TF_PLUGIN_CACHE_",
    "TF_REGISTRY_",
    "TF_VAR_",
    "TF_WORKSPACE",
)
HARMLESS = (
    *("KERAS_BACKEND", "KERAS_HOME", "KERAS_MAX_", "TF_USE_LEGACY_KERAS", "TF_CPP_", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
    *TERRAFORM,
)
"""Prefixes among these that change no number: runs always use Keras 3 on TensorFlow; training itself sets the values of keras.json and the steps
per epoch; logging does not compute; the recipe sets TensorFlow's threads (joblib sets those of other libraries in its processes); and
Terraform is another tool."""

GPU_DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""If Linux has none of these, TensorFlow cannot use a GPU, so it need not be asked."""


def environment() -> dict[str, str]:
    """Python and PACKAGES with their versions, the type of processor, the GPU, and the flags that are set: by the user or by SET."""
    flags = {name: value for name, value in sorted(os.environ.items()) if name.startswith(FLAGS) and not name.startswith(HARMLESS)}
    return _versions() | {"cpu": _cpu(), "gpu": gpu()} | flags | SET


def accepted(folder: Path) -> dict[str, str]:
    """The environment that a finished run in a folder must have: this process's, or the one it was made in if only the processor type differs.
    Machines of a cluster may have several types, which round differently.
    """
    here, made = environment(), made_in(folder) or {}
    return made if made | {"cpu": here["cpu"]} == here else here


def made_in(folder: Path) -> dict[str, str] | None:
    """The environment of the results in a folder; None if its metrics.json cannot be read."""
    try:
        return dict(json.loads((folder / "metrics.json").read_text())["environment"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


@functools.cache  # this process keeps the versions that it has imported, even if others are installed
def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


@functools.cache
def _cpu() -> str:
    """The processor type of this machine, on which TensorFlow's choice of computations depends."""
    return archspec.cpu.host().name


@functools.cache
def gpu() -> str:
    """The type of the first GPU that TensorFlow uses, or `none`."""
    if not any(Path(device).exists() for device in GPU_DEVICES):
        return "none"
    from actgrad.pipeline.keras_process import load_keras

    load_keras()
    import tensorflow as tf

    found = tf.config.list_physical_devices("GPU")
    return tf.config.experimental.get_device_details(found[0]).get("device_name", "GPU") if found else "none"
