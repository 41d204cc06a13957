"""What is configured: every file composes, the trees agree, and what is wrong is refused with a sentence."""

import pytest
import yaml

from actgrad.config import schema as config
from actgrad.errors import UserError
from conftest import GROUPS, NAMES, ROOT, sentence


def test_params_lists_every_activation_and_only_known_datasets():
    study = config.study(ROOT / "params.yaml")
    assert sorted(study.activations) == NAMES["activation"]
    assert set(study.datasets) <= set(NAMES["data"])


def test_every_recipe_that_was_not_searched_for_is_shown_in_a_difference_of_params():
    by_hand = [name for name in NAMES["recipe"] if not name.endswith("_tuned")]
    assert sorted(yaml.safe_load((ROOT / "dvc.yaml").read_text())["params"]) == [f"conf/recipe/{name}.yaml" for name in by_hand]


def test_the_word_for_the_recipe_of_the_dataset_is_no_recipe():
    assert "default" not in NAMES["recipe"]


@pytest.mark.parametrize("name", NAMES["recipe"])
def test_a_recipe_spells_out_every_value_so_that_each_can_be_set_in_an_experiment(name):
    assert list(yaml.safe_load((ROOT / "conf" / "recipe" / f"{name}.yaml").read_text())) == list(config.Recipe.model_fields)


@pytest.mark.parametrize(("group", "name"), [(group, name) for group in GROUPS for name in NAMES[group]])
def test_every_choice_composes_and_carries_the_name_of_its_file(cell, group, name):
    assert getattr(cell(f"{group}={name}"), group).name == name


@pytest.mark.parametrize("name", NAMES["experiment"])
def test_every_experiment_composes_and_carries_the_name_of_its_file(cell, name):
    composed = cell(f"experiment={name}")
    assert composed.experiment == name
    assert composed.key == ("digits/relu-0" if name == config.NO_EXPERIMENT else f"digits/{name}/relu-0")


def test_the_experiments_of_the_study_are_files_that_list_cells_of_its_activations():
    study = config.study(ROOT / "params.yaml")
    for name in study.experiments:
        listed = config.experiment(name)
        assert set(listed.activations) <= set(study.activations)
        assert set(listed.seeds) <= set(study.seeds)


def test_every_experiment_composes_for_every_dataset_of_the_study(cell):
    study = config.study(ROOT / "params.yaml")
    for dataset in {*study.datasets, "cifar10_jpeg"}:
        for name in study.experiments:
            for activation in config.experiment(name).activations:
                composed = cell(f"data={dataset}", f"experiment={name}", f"activation={activation}")
                assert composed.key == f"{dataset}/{name}/{activation}-0"


def test_an_experiment_that_lists_no_cells_is_refused(tmp_path):
    with pytest.raises(UserError, match="experiment=hee is not known; known: average_pooling, batch_norm, he"):
        config.experiment("hee")
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "x.yaml").write_text("hydra: {sweeper: {params: {activation: relu, seed: one}}}")
    with pytest.raises(UserError, match="lists no cells"):
        config.experiment("x", tmp_path)


def test_what_an_experiment_changes(cell):
    study = cell("data=digits").model_dump(exclude={"tracking"})
    changed = {
        "standardized": ("recipe", {"input_scaling": "standardized"}),
        "he": ("recipe", {"kernel_initializer": "he_uniform"}),
        "batch_norm": ("model", {"batch_normalization": True}),
        "average_pooling": ("model", {"pooling": "average"}),
    }
    for name, (group, values) in changed.items():
        expected = study | {"experiment": name, group: study[group] | values}
        assert cell(f"experiment={name}").model_dump(exclude={"tracking"}) == expected


def test_the_article_recipe(cell):
    recipe = cell("data=cifar10", "recipe.epochs=10").recipe
    assert recipe.name == "article"
    assert (recipe.input_scaling, recipe.optimizer, recipe.learning_rate, recipe.batch_size, recipe.epochs, recipe.kernel_initializer) == (
        "none",
        "Adam",
        1e-3,
        256,
        10,
        "glorot_uniform",
    )


def test_a_dataset_names_its_recipe_and_the_command_line_wins(cell):
    assert cell("data=digits").recipe.name == "digits"
    assert cell("data=cifar10").recipe.name == "article"
    assert cell("data=digits", "recipe=standardized").recipe.name == "standardized"


def test_the_key_of_a_cell(cell):
    assert cell("activation=leaky_relu", "seed=7").key == "digits/leaky_relu-7"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("recipe.epochs=0", "recipe.epochs=0 cannot be used: input should be greater than or equal to 1"),
        ("recipe.epochs=two", "recipe.epochs='two' cannot be used: input should be a valid integer"),
        ("recipe.learning_rate=-1", "recipe.learning_rate=-1.0 cannot be used: input should be greater than 0"),
        ("recipe.learning_rate=nan", "recipe.learning_rate=nan cannot be used"),
        ("recipe.input_scaling=halved", "recipe.input_scaling='halved' cannot be used: input should be 'none' or 'standardized'"),
        ("seed=-1", "seed=-1 cannot be used"),
        ("seed=1.5", "seed=1.5 cannot be used: input should be a valid integer"),
        ("model.filters=[6,16]", "model.filters=[6, 16] cannot be used: list should have at least 3 items"),
        ("activation.name=a/b", "activation.name='a/b' cannot be used"),
        ("+recipe.epoch=3", "recipe.epoch is not a key of this configuration; known there: name, input_scaling"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_what_may_be(cell, override, expected):
    with pytest.raises(UserError) as refused:
        cell(override)
    assert expected in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["activation=tnh"], f"activation=tnh is not known; known: {', '.join(NAMES['activation'])}; a new one is a file conf/activation/tnh.yaml"),
        (["recipe.epoch=3"], "recipe.epoch is not a key of this configuration; known there: name, input_scaling"),
        (["activation.config.max_value=6"], "known there: none; to pass another argument to the layer, write +activation.config.max_value=VALUE"),
        (["recipe.epochs=0"], "recipe.epochs=0 cannot be used"),
        (["data=digits", "seed=[1"], "error: "),
        (["activation=[relu,tanh]"], "activation=[relu,tanh] is not understood; write activation=NAME, or -m activation=NAME,NAME"),
        (["activation=3"], "activation=3 is not understood; write activation=NAME"),
        (
            ["seeds=0"],
            "seeds is not a key of this configuration; known there: recipe, data, activation, model, tracking, seed, experiment, test, run_dir",
        ),
        (["data=digits"], "data/digits.npz is missing; make it with: python src/download.py data=digits"),
    ],
)
def test_train_refuses_with_one_sentence(script, arguments, expected):
    assert expected in sentence(script("train.py", *arguments))


def test_a_run_dir_that_cannot_be_made_is_refused_before_anything_is_trained(script, tmp_path):
    assert script("download.py", "data=digits").returncode == 0
    (tmp_path / "file").write_text("")
    assert "run_dir=file cannot be made a folder (File exists)" in sentence(script("train.py", "data=digits", "run_dir=file"))
    assert "cannot be made a folder (File name too long)" in sentence(script("train.py", "data=digits", f"run_dir={'a' * 300}"))


def test_help_names_the_choices_and_the_values(script):
    shown = script("train.py", "--help")
    assert shown.returncode == 0
    assert f"activation: {', '.join(NAMES['activation'])}" in shown.stdout
    assert "learning_rate: 0.001" in shown.stdout


def test_cfg_job_prints_the_configuration(script):
    shown = script("train.py", "data=digits", "activation=leaky_relu", "activation.config.negative_slope=0.1", "seed=7", "--cfg", "job", "--resolve")
    printed = yaml.safe_load(shown.stdout)
    assert printed["activation"]["config"] == {"negative_slope": 0.1}
    assert printed["run_dir"] == "outputs/digits/leaky_relu-7/activation.config.negative_slope=0.1"


def test_recipe_default_is_the_recipe_that_the_dataset_names(script):
    given = script("train.py", "data=digits", "recipe=default", "--cfg", "job", "--package", "recipe")
    assert yaml.safe_load(given.stdout)["name"] == "digits"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("datasets: []\nactivations: [relu]\nseeds: [0]\nrecipe: default", "params.yaml: datasets=[] cannot be used"),
        ("datasets: [digits]\nactivations: [relu]\nseeds: [0]", "params.yaml: recipe is missing"),
        ("datasets: [digits]\nactivations: [relu]\nseeds: [0, 0]\nrecipe: default", "params.yaml: seeds=[0, 0] cannot be used: 0 stands there more"),
        ("datasets: [", "params.yaml is not YAML"),
        ("datasets: [digits]\nactivations: [relu]\nseed: 0\nseeds: [0]\nrecipe: default", "params.yaml: seed is not a key"),
    ],
)
def test_params_that_make_no_study_are_refused(tmp_path, text, expected):
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(UserError) as refused:
        config.study(tmp_path / "params.yaml")
    assert expected in str(refused.value)
