"""Files of conf/ and params.yaml that cannot be used are refused, whichever script reads them."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from actgrad.config import composing, loading, overrides
from actgrad.errors import UserError
from actgrad.pipeline import launchers
from conftest import ROOT, refuses, sentence

LAUNCHER = "defaults:\n  - override /hydra/launcher: joblib\n"
DIGITS = (ROOT / "conf" / "data" / "digits.yaml").read_text()


@pytest.fixture
def conf(tmp_path, monkeypatch) -> Path:
    """A copy of conf/, in the project of `script`."""
    shutil.copytree(ROOT / "conf", tmp_path / "conf", ignore=shutil.ignore_patterns("local"))
    (tmp_path / "conf" / "local").mkdir()
    for module in (composing, loading):
        monkeypatch.setattr(module, "CONF", tmp_path / "conf")
    return tmp_path / "conf"


def told(file: str) -> str:
    return f"conf/{file}.yaml does not begin with the line `# @package _global_`"


def refused(code: str, *chosen: str) -> str:
    with pytest.raises(UserError) as error:
        composing.composed(["run_dir=unused", *chosen])
    assert error.value.code == code
    return str(error.value)


@pytest.mark.parametrize(
    "text", ["", LAUNCHER, "hydra: {launcher: {n_jobs: 2}}\n", f"# mine\n# @package _global_\n{LAUNCHER}", f"# @package x\n{LAUNCHER}"]
)
def test_a_local_file_without_its_first_line(conf, text):
    (conf / "local" / "default.yaml").write_text(text)
    assert told("local/default") in refused("no-first-line")
    with refuses("no-first-line", told("local/default")):
        launchers.launcher_overrides(threads=1)
    composing.composed(["run_dir=unused", *composing.without_local()])  # as the study composes it, without conf/local


def test_scripts_say_so_before_they_start_a_run(script, conf):
    (conf.parent / "params.yaml").write_text(yaml.safe_dump({"datasets": ["digits"], "conditions": ["he"], "activations": ["relu"], "seeds": [0]}))
    assert script("download.py", "data=digits").returncode == 0
    (conf / "local" / "default.yaml").write_text("hydra: {launcher: {n_jobs: 2}}\n")
    for command in (["train.py", "data=digits"], ["study.py", "data=digits"], ["publish.py"]):
        assert told("local/default") in sentence(script(*command), "no-first-line")


@pytest.mark.slow
def test_the_search_for_rates_follows_the_launcher_of_a_local_file_and_takes_no_value_of_a_run_from_it(script, conf):
    assert script("download.py", "data=digits").returncode == 0
    local = conf / "local" / "default.yaml"
    head = f"# @package _global_\n{LAUNCHER}tracking: {{enabled: false}}\n"
    local.write_text(f"{head}recipe: {{epochs: 1}}\n")
    assert "conf/local/default.yaml" in sentence(script("tune.py", "data=digits"), "local-values")
    local.write_text(f"{head}hydra: {{launcher: {{verbose: 10}}}}\n")
    found = script("tune.py", "data=digits", "activation=relu,tanh", "recipe.learning_rate=0.001", "seed=0", "recipe.epochs=1")
    assert found.returncode == 0, found.stderr
    assert "[Parallel(n_jobs=" in found.stdout + found.stderr
    assert not (conf.parent / "mlflow.db").exists()


@pytest.mark.parametrize(
    ("group", "text"),
    [
        ("data", DIGITS.partition("\n")[2].replace("name: digits", "name: own")),
        ("data", "data: {name: own, format: digits, test_size: 360, val_size: 240}\n"),
        ("condition", "defaults:\n  - override /rates: digits\ncondition: {name: own}\n"),
        ("condition", "condition: {name: own}\n"),
    ],
)
def test_a_dataset_or_condition_without_its_first_line(conf, group, text):
    (conf / group / "own.yaml").write_text(text)
    assert told(f"{group}/own") in refused("no-first-line", f"{group}=own")


def test_a_recipe_of_your_own_is_chosen_by_the_command_line_a_dataset_or_a_condition(conf):
    """The recipe that docs/your-own.md shows."""
    page = (ROOT / "docs" / "your-own.md").read_text()
    (conf / "recipe" / "longer.yaml").write_text(re.search(r"^## A recipe\n.*?^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[1])
    head = "# @package _global_\ndefaults:\n  - override /recipe: longer\n"
    (conf / "data" / "own.yaml").write_text(f"{head}data: {{name: own, format: digits, test_size: 360, val_size: 240}}\n")
    (conf / "condition" / "own.yaml").write_text(f"{head}recipe: {{epochs: 3}}\ncondition: {{name: own}}\n")
    digits = composing.composed(["run_dir=unused", "data=digits"]).recipe
    longer = digits.model_copy(update={"optimizer": "AdamW", "learning_rate": 0.0005, "epochs": 30})
    assert composing.composed(["run_dir=unused", "data=digits", "recipe=longer"]).recipe == longer
    assert composing.composed(["run_dir=unused", "data=own"]).recipe == longer
    assert composing.composed(["run_dir=unused", "data=digits", "condition=own"]).recipe == longer.model_copy(update={"epochs": 3})


@pytest.mark.parametrize("text", ["# @package _global_\n", f"\n#  @package   _global_\n{LAUNCHER}", f"# @package _global_\n# mine\n{LAUNCHER}"])
def test_a_local_file_that_hydra_reads_as_it_is_meant(conf, text):
    (conf / "local" / "default.yaml").write_text(text)
    assert composing.composed(["run_dir=unused"]) == composing.composed(["run_dir=unused", "~local"])


def test_another_mistake_in_a_file_keeps_its_own_sentence(conf):
    (conf / "local" / "default.yaml").write_text("# @package _global_\ndefaults:\n  - override /hydra/launchr: joblib\n")
    assert "Could not override 'hydra/launchr'" in refused("wrong-configuration")


@pytest.mark.parametrize(("text", "given"), [("recipe:\n", "recipe=None"), ("recipe: 3\n", "recipe=3"), ("activation: relu\n", "activation='relu'")])
def test_a_local_file_that_has_a_value_for_a_whole_group(conf, text, given):
    (conf / "local" / "default.yaml").write_text(f"# @package _global_\n{text}")
    assert refused("wrong-value") == f"{given} cannot be used: it must be keys and values, {{KEY: VALUE}}"


@pytest.mark.parametrize(
    ("group", "content", "code", "expected"),
    [
        ("activation", "name: own\nlayer: ReLU  # größer\n".encode("latin-1"), "not-yaml", "own.yaml is not text in UTF-8"),
        ("activation", b"", "not-yaml", "own.yaml holds no KEY: VALUE"),
        ("activation", b"- ReLU\n", "not-yaml", "own.yaml holds no KEY: VALUE"),
        ("condition", b"", "not-yaml", "own.yaml holds no KEY: VALUE"),
        ("condition", "\ufeff# @package _global_\ncondition: {name: own}\n".encode(), "no-first-line", "own.yaml begins with a byte order mark"),
        ("data", f"\ufeff{DIGITS}".replace("name: digits", "name: own").encode(), "no-first-line", "own.yaml begins with a byte order mark"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(conf, group, content, code, expected):
    (conf / group / "own.yaml").write_bytes(content)
    assert f"conf/{group}/{expected}" in refused(code, f"{group}=own")


def test_an_error_of_encoding_that_is_not_of_a_file_of_conf_stays_what_it_is():
    with pytest.raises(UnicodeDecodeError):
        composing.refusal(UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "of another file"))


def test_a_run_dir_of_a_local_file_is_no_folder_of_several_runs(conf):
    local = conf / "local" / "default.yaml"
    local.write_text("# @package _global_\nrun_dir: outputs/mine\n")
    for several in (["seed=0,1"], ["condition=tuning"]):
        with refuses("shared-run-folder", "run_dir=outputs/mine would be the folder of several runs"):
            overrides.for_hydra(["-m", *several])
    for alone in (["seed=0"], ["seed=0,1", "run_dir='x/${seed}'"], ["run=digits/relu/he-0,digits/relu/he-1"]):
        overrides.for_hydra(["-m", *alone])


@pytest.mark.parametrize(
    ("text", "code", "expected"),
    [
        ("datasets: []\nconditions: [baseline]\nactivations: [relu]\nseeds: [0]", "wrong-value", "params.yaml: datasets=[] "),
        ("datasets: [digits]\nactivations: [relu]\nseeds: [0]", "missing-value", "params.yaml: conditions "),
        (
            "datasets: [digits]\nconditions: [baseline]\nactivations: [relu, relu]\nseeds: [0]",
            "wrong-value",
            "params.yaml: activations=['relu', 'relu'] cannot be used: relu is listed twice",
        ),
        ("datasets: [", "not-yaml", "params.yaml"),
        ("datasets: [digits]\nconditions: [baseline]\nactivations: [relu]\nseed: 0\nseeds: [0]", "unknown-key", "params.yaml: seed "),
    ],
)
def test_params_that_make_no_study_are_refused(tmp_path, text, code, expected):
    (tmp_path / "params.yaml").write_text(text)
    with refuses(code, expected):
        loading.study(tmp_path / "params.yaml")
