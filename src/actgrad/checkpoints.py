"""The state of an unfinished training, kept after each epoch, so that a killed cell goes on from its last finished epoch."""

import hashlib
import io
import sys
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from actgrad.files import write_bytes

FOLDER = Path("checkpoints")


def path(run_dir: Path) -> Path:
    """Where the checkpoint of the cell that is written to run_dir is kept: outside it, because DVC empties it before a training."""
    return FOLDER / f"{hashlib.sha256(str(run_dir.resolve()).encode()).hexdigest()[:16]}.npz"


@dataclass(frozen=True)
class Checkpoint:
    """The one checkpoint of a cell.

    Attributes:
        path: its file.
        fingerprint: of the configuration, data and code that a state may be used with; see provenance.fingerprint.
    """

    path: Path
    fingerprint: str

    def load(self) -> dict[str, np.ndarray] | None:
        """The state that `save` kept; None where there is none, or none to be used, which is said on stderr."""
        if not self.path.is_file():
            return None
        try:
            with self.path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError):
            return self._unused("it is damaged")
        if str(arrays.pop("fingerprint", "")) != self.fingerprint:
            return self._unused("configuration, data, code or packages are not those that it was made with")
        return arrays

    def _unused(self, reason: str) -> None:
        sys.stderr.write(f"checkpoint: {self.path} is not used, {reason}; the cell starts from its beginning\n")

    def save(self, state: Mapping[str, np.ndarray]) -> None:
        """Keep a state instead of the one before, in one step."""
        buffer = io.BytesIO()
        np.savez(buffer, fingerprint=np.array(self.fingerprint), **state)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(self.path, buffer.getvalue())

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
