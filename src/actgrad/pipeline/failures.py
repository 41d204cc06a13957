"""Report failed runs of `train.py -m` at the end, while the other runs go on."""

import json
import math
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from actgrad.console import refused
from actgrad.errors import UserError
from actgrad.files import new_folder, write_bytes
from actgrad.results.paths import OUTPUTS
from actgrad.results.run import json_bytes


class FailureWriter(Callback):
    """A Hydra callback, called where the job runs. It records how a run ended, and tells Hydra that a failed run has completed.

    Hydra itself would print its own line about the first failed run, and forget the others. An error that the user cannot fix is left to
    Hydra, which raises it when the other runs are done.
    """

    def __init__(self, folder: str):
        self._folder = Path(folder)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        error = job_return._return_value if job_return.status is JobStatus.FAILED else None
        if error is not None and not (isinstance(error, UserError) or getattr(error, "filename", None) is not None):
            return
        told = refused(error) if error is not None else None
        content = {"run": " ".join(job_return.overrides or ()), "code": told and told.code, "reason": told and str(told)}
        write_bytes(self._folder / f"{config.hydra.job.num}.json", json_bytes(content))
        if error is not None:
            job_return.status, job_return.return_value = JobStatus.COMPLETED, math.nan


@contextmanager
def said_at_the_end() -> Iterator[Sequence[str]]:
    """Print at the end which runs inside this context failed. Yields the overrides of train.py that this needs.

    Raises:
        UserError: if a run failed.
    """
    new_folder(str(OUTPUTS), "outputs")
    with tempfile.TemporaryDirectory(prefix="multirun-", dir=OUTPUTS) as name:
        folder = Path(name)
        try:
            yield [f"+hydra.callbacks.failures._target_={__name__}.{FailureWriter.__name__}", f"+hydra.callbacks.failures.folder={folder}"]
        finally:
            ended = [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"), key=lambda file: int(file.stem))]
            failed = [one for one in ended if one["reason"]]
            for one in failed if len(ended) > 1 else ():
                sys.stderr.write(f"failed: {one['run']}: {one['reason']}\n")
    if len(ended) == 1 and failed:
        raise UserError(failed[0]["code"], failed[0]["reason"])
    if failed:
        raise UserError("runs-failed", f"{len(failed)} of {len(ended)} runs failed, see above; mend the cause and start the same command again")
