"""Full, read-only or unusual disks: one sentence, nothing half-written, and the same command works once there is space."""

import shutil
import time

import pytest

from conftest import Project, fault
from faults import LISTED, VALUES, copied, fill, read_only, same_bytes, start, store, train, wait_for

pytest_plugins = "faults"
SCRIPTS = {
    "download": ("src/download.py", "data=digits"),
    "core": ("src/core.py",),
    "compose": ("src/study.py", "data=digits", "activation=relu", "--compose"),
    "train": ("src/study.py", "data=digits", "activation=relu", "--train"),
    "report": ("src/report.py", "data=digits"),
}
"""The command of each stage."""


@pytest.mark.parametrize("stage", SCRIPTS)
@fault("a full disk", "one sentence, exit 1, the old file stays; the same command works when there is room")
def test_a_full_disk(reproduced, disk, stage, seen):
    there = disk(100)
    project = copied(reproduced, there)
    if stage == "train":
        shutil.rmtree(there / LISTED)
    before = {path: path.read_bytes() for part in ("data", "runs", "reports") for path in (there / part).rglob("*") if path.is_file()}
    fill(there)
    printed = project.run("python", *SCRIPTS[stage], check=False)
    assert "Traceback" not in printed
    assert printed.splitlines()[-1].startswith("error["), printed
    assert "No space left on device" in printed
    for path, content in before.items():
        assert path.read_bytes() == content, path
    assert not list(there.rglob("*.part"))
    (there / "filler").unlink()
    project.run("python", *SCRIPTS[stage])
    assert not list((project.folder / "checkpoints").glob("*.npz"))
    assert project.run("git", "status", "--porcelain") == ""
    seen("one sentence that names the file, exit 1, nothing half-written; works when there is room", f"a full disk in the stage {stage}")


@fault("a full disk, in a run by hand", "one sentence, exit 1; the same command works when there is room")
def test_a_full_disk_by_hand(reproduced, disk, seen):
    there = disk(100)
    project = copied(reproduced, there)
    fill(there)
    printed = project.run("python", "src/train.py", *VALUES, check=False)
    assert "Traceback" not in printed
    assert printed.splitlines()[-1].startswith("error["), printed
    assert "No space left on device" in printed.splitlines()[-1]
    (there / "filler").unlink()
    assert "digits/relu/baseline-0: finished" in project.run("python", "src/train.py", *VALUES)
    assert not list((project.folder / "checkpoints").glob("*.npz"))
    seen("one sentence that names the file, exit 1; works when there is room")


@fault("a disk that fills up in mid-training", "the run trains on; its result is not lost: the same command writes it from the last checkpoint")
def test_a_disk_that_fills_up(folder, whole, disk, seen):
    there = disk()
    shutil.copytree(folder / "data", there / "data")
    training = start(there, "src/train.py", *VALUES, "run_dir=here")
    wait_for(training, "epoch 3/")
    fill(there)
    _, said = training.communicate()
    assert training.returncode == 1
    assert "cannot be written (No space left on device); the training goes on, but this epoch is not kept" in said
    assert said.splitlines()[-1].startswith("error[no-space]: ")
    (there / "filler").unlink()
    done = train(there)
    assert done.returncode == 0, done.stderr
    assert "goes on after epoch" in done.stdout
    same_bytes(there / "here", whole)
    assert store(there) == store(whole)
    seen("a sentence an epoch, exit 1 at the end; the same command goes on from the checkpoint, and ends in the same bytes")


@fault("a full disk under dvc repro", "it fails with a message that says why; the same command works when there is room")
def test_a_full_disk_under_repro(reproduced, disk, seen):
    there = disk(100)
    project = copied(reproduced, there)
    project.edit("conf/activation/relu.yaml", "config: {}", "config: {max_value: 6.0}")
    fill(there, leave=20_000)
    repro = project.start("dvc", "repro")
    printed, _ = repro.communicate()
    assert repro.returncode != 0
    assert "No space left on device" in printed or "disk is full" in printed, printed
    (there / "filler").unlink()
    project.run("dvc", "repro")
    assert "max_value: 6.0" in (project.folder / LISTED / "config.yaml").read_text()
    project.run("git", "checkout", "conf")
    project.run("dvc", "repro")
    assert project.run("git", "status", "--porcelain") == ""
    seen("it fails and says why; with room, dvc repro brings every committed byte back")


@fault("a disk that fills up while dvc repro trains", "it fails with a sentence that says why; with room, the runs go on after their last kept epoch")
def test_a_disk_that_fills_up_under_repro(reproduced, disk, seen):
    there = disk(100)
    project = copied(reproduced, there)
    project.edit("conf/recipe/digits.yaml", "epochs: 1", "epochs: 30")
    repro = project.start("dvc", "repro", "train@digits-relu")
    while not list((there / "checkpoints").glob("*.npz")):
        assert repro.poll() is None
        time.sleep(0.05)
    fill(there)
    printed, _ = repro.communicate()
    assert repro.returncode != 0
    assert "Traceback" not in printed
    (line,) = [line for line in printed.splitlines() if line.startswith("error[no-space]: ")]
    assert "cannot be used (No space left on device); make room there, and start the same command again" in line
    (there / "filler").unlink()
    assert "digits: 2 runs, 2 of them trained now" in project.run("dvc", "repro", "train@digits-relu")
    assert "goes on after epoch" in (there / "outputs" / "study-digits-relu.log").read_text()
    seen("one sentence that names the place; the same command goes on from the checkpoints")


@fault("no permission to write, in any script", "one sentence that names the place, exit 1")
def test_no_permission(reproduced, disk, seen):
    there = disk(100)
    project = copied(reproduced, there)
    read_only(there)
    scripts = (*SCRIPTS.values(), ("src/train.py", *VALUES), ("src/publish.py",), ("src/tune.py", "data=digits"))
    for command in scripts:
        printed = project.run("python", *command, check=False)
        assert "Traceback" not in printed, printed
        assert printed.splitlines()[-1].startswith("error["), printed
    seen(f"{len(scripts)} commands: one sentence each, exit 1")


@fault("a home that is read-only", "everything works")
def test_a_read_only_home(tmp_path, disk, seen):
    home = disk()
    read_only(home)
    project = Project(tmp_path / "project")
    repro = project.start("dvc", "repro", HOME=str(home), XDG_CACHE_HOME=str(home / "cache"), XDG_CONFIG_HOME=str(home / "config"))
    printed, _ = repro.communicate()
    assert repro.returncode == 0, printed
    assert "Traceback" not in printed
    assert (project.folder / "reports" / "digits" / "index.html").is_file()
    seen("dvc repro from nothing to the report")


@fault("Unicode and spaces in the project's path", "everything works, publish and verify too")
def test_unicode_and_spaces(tmp_path, seen):
    project = Project(tmp_path / "Ünï cödé 网络 (1)")
    project.run("python", "src/download.py", "data=digits")
    project.run("python", "src/study.py", "data=digits")
    assert "of them trained now" not in project.run("dvc", "repro").replace(" 0 of them trained now", "")
    project.commit("results")
    assert "digits: 3 of 3 runs, 0 MLflow runs made or completed" in project.run("python", "src/publish.py")
    assert "dvc.lock: identical" in project.run("python", "src/verify.py", "data=digits")
    assert "3 of 3 passed" in project.run("python", "src/verify.py", "--run", "digits")
    seen("study.py, dvc repro, publish and verify do what they do elsewhere")


@fault("a folder without git", "train.py and the pipeline work; DVC needs to be told once")
def test_without_git(tmp_path, seen):
    project = Project(tmp_path / "project")
    shutil.rmtree(project.folder / ".git")
    done = project.run("python", "src/download.py", "data=digits") + project.run("python", "src/train.py", *VALUES)
    assert "digits/relu/baseline-0: finished" in done
    assert "tracking:" not in done
    project.run("dvc", "config", "core.no_scm", "true")
    project.run("dvc", "repro")
    refused = project.run("python", "src/verify.py", "data=digits", check=False)
    assert refused.startswith("error[no-commit]: ")
    seen("train.py and dvc repro (after `dvc config core.no_scm true`) work; verify.py says that it needs a commit")
