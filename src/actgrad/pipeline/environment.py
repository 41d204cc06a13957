"""The surroundings of a process that decide bytes of a result."""

import functools
import os
import platform
from importlib.metadata import version
from pathlib import Path

import archspec.cpu

PACKAGES = ("tensorflow", "keras", "numpy", "pandas", "pyarrow")
"""Those that compute a run, and those that write its files: pyarrow's version is in every parquet file."""

FLAGS = (
    *("KERAS_", "TF_", "XLA_", "NVIDIA_TF32", "CUDNN_", "CUBLAS_", "ONEDNN_", "DNNL_", "MKL_", "OPENBLAS_"),
    *("NPY_DISABLE_CPU_FEATURES", "NPY_ENABLE_CPU_FEATURES", "GLIBC_TUNABLES"),
)
"""Beginnings of environment variables that may change what TensorFlow, Keras or NumPy compute. An unknown one counts."""
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
"""Of those, what changes no number: it is always Keras 3 on TensorFlow, training itself sets what keras.json holds and how many steps an
epoch has, logs are logs, the recipe says how many threads TensorFlow has (joblib sets those of other libraries in its processes), and
Terraform is another tool."""

GPU_DEVICES = ("/dev/nvidiactl", "/dev/kfd")
"""Where Linux has none of these, there is no GPU that TensorFlow could use, and nobody need wait for it to say so."""


def environment() -> dict[str, str]:
    """Python and PACKAGES with their versions, the type of processor, the GPU, and the flags that are set."""
    flags = {name: value for name, value in sorted(os.environ.items()) if name.startswith(FLAGS) and not name.startswith(HARMLESS)}
    return _versions() | {"cpu": _cpu(), "gpu": gpu()} | flags


@functools.cache  # another version may be installed while this process trains with the one that it has imported
def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


@functools.cache
def _cpu() -> str:
    """The instruction set of this processor, by which TensorFlow chooses how it computes."""
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
