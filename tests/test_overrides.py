"""Command-line arguments of scripts are understood as intended, or refused with one sentence."""

import re
import sys

import pytest
import yaml

import check
from actgrad.config import composing, loading, overrides
from actgrad.config.schema import Config
from actgrad.console import check_typing
from actgrad.errors import nearest
from conftest import NAMES, ROOT, Project, refuses, sentence, train


def understood(*arguments: str) -> Config:
    """The configuration of the run that these arguments of train.py name."""
    check_typing(arguments)
    return composing.composed([one for one in ["run_dir=unused", *overrides.for_hydra(arguments)] if not one.startswith("-")])


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        # near misses
        (["epochs=3"], "unknown-key", "; did you mean recipe.epochs=3?"),
        (["recipe.epoch=3"], "unknown-key", "; did you mean recipe.epochs=3?"),
        (["seeds=4"], "unknown-key", "; did you mean seed=4?"),
        (["dataset=digits"], "unknown-key", "; did you mean data=digits?"),
        (["optimizer=Adam"], "unknown-key", "; did you mean recipe.optimizer=Adam?"),
        (["activation=ReLU"], "unknown-name", "; did you mean activation=relu?"),
        (["activation=LeakyReLU"], "unknown-name", "; did you mean activation=leaky_relu?"),
        (["activation=leaky-relu"], "unknown-name", "; did you mean activation=leaky_relu?"),
        (["data=Digits"], "unknown-name", "; did you mean data=digits?"),
        (["condition=batchnorm"], "unknown-name", "; did you mean condition=batch_norm?"),
        (["recipe.optimizer=adamw"], "wrong-value", "it must be 'Adam', 'AdamW', 'SGD' or 'RMSprop'; did you mean AdamW?"),
        (["activation=leaky_relu", "activation.config.negativ_slope=0.1"], "unknown-key", "; did you mean activation.config.negative_slope=0.1?"),
        (["activation=leaky_relu", "activation.config.slope=0.1"], "unknown-key", "write +activation.config.slope=VALUE"),
        (["activation=leaky_relu", "model.config.kernelsize=3"], "unknown-key", "; did you mean model.config.kernel_size=3?"),
        (["+recipe.epoch=1"], "unknown-key", "recipe.epoch is not a key of this configuration; known there: input_scaling"),
        # invalid choices
        (["activation=null"], "not-understood", "activation=NAME, or -m activation=NAME,NAME,… "),
        (["condition=null"], "not-understood", "condition=NAME, or -m condition=NAME"),
        (["data="], "not-understood", "data=NAME, or -m data=NAME"),
        (["recipe=true"], "not-understood", "recipe=NAME, or -m recipe=NAME"),
        (["model=3"], "not-understood", "model=NAME, or -m model=NAME"),
        (["activation=relu.yaml"], "file-for-name", "write the name alone: activation=relu"),
        (["data=conf/data/digits.yaml"], "file-for-name", "write the name alone: data=digits"),
        (["activation=../recipe/digits"], "file-for-name", "write the name alone: activation=digits"),
        (["--experimental-rerun", "x"], "no-use", "--experimental-rerun"),
        (["activation=[relu,tanh]"], "not-understood", "activation=NAME, or -m activation=NAME"),
        (["recipe={epochs: 3}"], "not-understood", "recipe=NAME, or -m recipe=NAME"),
        (["-m", "activation=relu,null"], "not-understood", "activation=NAME, or -m activation=NAME"),
        (["~recipe"], "missing-value", "recipe=VALUE"),
        (["~seed"], "missing-value", "seed=VALUE"),
        (["~recipe.epochs"], "missing-value", "recipe.epochs"),
        (["hydra/launcher=null"], "not-understood", "write hydra/launcher=NAME"),
        (["hydra=null"], "not-understood", "write hydra/launcher=NAME"),
        (["--resolve"], "no-use", "it belongs to --cfg job"),
        # several values
        (["seed=1,2"], "several-values", "write -m seed=1,2"),
        (["recipe.learning_rate=1e-3,1e-4"], "several-values", "write -m recipe.learning_rate=1e-3,1e-4"),
        (["seed=range(3)"], "several-values", "write -m seed=range(3)"),
        (["activation=glob(*)"], "several-values", "write -m activation=glob(*)"),
        (["-m", "seed=range(0,0)"], "missing-value", "write seed=VALUE,VALUE"),
        (["-m", "seed=0,0"], "given-twice", "seed=0,0 lists 0 twice"),
        (["-m", "recipe.learning_rate=0.001,1e-3"], "given-twice", "recipe.learning_rate=0.001,1e-3 lists 0.001 twice"),
        (["-m", "condition=he,batch_norm"], "several-conditions", "python src/study.py data=NAME condition=NAME"),
        (["-m", "condition=he,tuning", "activation=relu"], "several-conditions", "write -m condition=tuning"),
        (["-m", "condition=glob(*u*)", "activation=relu"], "several-conditions", "write -m condition=tuning"),
        (["-m", "activation=glob(zzz*)"], "missing-value", "write activation=VALUE,VALUE"),
        (["-m", "seed=0,1", "run_dir=here"], "shared-run-folder", "run_dir='outputs/${seed}'"),
        (["-m", "seed=0,1", "++run_dir=here"], "shared-run-folder", "run_dir='outputs/${seed}'"),
        (["-m", "condition=tuning", "run_dir=here"], "shared-run-folder", "run_dir='outputs/${seed}'"),
        (["-m", "run_dir='x,y'"], "shared-run-folder", "run_dir=x,y would be"),  # in quotes, as console.run_script writes it
        (["seed=1", "seed=2"], "given-twice", "seed= "),
        (["data=digits", "data=digits"], "given-twice", "data= "),
        (["seed=1", "++seed=2"], "given-twice", "seed= "),
        # invalid numbers
        (["seed=1.0"], "wrong-value", "seed=1.0 cannot be used: it must be a whole number"),
        (["seed=01"], "wrong-value", "seed='01' cannot be used: it must be a whole number"),
        (["seed="], "wrong-value", "seed='' cannot be used: it must be a whole number"),
        (["seed=null"], "wrong-value", "seed=None cannot be used: it must be a whole number"),
        (["seed=true"], "wrong-value", "seed=True cannot be used: it must be a whole number"),
        (["recipe.epochs=3.5"], "wrong-value", "recipe.epochs=3.5 cannot be used: it must be a whole number"),
        (["run_dir="], "wrong-value", "run_dir=''"),
        # arguments changed by a shell or a word processor
        (["data", "=", "digits"], "space-beside-equals", "'data ='"),
        (["data=", "digits"], "space-beside-equals", "'data= digits'"),
        (["data", "=digits"], "space-beside-equals", "'=digits'"),
        (["–m", "seed=0,1"], "wrong-dash", "type a plain minus sign: -m"),
        (["——cfg", "job"], "wrong-dash", "'——cfg'"),
        (["data=digits,"], "not-understood", "'data=digits,'"),
        (["digits"], "not-understood", "-m KEY=VALUE,VALUE for several runs"),
        (["data=“digits”"], "not-understood", "stand in quotes: \"KEY='VALUE'\""),
        (["--epochs", "3"], "usage", "unrecognized arguments: --epochs; python src/train.py --help"),
        (["-m", "--cfg", "job"], "usage", "--multirun and --cfg"),
        (["--cfg", "jobs"], "usage", "argument --cfg/-c: invalid choice: 'jobs'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_meant_is_refused_with_one_sentence(arguments, code, expected):
    with refuses(code, expected):
        understood(*arguments)


@pytest.mark.parametrize("typed", ["imagenet", "resnet", "a/b", "7"])
def test_nothing_is_suggested_for_what_is_like_nothing(typed):
    assert nearest(typed, NAMES["data"] + NAMES["model"]) is None


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["activation=leaky_relu", "activation.config={negative_slope: 0.1}"], {"negative_slope": 0.1}),
        (["activation=elu", "activation.config={}"], {}),  # Hydra alone would keep alpha
        (["activation=elu", "activation.config={}", "+activation.config.negative_slope=0.2"], {"negative_slope": 0.2}),
        (["activation=elu", "+activation.config={}"], {}),
        (["activation=elu", "++activation.config={negative_slope: 0.1}"], {"negative_slope": 0.1}),
        (["activation=elu", "+activation.config.more={a: 1}"], {"alpha": 1.0, "more": {"a": 1}}),
        (["activation=elu", "~activation.config.alpha"], {}),
    ],
    ids=lambda value: str(value),
)
def test_a_dictionary_is_what_is_typed(arguments, expected):
    assert understood(*arguments).activation.config == expected


def test_a_model_of_ones_own_can_be_named_on_the_command_line_alone():
    assert understood("model.build=my_pkg.nets.build", "model.config={}").model.config == {}
    assert understood("condition=batch_norm", "model.config={width: 3}").model.config == {"width": 3}


def test_a_key_of_a_dataset_that_its_file_lacks_is_given_as_to_download():
    data = understood("data=cifar10", "data.archive=x", "data.image_size=16", "data.val_size=7").data
    assert (data.archive, data.image_size, data.val_size) == ("x", 16, 7)
    with refuses("unknown-key", "; did you mean data.val_size=7?"):
        understood("data=cifar10", "data.vall_size=7")


def test_a_dictionary_that_is_swept_over_is_what_is_typed():
    assert overrides.for_hydra(["-m", "model.config={},{a: 1}"]) == ["-m", "~model.config", "+model.config={},{a: 1}"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["data=digits", "-m", "seed=0,1"], ["-m", "data=digits", "seed=0,1"]),
        (["--", "data=digits"], ["data=digits"]),
        (["seed=0,1", "--multirun"], ["--multirun", "seed=0,1"]),
        (["seed=1", "--cfg", "job"], ["--cfg", "job", "seed=1"]),
        (["-m", "seed=range(3)", "activation=glob(*)"], ["-m", "seed=range(3)", "activation=glob(*)"]),
        (["-m", "seed=0,1", "run_dir='x/${seed}'"], ["-m", "seed=0,1", "run_dir='x/${seed}'"]),
        (["-m", "condition=he,batch_norm", "activation=relu,tanh"], ["-m", "condition=he,batch_norm", "activation=relu,tanh"]),
        (["rates=null", "~local"], ["rates=null", "~local"]),
        (["--help"], ["--help"]),
    ],
)
def test_what_is_meant_reaches_hydra(arguments, expected):
    assert overrides.for_hydra(arguments) == expected


@pytest.mark.parametrize(("typed", "value"), [("++seed=1", 1), ("+seed=1", None), ("seed=1_000", 1000)])
def test_a_number_in_other_forms(typed, value):
    if value is None:
        with refuses("wrong-configuration", "An item is already at 'seed'"):
            understood(typed)
    else:
        assert understood(typed).seed == value


@pytest.mark.slow
def test_adamw_trains_and_decays_the_weights(run_config, few_digits):
    """In addition to Adam's step, it subtracts rate * 0.004 * weight, Keras' default."""
    both = [train(run_config(f"recipe.optimizer={name}", "recipe.epochs=1"), few_digits)[0].steps for name in ("Adam", "AdamW")]
    first = [steps[steps["step"] == 1].set_index("layer") for steps in both]
    assert first[0]["grad_norm"].equals(first[1]["grad_norm"])
    assert ((first[0]["update_norm"] - first[1]["update_norm"]).abs() <= 0.001 * 0.004 * first[0]["weight_norm"] * 1.001).all()
    assert not both[0]["update_norm"].equals(both[1]["update_norm"])


@pytest.mark.slow
def test_hydra_trains_with_the_dictionary_that_was_typed(script):
    shown = script("train.py", "data=digits", "activation=elu", "activation.config={}", "model.config={width: 3}", "--cfg", "job")
    values = yaml.safe_load(shown.stdout)
    assert (values["activation"]["config"], values["model"]["config"]) == ({}, {"width": 3})


# --- names that stand in a file and in its name


@pytest.mark.parametrize(
    ("group", "text", "expected"),
    [
        ("activation", "name: leaky_relu\nlayer: LeakyReLU\n", "conf/activation/mine.yaml has name=leaky_relu"),
        (
            "condition",
            "# @package _global_\ncondition: {name: he}\n",
            "conf/condition/mine.yaml has condition.name=he",
        ),
        (
            "data",
            (ROOT / "conf/data/digits.yaml").read_text(),
            "conf/data/mine.yaml has data.name=digits",
        ),
    ],
)
@pytest.mark.slow
def test_train_compares_the_name_in_a_file_with_that_of_the_file(script, tmp_path, group, text, expected):
    for name in ("activation", "condition", "data", "model", "rates", "recipe", "tracking"):
        (tmp_path / "conf" / name).mkdir(parents=True)
        for file in (ROOT / "conf" / name).glob("*.yaml"):
            (tmp_path / "conf" / name / file.name).symlink_to(file)
    (tmp_path / "conf" / "config.yaml").symlink_to(ROOT / "conf" / "config.yaml")
    (tmp_path / "conf" / group / "mine.yaml").write_text(text)
    assert expected in sentence(script("train.py", f"{group}=mine"), "misnamed-file")


def test_a_name_on_the_command_line_is_another_run(run_config):
    config, choices = run_config("activation.name=snake"), {"data": "digits", "activation": "relu", "condition": "baseline"}
    composing.check_names(config, choices, ["activation.name=snake"])
    with refuses("misnamed-file", "conf/activation/relu.yaml", "name=snake"):
        composing.check_names(config, choices)


# --- the other scripts


@pytest.mark.parametrize(
    ("command", "code", "expected"),
    [
        (["study.py", "data", "=", "digits"], "space-beside-equals", "'data ='"),
        (["study.py", "data=Digits"], "not-in-study", "; did you mean data=digits?"),
        (["study.py", "data=digits,"], "not-in-study", "; did you mean data=digits?"),
        (["study.py", "data=digits", "activation=ReLU"], "not-in-study", "; did you mean activation=relu?"),
        (["study.py", "data=digits", "dataset=digits"], "not-understood", "write data=NAME activation=NAME"),
        (["study.py", "data=digits", "--trains"], "usage", "unrecognized arguments: --trains; python src/study.py --help"),
        (["report.py", "Data=digits"], "not-understood", "; did you mean data?"),
        (["report.py"], "usage", "the following arguments are required: data=NAME; python src/report.py --help"),
        (["publish.py", "—data=digits"], "wrong-dash", "-data=digits"),
        (["verify.py", "data=digits", "--threads", "two"], "usage", "argument --threads: invalid int value: 'two'"),
        (["tune.py", "data=digits", "condition=he"], "no-use", "data, condition, run_dir"),
        (["tune.py", "data=Digits"], "unknown-name", "data=Digits is not known; known: cifar10"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_every_script_refuses_with_one_sentence(script, tmp_path, command, code, expected):
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"datasets": ["digits"], "conditions": ["baseline"], "activations": ["relu"], "seeds": [0]}))
    assert expected in sentence(script(*command), code)


def test_a_key_of_a_dataset_that_is_given_to_download_twice_is_refused():
    with refuses("given-twice", "data.val_size= is given twice"):
        loading.data_config("digits", ["data.val_size=6", "data.val_size=2"])


PARAMS = {"datasets": "[digits]", "conditions": "[baseline]", "activations": "[relu]", "seeds": "[0]"}


@pytest.mark.parametrize(
    ("change", "code", "expected"),
    [
        ({"seeds": "5"}, "wrong-value", "params.yaml: seeds=5 cannot be used: it must be a list; write it as a list, [5]"),
        ({"activations": "relu"}, "wrong-value", "params.yaml: activations='relu' cannot be used: it must be a list; write it as a list, [relu]"),
        ({"datasets": "digits"}, "wrong-value", "params.yaml: datasets='digits' cannot be used: it must be a list; write it as a list, [digits]"),
        ({"seeds": "[0, 0]"}, "wrong-value", "params.yaml: seeds=[0, 0] cannot be used: 0 is listed twice; remove one"),
        ({"seeds": '["0"]'}, "wrong-value", "params.yaml: seeds.0='0' cannot be used: it must be a whole number"),
        ({"activations": "[ReLU]"}, "unknown-name", "activation=ReLU is not known; known: elu"),
        ({"activations": "[ReLU]"}, "unknown-name", "; did you mean activation=relu?"),
        (
            {"activations": "[no]"},
            "wrong-value",
            "params.yaml: activations.0=False cannot be used: it must be text; YAML reads no, yes,",
        ),
        (
            {"seed": "[0]"},
            "unknown-key",
            "known there: datasets, conditions, activations, seeds, only; did you mean seeds?",
        ),
        ({"datasets": "[digitz]"}, "unknown-name", "data=digitz is not known; known: cifar10"),
        ({"conditions": "[he, hee]"}, "unknown-name", "condition=hee is not known"),
        ({"conditions": "[he, tuning]"}, "no-test-split", "tuning"),
        ({"datasets": "[mnist]", "conditions": "[standardized_tuned]"}, "no-learning-rate", "mnist"),
        ({}, "missing-value", "params.yaml: only is missing, and DVC needs it; write only: {}"),
        (None, "not-yaml", "params.yaml holds no KEY: VALUE; it needs datasets, conditions, activations, seeds"),
    ],
    ids=str,
)
def test_params_that_dvc_would_refuse_in_its_own_words_are_refused_before(tmp_path, monkeypatch, change, code, expected):
    text = "" if change is None else "".join(f"{key}: {value}\n" for key, value in (PARAMS | change).items())
    (tmp_path / "params.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["check.py"])
    with refuses(code, expected):
        check.main()


@pytest.mark.slow
def test_a_file_of_an_activation_that_cannot_be_used_is_refused_before_the_first_run(tmp_path):
    project = Project(tmp_path)
    project.edit("conf/activation/relu.yaml", "layer: ReLU", "layers: ReLU")
    assert "layers is not a key" in project.run("python", "src/check.py", check=False)
    project.edit("conf/activation/relu.yaml", "layers: ReLU", "layer: my_acts.Bent")
    assert "activation.layer=my_acts.Bent: there is no module my_acts in PYTHONPATH; put" in project.run("python", "src/check.py", check=False)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "my_acts.py").touch()
    assert "can be used" in project.run("env", "PYTHONPATH=elsewhere", "python", "src/check.py")


def test_every_pipeline_of_the_makefile_checks_first():
    targets = re.split(r"\n(?=\S)", (ROOT / "Makefile").read_text())
    pipelines = [target.splitlines() for target in targets if "\tpython -m dvc repro" in target]
    assert [lines[0].split(":")[0] for lines in pipelines] == ["demo", "study"]
    assert all(lines[1] == "\t@python src/check.py" for lines in pipelines)


@pytest.mark.parametrize(
    ("activation", "given", "name"),
    [
        ("relu", ["data=digits", "activation=relu", "run_dir=x", "tracking.enabled=false"], "relu"),
        ("leaky_relu", ["activation=leaky_relu", "activation.config.negative_slope=0.1", "seed=7"], "leaky_relu negative_slope=0.1 seed=7"),
        ("relu", ["condition=he", "+model.config.depth=12"], "relu condition=he depth=12"),
        ("relu", ["model.config.units=1", "activation.config.units=2"], "relu model.config.units=1 activation.config.units=2"),
        ("snake", ["activation.name=snake", "~activation.config", "+activation.config={a: 2}"], "snake config={a: 2}"),
        ("relu", ["++activation.config=null", "+activation.config={}"], "relu config={}"),
        ("relu", ["~rates"], "relu ~rates"),
    ],
)
def test_a_run_by_hand_is_named_by_its_activation_and_what_else_was_overridden(activation, given, name):
    assert overrides.run_name(activation, given) == name
