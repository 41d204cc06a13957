"""What a job of a sweep leaves for the one who watches: a small file that says how its cell is."""

from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from actgrad import files
from actgrad.errors import UserError
from actgrad.results import run as results

RUNNING, DONE, FAILED = "running", "done", "failed"


class Marks(Callback):
    """A Hydra callback, called where the job runs, whatever launched it: in another process, or on another machine with this folder.

    A mark that cannot be written is a warning of Hydra's and no more: the cell then counts as one whose process died.
    """

    def __init__(self, folder: str):
        self._folder = Path(folder)

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        self._mark(config, {"state": RUNNING})

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        if job_return.status is JobStatus.COMPLETED:
            self._mark(config, {"state": DONE})
        else:
            error = job_return._return_value
            kind = "" if isinstance(error, (UserError, OSError)) else f"{type(error).__name__}: "
            self._mark(config, {"state": FAILED, "reason": f"{kind}{error}"})

    def _mark(self, config: DictConfig, content: dict[str, str]) -> None:
        files.write_bytes(path(self._folder, Path(config.run_dir)), results.json_bytes(content))


def path(folder: Path, cell: Path) -> Path:
    """The mark of a cell, which is written to the folder `cell`."""
    return folder / cell / "mark.json"
