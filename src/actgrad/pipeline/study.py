"""Train the runs of a study that are missing or stale, several at once, with a launcher of Hydra."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from actgrad.config import loading
from actgrad.config.schema import Study
from actgrad.data import storage
from actgrad.errors import PRINTED, UserError
from actgrad.files import PROJECT, exclusive_lock, locked, new_folder, sha256, write_bytes, writing
from actgrad.pipeline import checkpoints, composed, launchers, records, status
from actgrad.pipeline.board import Board
from actgrad.pipeline.checkpoints import Checkpoint
from actgrad.pipeline.composed import ComposedRun
from actgrad.pipeline.environment import accepted, environment, made_in
from actgrad.pipeline.run import without_comparing
from actgrad.results import paths
from actgrad.results import run as results
from actgrad.results.fingerprint import CORE_SHA256
from actgrad.results.paths import OUTPUTS

TRAIN = (sys.executable, str(PROJECT / "src" / "train.py"))
ATTEMPTS = 3
"""Number of attempts at a run whose process dies."""
LOOK = 0.5
"""Seconds between two reads of the status files."""
GRACE = 10
"""Seconds after which a run counts as dead if its status is `running` but no process holds its lock. A living run has no lock only while it
loads Keras, and when its files are complete."""
RUNS_OF_A_COMMAND = 1000
"""Maximum number of runs per command. The system refuses longer command lines."""
ROOM = 2**20
"""Bytes that must be free before runs start. On a full disk they would fail one by one, and could not even write their status."""

RAY = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0"}
"""Environment variables for Ray, unless the user sets them: no telemetry, and every line in the log."""


@dataclass(frozen=True)
class Selection:
    """The runs of a study that a command selects. None means all."""

    dataset: str
    activation: str | None = None
    condition: str | None = None
    seed: int | None = None

    def activations(self, study: Study) -> list[str]:
        return [self.activation] if self.activation else study.activations

    def runs(self, activation: str) -> list[ComposedRun]:
        """The selected runs of an activation, from its composed file.

        Raises:
            UserError: if the file is missing, or was written for a core other than this process's.
        """
        runs = composed.current(self.dataset, activation)
        return [run for run in runs if self.condition in (None, run.condition) and self.seed in (None, run.seed)]

    @property
    def log(self) -> Path:
        """Log file for the output of the training processes."""
        return OUTPUTS / f"study-{'-'.join(filter(None, [self.dataset, self.activation]))}.log"

    @property
    def whole(self) -> bool:
        """Whether it has all runs of its activations."""
        return self.condition is None and self.seed is None


def train_missing(selection: Selection, study: Study) -> None:
    """Train missing and stale runs, remove runs that are not listed any more, and record the results.

    Waits for another process that trains the same selection, because both would write the same log.

    Raises:
        UserError: if a run fails; the others are trained nevertheless.
    """
    new_folder(str(OUTPUTS), "outputs")
    with exclusive_lock(selection.log.with_suffix(".lock"), f"trains runs of {selection.dataset}"):
        _train_missing(selection, study)


def _train_missing(selection: Selection, study: Study) -> None:
    activations = selection.activations(study)
    runs = [run for activation in activations for run in selection.runs(activation)]
    if not runs:
        there = {run.condition for activation in activations for run in replace(selection, condition=None, seed=None).runs(activation)}
        of = f" and {selection.activation}" if selection.activation else ""
        known = f"has the conditions {', '.join(sorted(there))}; runs/{selection.dataset}/composed-runs/ lists their seeds"
        raise UserError("unknown-run", f"params.yaml and conf/condition list no such run; {selection.dataset}{of} {known if there else 'has none'}")
    data = storage.path(selection.dataset)
    if not data.is_file():
        raise UserError("missing-dataset", f"{data} is missing; make it with: python src/download.py data={selection.dataset}")
    data_sha256 = sha256(data)
    expected = {run: run.fingerprint(data_sha256, CORE_SHA256, accepted(run.folder)) for run in runs}
    for activation in activations:
        _discard_edited(selection.dataset, activation)
    todo = [run for run in runs if not _finished(run, expected[run])]
    failed = {}
    if todo:
        compared = storage.load(loading.data_config(selection.dataset, [])).sha256
        failed = _launch(selection, todo, _twins(todo, expected), compared)
    failed |= {run: reason for run in runs if run not in failed and (reason := _wrong(run, data_sha256))}
    for run, reason in failed.items():
        sys.stderr.write(f"failed: {run.key}: {reason}\n")
    for activation in activations if selection.whole else ():
        _remove_unlisted(selection.dataset, activation, [run.folder.name for run in runs if run.activation == activation])
    for activation in activations:
        if not selection.whole and (absent := records.absent(selection.dataset, activation)):
            path = paths.record_path(selection.dataset, activation)
            print(f"{path} is left as it is: {absent} of its runs are not here; dvc pull brings them, dvc repro trains them")
        else:
            records.write(selection.dataset, activation)
    if failed:
        counts = f"{len([run for run in todo if run not in failed])} runs trained, {len(failed)} failed"
        raise UserError("runs-failed", f"{counts}, see above and {selection.log}; mend the cause and start the same command again")
    composed_now = [run for activation in activations for run in selection.runs(activation)]
    if [run.values for run in composed_now] != [run.values for run in runs] or sha256(data) != data_sha256:
        raise UserError("changed-meanwhile", "the composed runs or the dataset were changed while runs were trained; start the same command again")
    print(f"{selection.dataset}: {len(runs)} runs, {len(todo)} of them trained now{_elsewhere(runs)}")


def _elsewhere(runs: Sequence[ComposedRun]) -> str:
    """Words about runs that were made on another processor type than this machine's."""
    types = Counter((made_in(run.folder) or {}).get("cpu") for run in runs)
    others = [f"{number} on a processor of type {cpu}" for cpu, number in types.items() if cpu != environment()["cpu"]]
    return f"; trained {', '.join(others)}" if others else ""


def _discard_edited(dataset: str, activation: str) -> None:
    """Remove each metrics.json that differs from the record of its training, so that the run is trained again."""
    if not paths.record_path(dataset, activation).is_file():
        return
    for row in records.read(dataset, activation).to_dict("records"):
        metrics = paths.RUNS / dataset / activation / row["run"] / "metrics.json"
        held = results.identity_of(metrics.parent)
        if held and held[1] == row["fingerprint"] and sha256(metrics) != row["files_sha256"]:
            print(f"{metrics} is not the file that was written; the run is trained again")
            metrics.unlink()


def _finished(run: ComposedRun, fingerprint: str) -> bool:
    metrics = results.finished(run.folder, fingerprint)
    return metrics is not None and metrics["key"] == run.key and not Checkpoint(checkpoints.path(run.folder), fingerprint).exists()


def _wrong(run: ComposedRun, data_sha256: str) -> str | None:
    """Why the files in a run's folder are not valid results of the run; None if they are."""
    found, expected = made_in(run.folder), accepted(run.folder)
    if found is None:
        return "it has no metrics.json that can be read"
    if found != expected:
        other = ", ".join(f"{name} {found.get(name, 'unset')}" for name in {**expected, **found} if found.get(name) != expected.get(name))
        return f"it was trained with {other}, which this process has not; start the study on a machine like those that train"
    if not _finished(run, run.fingerprint(data_sha256, CORE_SHA256, expected)):
        return "its files are damaged, or code, configuration or data were edited while it was trained; the same command trains it again"
    return None


def _twins(runs: Sequence[ComposedRun], fingerprints: Mapping[ComposedRun, str]) -> set[ComposedRun]:
    """The runs that have the values of one before them, whose training they share."""
    first: dict[tuple[str, str], ComposedRun] = {}
    return {run for run in runs if first.setdefault((run.activation, fingerprints[run]), run) is not run}


def _remove_unlisted(dataset: str, activation: str, listed: Sequence[str]) -> None:
    """Remove the folders of runs that params.yaml and conf/ do not list any more."""
    for other in sorted((paths.RUNS / dataset / activation).glob("*/")):
        if re.fullmatch(r"\w+-\d+", other.name) and other.name not in listed:
            _remove(other)


def remove_unlisted_activations(dataset: str, study: Study) -> None:
    """Remove all that the pipeline wrote for activations that params.yaml does not list any more."""
    for composed_file in sorted(paths.composed_path(dataset, "*").parent.glob("*.yaml")):
        activation = composed_file.stem
        if activation not in study.activations:
            for path in (
                paths.RUNS / dataset / activation,
                paths.record_path(dataset, activation),
                paths.summary_path(dataset, activation),
                composed_file,
            ):
                _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    print(f"{path} is not listed any more; removed")


def _launch(selection: Selection, todo: Sequence[ComposedRun], twins: Set[ComposedRun], dataset_sha256: str) -> dict[ComposedRun, str]:
    """Train runs. If a run's process dies, the run is started again from its checkpoint.

    Args:
        twins: runs of these that copy the training of another.
        dataset_sha256: of the dataset's file, which has been compared with its source.

    Returns:
        Failed run -> reason.
    """
    died: Counter[ComposedRun] = Counter()
    log = selection.log
    print(f"{len(todo)} runs of {selection.dataset} to train; their output goes to {log}", flush=True)
    with tempfile.TemporaryDirectory(prefix="study-", dir=OUTPUTS) as name, log.open("wb") as output, Board(todo, Path(name)) as board:
        while queued := [run for run in todo if board.state(run) == status.QUEUED]:
            for runs in _batches(queued, died, twins):
                _require_room(Path(name))
                before = output.tell()
                told = [*launchers.launcher_overrides(runs[0].threads), *status.overrides(Path(name)), *without_comparing(dataset_sha256)]
                _run([*TRAIN, "-m", *told, f"run={','.join(run.key for run in runs)}"], output, board)
                if all(board.state(run) == status.QUEUED for run in runs):
                    board.fail(runs, f"the launcher started no run: {_last_line(log, before)}")
            free_since: dict[ComposedRun, float] = {}
            while left := [run for run in queued if board.state(run) == status.RUNNING]:
                for run in left:
                    if locked(checkpoints.lock_path(run.folder)):
                        free_since.pop(run, None)
                    elif time.monotonic() - free_since.setdefault(run, time.monotonic()) >= GRACE:
                        died[run] += 1
                        _died(board, run, died[run], f"the last line in {log}: {_last_line(log, before)}")
                time.sleep(LOOK)  # other processes of the launcher may outlive it
                board.look()
        for warning in board.warnings():
            print(f"{warning}; {log} has the reasons", flush=True)
        return {run: board.reason(run) for run in todo if board.state(run) != status.DONE}


def _require_room(folder: Path) -> None:
    """Raise an OSError that names the folder, unless ROOM can be written there."""
    with writing(folder):
        write_bytes(folder / "room", bytes(ROOM))
        (folder / "room").unlink()


def _died(board: Board, run: ComposedRun, times: int, said: str) -> None:
    board.requeue(run)
    if times == ATTEMPTS:
        board.fail([run], f"its process died {ATTEMPTS} times; {said}")
    board.say(f"{run.key}  its process died; {'given up' if times == ATTEMPTS else 'it goes on where it was'}")


def _batches(runs: Sequence[ComposedRun], died: Mapping[ComposedRun, int], twins: Set[ComposedRun]) -> Iterator[list[ComposedRun]]:
    """Runs that one command trains. They have the same number of threads, which a process cannot change. A run that has died is
    started alone, because another run may have caused the death of its process. Twins come later than what they copy, because at the same time
    they would be trained too, on a cluster perhaps on another type of processor and with another result."""
    together: dict[tuple[bool, int, str], list[ComposedRun]] = {}
    for run in sorted(runs, key=lambda run: run in twins):
        together.setdefault((run in twins, run.threads, run.key if died[run] else ""), []).append(run)
    for batch in together.values():
        for start in range(0, len(batch), RUNS_OF_A_COMMAND):
            yield batch[start : start + RUNS_OF_A_COMMAND]


def _run(command: Sequence[str], output: BinaryIO, board: Board) -> None:
    process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=launching_environment(), start_new_session=True)
    try:
        while process.poll() is None:
            time.sleep(LOOK)
            board.look()
    finally:
        if process.poll() is None:  # this process was interrupted
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
    board.look()


def launching_environment() -> dict[str, str]:
    """This process's environment, extended so that processes of every launcher find this project and Ray's settings."""
    path = [str(PROJECT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return RAY | os.environ | {"PYTHONPATH": os.pathsep.join(path)}


def _last_line(path: Path, start: int) -> str:
    """The last line in a file after its first `start` bytes; the last error line of train.py, or joblib's line on how workers ended, if
    there is one.
    """
    lines = [line.strip() for line in path.read_bytes()[start:].decode(errors="replace").splitlines() if line.strip()]
    of_workers = [line for line in lines if "exit codes of the workers" in line]
    said = [line for line in lines if PRINTED.match(line)] or of_workers or lines or ["it printed nothing"]
    return PRINTED.sub("", said[-1])
