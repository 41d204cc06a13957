"""Configuration: every file composes, the folders agree, and mistakes are refused with a sentence."""

import inspect
import pydoc
import shutil
import sys

import pytest
import yaml

import study as study_script
from actgrad.config import composing, loading, schema
from actgrad.files import new_folder
from conftest import NAMES, ROOT, refuses, sentence

RATES = sorted(path.stem for path in (ROOT / "conf" / "rates").glob("*.yaml"))


def test_params_lists_every_activation_and_only_known_datasets_and_conditions():
    study = loading.study(ROOT / "params.yaml")
    assert sorted(study.activations) == NAMES["activation"]
    assert set(study.datasets) <= set(NAMES["data"])
    assert set(study.conditions) == set(NAMES["condition"]) - {"tuning"}


def test_every_recipe_is_shown_in_a_difference_of_params():
    assert sorted(yaml.safe_load((ROOT / "dvc.yaml").read_text())["params"]) == [f"conf/recipe/{name}.yaml" for name in NAMES["recipe"]]


@pytest.mark.parametrize("name", NAMES["recipe"])
def test_a_recipe_spells_out_every_value_so_that_each_can_be_set_in_a_dvc_experiment(name):
    assert list(yaml.safe_load((ROOT / "conf" / "recipe" / f"{name}.yaml").read_text())) == list(schema.Recipe.model_fields)


@pytest.mark.parametrize(("group", "name"), [(group, name) for group in ("activation", "data", "condition") for name in NAMES[group]])
def test_every_choice_composes_and_carries_the_name_of_its_file(run_config, group, name):
    assert getattr(run_config(f"{group}={name}"), group).name == name


@pytest.mark.parametrize("name", NAMES["model"])
def test_every_model_composes_and_has_a_builder_that_takes_its_values(run_config, name):
    model = run_config(f"model={name}").model
    assert model.build == f"actgrad.networks.{name}.build"
    own = [one.name for one in inspect.signature(pydoc.locate(model.build)).parameters.values() if one.kind == one.KEYWORD_ONLY]
    assert list(model.config) == own


@pytest.mark.parametrize("name", NAMES["recipe"])
def test_a_recipe_on_the_command_line_wins_over_the_one_that_the_dataset_names(run_config, name):
    written = yaml.safe_load((ROOT / "conf" / "recipe" / f"{name}.yaml").read_text())
    assert run_config("data=digits", f"recipe={name}").recipe.optimizer == written["optimizer"]
    assert run_config("data=digits", f"recipe={name}").recipe.batch_size == written["batch_size"]


@pytest.mark.parametrize("dataset", ["digits", "cifar10", "cifar10_jpeg"])
def test_the_conditions_of_the_study_list_runs_of_its_activations(dataset):
    study = loading.study(ROOT / "params.yaml")
    listed = loading.listed(study, dataset)
    assert list(listed) == (study.conditions if dataset not in study.only else study.only[dataset].conditions)
    for runs in listed.values():
        assert set(runs.activations) <= set(study.activations)
        assert set(runs.seeds) <= set(study.seeds)


@pytest.mark.parametrize("dataset", [pytest.param(name, marks=[] if name in ("digits", "cifar10") else pytest.mark.slow) for name in NAMES["data"]])
def test_every_condition_composes_for_every_dataset(run_config, dataset):
    study = loading.study(ROOT / "params.yaml")
    for condition, runs in loading.listed(study, dataset).items():
        if condition == "standardized_tuned" and dataset not in RATES:  # its rates have not been searched
            continue
        composed = run_config(f"data={dataset}", f"condition={condition}", f"activation={runs.activations[0]}")
        assert composed.key == f"{dataset}/{runs.activations[0]}/{condition}-0"


@pytest.mark.parametrize("dataset", RATES)
def test_every_activation_has_a_rate(dataset):
    rates = yaml.safe_load((ROOT / "conf" / "rates" / f"{dataset}.yaml").read_text())["learning_rate"]
    assert set(rates) == set(loading.condition_config("standardized_tuned").activations)


def test_a_condition_has_the_activations_and_seeds_that_params_yaml_lists_unless_it_lists_its_own(tmp_path):
    shutil.copytree(ROOT / "conf" / "activation", tmp_path / "activation")
    (tmp_path / "condition").mkdir()
    for name, values in {"plain": {}, "few": {"activations": ["relu", "elu"]}, "others": {"seeds": [7, 8]}}.items():
        (tmp_path / "condition" / f"{name}.yaml").write_text(yaml.safe_dump({"condition": {"name": name, **values}}))
    study = schema.Study(datasets=["digits"], conditions=["plain", "few", "others"], activations=["tanh", "relu"], seeds=[0, 1])
    assert loading.listed(study, "digits", tmp_path) == {
        "plain": loading.Listed(["tanh", "relu"], [0, 1]),
        "few": loading.Listed(["relu"], [0, 1]),
        "others": loading.Listed(["tanh", "relu"], [7, 8]),
    }


def test_a_dataset_has_fewer_conditions_and_seeds_where_params_yaml_says_so_and_an_activation_its_own_conditions(tmp_path):
    (tmp_path / "activation").mkdir()
    (tmp_path / "condition").mkdir()
    for name, values in {"relu": {}, "rrelu": {"conditions": ["plain"]}}.items():
        (tmp_path / "activation" / f"{name}.yaml").write_text(yaml.safe_dump({"name": name, "layer": "ReLU", **values}))
    for name in ("plain", "other"):
        (tmp_path / "condition" / f"{name}.yaml").write_text(yaml.safe_dump({"condition": {"name": name}}))
    both = {"datasets": ["b"], "conditions": ["plain", "other"], "activations": ["relu", "rrelu"], "seeds": [0, 1, 2]}

    def listed(**only) -> dict:
        return loading.listed(schema.Study(**both, only={"b": schema.Fewer(**only)}), "b", tmp_path)

    assert listed() == {"plain": loading.Listed(["relu", "rrelu"], [0, 1, 2]), "other": loading.Listed(["relu"], [0, 1, 2])}
    assert listed(conditions=["plain"], seeds=[2]) == {"plain": loading.Listed(["relu", "rrelu"], [2])}
    assert listed(most_seeds={"other": 2}) == {"plain": loading.Listed(["relu", "rrelu"], [0, 1, 2]), "other": loading.Listed(["relu"], [0, 1])}
    for only, expected in (
        ({"most_seeds": {"plane": 1}}, ["not-in-study", "only.b.most_seeds names plane, which is none of its conditions", "mean plain?"]),
        (
            {"conditions": ["other"], "most_seeds": {"plain": 1}},
            ["not-in-study", "only.b.most_seeds names plain, which is none of its"],
        ),
        ({"conditions": ["plane"]}, ["not-in-study", "only.b.conditions names plane, which is none of its conditions plain, other", "mean plain?"]),
        ({"seeds": [1, 7]}, ["not-in-study", "only.b.seeds names 7, which is none of its seeds 0, 1, 2; add it to them, or take it out of only"]),
        ({"seeds": [7]}, ["empty-condition", "only.b.seeds", "plain"]),
        ({"conditions": ["other"]}, ["unused-activation", "rrelu"]),
    ):
        with refuses(*expected):
            listed(**only)
    with refuses("not-in-study", "params.yaml: only names digitz, which is none of its datasets digits; ", "; did you mean digits?"):
        loading.listed(schema.Study(**both | {"datasets": ["digits"]}, only={"digitz": schema.Fewer()}), "digits", tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "other.yaml").touch()
    assert loading.listed(schema.Study(**both, only={"other": schema.Fewer()}), "b", tmp_path)  # a dataset that is not in the study now
    (tmp_path / "condition" / "plain.yaml").write_text("condition: {name: plain, seeds: [2, 7]}")
    assert listed(seeds=[2, 7])["plain"].seeds == [2, 7]  # seeds of a condition's own


def test_a_misspelt_key_of_what_a_dataset_has_is_named():
    study = {"datasets": ["a"], "conditions": ["b"], "activations": ["c"], "seeds": [0], "only": {"a": {"sedes": [0]}}}
    with refuses("unknown-key", "only.a.sedes is not a key of this configuration; known there: conditions, seeds, most_seeds; did you mean seeds?"):
        schema.parse(schema.Study, study)


@pytest.mark.parametrize(
    ("condition", "text", "code", "expected"),
    [
        ("hee", None, "unknown-name", "condition=hee is not known; known: x; a new one is a file conf/condition/hee.yaml"),
        ("x", "condition: {name: y}", "misnamed-file", "conf/condition/x.yaml has condition.name=y"),
        ("x", "condition: {name: x, seeds: one}", "wrong-value", "conf/condition/x.yaml: condition.seeds='one' "),
        ("x", "condition: {name: x, seeds: [1, 1]}", "wrong-value", "condition.seeds=[1, 1] cannot be used: 1 is listed twice"),
        (
            "x",
            "condition: {name: x, seed: [1]}",
            "unknown-key",
            "condition.seed is not a key of this configuration; known there: name, activations, seeds",
        ),
        ("x", "condition: {name: x, activations: [elu]}", "empty-condition", "the condition x is for elu"),
        ("x", "- x", "not-yaml", "conf/condition/x.yaml"),
    ],
)
def test_a_condition_that_lists_no_runs_is_refused(tmp_path, condition, text, code, expected):
    shutil.copytree(ROOT / "conf" / "activation", tmp_path / "activation")
    (tmp_path / "condition").mkdir()
    (tmp_path / "condition" / "x.yaml").write_text(text or "condition: {name: x}")
    study = schema.Study(datasets=["digits"], conditions=[condition], activations=["relu"], seeds=[0])
    with refuses(code, expected):
        loading.listed(study, "digits", tmp_path)


def test_an_activation_of_the_study_that_has_the_name_of_another_is_refused(tmp_path):
    (tmp_path / "activation").mkdir()
    (tmp_path / "activation" / "mine.yaml").write_text("name: relu\nlayer: ReLU\n")
    study = schema.Study(datasets=["digits"], conditions=["baseline"], activations=["mine"], seeds=[0])
    with refuses("misnamed-file", "conf/activation/mine.yaml", "name=relu"):
        loading.listed(study, "digits", tmp_path)


def test_what_a_condition_changes(run_config):
    baseline = run_config("data=digits", "activation=leaky_relu").model_dump()
    lenet5, mlp = baseline["model"], run_config("data=digits", "model=mlp").model_dump()["model"]
    rates = yaml.safe_load((ROOT / "conf" / "rates" / "digits.yaml").read_text())["learning_rate"]
    scaled = baseline["recipe"] | {"input_scaling": "standardized"}

    def deep(depth: int, residual: bool = False, **recipe) -> dict:
        return {"model": mlp | {"config": mlp["config"] | {"depth": depth, "residual": residual}}, "recipe": scaled | recipe}

    changed = {
        "baseline": {},
        "standardized": {"recipe": scaled},
        "he": {"recipe": baseline["recipe"] | {"kernel_initializer": "he_uniform"}},
        "standardized_he": {"recipe": scaled | {"kernel_initializer": "he_uniform"}},
        "standardized_tuned": {"recipe": scaled | {"learning_rate": rates["leaky_relu"]}},
        "batch_norm": {"model": lenet5 | {"config": lenet5["config"] | {"batch_normalization": True}}, "recipe": scaled},
        "average_pooling": {"model": lenet5 | {"config": lenet5["config"] | {"pooling": "average"}}},
        **{f"deep_{depth}": deep(depth) for depth in (2, 4, 8, 16)},
        "deep_16_residual": deep(16, residual=True),
        "deep_16_orthogonal": deep(16, kernel_initializer="orthogonal"),
        "deep_16_he": deep(16, kernel_initializer="he_uniform"),
        **{
            f"leaky_{percent}": {"recipe": scaled, "activation": baseline["activation"] | {"config": {"negative_slope": percent / 100}}}
            for percent in (10, 18, 25, 50)
        },
    }
    assert {*changed, "tuning"} == set(NAMES["condition"])
    for name, values in changed.items():
        found = run_config("activation=leaky_relu", f"condition={name}").model_dump()
        assert found.pop("condition")["name"] == name
        assert found == {key: value for key, value in baseline.items() if key != "condition"} | values


@pytest.mark.parametrize("condition", ["baseline", "tuning"])
def test_the_folder_of_a_run_names_all_that_is_given_so_that_no_run_replaces_one_of_other_values(condition):
    """train.py lets a run replace another in such a folder alone."""
    assert "${hydra:job.override_dirname}" in composing.run_dir_as_written(composing.with_hydra([f"condition={condition}"]))


def test_the_condition_itself_decides_nothing(run_config):
    assert run_config("condition=baseline").deciding() == run_config("condition=he", "recipe.kernel_initializer=glorot_uniform").deciding()
    assert set(run_config().deciding()) == {"seed", "test", "activation", "model", "recipe"}


def test_the_article_recipe(run_config):
    recipe = run_config("data=cifar10", "recipe.epochs=10").recipe
    assert (recipe.input_scaling, recipe.optimizer, recipe.learning_rate, recipe.batch_size, recipe.epochs, recipe.kernel_initializer) == (
        "none",
        "Adam",
        1e-3,
        256,
        10,
        "glorot_uniform",
    )


def test_a_dataset_names_its_recipe(run_config):
    assert run_config("data=digits").recipe.batch_size == 32
    assert run_config("data=cifar10").recipe.batch_size == 256


def test_the_key_of_a_run(run_config):
    assert run_config("activation=leaky_relu", "condition=he", "seed=7").key == "digits/leaky_relu/he-7"


def test_the_rate_of_an_activation_is_taken_from_those_that_were_searched_for(run_config):
    rates = yaml.safe_load((ROOT / "conf" / "rates" / "digits.yaml").read_text())["learning_rate"]
    assert run_config("condition=standardized_tuned", "activation=linear").recipe.learning_rate == rates["linear"]
    assert run_config("condition=standardized_tuned", "recipe.learning_rate=0.5").recipe.learning_rate == 0.5
    with refuses("no-learning-rate", "conf/rates/digits.yaml", "snake", "elu, ", "recipe.learning_rate="):
        run_config("condition=standardized_tuned", "activation.name=snake")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("recipe.epochs=0", "recipe.epochs=0 cannot be used: it must be at least 1"),
        ("recipe.epochs=two", "recipe.epochs='two' cannot be used: it must be a whole number"),
        ("recipe.learning_rate=-1", "recipe.learning_rate=-1.0 cannot be used: it must be above 0"),
        ("recipe.learning_rate=nan", "recipe.learning_rate=nan cannot be used"),
        ("recipe.input_scaling=halved", "recipe.input_scaling='halved' cannot be used: it must be 'none' or 'standardized'"),
        ("seed=-1", "seed=-1 cannot be used"),
        ("seed=1.5", "seed=1.5 cannot be used: it must be a whole number"),
        ("model.build=build", "model.build='build' cannot be used: it must be the dotted path of a function, such as my_pkg.nets.build"),
        (
            "model.build=my-pkg.nets.build",
            "model.build='my-pkg.nets.build' cannot be used: it must be the dotted path of a function, such as my_pkg.nets.build",
        ),
        ("model.config=3", "model.config=3 cannot be used: it must be keys and values, {KEY: VALUE}"),
        ("activation.name=a/b", "activation.name='a/b' cannot be used"),
        ("condition.name=a/b", "condition.name='a/b' cannot be used"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_what_may_be(run_config, override, expected):
    with refuses("wrong-value", expected):
        run_config(override)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("+model.name=mine", "model.name is not a key of this configuration; known there: build, config"),
        ("+recipe.epoch=3", "recipe.epoch is not a key of this configuration; known there: input_scaling"),
    ],
)
def test_a_key_that_is_none_is_refused_with_those_that_are(run_config, override, expected):
    with refuses("unknown-key", expected):
        run_config(override)


@pytest.mark.parametrize(
    ("overrides", "code", "expected"),
    [
        (
            ["activation=tnh"],
            "unknown-name",
            f"activation=tnh is not known; known: {', '.join(NAMES['activation'])}; a new one is a file conf/activation/tnh.yaml",
        ),
        (
            ["condition=hee"],
            "unknown-name",
            f"condition=hee is not known; known: {', '.join(NAMES['condition'])}; a new one is a file conf/condition/hee.yaml",
        ),
        (["data=digits", "rates=nope"], "no-learning-rate", "python src/tune.py data=nope"),
        (["recipe.epoch=3"], "unknown-key", "recipe.epoch is not a key of this configuration; known there: input_scaling"),
        (["activation.config.max_value=6"], "unknown-key", "known there: none; to pass another argument, write +activation.config.max_value=VALUE"),
        (
            ["model.config.depth=3"],
            "unknown-key",
            "model.config.depth is not a key of this configuration; known there: filters, kernel_size, dense_units, pooling, batch_normalization; "
            "to pass another argument, write +model.config.depth=VALUE",
        ),
        (["model.name=other"], "unknown-key", "model.name is not a key of this configuration; known there: build, config"),
        (
            ["model=mycnn"],
            "unknown-name",
            "model=mycnn is not known; known: lenet5, mlp; a new one is a file conf/model/mycnn.yaml, with `build: my_pkg.nets.build`",
        ),
        (
            ["seeds=0"],
            "unknown-key",
            "seeds is not a key of this configuration; known there: recipe, data, activation, model, tracking, run, seed, test, run_dir",
        ),
        (["seed=[1"], "wrong-configuration", "no viable alternative at input"),
    ],
)
def test_what_hydra_refuses_is_one_sentence(overrides, code, expected):
    with refuses(code, expected):
        composing.composed(["run_dir=unused", *overrides])


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["activation=tnh"], "unknown-name", ["activation=tnh is not known; known: "]),
        (["recipe.epochs=0"], "wrong-value", ["recipe.epochs=0"]),
        (["activation=[relu,tanh]"], "not-understood", ["activation=[relu,tanh]", "activation=NAME, or -m activation=NAME,NAME"]),
        (["data=digits"], "missing-dataset", ["data/digits.npz", "python src/download.py data=digits"]),
        (["run=digits/relu/baseline-0", "seed=1"], "no-use", ["seed=1", "run=KEY"]),
        (["run=digits"], "not-understood", ["run=digits ", "run=DATASET/ACTIVATION/CONDITION-SEED"]),
    ],
)
def test_train_refuses_with_one_sentence(script, arguments, code, expected):
    said = sentence(script("train.py", *arguments), code)
    assert all(part in said for part in expected), said


PARAMS = {"datasets": ["digits"], "conditions": ["baseline"], "activations": ["relu"], "seeds": [0]}


@pytest.mark.parametrize(
    ("arguments", "change", "code", "expected"),
    [
        (["activation=relu"], {}, "usage", ["data=NAME"]),
        (["digits"], {}, "not-understood", ["'digits'", "data=NAME activation=NAME condition=NAME seed=NAME"]),
        (["data=digits", "data=digits"], {}, "given-twice", ["data="]),
        (["data=pets"], {}, "not-in-study", ["data=pets is not in params.yaml, whose datasets are digits"]),
        (["data=digits", "activation=tanh"], {}, "not-in-study", ["activation=tanh is not in params.yaml, whose activations are relu"]),
        (["data=digits", "condition=he"], {}, "not-in-study", ["condition=he is not in params.yaml, whose conditions are baseline"]),
        (["data=digits", "seed=one"], {}, "wrong-value", ["seed=one", "seed=NUMBER"]),
        (["data=digits", "seed=٣"], {}, "wrong-value", ["seed=٣", "seed=NUMBER"]),
        (["data=digits"], {"conditions": ["hee"]}, "unknown-name", ["condition=hee is not known; known: average_pooling, baseline"]),
        (["data=digits"], {"activations": ["tnh"]}, "unknown-name", ["activation=tnh is not known; known: elu"]),
        (["data=digits"], {"conditions": ["average_pooling"]}, "empty-condition", ["average_pooling", "linear"]),
        (["data=digits", "--train"], {}, "not-composed", ["runs/digits/composed-runs/relu.yaml", "python src/study.py data=digits"]),
        (["data=digits"], {}, "missing-dataset", ["data/digits.npz", "python src/download.py data=digits"]),
        (["data=digits", "seed=5"], {}, "unknown-run", ["params.yaml", "digits has the conditions baseline;"]),
    ],
)
def test_a_study_of_what_is_not_known_is_refused(tmp_path, monkeypatch, arguments, change, code, expected):
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(PARAMS | change))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["study.py", *arguments])
    with refuses(code, *expected):
        study_script.main()


def test_study_refuses_with_one_sentence(script, tmp_path):
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(PARAMS))
    assert "activation=tanh is not in params.yaml" in sentence(script("study.py", "data=digits", "activation=tanh"), "not-in-study")


def test_a_run_dir_that_cannot_be_made_is_refused_before_anything_is_trained(script, tmp_path):
    assert script("download.py", "data=digits").returncode == 0
    (tmp_path / "file").write_text("")
    assert "run_dir=file cannot be made a folder (File exists)" in sentence(script("train.py", "data=digits", "run_dir=file"), "unusable-folder")
    with refuses("unusable-folder", "File name too long", "run_dir=PATH"):
        new_folder("a" * 300, "run_dir")


def test_help_names_the_choices_and_the_values(script):
    shown = script("train.py", "--help")
    assert shown.returncode == 0
    assert f"activation: {', '.join(NAMES['activation'])}" in shown.stdout
    assert f"condition: {', '.join(NAMES['condition'])}" in shown.stdout
    assert "learning_rate: 0.001" in shown.stdout


def test_cfg_job_prints_the_configuration(script):
    shown = script("train.py", "data=digits", "activation=leaky_relu", "activation.config.negative_slope=0.1", "seed=7", "--cfg", "job", "--resolve")
    printed = yaml.safe_load(shown.stdout)
    assert printed["activation"]["config"] == {"negative_slope": 0.1}
    assert printed["run_dir"] == "outputs/digits/leaky_relu/baseline-7/activation.config.negative_slope=0.1"
