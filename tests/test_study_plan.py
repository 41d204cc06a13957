"""Which runs of a study one command trains, in which order, and what the terminal shows."""

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
from collections import Counter

import pytest

from actgrad.config import composing
from actgrad.files import sha256, write_bytes
from actgrad.pipeline import run as one_run
from actgrad.pipeline import status, study
from actgrad.pipeline.composed import ComposedRun
from actgrad.pipeline.environment import accepted, environment
from actgrad.results import run as results
from actgrad.results.fingerprint import CORE_SHA256, fingerprint


def some_runs(*seeds: int, activation: str = "relu", threads: int = 1) -> list[ComposedRun]:
    return [ComposedRun("digits", activation, "baseline", seed, {"recipe": {"threads": threads}}) for seed in seeds]


def test_a_run_that_has_died_is_begun_again_by_itself():
    """Another run may have caused the death of its process."""
    runs = some_runs(0, 1, 2)
    assert list(study._batches(runs, Counter({runs[1]: 1}), set())) == [[runs[0], runs[2]], [runs[1]]]


def test_one_command_trains_runs_with_one_number_of_threads():
    two, one = some_runs(0, threads=2), some_runs(1, 2)
    assert list(study._batches([one[0], *two, one[1]], Counter(), set())) == [one, two]


def test_a_run_that_shares_the_training_of_another_is_started_once_that_has_ended():
    """Both were trained if they were started at the same time, and on two types of processor they had different results."""
    runs = [*some_runs(0, 1, 2, 3), *some_runs(4, activation="relu6")]
    twins = study._twins(runs, dict(zip(runs, "aabca", strict=True)))
    assert twins == {runs[1]}
    assert list(study._batches(runs, Counter(), twins)) == [[runs[0], *runs[2:]], [runs[1]]]


def test_a_run_of_another_type_of_processor_is_finished_and_one_of_a_gpu_is_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = ComposedRun("digits", "relu", "baseline", 0, {})
    for name, value, counts in (("cpu", "z80", True), ("gpu", "T4", False), ("keras", "3.0", False)):
        made_in = environment() | {name: value}
        write_bytes(run.folder / "metrics.json", json.dumps({"environment": made_in}).encode())
        assert accepted(run.folder) == (made_in if counts else environment())
    write_bytes(run.folder / "metrics.json", b"")
    assert accepted(run.folder) == environment()


@pytest.mark.parametrize(("name", "value", "shared"), [("cpu", "z80", True), ("keras", "3.0", False)])
def test_a_run_shares_a_training_of_another_type_of_processor(tmp_path, name, value, shared):
    """It trained the same values again on this machine's type, and two conditions that do not differ had different results."""
    config = composing.composed(["data=digits", "activation=relu", "run_dir=unused"])
    made, other = environment() | {name: value}, tmp_path / "standardized-0"
    for file in results.FILES[:-1]:
        write_bytes(other / file, file.encode())
    files = {file: sha256(other / file) for file in results.FILES[:-1]}
    found = {"fingerprint": fingerprint(config.deciding(), "data", CORE_SHA256, made), "environment": made, "files": files}
    write_bytes(other / "metrics.json", json.dumps(found).encode())
    assert one_run._twin(tmp_path / "tuned-0", config, "data") == (other if shared else None)


def test_a_run_that_a_worker_trained_in_another_environment_is_not_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (run,) = some_runs(0)
    write_bytes(run.folder / "metrics.json", json.dumps({"environment": environment() | {"gpu": "H100"}}).encode())
    assert study._wrong(run, "d") == "it was trained with gpu H100, which this process has not; start the study on a machine like those that train"


def test_runs_whose_names_run_together_have_status_files_of_their_own(tmp_path):
    assert status.path(tmp_path, "digits/leaky/relu_he-0") != status.path(tmp_path, "digits/leaky_relu/he-0")


def test_a_terminal_gets_a_table_that_follows_the_runs(tmp_path):
    """With status files as jobs write them, and a pseudo-terminal."""
    program = """
import sys
from pathlib import Path
from actgrad.pipeline import status
from actgrad.pipeline.board import Board
from actgrad.files import write_bytes
from actgrad.results.run import json_bytes
from test_study_plan import some_runs
folder = Path(sys.argv[1])
runs = some_runs(0, 1, 2, 3)
with Board(runs, folder) as board:
    for run, content in zip(runs, [{"state": "done"}, {"state": "failed", "reason": "because"}, {"state": "running"}]):
        write_bytes(status.path(folder, run.key), json_bytes(content))
    board.look()
"""
    (tmp_path / "program.py").write_text(program)
    ours, theirs = pty.openpty()
    subprocess.run(
        [sys.executable, tmp_path / "program.py", tmp_path],
        stdout=theirs,
        check=True,
        env=os.environ | {"PYTHONPATH": f"src{os.pathsep}tests", "TERM": "xterm"},
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # this error marks the end of the output
        while read := os.read(ours, 10_000):
            shown += read
    table = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    rows = [line.replace("│", " ").split()[:5] for line in table.splitlines()[-8:]]
    assert ["baseline", "1", "1", "1", "1"] in rows
    assert ["all", "1", "1", "1", "1"] in rows
    assert "training now: digits/relu/baseline-2" in table
