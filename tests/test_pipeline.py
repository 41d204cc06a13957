"""The pipeline through DVC, on a shrunk study, in a copy of the repository."""

import json
import re
import shutil
import sqlite3

import mlflow
import pandas as pd
import pytest
import yaml

from conftest import ROOT, STUDY, Project

CELLS = {"train@digits-sigmoid-0", "train@digits-relu-0", "experiment@digits-he"}
RECIPES = {"recipe@digits", "experiment_recipe@digits-he"}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    """The shrunk study, reproduced once and committed."""
    project = Project(tmp_path_factory.mktemp("project with spaces"))
    project.printed = project.run("dvc", "repro")
    project.commit("results")
    return project


@pytest.fixture(autouse=True)
def as_committed(project):
    yield
    project.undo()


def test_from_nothing_to_a_report(project):
    assert (project.folder / "reports" / "digits" / "index.html").is_file()
    table = pd.read_csv(project.folder / "reports" / "digits" / "summary.csv").set_index("activation")
    for name in STUDY["activations"]:
        metrics = json.loads((project.folder / "runs" / "digits" / f"{name}-0" / "metrics.json").read_text())
        assert table.loc[name, "test_accuracy_last_mean"] == metrics["last"]["test/accuracy"]
        assert metrics["steps"] == 38
        assert f"digits/{name}-0  epoch 1/1  train/loss" in project.printed
    assert "Traceback" not in project.printed
    assert "Warning" not in project.printed


def test_results_are_in_git_and_the_rest_is_not(project):
    assert project.run("git", "status", "--porcelain") == ""
    tracked = project.run("git", "ls-files", "runs", "reports", "data", "dvc.lock").split()
    assert {"dvc.lock", "reports/digits/index.html", "runs/digits/recipe.yaml", "runs/digits/relu-0/metrics.json"} <= set(tracked)
    assert not [name for name in tracked if name.endswith((".npz", ".parquet", "history.csv", ".gitignore"))]


def test_every_cell_has_its_run(project):
    client = mlflow.MlflowClient(f"sqlite:///{project.folder}/mlflow.db")
    experiment = client.get_experiment_by_name("digits")
    cells = client.search_runs([experiment.experiment_id], "tags.kind = 'cell'")
    assert sorted((cell.info.run_name, cell.info.status) for cell in cells) == [("digits/relu-0", "FINISHED"), ("digits/sigmoid-0", "FINISHED")]
    for cell in cells:
        metrics = json.loads((project.folder / "runs" / cell.info.run_name / "metrics.json").read_text())
        assert cell.data.tags["weights_sha256"] == metrics["weights_sha256"]
        assert cell.data.metrics["test/accuracy"] == metrics["last"]["test/accuracy"]
        assert len(cell.data.tags["git_commit"]) == 40


def test_an_experiment_has_its_cells_and_its_place_in_the_report(project):
    folder = project.folder / "runs" / "digits" / "he" / "relu-0"
    assert yaml.safe_load((folder / "config.yaml").read_text())["recipe"]["kernel_initializer"] == "he_uniform"
    assert json.loads((folder / "metrics.json").read_text())["key"] == "digits/he/relu-0"
    table = pd.read_csv(project.folder / "reports" / "digits" / "experiments.csv").set_index(["experiment", "activation"])
    assert table.loc[("he", "relu"), "mean"] == json.loads((folder / "metrics.json").read_text())["last"]["test/accuracy"]
    client = mlflow.MlflowClient(f"sqlite:///{project.folder}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("digits he").experiment_id], "tags.kind = 'cell'")
    assert (run.info.run_name, run.info.status) == ("digits/he/relu-0", "FINISHED")


def test_a_sweep_trains_what_is_missing_and_leaves_the_bytes_of_repro(project):
    for name in ("relu-0", "sigmoid-0"):
        shutil.rmtree(project.folder / "runs" / "digits" / name)
    assert "2 cells trained" in project.run("python", "src/sweep.py", "data=digits")
    assert project.stale() == set()
    assert project.run("git", "status", "--porcelain") == ""
    assert "every cell of digits is up to date" in project.run("python", "src/sweep.py", "data=digits")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"experiments": ["hee"]}, "error: experiment=hee is not known; known: average_pooling"),
        ({"recipe": "nope"}, "error: dvc repro failed: recipe=nope is not known; known: article"),
        ({"datasets": ["pets"]}, "error: data=digits is not in params.yaml, whose datasets are pets"),
    ],
)
def test_a_sweep_of_what_is_not_known_is_refused(project, change, expected):
    (project.folder / "params.yaml").write_text(yaml.safe_dump(STUDY | change))
    printed = project.run("python", "src/sweep.py", "data=digits", check=False)
    assert expected in printed
    assert "Traceback" not in printed


@pytest.mark.slow
def test_a_cell_that_fails_in_a_sweep_is_named_and_costs_no_other(project):
    project.edit("conf/activation/relu.yaml", "layer: ReLU", "layer: Brocken")
    (project.folder / "params.yaml").write_text(yaml.safe_dump(STUDY | {"activations": ["tanh", "relu"], "experiments": []}))
    printed = project.run("python", "src/sweep.py", "data=digits", check=False)
    assert "error: 1 cells trained, 1 failed, see above and outputs/sweep-digits.log; mend the cause and sweep again" in printed
    assert "failed: digits/relu-0: activation.layer=Brocken is not a Keras layer" in printed
    assert "train@digits-relu-0" in project.stale()  # its old result is still there, and is not taken for the new one
    assert "train@digits-tanh-0" not in project.stale()


@pytest.mark.slow
def test_a_search_writes_a_recipe_that_the_pipeline_uses(project):
    arguments = ["activation=relu", "recipe.learning_rate=0.001,0.003", "recipe.epochs=1"]
    printed = project.run("python", "src/tune.py", "data=digits", *arguments)
    assert "conf/recipe/digits_tuned.yaml and runs/digits/tuning.csv: 2 trials" in printed
    trials = pd.read_csv(project.folder / "runs" / "digits" / "tuning.csv")
    assert trials[["activation", "learning_rate"]].to_numpy().tolist() == [["relu", 0.001], ["relu", 0.003]]
    best = trials.loc[trials["val_accuracy"].idxmax(), "learning_rate"]
    assert project.run("python", "src/tune.py", "data=digits", *arguments).count("finished before, with the same configuration") == 2
    assert pd.read_csv(project.folder / "runs" / "digits" / "tuning.csv").equals(trials)
    project.run("python", "src/train.py", "data=digits", "activation=relu", "experiment=tuned", "run_dir=outputs/tuned")
    assert yaml.safe_load((project.folder / "outputs" / "tuned" / "config.yaml").read_text())["recipe"]["learning_rate"] == best
    client = mlflow.MlflowClient(f"sqlite:///{project.folder}/mlflow.db")
    assert len(client.search_runs([client.get_experiment_by_name("digits tuning").experiment_id], "tags.kind = 'cell'")) == 2


@pytest.mark.slow
def test_the_benchmark_measures_every_activation(project):
    assert "activations on digits" in project.run("python", "benchmarks/activation_time.py", "data=digits", "--rounds", "1")
    measured = json.loads((project.folder / "benchmarks" / "activation_time.json").read_text())["activations"]
    assert set(measured) == {path.stem for path in (ROOT / "conf" / "activation").glob("*.yaml")}
    assert all(row["layers_ms"] > 0 and row["step_ms"] > row["layers_ms"] for row in measured.values())


def test_a_second_repro_does_nothing(project):
    assert project.stale() == set()
    assert "Data and pipelines are up to date." in project.run("dvc", "repro")


@pytest.mark.slow
def test_a_forced_repro_leaves_every_byte(project):
    assert "Running stage 'train@digits-relu-0'" in project.run("dvc", "repro", "--force", "report@digits")
    assert project.run("git", "status", "--porcelain") == ""


@pytest.mark.parametrize(
    ("name", "old", "new", "stages"),
    [
        (
            "conf/activation/relu.yaml",
            "config: {}",
            "config: {max_value: 6.0}",
            {"train@digits-relu-0", "experiment_recipe@digits-he", "depth@digits"},
        ),
        ("conf/model/lenet5.yaml", "dense_units: 84", "dense_units: 32", {*CELLS, "depth@digits"}),
        (
            "conf/data/digits.yaml",
            "val_size: 240",
            "val_size: 120",
            {"download@digits", "depth@digits", *RECIPES, *CELLS},
        ),
        ("conf/recipe/digits.yaml", "epochs: 1", "epochs: 2", RECIPES),
        ("conf/config.yaml", "seed: 0", "seed: 5", RECIPES),
        ("conf/experiment/he.yaml", "he_uniform", "he_normal", {"experiment_recipe@digits-he", "experiment@digits-he", "report@digits"}),
        ("conf/tracking/mlflow.yaml", "experiment: ${data.name}", "experiment: mine", set()),
        ("src/actgrad/tables.py", "POINTS = 120", "POINTS = 100", {"report@digits"}),
    ],
)
def test_what_an_edit_makes_stale(project, name, old, new, stages):
    project.edit(name, old, new)
    assert project.stale() == stages


def test_editing_another_recipe_retrains_nothing(project):
    project.edit("conf/recipe/standardized.yaml", "input_scaling: standardized", "input_scaling: none")
    planned = project.run("dvc", "repro")
    assert "Running stage 'recipe@digits'" in planned
    assert "Stage 'train@digits-relu-0' didn't change, skipping" in planned
    assert "Running stage 'train" not in planned


def test_the_commands_of_a_dvc_user(project):
    shown = project.run("dvc", "metrics", "show")
    assert "runs/digits/relu-0/metrics.json" in shown
    assert "last.test/accuracy" in shown
    project.edit("conf/recipe/digits.yaml", "epochs: 1", "epochs: 2")
    difference = project.run("dvc", "params", "diff")
    assert "conf/recipe/digits.yaml" in difference
    assert "epochs" in difference
    assert "index.html" in project.run("dvc", "plots", "show")


@pytest.mark.slow
def test_an_experiment_with_other_values(project):
    project.run("dvc", "exp", "run", "-S", "activations=[relu]", "-S", "conf/recipe/digits.yaml:epochs=2", "report@digits")
    history = pd.read_csv(project.folder / "runs" / "digits" / "relu-0" / "history.csv")
    assert history["epoch"].tolist() == [1, 2]
    assert pd.read_csv(project.folder / "reports" / "digits" / "summary.csv")["activation"].tolist() == ["relu"]
    assert (project.folder / "conf" / "recipe" / "digits.yaml").read_text().startswith("#")


def test_an_activation_of_ones_own_is_a_file_and_a_word(project):
    (project.folder / "conf" / "activation" / "softplus.yaml").write_text("name: softplus\nlayer: Activation\nconfig: {activation: softplus}\n")
    (project.folder / "params.yaml").write_text(yaml.safe_dump(STUDY | {"activations": ["relu", "softplus"]}))
    printed = project.run("dvc", "repro")
    assert "Stage 'train@digits-relu-0' didn't change, skipping" in printed
    assert "digits/softplus-0: finished" in printed
    assert "softplus" in (project.folder / "reports" / "digits" / "index.html").read_text()


def test_runs_by_hand_leave_the_pipeline_alone(project):
    arguments = ["data=digits", "activation=leaky_relu", "activation.config.negative_slope=0.1", "recipe.epochs=1", "seed=7"]
    printed = project.run("python", "src/train.py", *arguments)
    folder = "outputs/digits/leaky_relu-7/activation.config.negative_slope=0.1,recipe.epochs=1"
    assert f"digits/leaky_relu-7: finished, results in {folder}" in printed
    written = yaml.safe_load((project.folder / folder / "config.yaml").read_text())
    assert written["activation"]["config"] == {"negative_slope": 0.1}
    assert project.run("git", "status", "--porcelain") == ""
    assert project.stale() == set()


@pytest.mark.slow
def test_several_cells_in_one_command(project):
    printed = project.run("python", "src/train.py", "-m", "data=digits", "activation=tanh,elu", "recipe.epochs=1")
    assert "digits/tanh-0: finished" in printed
    assert "digits/elu-0: finished" in printed
    assert project.run("git", "status", "--porcelain") == ""


@pytest.mark.slow
def test_verify_trains_the_last_commit_again_and_compares_every_byte(project):
    printed = project.run("python", "src/verify.py", "data=digits")
    assert "digits/he/relu-0  identical" in printed
    assert "3 cells: 3 identical, 0 within tolerance, 0 different" in printed
    assert "dvc.lock: identical" in printed
    assert "reports/digits: identical" in printed
    assert project.run("git", "status", "--porcelain") == ""


@pytest.mark.slow
def test_verify_names_what_cannot_be_had_again_and_what_differs_in_the_environment(project):
    metrics = project.folder / "runs" / "digits" / "relu-0" / "metrics.json"
    metrics.write_text(metrics.read_text().replace('"weights_sha256": "', '"weights_sha256": "0'))
    project.commit("a result that nobody can have again")
    printed = project.run("python", "src/verify.py", "data=digits", check=False)
    project.run("git", "reset", "-q", "--hard", "HEAD~1")
    assert "digits/relu-0     different: weights_sha256" in printed
    assert printed.endswith("error: different: digits/relu-0\n")
    printed = project.run("python", "src/verify.py", "data=digits", "--threads", "2", check=False)
    assert "threads 1 -> 2" in printed


def test_where_a_result_comes_from(project):
    printed = project.run("python", "src/verify.py", "--cell", "digits/relu-0", "digits/he/relu-0")
    assert printed.count("ok    weights_sha256  ") == 2
    assert printed.count("ok    code_sha256 ") == 2
    assert printed.count("ok    dvc.lock ") == 2
    assert "WRONG" not in printed
    client = mlflow.MlflowClient(f"sqlite:///{project.folder}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("digits").experiment_id], "tags.key = 'digits/relu-0'")
    assert (
        project.run("python", "src/verify.py", "--run", run.info.run_id).splitlines()[1:-1] == printed.split("digits/he/relu-0\n")[0].splitlines()[1:]
    )
    assert "has no run 000" in project.run("python", "src/verify.py", "--run", "0" * 32, check=False)


@pytest.mark.slow
def test_a_run_by_hand_whose_files_were_changed_or_are_gone_is_not_taken_for_that_of_the_pipeline(project):
    store = ("env", "MLFLOW_TRACKING_URI=sqlite:///hand.db", "python")
    project.run(*store, "src/train.py", "data=digits", "activation=relu", "model=lenet5", "run_dir=outputs/hand")
    client = mlflow.MlflowClient(f"sqlite:///{project.folder}/hand.db")
    (run,) = client.search_runs([client.get_experiment_by_name("digits").experiment_id], "tags.key = 'digits/relu-0'")
    verify = (*store, "src/verify.py", "--run", run.info.run_id)
    assert "WRONG" not in project.run(*verify)
    project.edit("outputs/hand/metrics.json", '"fingerprint": "', '"fingerprint": "0')
    printed = project.run(*verify, check=False)
    assert "WRONG run_dir " in printed
    assert printed.splitlines()[-1] == f"error: {run.info.run_id}: run_dir does not hold"


@pytest.mark.parametrize(
    ("spoil", "fields"),
    [
        (
            [
                lambda p: p.edit("runs/digits/relu-0/config.yaml", "experiment: none", "experiment: none  # edited"),
                lambda p: tamper(p, "UPDATE metrics SET value = 0.5 WHERE key = 'val/loss'"),
            ],
            {"dvc.lock", "config_sha256 of the run", "config.yaml", "metrics of the run"},
        ),
        (
            [
                lambda p: (p.folder / "data" / "digits.npz").write_bytes(b"other"),
                lambda p: tamper(p, "UPDATE tags SET value = 'x' WHERE key = 'git_commit'"),
            ],
            {"dvc.lock", "data_sha256", "code_sha256"},
        ),
        (
            [lambda p: p.edit("runs/digits/relu-0/metrics.json", 'weights_sha256": "', 'weights_sha256": "0')],
            {"dvc.lock", "metrics.json", "weights_sha256 of the run", "weights_sha256"},
        ),
        ([lambda p: p.edit("src/actgrad/layers.py", "import keras", "import keras  # edited")], {"dvc.lock"}),
    ],
    ids=["config and metrics", "data and commit", "weights", "code"],
)
@pytest.mark.slow
def test_the_fields_that_do_not_hold_are_named(project, spoil, fields):
    kept = (project.folder / "mlflow.db").read_bytes()
    for one in spoil:
        one(project)
    printed = project.run("python", "src/verify.py", "--cell", "digits/relu-0", check=False)
    (project.folder / "mlflow.db").write_bytes(kept)
    assert set(re.findall(r"WRONG (.+?)  ", printed)) == fields, printed
    error = printed.splitlines()[-1]
    assert error.startswith("error: digits/relu-0: ")
    assert all(field in error for field in fields)


def tamper(project: Project, command: str) -> None:
    with sqlite3.connect(project.folder / "mlflow.db") as store:
        store.execute(command)


@pytest.mark.slow
def test_another_machine_pulls_publishes_verifies_and_trains_nothing(project, tmp_path):
    project.run("dvc", "remote", "add", "--local", "-d", "shared", str(tmp_path / "remote"))
    project.run("dvc", "push")
    other = Project.clone(project.folder, tmp_path / "clone")
    other.run("dvc", "remote", "add", "--local", "-d", "shared", str(tmp_path / "remote"))
    other.run("dvc", "pull")
    assert "Running stage" not in other.run("dvc", "repro")
    assert "digits: 2 of 2 cells, 2 runs made or completed" in other.run("python", "src/publish.py")
    printed = other.run("python", "src/verify.py", "--cell", "digits/relu-0", "digits/he/relu-0")
    assert printed.count("ok    code_sha256 ") == 2
    assert printed.count("-     weights_sha256  ") == 2  # a published run has no model


@pytest.mark.slow
def test_all_cells_of_a_dataset_are_verified_where_the_dataset_itself_is_not(project):
    (project.folder / "data" / "digits.npz").unlink()
    printed = project.run("python", "src/verify.py", "--cell", "digits")
    assert [line for line in printed.splitlines() if line.startswith("digits/")] == ["digits/sigmoid-0", "digits/relu-0", "digits/he/relu-0"]
    assert printed.count("ok    dvc.lock ") == 3
    assert printed.count("-     data_sha256 ") == 3
    assert "WRONG" not in printed


@pytest.mark.slow
def test_publish_after_a_run_cache_hit_that_executed_nothing(project):
    shutil.rmtree(project.folder / "runs")
    for store in project.folder.glob("mlflow.db*"):
        store.rename(project.folder / f"{store.name}.kept")
    (project.folder / "dvc.lock").unlink()
    printed = project.run("dvc", "repro")
    assert "Stage 'train@digits-relu-0' is cached - skipping run" in printed
    assert "digits/relu-0  epoch 1/1" not in printed
    assert "digits: 2 of 2 cells, 2 runs made or completed" in project.run("python", "src/publish.py")
    assert "digits: 2 of 2 cells, 0 runs made or completed" in project.run("python", "src/publish.py")
    for store in project.folder.glob("mlflow.db*.kept"):
        store.rename(project.folder / store.name.removesuffix(".kept"))
