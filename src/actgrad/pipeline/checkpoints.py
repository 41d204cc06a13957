"""The state of an unfinished training, kept after each epoch, so that a killed cell goes on from its last finished epoch."""

import hashlib
import io
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from actgrad.files import DAMAGED, alone, write_bytes

FOLDER = Path("checkpoints")


def path(run_dir: Path) -> Path:
    """Where the checkpoint of the cell that is written to run_dir is kept: outside it, because DVC empties it before a training."""
    return FOLDER / f"{hashlib.sha256(str(run_dir.resolve()).encode()).hexdigest()[:16]}.npz"


def one_run(fingerprint: str) -> AbstractContextManager[None]:
    """No other process logs cells of this fingerprint, which share an MLflow run, meanwhile."""
    return alone(FOLDER / f"run-{fingerprint[:16]}.lock", "trains or publishes the same cell")


@dataclass(frozen=True)
class Checkpoint:
    """The one checkpoint of a cell.

    Attributes:
        path: its file.
        fingerprint: of the configuration, data and code that a state may be used with; see provenance.fingerprint.
    """

    path: Path
    fingerprint: str

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No other process trains into the same folder, or logs the same cell, meanwhile: one that a killed `dvc repro` has started, say."""
        with alone(self.path.with_suffix(".lock"), "trains the same cell"), one_run(self.fingerprint):
            yield

    def exists(self) -> bool:
        """Whether a state of this fingerprint is kept."""
        return self.path.is_file() and str(self._read("fingerprint").get("fingerprint")) == self.fingerprint

    def load(self) -> dict[str, np.ndarray] | None:
        """The state that `save` kept; None where there is none, or none to be used, which is said on stderr."""
        if not self.path.is_file():
            return None
        arrays = self._read()
        if not arrays:
            return self._unused("it is damaged")
        if str(arrays.pop("fingerprint", "")) != self.fingerprint:
            return self._unused("configuration, data, code or packages are not those that it was made with")
        return arrays

    def _read(self, *names: str) -> dict[str, np.ndarray]:
        """These arrays of the file, or all; none if it is damaged."""
        try:
            with self.path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                return {name: file[name] for name in names or file.files}
        except DAMAGED:
            return {}

    def _unused(self, reason: str) -> None:
        sys.stderr.write(f"checkpoint: {self.path} is not used, {reason}; the cell starts from its beginning\n")

    def save(self, state: Mapping[str, np.ndarray]) -> None:
        """Keep a state instead of the one before, in one step. One that cannot be written costs no training, and is said on stderr."""
        buffer = io.BytesIO()
        np.savez(buffer, fingerprint=np.array(self.fingerprint), **state)
        try:
            write_bytes(self.path, buffer.getvalue())
        except OSError as error:
            sys.stderr.write(f"checkpoint: {self.path} cannot be written ({error.strerror}); the training goes on, but this epoch is not kept\n")

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
