"""Checkpoints: the state of a training after each epoch, so that a killed run continues from its last finished epoch."""

import hashlib
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from actgrad.console import warn
from actgrad.files import DAMAGED, exclusive_lock, write_bytes
from actgrad.results.locks import FOLDER, one_mlflow_run


def path(run_dir: Path) -> Path:
    """Path of the checkpoint for the run in run_dir. It lies outside run_dir, which contains only results.

    If the project is moved, the checkpoints for folders inside it are still found.
    """
    place, root = run_dir.resolve(), Path.cwd()
    named = place.relative_to(root) if place.is_relative_to(root) else place
    return FOLDER / f"{hashlib.sha256(str(named).encode()).hexdigest()[:16]}.npz"


def lock_path(run_dir: Path) -> Path:
    """The lock of the process that trains into run_dir."""
    return path(run_dir).with_suffix(".lock")


@dataclass(frozen=True)
class Checkpoint:
    """The checkpoint of a run.

    Attributes:
        path: its file.
        fingerprint: of the configuration, data and code that the state belongs to; see results.fingerprint.
    """

    path: Path
    fingerprint: str

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep other processes from training into the same folder or logging the same run. A killed `dvc repro` may have left one running."""
        with exclusive_lock(self.path.with_suffix(".lock"), "trains the same run"), one_mlflow_run(self.fingerprint):
            yield

    def exists(self) -> bool:
        """Whether a state of this fingerprint is kept."""
        return self.path.is_file() and str(self._read("fingerprint").get("fingerprint")) == self.fingerprint

    def load(self) -> dict[str, np.ndarray] | None:
        """The state that `save` kept; None if there is none. If it cannot be used, it is None too, with a warning on stderr."""
        if not self.path.is_file():
            return None
        arrays = self._read()
        if not arrays:
            self._unused("it is damaged")
            return None
        if str(arrays.pop("fingerprint", "")) != self.fingerprint:
            self._unused("configuration, data, code or packages are not those that it was made with")
            return None
        return arrays

    def _read(self, *names: str) -> dict[str, np.ndarray]:
        """These arrays of the file, or all; none if it is damaged."""
        try:
            with self.path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                return {name: file[name] for name in names or file.files}
        except DAMAGED:
            return {}

    def _unused(self, reason: str) -> None:
        warn(f"checkpoint: {self.path} is not used, {reason}; the run starts from its beginning", "had a checkpoint that could not be used")

    def save(self, state: Mapping[str, np.ndarray]) -> None:
        """Replace the kept state in one step. If it cannot be written, warn on stderr; the training continues."""
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {"fingerprint": np.array(self.fingerprint), **state}
        np.savez(buffer, **arrays)
        try:
            write_bytes(self.path, buffer.getvalue())
        except OSError as error:
            said = f"checkpoint: {self.path} cannot be written ({error.strerror}); the training goes on, but this epoch is not kept"
            warn(said, "were trained without all of their checkpoints")

    def not_kept(self, reason: str) -> None:
        warn(f"checkpoint: none is kept, because {reason}; an interrupted training starts from its beginning", "were trained without checkpoints")

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
