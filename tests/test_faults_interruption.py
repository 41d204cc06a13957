"""Trainings and pipelines that are killed, interrupted, or started twice: the same command continues, with the same bytes at the end."""

import contextlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import time
from functools import partial

import numpy as np
import psutil
import pytest
import yaml

from actgrad.results import run as results
from conftest import STUDY, Project, fault
from faults import (
    KILLS,
    LISTED,
    ONE_RUN,
    PER_TRY,
    VALUES,
    copied,
    forget,
    kill_all,
    kill_at_random,
    processes,
    run,
    same_bytes,
    start,
    store,
    train,
    wait_for,
)

pytest_plugins = "faults"
THREE = ["relu/baseline-0", "relu/he-0", "sigmoid/baseline-0"]


# --- one training


@fault(
    "SIGKILL of train.py at random moments",
    "the same command goes on after the last finished epoch, in the same MLflow run; the same bytes",
)
def test_killed_trainings(folder, whole, seen):
    began = time.monotonic()
    assert train(folder, "run_dir=timed", "seed=1").returncode == 0
    longest, draw, kills, resumed = time.monotonic() - began, random.Random(0), 0, 0
    for one in itertools.count():
        name = f"run{one}"
        command = ("src/train.py", *VALUES, f"run_dir={name}", f"tracking.uri=sqlite:///{folder}/{name}.db")
        outputs, must_go_on = [], False
        for tried in range(PER_TRY):
            training = start(folder, *command)
            trains = not (one % 2 or tried)
            if trains:  # on a slow machine, all other kills may come before the first checkpoint
                wait_for(training, "epoch 2/")
            ended, printed = kill_at_random(training, 1.0 if trains else longest, draw, training.kill)
            kills, must_go_on = kills + (not ended), must_go_on or (trains and not ended)
            outputs.append(printed)
            if ended or kills == KILLS:
                break
        done = run(folder, *command)
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
        assert not must_go_on or any(text in printed for printed in outputs for text in ("goes on after epoch", "finished before"))
        resumed += sum("goes on after epoch" in printed for printed in outputs)
        same_bytes(folder / name, whole)
        assert store(folder, f"{name}.db") == store(whole)
        assert not list((folder / "checkpoints").glob("*.npz"))
        assert "finished before" in run(folder, *command).stdout
        if kills == KILLS:
            break
    assert resumed >= KILLS / 6
    seen(f"{KILLS} kills: every run ended in the same bytes, with one MLflow run, no step twice, no checkpoint left")


@pytest.mark.parametrize(
    ("how", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")], ids=["SIGINT", "SIGTERM"]
)
@fault("a signal in mid-training", "a sentence, its exit code, and the same command goes on")
def test_a_signal(folder, whole, how, code, word, seen):
    training = start(folder, "src/train.py", *VALUES, "run_dir=here")
    wait_for(training, "epoch 2/")
    training.send_signal(how)
    _, said = training.communicate()
    assert training.returncode == code
    assert said.endswith(f"{word}; the same command goes on after the last finished epoch\n")
    assert "goes on after epoch" in train(folder).stdout
    same_bytes(folder / "here", whole)
    assert store(folder) == store(whole)
    seen(f"exit {code}, a sentence; the same bytes and the same MLflow run afterwards", f"{how.name} in mid-training")


@fault("two trainings of the same run at once", "one trains, the other waits and finds the result")
def test_two_trainings_of_one_run(folder, whole, seen):
    both = [start(folder, "src/train.py", *VALUES, "run_dir=here") for _ in range(2)]
    printed = [one.communicate()[0] for one in both]
    assert [one.returncode for one in both] == [0, 0]
    assert sorted("finished before" in text for text in printed) == [False, True]
    same_bytes(folder / "here", whole)
    assert store(folder) == store(whole)
    seen("one trains, the other says that the run was finished before; one MLflow run")


@fault("a checkpoint that is damaged, or of another configuration, data or code", "it is not used, and says so; the run starts from its beginning")
def test_a_checkpoint_that_cannot_be_used(folder, whole, seen):
    for spoil in (lambda path: path.write_bytes(path.read_bytes()[:-500]), lambda path: np.savez(path, fingerprint=np.array("other"))):
        training = start(folder, "src/train.py", *VALUES, "run_dir=here")
        wait_for(training, "epoch 2/")
        training.kill()
        training.communicate()
        (checkpoint,) = (folder / "checkpoints").glob("*.npz")
        spoil(checkpoint)
        done = train(folder)
        assert "is not used, " in done.stderr
        assert "epoch 1/" in done.stdout
        same_bytes(folder / "here", whole)
        assert store(folder) == store(whole)
        shutil.rmtree(folder / "here")
        (folder / "mlflow.db").unlink()
    seen("it says which and why, trains from epoch 1, the same bytes and one MLflow run")


# --- the pipeline


def as_committed(project: Project, reproduced: Project) -> None:
    """Assert that dvc.lock and all results are as committed, and each run has one MLflow run with every step once."""
    assert project.run("git", "status", "--porcelain") == ""
    assert project.stale() == set()
    project.run("python", "src/publish.py")
    assert sorted(store(project.folder)) == THREE
    assert store(project.folder) == store(reproduced.folder)
    assert not list((project.folder / "checkpoints").glob("*.npz"))


def mend_half_files(project: Project) -> None:
    """Do what docs/offline.md advises: DVC writes dvc.lock and its rwlock file in place, so a kill may leave half a file, which the next start
    refuses."""
    printed = project.run("dvc", "status", "core", check=False)
    if "dvc.lock' validation failed" in printed or "dvc.lock' is invalid" in printed:
        project.run("git", "restore", "dvc.lock")
    readers = project.folder / ".dvc" / "tmp" / "rwlock"
    if readers.is_file():
        try:
            json.loads(readers.read_text())
        except ValueError:
            readers.unlink()


@fault(
    "SIGKILL of dvc repro, and of all that it started, at random moments",
    "the same command goes on, if need be after half a file of DVC is restored, and ends in the same bytes; publish.py completes the MLflow runs",
)
def test_killed_repro(reproduced, tmp_path, seen):
    project = copied(reproduced, tmp_path / "killed")
    forget(project)
    began = time.monotonic()
    project.run("dvc", "repro")
    longest, draw, kills = time.monotonic() - began, random.Random(1), 0
    while kills < KILLS:
        forget(project)
        for _ in range(PER_TRY):
            ended, _ = kill_at_random(project.start("dvc", "repro"), longest, draw, partial(kill_all, project.folder))
            kills += not ended
            mend_half_files(project)
            if ended or kills == KILLS:
                break
        project.run("dvc", "repro")
        as_committed(project, reproduced)
    seen(f"{KILLS} kills: dvc.lock and all results as committed, one MLflow run a run, no step twice")


def trainers(project: Project) -> list[psutil.Process]:
    """The processes that train the project's runs, and their parent processes."""
    found = []
    for process in processes(project.folder):
        with contextlib.suppress(psutil.Error):
            found += [process] if any("train.py" in word or "loky" in word for word in process.cmdline()) else []
    return found


@fault(
    "SIGKILL of the processes that train, one after the other at random moments, under dvc repro",
    "their runs are begun again, or named as failed; dvc repro ends in the same bytes, if need be repeated",
)
def test_killed_workers(reproduced, tmp_path, seen):
    project = copied(reproduced, tmp_path / "workers")
    draw, kills = random.Random(2), 0
    while kills < KILLS:
        forget(project)
        repro = project.start("dvc", "repro")
        while repro.poll() is None and kills < KILLS:
            time.sleep(draw.uniform(1, 8))
            if found := trainers(project):
                with contextlib.suppress(psutil.Error):
                    draw.choice(found).kill()
                    kills += 1
        printed, _ = repro.communicate()
        assert repro.returncode == 0 or "failed: digits/" in printed, printed
        project.run("dvc", "repro")
        as_committed(project, reproduced)
    seen(f"{KILLS} kills: dvc.lock and all results as committed, one MLflow run a run, no step twice")


def dvc_alone(repro: subprocess.Popen) -> None:
    repro.kill()


def dvc_and_study(repro: subprocess.Popen) -> None:
    os.killpg(repro.pid, signal.SIGKILL)  # train.py has its own group


@pytest.mark.parametrize(
    ("kill", "what", "begun"), [(dvc_alone, "dvc repro alone", 0), (dvc_and_study, "dvc repro and study.py", 1)], ids=["dvc", "dvc and study.py"]
)
@fault("a training that outlives its repro", "a second dvc repro waits for it, and both leave the same bytes")
def test_a_training_that_outlives_its_repro(reproduced, tmp_path, seen, kill, what, begun):
    """A second repro waits for a living study.py. If it was killed, a new one starts the run, which waits for the training and finds its result."""
    project = copied(reproduced, tmp_path / "orphan")
    forget(project)
    (project.folder / "params.yaml").write_text(yaml.safe_dump(ONE_RUN))
    project.edit("conf/recipe/digits.yaml", "epochs: 1", "epochs: 150")
    first = project.start("dvc", "repro", "train@digits-relu")
    log = project.folder / "outputs" / "study-digits-relu.log"
    while not (log.is_file() and "epoch 2/150" in log.read_text()):
        assert first.poll() is None
        time.sleep(0.05)
    kill(first)
    first.wait()
    assert trainers(project)
    printed = project.run("dvc", "repro", "train@digits-relu")
    first.communicate()  # waits for study.py, if it lives
    assert f"digits: 1 runs, {begun} of them trained now" in printed
    assert ("waiting for another process that trains runs of digits" in printed) != begun
    assert ("finished before" in log.read_text()) == begun
    assert len(store(project.folder)["relu/baseline-0"]["val/loss"]) == 150
    assert not psutil.wait_procs(processes(project.folder), timeout=30)[1]
    project.run("python", "src/train.py", "data=digits", "activation=relu", "run_dir=outputs/whole", "tracking.enabled=false")
    for name in results.FILES:
        assert (project.folder / "outputs/whole" / name).read_bytes() == (project.folder / LISTED / name).read_bytes(), name
    fault_name = f"SIGKILL of {what}, whose training lives on, and dvc repro again"
    seen("one training at a time, the same bytes, one MLflow run with every step once", fault_name)


@fault("two dvc repro at once", "the second is refused by DVC, or waits; the first is not disturbed")
def test_two_repros(reproduced, tmp_path, seen):
    project = copied(reproduced, tmp_path / "two")
    forget(project)
    first = project.start("dvc", "repro")
    time.sleep(3)
    second = project.start("dvc", "repro")
    printed = [one.communicate()[0] for one in (first, second)]
    assert first.returncode == 0, printed[0]
    assert second.returncode == 0 or "ERROR" in printed[1]
    assert "Traceback" not in "".join(printed)
    project.run("dvc", "repro")
    as_committed(project, reproduced)
    seen("the first ends with the committed bytes; the second " + ("waits" if second.returncode == 0 else "is told by DVC which process is at work"))


@fault("a run that fails, beside others, under dvc repro", "the others are trained; it is named with its reason; once mended, it alone is trained")
def test_a_run_that_fails(reproduced, tmp_path, seen):
    project = copied(reproduced, tmp_path / "failing")
    head = "# @package _global_\ncondition: {name: large, activations: [relu]}\n"
    large = project.folder / "conf" / "condition" / "large.yaml"
    large.write_text(f"{head}recipe: {{batch_size: 5000}}\n")
    (project.folder / "params.yaml").write_text(yaml.safe_dump(STUDY | {"conditions": ["large", "baseline", "he"], "seeds": [0, 1]}))
    failing = project.start("dvc", "repro", "--keep-going")
    printed, _ = failing.communicate()
    assert failing.returncode != 0
    for seed in (0, 1):
        assert f"failed: digits/relu/large-{seed}: recipe.batch_size=5000 is more than the 1197 training images of digits; choose fewer" in printed
    assert "error[runs-failed]: 2 runs trained, 2 failed, see above and outputs/study-digits-relu.log" in printed
    assert "digits: 2 runs, 1 of them trained now" in printed  # sigmoid
    large.write_text(f"{head}recipe: {{batch_size: 64}}\n")
    assert "digits: 6 runs, 2 of them trained now" in project.run("dvc", "repro")
    assert project.stale() == set()
    seen("dvc repro exits non-zero and names both runs that fail, after the others were trained; once mended, these two are trained and no other")
