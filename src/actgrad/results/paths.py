"""Paths of the pipeline's files, relative to the root of the repository."""

from pathlib import Path

RUNS = Path("runs")
OUTPUTS = Path("outputs")
"""Runs by hand, logs, and temporary files of running commands."""


def run_folder(dataset: str, activation: str, condition: str, seed: int) -> Path:
    """The folder of one run."""
    return RUNS / dataset / activation / f"{condition}-{seed}"


def composed_path(dataset: str, activation: str) -> Path:
    """The composed configuration of all runs of an activation, and the core that trains them."""
    return RUNS / dataset / "composed-runs" / f"{activation}.yaml"  # no activation has a hyphen in its name


def record_path(dataset: str, activation: str) -> Path:
    """The table of all runs of an activation, with the checksums of their files; git keeps it."""
    return RUNS / dataset / f"{activation}.csv"


def summary_path(dataset: str, activation: str) -> Path:
    """The metrics of an activation for `dvc metrics show`."""
    return RUNS / dataset / f"{activation}.json"


def trials_path(dataset: str) -> Path:
    """The search for learning rates: one row per trial."""
    return RUNS / dataset / "learning-rates.csv"


CORE_PATH = RUNS / "core.sha256"
"""The sha256 of the core. DVC's stages depend on this file instead of on the core's files."""
