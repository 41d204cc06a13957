"""The pipeline through DVC, on a shrunk study, in a copy of the repository."""

import json
import re
import shutil
import sqlite3
from contextlib import closing

import mlflow
import pandas as pd
import pytest
import yaml

from conftest import ROOT, STUDY, Project, running
from edits import CORE_NUMBER, append, edit_words_of_the_core

pytestmark = pytest.mark.usefixtures("as_committed")

COMPOSE = {"compose@digits-sigmoid", "compose@digits-relu"}
TRAIN = {"train@digits-sigmoid", "train@digits-relu"}
RUNS = ["sigmoid/baseline-0", "relu/baseline-0", "relu/he-0", "relu/he-1"]


def metrics_of(project: Project, run: str) -> dict:
    return json.loads((project.folder / "runs" / "digits" / run / "metrics.json").read_text())


def mlflow_runs(project: Project, experiment: str = "digits", store: str = "mlflow.db") -> list:
    client = mlflow.MlflowClient(f"sqlite:///{project.folder}/{store}")
    return client.search_runs([client.get_experiment_by_name(experiment).experiment_id])


def key_of(run) -> str:
    return run.data.tags["key"].removeprefix("digits/")


def set_study(project: Project, **change: list) -> None:
    (project.folder / "params.yaml").write_text(yaml.safe_dump(STUDY | change))


def test_from_nothing_to_a_report(project):
    assert (project.folder / "reports" / "digits" / "index.html").is_file()
    table = pd.read_csv(project.folder / "reports" / "digits" / "summary.csv").set_index("activation")
    for name in STUDY["activations"]:
        metrics = metrics_of(project, f"{name}/baseline-0")
        assert metrics["status"] == "finished"
        assert table.loc[name, "failed"] == (metrics["last"]["test/accuracy"] < 2 * metrics["largest_class"])
        assert metrics["steps"] == 38
    assert [line.split("  ")[:2] for line in project.printed.splitlines() if re.match(r"digits/sigmoid/\S+  ", line)] == [
        ["digits/sigmoid/baseline-0", "done"]
    ]
    assert "digits: 3 runs, 3 of them trained now" in project.printed
    assert "Traceback" not in project.printed
    assert "Warning" not in project.printed


def test_results_are_in_git_and_the_rest_is_not(project):
    assert project.run("git", "status", "--porcelain") == ""
    tracked = set(project.run("git", "ls-files", "runs", "reports", "data", "dvc.lock").split())
    of_activations = {f"runs/digits/{name}" for one in STUDY["activations"] for name in (f"{one}.csv", f"{one}.json", f"composed-runs/{one}.yaml")}
    assert {name for name in tracked if name.startswith("runs/")} == {"runs/core.sha256", *of_activations}
    assert {"dvc.lock", "reports/digits/index.html"} <= tracked
    assert not [name for name in tracked if name.endswith((".npz", ".gitignore"))]


def test_the_lock_file_has_one_entry_for_an_activation_however_many_runs_it_has(project):
    stages = yaml.safe_load((project.folder / "dvc.lock").read_text())["stages"]
    assert set(stages) == {"download@digits", "core", *COMPOSE, *TRAIN, "report@digits"}


def test_every_run_has_its_mlflow_run(project):
    runs = mlflow_runs(project)
    assert sorted((key_of(run), run.info.status) for run in runs) == sorted((name, "FINISHED") for name in RUNS)
    for run in runs:
        metrics = metrics_of(project, key_of(run))
        assert run.data.tags["weights_sha256"] == metrics["weights_sha256"]
        assert run.data.metrics["test/accuracy"] == metrics["last"]["test/accuracy"]
        assert len(run.data.tags["git_commit"]) == 40


def test_a_condition_has_its_runs_and_its_place_in_the_report(project):
    folder = project.folder / "runs" / "digits" / "relu" / "he-0"
    assert yaml.safe_load((folder / "config.yaml").read_text())["recipe"]["kernel_initializer"] == "he_uniform"
    assert metrics_of(project, "relu/he-0")["key"] == "digits/relu/he-0"
    table = pd.read_csv(project.folder / "reports" / "digits" / "conditions.csv").set_index(["condition", "activation"])
    accuracies = [metrics_of(project, f"relu/he-{seed}")["last"]["test/accuracy"] for seed in (0, 1)]
    assert table.loc[("he", "relu"), "mean"] == pytest.approx(sum(accuracies) / 2)


def test_a_second_repro_does_nothing(project):
    assert project.stale() == set()
    assert "Data and pipelines are up to date." in project.run("dvc", "repro")


@pytest.mark.slow
def test_a_forced_repro_leaves_every_byte(project):
    assert "Running stage 'train@digits-relu'" in project.run("dvc", "repro", "--force", "report@digits")
    assert project.run("git", "status", "--porcelain") == ""


# --- what an edit makes stale


@pytest.mark.parametrize(
    ("name", "old", "new", "stages"),
    [
        ("conf/model/lenet5.yaml", "dense_units: 84", "dense_units: 32", COMPOSE),
        ("conf/data/digits.yaml", "val_size: 240", "val_size: 120", {"download@digits", *COMPOSE, "report@digits"}),
        ("conf/condition/he.yaml", "he_uniform", "he_normal", {*COMPOSE, "report@digits"}),
        ("conf/tracking/mlflow.yaml", "experiment: ${data.name}", "experiment: mine", set()),
        (*CORE_NUMBER, {"core"}),
    ],
)
def test_what_an_edit_makes_stale(project, name, old, new, stages):
    project.edit(name, old, new)
    assert project.stale() == stages


def compose(project: Project) -> None:
    project.run("dvc", "repro", *sorted(COMPOSE))


@pytest.mark.slow
def test_an_edited_activation_is_trained_alone(project):
    project.edit("conf/activation/relu.yaml", "config: {}", "config: {max_value: 6.0}")
    assert project.stale() == {"compose@digits-relu"}
    compose(project)
    assert project.stale() == {"train@digits-relu", "report@digits"}


@pytest.mark.slow
def test_an_edited_number_of_the_core_trains_all(project):
    project.edit(*CORE_NUMBER)
    compose(project)
    assert project.stale() == {*TRAIN, "report@digits"}


def test_edited_words_of_the_core_train_nothing(project):
    edit_words_of_the_core(project)
    assert project.stale() == {"core"}
    assert running(project.run("dvc", "repro")) == ["core"]
    assert project.stale() == set()


@pytest.mark.slow
def test_edits_in_any_other_room_train_nothing(project):
    for name in ("console", "git", "analysis/words", "data/fetch", "pipeline/run", "pipeline/study", "tracking/store"):
        append(project, f"src/actgrad/{name}.py")
    assert project.stale() == {"download@digits", "report@digits"}
    append(project, "src/actgrad/pipeline/composed.py")
    append(project, "src/actgrad/config/schema.py")
    assert project.stale() == {"download@digits", "report@digits", *COMPOSE}
    assert set(running(project.run("dvc", "repro", *sorted(TRAIN)))) == {"download@digits", *COMPOSE}
    assert project.run("git", "status", "--porcelain", "runs") == ""


@pytest.mark.slow
def test_a_condition_that_is_added_trains_its_runs_alone_and_shares_the_training_of_another(project):
    (project.folder / "conf" / "condition" / "same.yaml").write_text("# @package _global_\ncondition: {name: same, activations: [relu]}\n")
    set_study(project, conditions=["baseline", "he", "same"])
    printed = project.run("dvc", "repro", "train@digits-relu")
    assert "digits: 4 runs, 1 of them trained now" in printed
    assert metrics_of(project, "relu/same-0") == metrics_of(project, "relu/baseline-0") | {"key": "digits/relu/same-0"}


@pytest.mark.slow
def test_an_activation_of_ones_own_is_a_file_and_a_word_and_what_is_not_listed_any_more_goes(project):
    (project.folder / "conf" / "activation" / "softplus.yaml").write_text("name: softplus\nlayer: Activation\nconfig: {activation: softplus}\n")
    set_study(project, activations=["relu", "softplus"])
    project.edit("conf/condition/he.yaml", "seeds: [0, 1]", "seeds: [0]")
    printed = project.run("dvc", "repro")
    assert "digits/softplus/baseline-0  done  " in printed
    assert "digits: 2 runs, 0 of them trained now" in printed
    assert "runs/digits/relu/he-1 is not listed any more; removed" in printed
    assert "runs/digits/sigmoid is not listed any more; removed" in printed
    assert "softplus" in (project.folder / "reports" / "digits" / "index.html").read_text()
    assert not [path for path in (project.folder / "runs").rglob("*") if "sigmoid" in path.name]
    assert project.stale() == set()
    printed = project.run("python", "src/verify.py", "--run", "digits")
    keys = ["digits/relu/baseline-0", "digits/relu/he-0", "digits/softplus/baseline-0"]
    assert [line for line in printed.splitlines() if line.startswith("digits/")] == keys
    assert "3 of 3 passed." in printed
    assert printed.count("ok    dvc.lock ") == 3
    assert "WRONG" not in printed


# --- commands of DVC


def test_the_commands_of_a_dvc_user(project):
    shown = project.run("dvc", "metrics", "show", "--md")
    (header, _, *rows) = [[cell.strip() for cell in line.strip("|").split("|")] for line in shown.splitlines() if line.startswith("|")]
    assert {"Path", "runs", "failed", "test_accuracy.baseline", "test_accuracy.he"} == set(header)
    assert [row[0] for row in rows] == ["runs/digits/sigmoid.json", "runs/digits/relu.json"]
    project.edit("conf/recipe/digits.yaml", "epochs: 1", "epochs: 2")
    difference = project.run("dvc", "params", "diff")
    assert "conf/recipe/digits.yaml" in difference
    assert "epochs" in difference
    assert "index.html" in project.run("dvc", "plots", "show")
    page = (project.folder / "dvc_plots" / "index.html").read_text()
    for name in STUDY["activations"]:
        assert f'"activation": "{name}"' in page


@pytest.mark.slow
def test_a_dvc_experiment_with_other_values(project):
    project.run("dvc", "exp", "run", "-S", "activations=[relu]", "-S", "conf/recipe/digits.yaml:epochs=2", "report@digits")
    history = pd.read_csv(project.folder / "runs" / "digits" / "relu" / "baseline-0" / "history.csv")
    assert history["epoch"].tolist() == [1, 2]
    assert pd.read_csv(project.folder / "reports" / "digits" / "summary.csv")["activation"].tolist() == ["relu"]
    assert (project.folder / "conf" / "recipe" / "digits.yaml").read_text().startswith("#")


def test_a_study_of_what_is_not_known_is_refused(project):
    set_study(project, conditions=["hee"])
    printed = project.run("dvc", "repro", check=False)
    assert "error[unknown-name]: condition=hee is not known; known: average_pooling" in printed
    assert "Traceback" not in printed


# --- runs by hand


@pytest.mark.slow
def test_a_search_writes_rates_that_the_pipeline_uses(project):
    arguments = ["activation=relu", "seed=0", "recipe.learning_rate=0.001,0.003", "recipe.epochs=1"]
    printed = project.run("python", "src/tune.py", "data=digits", *arguments)
    assert "conf/rates/digits.yaml and runs/digits/learning-rates.csv: 2 trials" in printed
    trials = pd.read_csv(project.folder / "runs" / "digits" / "learning-rates.csv")
    assert trials[["activation", "learning_rate"]].to_numpy().tolist() == [["relu", 0.001], ["relu", 0.003]]
    best = trials.loc[trials["val_accuracy"].idxmax(), "learning_rate"]
    assert project.run("python", "src/tune.py", "data=digits", *arguments).count("finished before, with the same configuration") == 2
    assert pd.read_csv(project.folder / "runs" / "digits" / "learning-rates.csv").equals(trials)
    project.run("python", "src/train.py", "data=digits", "activation=relu", "condition=standardized_tuned", "run_dir=outputs/tuned")
    assert yaml.safe_load((project.folder / "outputs" / "tuned" / "config.yaml").read_text())["recipe"]["learning_rate"] == best
    assert len(mlflow_runs(project, "digits tuning")) == 2


@pytest.mark.slow
def test_the_benchmark_measures_every_activation(project):
    shutil.copytree(ROOT / "benchmarks", project.folder / "benchmarks", dirs_exist_ok=True)
    assert "activations on digits" in project.run("python", "benchmarks/activation_time.py", "data=digits", "--rounds", "1")
    measured = json.loads((project.folder / "benchmarks" / "activation_time.json").read_text())["activations"]
    assert set(measured) == {path.stem for path in (ROOT / "conf" / "activation").glob("*.yaml")}
    assert all(row["layers_ms"] > 0 and row["step_ms"] > row["layers_ms"] for row in measured.values())


@pytest.mark.slow
def test_a_run_by_hand_leaves_the_pipeline_alone(project):
    arguments = ["data=digits", "activation=leaky_relu", "activation.config.negative_slope=0.1", "recipe.epochs=1", "seed=7"]
    printed = project.run("python", "src/train.py", *arguments)
    folder = "outputs/digits/leaky_relu/baseline-7/activation.config.negative_slope=0.1,recipe.epochs=1"
    assert re.search(rf"digits/leaky_relu/baseline-7: finished, test accuracy [\d.]+ %, results in {re.escape(folder)}", printed)
    written = yaml.safe_load((project.folder / folder / "config.yaml").read_text())
    assert written["activation"]["config"] == {"negative_slope": 0.1}
    assert project.run("git", "status", "--porcelain") == ""
    assert project.stale() == set()


@pytest.mark.slow
def test_several_runs_in_one_command(project):
    printed = project.run("python", "src/train.py", "-m", "data=digits", "activation=tanh,elu", "recipe.epochs=1")
    assert "digits/tanh/baseline-0: finished" in printed
    assert "digits/elu/baseline-0: finished" in printed
    assert project.run("git", "status", "--porcelain") == ""


@pytest.mark.slow
def test_a_run_of_the_study_has_the_values_of_its_composed_file(project):
    printed = project.run("python", "src/train.py", "run=digits/relu/he-1")
    assert printed == "digits/relu/he-1: finished before, with the same configuration, data and code; results in runs/digits/relu/he-1\n"
    printed = project.run("python", "src/train.py", "run=digits/relu/he-2", check=False)
    assert printed == "error[unknown-run]: runs/digits/composed-runs/relu.yaml has no run he-2; it has baseline-0, he-0, he-1\n"
    printed = project.run("python", "src/train.py", "run=digits/relu/he-1", "recipe.epochs=3", check=False)
    assert printed.startswith("error[no-use]: recipe.epochs=3 ")


# --- where a result comes from


@pytest.mark.slow
def test_where_a_result_comes_from(project):
    printed = project.run("python", "src/verify.py", "--run", "digits/relu/baseline-0", "digits/relu/he-0")
    assert printed.count("ok    weights_sha256  ") == 2
    assert printed.count("ok    core_sha256  ") == 2
    assert printed.count("ok    dvc.lock ") == 2
    assert "WRONG" not in printed
    current = metrics_of(project, "relu/baseline-0")["fingerprint"]  # another test may have trained it with other values
    (run,) = [run for run in mlflow_runs(project) if run.data.tags["fingerprint"] == current and key_of(run) == "relu/baseline-0"]
    of_mlflow_run = project.run("python", "src/verify.py", "--mlflow-run", run.info.run_id)
    assert of_mlflow_run.splitlines()[1:-1] == printed.split("digits/relu/he-0\n")[0].splitlines()[1:]


@pytest.mark.slow
def test_an_mlflow_run_that_is_not_there_is_refused(project):
    printed = project.run("python", "src/verify.py", "--mlflow-run", "0" * 32, check=False)
    assert "error[unknown-mlflow-run]: " in printed
    assert "0" * 32 in printed.splitlines()[-1]


@pytest.mark.slow
def test_a_run_by_hand_whose_files_were_changed_is_not_taken_for_that_of_the_pipeline(project):
    store = ("env", "MLFLOW_TRACKING_URI=sqlite:///changed.db", "python")
    project.run(*store, "src/train.py", "data=digits", "activation=relu", "model=lenet5", "run_dir=outputs/hand")
    (run,) = [run for run in mlflow_runs(project, "digits by hand", "changed.db") if "key" in run.data.tags]  # beside it is the study's mean
    verify = (*store, "src/verify.py", "--mlflow-run", run.info.run_id)
    assert "WRONG" not in project.run(*verify)
    project.edit("outputs/hand/metrics.json", '"fingerprint": "', '"fingerprint": "0')
    printed = project.run(*verify, check=False)
    assert "WRONG run_dir " in printed
    assert printed.splitlines()[-1] == f"error[origin-differs]: {run.info.run_id}: run_dir does not hold"


@pytest.mark.parametrize(
    ("spoil", "fields"),
    [
        (
            [
                lambda p: (p.folder / "data" / "digits.npz").write_bytes(b"other"),
                lambda p: tamper(p, "UPDATE tags SET value = 'x' WHERE key = 'git_commit'"),
                lambda p: tamper(p, "UPDATE metrics SET value = 0.5 WHERE key = 'val/loss'"),
                lambda p: tamper(p, "UPDATE tags SET value = 'x' WHERE key = 'config_sha256'"),
            ],
            {"dvc.lock", "data_sha256", "core_sha256", "metrics of the MLflow run", "config_sha256 of the MLflow run"},
        ),
        pytest.param(
            [lambda p: p.edit("runs/digits/relu/baseline-0/config.yaml", "test: true", "test: true  # edited")],
            {"dvc.lock", "config.yaml of the MLflow run", "config.yaml"},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            [lambda p: p.edit("runs/digits/relu/baseline-0/metrics.json", 'weights_sha256": "', 'weights_sha256": "0')],
            {"dvc.lock", "metrics.json of the MLflow run", "metrics.json", "weights_sha256 of the MLflow run", "weights_sha256"},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            [lambda p: p.edit("runs/digits/composed-runs/relu.yaml", "glorot_uniform", "glorot_normal")], {"dvc.lock"}, marks=pytest.mark.slow
        ),
    ],
    ids=["data and MLflow run", "configuration", "weights", "composed file"],
)
@pytest.mark.slow
def test_the_fields_that_do_not_hold_are_named(project, spoil, fields):
    kept = (project.folder / "mlflow.db").read_bytes()
    for one in spoil:
        one(project)
    printed = project.run("python", "src/verify.py", "--run", "digits/relu/baseline-0", check=False)
    (project.folder / "mlflow.db").write_bytes(kept)
    assert set(re.findall(r"WRONG (.+?)  ", printed)) == fields, printed
    error = printed.splitlines()[-1]
    assert error.startswith("error[origin-differs]: digits/relu/baseline-0: ")
    assert all(field in error for field in fields)


def tamper(project: Project, command: str) -> None:
    with closing(sqlite3.connect(project.folder / "mlflow.db")) as store, store:
        store.execute(command)


@pytest.mark.slow
def test_all_runs_of_a_dataset_are_verified_where_the_dataset_itself_is_not(project):
    (project.folder / "data" / "digits.npz").unlink()
    printed = project.run("python", "src/verify.py", "--run", "digits")
    assert [line for line in printed.splitlines() if line.startswith("digits/")] == [f"digits/{name}" for name in RUNS]
    assert printed.count("ok    dvc.lock ") == 4
    assert printed.count("-     data_sha256 ") == 4
    assert "WRONG" not in printed
