"""What made a result, besides its configuration and data: the code, the packages and the CPU."""

import hashlib
import importlib.util
import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import archspec.cpu

CODE = (
    "networks/activations",
    "training/linearity",
    "config/schema",
    "data/storage",
    "errors",
    "files",
    "monitor/gradients",
    "networks/layers",
    "networks/lenet5",
    "results/fingerprint",
    "results/run",
    "networks/seeding",
    "training/loop",
)
"""The modules that decide a cell's result."""

PACKAGES = ("tensorflow", "keras", "numpy", "pandas")


def fingerprint(deciding: Mapping[str, Any], data_sha256: str, code: str | None = None, made_in: Mapping[str, str] | None = None) -> str:
    """One sha256 over all that decides a result: configuration, data, code (its code_sha256) and environment; the last two of this
    process, unless they are given."""
    layer = layer_sha256(deciding["activation"]["layer"])
    parts = {"configuration": deciding, "data": data_sha256, "code": code or code_sha256(), "layer": layer, "environment": made_in or environment()}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def code_sha256(folder: Path = Path(__file__).parents[1]) -> str:
    """sha256 over the source of CODE, in the folder of this package or of another version of it."""
    digest = hashlib.sha256()
    for name in CODE:
        digest.update((folder / f"{name}.py").read_bytes())
    return digest.hexdigest()


def layer_sha256(path: str) -> str:
    """sha256 over the Python files of the package, or of the module, that an activation layer's dotted path begins with; empty for
    a layer of Keras or of this project, and for one that is not found."""
    top = path.partition(".")[0]
    spec = importlib.util.find_spec(top) if "." in path and top not in ("keras", "actgrad") else None
    if spec is None or not (spec.origin or spec.submodule_search_locations):
        return ""
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    files = sorted(file for folder in folders for file in folder.rglob("*.py")) or [Path(spec.origin)]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def environment() -> dict[str, str]:
    """Python and PACKAGES, with their versions, and the instruction set of this CPU, by which TensorFlow chooses how it computes."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES} | {"cpu": archspec.cpu.host().name}
