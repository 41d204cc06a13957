"""The real configuration, shrunk; the real digits; one trained cell to look at."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from actgrad import config, datasets
from actgrad.config import Config
from actgrad.datasets import Dataset

ROOT = Path(__file__).parents[1]
GROUPS = ("activation", "data", "model", "recipe")
NAMES = {group: sorted(path.stem for path in (ROOT / "conf" / group).glob("*.yaml")) for group in (*GROUPS, "experiment")}
SHRUNK = ["data=digits", "recipe.epochs=2", "recipe.probe_size=64", "recipe.threads=2", "run_dir=unused"]


@pytest.fixture(scope="session", autouse=True)
def two_threads() -> None:
    """One number for all tests: a process cannot change it once it has computed something."""
    from actgrad.seeding import make_deterministic

    make_deterministic(0, 2)


@pytest.fixture(scope="session")
def cell() -> Callable[..., Config]:
    """Compose the configuration of a cell: two epochs of digits, with further overrides."""

    def composed(*overrides: str) -> Config:
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            return config.cell_config(compose("config", [*SHRUNK, *overrides]))

    return composed


@pytest.fixture(scope="session")
def digits(tmp_path_factory) -> Dataset:
    data = config.data_config("digits", [])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("digits"))
        datasets.prepare(data, datasets.path("digits"))
        return datasets.load(data)


@pytest.fixture(scope="session")
def few_digits(digits) -> Dataset:
    """Every fourth digit: 300 training images, ten batches of 32 an epoch, the last of 12."""
    return Dataset(
        {name: images[::4] for name, images in digits.images.items()},
        {name: labels[::4] for name, labels in digits.labels.items()},
        digits.class_names,
        digits.sha256,
    )


@pytest.fixture(scope="session")
def trained(cell, few_digits):
    """A cell of tanh, trained: its configuration, result and network."""
    from actgrad.training import train

    configuration = cell("activation=tanh")
    return configuration, *train(configuration, few_digits)


@pytest.fixture
def script(tmp_path) -> Callable[..., subprocess.CompletedProcess]:
    """Run an entry script in an empty folder, with caches and store of its own."""

    def run(name: str, *arguments: str, cwd: Path = tmp_path, **environment: str) -> subprocess.CompletedProcess:
        own = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONWARNINGS": "", **environment}
        return subprocess.run([sys.executable, ROOT / "src" / name, *arguments], cwd=cwd, env=os.environ | own, capture_output=True, text=True)

    return run


def sentence(result: subprocess.CompletedProcess) -> str:
    """What a refused command says: one line, which starts with `error: `, and nothing else; exit code 1."""
    assert result.returncode == 1, result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def image_set(n: int, size: int = 8, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, channels), dtype=np.uint8)
