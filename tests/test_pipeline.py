"""The pipeline through DVC, on a shrunk study, in a copy of the repository."""

import json
import shutil

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
    assert "activation.layer=Brocken is not a Keras layer" in printed
    assert "error: 1 cells trained, 1 failed: runs/digits/relu-0; see above" in printed
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
