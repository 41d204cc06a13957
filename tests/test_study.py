"""Many runs at once: which are trained, what they share, and what happens if a process dies or a file is edited."""

import contextlib
import json
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import mlflow
import numpy as np
import psutil
import pytest
import yaml

from actgrad.pipeline import checkpoints, records
from actgrad.pipeline.checkpoints import Checkpoint
from actgrad.results.run import FILES
from conftest import STUDY, Project
from edits import CORE_NUMBER, append, edit_words_of_the_core

CONDITIONS = ["standardized", "he", "standardized_tuned"]
ALL = [f"{name}-0" for name in CONDITIONS]


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    """Three runs of six epochs, two of them with the same values; trained and committed."""
    project = Project(tmp_path_factory.mktemp("stüdy (1), a=b #2 100%"))
    (project.folder / "params.yaml").write_text(yaml.safe_dump(STUDY | {"activations": ["relu"], "conditions": CONDITIONS}))
    project.edit("conf/recipe/digits.yaml", "epochs: 1", "epochs: 6")
    (project.folder / "conf/rates/digits.yaml").write_text("# @package recipe\nlearning_rate: {relu: 0.001}\n")  # the recipe's rate
    project.run("python", "src/download.py", "data=digits")
    project.printed = study_of(project)
    project.commit("results")
    shutil.copytree(project.folder / "runs", project.folder / "outputs" / "kept")
    return project


@pytest.fixture(autouse=True)
def as_trained(request):
    yield
    if "project" in request.fixturenames:
        project = request.getfixturevalue("project")
        project.run("git", "checkout", "--", ".")
        project.run("git", "clean", "-fdq")
        for part in ("runs", "checkpoints"):
            shutil.rmtree(project.folder / part, ignore_errors=True)
        shutil.copytree(project.folder / "outputs" / "kept", project.folder / "runs")


def study_of(project: Project, *arguments: str, check: bool = True) -> str:
    return project.run("python", "src/study.py", "data=digits", *arguments, check=check)


def run_folder(project: Project, name: str) -> Path:
    return project.folder / "runs" / "digits" / "relu" / name


def metrics_of(project: Project, name: str) -> dict:
    return json.loads((run_folder(project, name) / "metrics.json").read_text())


def log(project: Project) -> str:
    return (project.folder / "outputs" / "study-digits.log").read_text()


def written_at(project: Project) -> dict[str, int]:
    return {name: (run_folder(project, name) / "metrics.json").stat().st_mtime_ns for name in ALL}


def nothing_differs(project: Project) -> bool:
    """Whether every run has the same bytes as before. The table in git has the checksum of metrics.json, which has those of the other files."""
    return project.run("git", "status", "--porcelain", "runs") == ""


@pytest.mark.slow
def test_a_study_says_what_it_does_and_records_it(project):
    assert "3 runs of digits to train; their output goes to outputs/study-digits.log" in project.printed
    assert sorted(line.split("  ")[0] for line in project.printed.splitlines() if "  done  " in line) == sorted(f"digits/relu/{name}" for name in ALL)
    assert project.printed.endswith("digits: 3 runs, 3 of them trained now\n")
    table = records.read("digits", "relu", project.folder)
    assert table["run"].tolist() == ALL
    assert table["status"].tolist() == ["finished"] * 3
    for row in table.to_dict("records"):
        metrics = metrics_of(project, row["run"])
        assert {name: row[name] for name in ("weights_sha256", "core_sha256", "fingerprint")} == {
            name: metrics[name] for name in ("weights_sha256", "core_sha256", "fingerprint")
        }
        assert row["test/accuracy"] == metrics["last"]["test/accuracy"]
        assert json.loads(row["environment"]) == metrics["environment"]
    summary = json.loads((project.folder / "runs" / "digits" / "relu.json").read_text())
    assert (summary["runs"], summary["failed"]) == (3, 0)
    assert summary["test_accuracy"] == {name.partition("-")[0]: round(metrics_of(project, name)["last"]["test/accuracy"], 4) for name in ALL}


@pytest.mark.slow
def test_two_conditions_with_the_same_values_share_one_training(project):
    plain, tuned = metrics_of(project, "standardized-0"), metrics_of(project, "standardized_tuned-0")
    assert tuned == plain | {"key": "digits/relu/standardized_tuned-0"}
    assert plain["key"] == "digits/relu/standardized-0"
    for name in FILES[:-1]:
        assert (run_folder(project, "standardized_tuned-0") / name).read_bytes() == (run_folder(project, "standardized-0") / name).read_bytes()
    client = mlflow.MlflowClient(f"sqlite:///{project.folder}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
    assert sorted((run.data.tags["key"], run.info.status) for run in runs) == sorted((f"digits/relu/{name}", "FINISHED") for name in ALL)
    accuracies = {run.data.tags["condition"]: run.data.metrics["test/accuracy"] for run in runs}
    assert accuracies["standardized"] == accuracies["standardized_tuned"] != accuracies["he"]


@pytest.mark.slow
def test_what_is_trained_is_not_trained_again_and_a_part_of_it_can_be_named(project):
    before = written_at(project)
    assert study_of(project).endswith("digits: 3 runs, 0 of them trained now\n")
    assert study_of(project, "activation=relu", "condition=he", "seed=0").endswith("digits: 1 runs, 0 of them trained now\n")
    unfinished = Checkpoint(project.folder / checkpoints.path(Path("runs/digits/relu/he-0")), "of other values, which were given up")
    unfinished.save({"epoch": np.array(1)})
    assert study_of(project).endswith("digits: 3 runs, 0 of them trained now\n")
    assert written_at(project) == before
    assert nothing_differs(project)


@pytest.mark.slow
def test_an_edited_condition_trains_its_own_runs_alone(project):
    before = written_at(project)
    project.edit("conf/condition/he.yaml", "he_uniform", "he_normal")
    assert study_of(project).endswith("digits: 3 runs, 1 of them trained now\n")
    assert [name for name, at in written_at(project).items() if at != before[name]] == ["he-0"]
    assert "kernel_initializer: he_normal" in (run_folder(project, "he-0") / "config.yaml").read_text()


@pytest.mark.slow
def test_edits_outside_the_core_and_words_inside_it_train_nothing(project):
    for room in (
        "analysis/words.py",
        "config/schema.py",
        "data/storage.py",
        "pipeline/study.py",
        "report/page.py",
        "results/run.py",
        "tracking/store.py",
    ):
        append(project, f"src/actgrad/{room}")
    append(project, "src/actgrad/console.py")
    edit_words_of_the_core(project)
    assert study_of(project).endswith("digits: 3 runs, 0 of them trained now\n")
    assert project.run("git", "status", "--porcelain", "runs") == ""


@pytest.mark.slow
def test_a_damaged_or_swapped_file_is_trained_again(project):
    swap = run_folder(project, "standardized_tuned-0")
    shutil.rmtree(swap)
    shutil.copytree(run_folder(project, "standardized-0"), swap)  # same fingerprint, other key
    steps = run_folder(project, "standardized-0") / "steps.parquet"
    steps.write_bytes(steps.read_bytes()[:-1] + b"x")
    shutil.copy(run_folder(project, "standardized-0") / "history.csv", run_folder(project, "he-0") / "history.csv")
    assert study_of(project).endswith("digits: 3 runs, 3 of them trained now\n")
    assert nothing_differs(project)
    for name in ALL:
        for file in FILES:
            kept = project.folder / "outputs" / "kept" / "digits" / "relu" / name / file
            assert (run_folder(project, name) / file).read_bytes() == kept.read_bytes()


@pytest.mark.slow
def test_runs_that_are_not_listed_any_more_leave_the_folder(project):
    by_hand = run_folder(project, "notes of mine")
    by_hand.mkdir()
    (project.folder / "params.yaml").write_text(yaml.safe_dump(STUDY | {"activations": ["relu"], "conditions": CONDITIONS[::2]}))
    assert "1 of them" not in study_of(project, "condition=standardized_tuned")
    assert run_folder(project, "he-0").is_dir()  # training a part of a study removes nothing else
    printed = study_of(project)
    assert "runs/digits/relu/he-0 is not listed any more; removed" in printed
    assert printed.endswith("digits: 2 runs, 0 of them trained now\n")
    assert not run_folder(project, "he-0").exists()
    assert by_hand.is_dir()
    assert records.read("digits", "relu", project.folder)["run"].tolist() == ["standardized-0", "standardized_tuned-0"]


@pytest.mark.slow
def test_a_run_that_fails_is_named_and_costs_no_other(project):
    params = STUDY | {"activations": ["tanh", "relu"], "conditions": ["standardized"]}
    (project.folder / "params.yaml").write_text(yaml.safe_dump(params))
    project.edit("conf/activation/relu.yaml", "layer: ReLU", "layer: Brocken")
    project.edit("conf/recipe/digits.yaml", "epochs: 6", "epochs: 1")
    printed = study_of(project, check=False)
    assert "failed: digits/relu/standardized-0: activation.layer=Brocken is not a Keras layer" in printed
    assert printed.splitlines()[-1] == (
        "error[runs-failed]: 1 runs trained, 1 failed, see above and outputs/study-digits.log; mend the cause and start the same command again"
    )
    assert "Traceback" not in printed
    assert records.read("digits", "tanh", project.folder)["run"].tolist() == ["standardized-0"]


@pytest.mark.slow
def test_runs_that_could_not_be_logged_are_counted_at_the_end(project):
    for name in ("he-0", "standardized-0"):
        shutil.rmtree(run_folder(project, name))
    printed = project.run("env", "MLFLOW_TRACKING_URI=http://127.0.0.1:9", "python", "src/study.py", "data=digits")
    warning, end = printed.splitlines()[-2:]
    assert end == "digits: 3 runs, 2 of them trained now"
    assert warning == (
        "warning: 2 runs were not logged to MLflow, or not wholly (python src/publish.py adds what is missing): "
        "digits/relu/standardized-0, digits/relu/he-0; outputs/study-digits.log has the reasons"
    )


@pytest.mark.slow
@pytest.mark.parametrize(("name", "text"), [("activation/mine", "name: relu\nlayer: ReLU\n"), ("condition/mine", "condition: {name: he}\n")])
def test_a_file_with_the_name_of_another_is_refused_by_name(project, name, text):
    group = name.partition("/")[0]
    listed = {"activations": ["relu", "mine"]} if group == "activation" else {"activations": ["relu"], "conditions": ["standardized", "mine"]}
    (project.folder / "conf" / f"{name}.yaml").write_text(text)
    (project.folder / "params.yaml").write_text(yaml.safe_dump(STUDY | listed))
    printed = study_of(project, "--compose", check=False)
    assert printed.startswith(f"error[misnamed-file]: conf/{name}.yaml has ")
    assert printed.count("\n") == 1


# --- edits while runs train


def lines_of(process: subprocess.Popen, until: str) -> str:
    """What a process prints, up to a line that contains `until`."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if until in line:
            return "".join(lines)
    raise AssertionError("".join(lines))


def wait_for_a_checkpoint(project: Project, process: subprocess.Popen) -> None:
    """Wait until the run he-0 has kept an epoch."""
    checkpoint = project.folder / checkpoints.path(Path("runs/digits/relu/he-0"))
    while process.poll() is None and not checkpoint.exists():
        time.sleep(0.02)


@pytest.mark.slow
def test_a_run_carries_the_hash_of_the_core_that_made_it_though_that_is_edited_meanwhile(project):
    shutil.rmtree(run_folder(project, "he-0"))
    core = metrics_of(project, "standardized-0")["core_sha256"]
    process = project.start("python", "src/study.py", "data=digits", "condition=he")
    wait_for_a_checkpoint(project, process)
    project.edit(*CORE_NUMBER)
    printed = process.communicate()[0]
    assert process.returncode == 0, printed
    assert metrics_of(project, "he-0")["core_sha256"] == core
    assert nothing_differs(project)

    process = project.start("python", "src/study.py", "data=digits", "condition=he")
    printed = lines_of(process, "1 runs of digits to train")  # by processes that start later, with another core
    project.edit(CORE_NUMBER[0], CORE_NUMBER[2], CORE_NUMBER[1])
    printed += process.communicate()[0]
    assert process.returncode == 1
    assert (
        "failed: digits/relu/he-0: its files are damaged, or code, configuration or data were edited while it was trained; the same command"
        in printed
    )
    assert "error[runs-failed]: 0 runs trained, 1 failed" in printed
    assert metrics_of(project, "he-0")["core_sha256"] == core

    assert study_of(project, "condition=he").endswith("digits: 1 runs, 0 of them trained now\n")
    assert nothing_differs(project)


# --- processes that die, and a user who interrupts


def kill_a_worker(project: Project, among: Callable[[], Iterable[psutil.Process]], killed: list[str], ended: threading.Event) -> None:
    """Wait until two processes each train a run and one of them has a checkpoint, and kill that one."""
    while not ended.wait(0.2):
        holders = {}
        for process in among():
            with contextlib.suppress(psutil.Error):
                holders |= {file.path: process for file in process.open_files() if re.search("checkpoints/[0-9a-f]{16}.lock$", file.path)}
        of_project = {Path(path).with_suffix(".npz"): process for path, process in holders.items() if path.startswith(str(project.folder))}
        kept = [process for path, process in of_project.items() if path.exists()]
        if len({process.pid for process in of_project.values()}) == 2 and kept:
            kept[0].kill()
            killed.append(kept[0].name())
            return


def choose(project: Project, launcher: str, **values: object) -> None:
    """Choose a launcher in conf/local/default.yaml, as a user does."""
    own = {"defaults": [{"override /hydra/launcher": launcher}], "hydra": {"launcher": values}}
    (project.folder / "conf" / "local").mkdir(exist_ok=True)
    (project.folder / "conf" / "local" / "default.yaml").write_text(f"# @package _global_\n{yaml.safe_dump(own, sort_keys=False)}")


@pytest.mark.parametrize(
    ("launcher", "values"),
    [
        pytest.param("joblib", {"n_jobs": 2}, marks=pytest.mark.slow),
        pytest.param("submitit_local", {}, marks=pytest.mark.scale),
        pytest.param("ray", {}, marks=pytest.mark.scale),
    ],
)
def test_a_killed_worker_costs_nothing_and_leaves_the_same_bytes(project, launcher, values):
    choose(project, launcher, **values)
    shutil.rmtree(project.folder / "runs" / "digits" / "relu")
    killed, ended = [], threading.Event()
    among = partial(psutil.Process().children, recursive=True) if launcher == "joblib" else psutil.process_iter  # others detach their processes
    killer = threading.Thread(target=kill_a_worker, args=(project, among, killed, ended))
    killer.start()
    try:
        printed = study_of(project)
    finally:
        ended.set()
        killer.join()
        shutil.rmtree(project.folder / "conf" / "local")
    assert len(killed) == 1
    if launcher != "ray":  # Ray starts it again itself, often before it is noticed
        assert "its process died; it goes on where it was" in printed
    assert printed.endswith("digits: 3 runs, 3 of them trained now\n")
    assert sorted(line.split("  ")[0] for line in printed.splitlines() if "  done  " in line) == sorted(f"digits/relu/{name}" for name in ALL)
    assert nothing_differs(project)
    if launcher != "submitit_local":  # its jobs print into their own files
        assert "goes on after epoch" in log(project)


def processes(project: Project) -> list[list[str]]:
    """The commands of processes in the project's folder."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            found += [process.cmdline()] if process.cwd() == str(project.folder) else []
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        (signal.SIGINT, 130, "interrupted; the same command goes on where it was"),
        (signal.SIGTERM, 143, "terminated; the same command goes on where it was"),
    ],
)
def test_a_study_that_is_told_to_stop_leaves_no_process_and_goes_on(project, how, code, said):
    shutil.rmtree(project.folder / "runs" / "digits" / "relu")
    process = project.start("python", "src/study.py", "data=digits")
    wait_for_a_checkpoint(project, process)
    process.send_signal(how)
    printed, _ = process.communicate()
    assert (process.returncode, said in printed) == (code, True), printed
    for _ in range(100):  # joblib's cleanup process ends a moment later
        if not (here := processes(project)):
            break
        time.sleep(0.1)
    assert here == []
    assert study_of(project).endswith("digits: 3 runs, 3 of them trained now\n")
    assert "digits/relu/he-0  goes on after epoch" in log(project)
    assert nothing_differs(project)


@pytest.mark.slow
def test_some_runs_of_a_clone_without_the_others_leave_the_record_of_all(project):
    shutil.rmtree(run_folder(project, "standardized-0"))
    printed = study_of(project, "condition=he")
    assert "runs/digits/relu.csv is left as it is: 1 of its runs are not here; dvc pull brings them" in printed
    assert nothing_differs(project)
