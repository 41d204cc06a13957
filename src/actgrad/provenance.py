"""What made a result, besides its configuration and data: the code and the packages."""

import hashlib
import platform
from importlib.metadata import version
from pathlib import Path

CODE = (
    "activations",
    "affine",
    "config",
    "datasets",
    "errors",
    "files",
    "gradients",
    "layers",
    "lenet5",
    "provenance",
    "results",
    "seeding",
    "training",
)
"""The modules that decide a cell's result."""

PACKAGES = ("tensorflow", "keras", "numpy", "pandas")


def code_sha256() -> str:
    """sha256 over the source of CODE."""
    digest = hashlib.sha256()
    for name in CODE:
        digest.update(Path(__file__).with_name(f"{name}.py").read_bytes())
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Python and PACKAGES, with their versions."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}
