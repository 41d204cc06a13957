"""Locks between processes that write the results of one run."""

from contextlib import AbstractContextManager
from pathlib import Path

from actgrad.files import exclusive_lock

FOLDER = Path("checkpoints")


def one_mlflow_run(fingerprint: str) -> AbstractContextManager[None]:
    """Hold the lock of an MLflow run. Runs with the same fingerprint share it."""
    return exclusive_lock(FOLDER / f"run-{fingerprint[:16]}.lock", "trains or publishes the same run")
