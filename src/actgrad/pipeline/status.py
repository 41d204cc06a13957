"""Status file that each job writes for the progress table."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig

from actgrad.console import warned
from actgrad.errors import UserError, first_named
from actgrad.files import write_bytes
from actgrad.results.run import json_bytes

QUEUED, RUNNING, DONE, FAILED = "queued", "running", "done", "failed"


class StatusWriter(Callback):
    """A Hydra callback. It is called where the job runs: in another process, or on another machine that shares this folder.

    If a status cannot be written, Hydra only warns. The run then counts as one whose process died.
    """

    def __init__(self, folder: str):
        self._folder = Path(folder)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Hydra composes all jobs before it starts one, a fifth of a second each, to find errors early. Runs of a study differ in `run` alone."""
        if any(one.startswith("run=") for one in config.hydra.overrides.task):
            Sweeper.validate_batch_is_legal = lambda *_: None  # type: ignore[method-assign]

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        warned()  # drop warnings of an earlier run in this process
        self._write(config, {"state": RUNNING})

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        if job_return.status is JobStatus.COMPLETED:
            self._write(config, {"state": DONE, "warnings": warned()})
        else:
            error = job_return._return_value
            kind = "" if isinstance(error, (UserError, OSError)) else f"{type(error).__name__}: "
            self._write(config, {"state": FAILED, "reason": " ".join(f"{kind}{error}".split()), "warnings": warned()})

    def _write(self, config: DictConfig, content: dict[str, Any]) -> None:
        run = config.run or config.run_dir
        write_bytes(path(self._folder, run), json_bytes({"run": run, **content}))


def overrides(folder: Path) -> list[str]:
    """Overrides of train.py that make each of its jobs write its status into a folder."""
    return [f"+hydra.callbacks.status._target_={__name__}.StatusWriter", f"+hydra.callbacks.status.folder={folder}"]


def is_watched(arguments: Sequence[str]) -> bool:
    """Whether src/study.py gave these arguments of train.py. It reads the status of each run and reports failures itself."""
    return any(one.startswith("+hydra.callbacks.status.") for one in arguments) and any(one.startswith("run=") for one in arguments)


def path(folder: Path, run: str) -> Path:
    """The status file of a run, which is named by its key or by its run_dir. That may be any path, so the file has a checksum for a name."""
    return folder / f"{hashlib.sha256(run.encode()).hexdigest()}.json"


def read(folder: Path, run: str) -> dict[str, Any]:
    """The status of a run: `state`, the `reason` of a failure, and the `warnings` after its end, as console.warned returns them."""
    file = path(folder, run)
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {"state": QUEUED}


def written(folder: Path) -> dict[str, dict[str, Any]]:
    """Run -> status, for the runs that have one in a folder."""
    found = [json.loads(file.read_text(encoding="utf-8")) for file in folder.glob("*.json")]
    return {one["run"]: one for one in sorted(found, key=lambda one: one["run"])}


def warnings(statuses: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A sentence for each kind of warning in these statuses: `warning: 2 runs were not logged to MLflow: digits/relu/he-0, digits/relu/he-1`."""
    found: dict[str, list[str]] = {}
    for run, one in statuses.items():
        for of_runs in dict.fromkeys(warning["of_runs"] for warning in one.get("warnings", ())):
            found.setdefault(of_runs, []).append(run)
    return [f"warning: {len(runs)} runs {of_runs}: {first_named(runs)}" for of_runs, runs in found.items()]
