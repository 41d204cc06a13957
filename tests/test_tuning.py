"""The search for learning rates: what is chosen, and the recipe that comes of it."""

import pandas as pd
import pytest
import yaml

from actgrad.analysis import learning_rates as tuning
from actgrad.config import schema as config
from actgrad.errors import UserError
from conftest import ROOT, sentence

SEARCHED = {"cifar10": "cifar10_jpeg"}
"""Whose rates are those of another dataset: CIFAR-10's, of its re-encoded copy."""


def trials(**accuracies: dict[float, list[float | None]]) -> pd.DataFrame:
    """activation -> learning rate -> validation accuracy of each seed, None where the trial diverged."""
    rows = [
        {
            "activation": name,
            "learning_rate": rate,
            "seed": seed,
            "epochs": 2,
            "status": "diverged" if value is None else "finished",
            "val_accuracy": value,
        }
        for name, of_rate in accuracies.items()
        for rate, values in of_rate.items()
        for seed, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


def test_the_rate_of_the_highest_mean_is_chosen_and_the_edge_of_the_grid_is_named():
    found = tuning.best(
        trials(
            relu={0.001: [0.5, 0.7], 0.01: [0.9, 0.4], 0.1: [0.2, 0.3]},
            tanh={0.001: [0.5, 0.5], 0.01: [0.5, 0.5], 0.1: [0.2, 0.3]},
            elu={0.001: [0.1, 0.1], 0.01: [0.8, 0.8], 0.1: [0.9, None]},
        )
    ).set_index("activation")
    assert found["learning_rate"].to_dict() == {"relu": 0.01, "tanh": 0.001, "elu": 0.01}  # of equals the smallest; one that diverged is out
    assert found["at_edge"].to_dict() == {"relu": False, "tanh": True, "elu": False}
    assert found.loc["relu", "val_accuracy"] == pytest.approx(0.65)


def test_an_activation_whose_trials_all_diverged_is_named():
    with pytest.raises(UserError, match="every learning rate of elu diverged; try smaller ones"):
        tuning.best(trials(relu={0.1: [0.5]}, elu={0.1: [None]}))


def test_a_search_of_some_activations_leaves_the_others_as_they_were():
    before = trials(relu={0.001: [0.5], 0.01: [0.9]}, tanh={0.001: [0.8]})
    after = tuning.merged(before, trials(relu={0.1: [0.95]}))
    assert after[["activation", "learning_rate"]].to_numpy().tolist() == [["relu", 0.1], ["tanh", 0.001]]


def test_the_recipe_is_the_dataset_s_own_but_for_the_rates():
    base = (ROOT / "conf" / "recipe" / "digits.yaml").read_text()
    written = yaml.safe_load(tuning.recipe("digits", base, trials(relu={0.01: [0.5]}, tanh={0.01: [0.4]})))
    assert written == yaml.safe_load(base) | {"name": "digits_tuned", "learning_rate": {"relu": 0.01, "tanh": 0.01}}


def test_a_cell_takes_the_rate_of_its_activation(cell):
    rates = yaml.safe_load((ROOT / "conf" / "recipe" / "digits_tuned.yaml").read_text())["learning_rate"]
    for name in ("sigmoid", "relu"):
        tuned = cell(f"activation={name}", "experiment=tuned")
        assert (tuned.recipe.learning_rate, tuned.recipe.name, tuned.key) == (rates[name], "digits_tuned", f"digits/tuned/{name}-0")
    assert cell("activation=relu", "experiment=tuned", "recipe.learning_rate=7.0").recipe.learning_rate == 7


def test_tuned_under_a_recipe_that_is_not_is_refused(cell):
    with pytest.raises(UserError, match="experiment=tuned takes the recipe digits_tuned, written by src/tune"):
        cell("experiment=tuned", "recipe=article")


def test_an_activation_without_a_tuned_rate_is_refused(cell):
    with pytest.raises(UserError, match="the recipe digits_tuned has no learning rate for snake, only for elu, "):
        cell("activation=relu", "activation.name=snake", "experiment=tuned")


@pytest.mark.parametrize("name", [path.stem for path in (ROOT / "conf" / "recipe").glob("*_tuned.yaml")])
def test_a_tuned_recipe_comes_from_its_trials(name):
    dataset = name.removesuffix("_tuned")
    table = pd.read_csv(ROOT / "runs" / SEARCHED.get(dataset, dataset) / "tuning.csv")
    written = yaml.safe_load((ROOT / "conf" / "recipe" / f"{name}.yaml").read_text())
    assert written["learning_rate"] == dict(tuning.best(table)[["activation", "learning_rate"]].to_numpy().tolist())
    assert set(written) == set(config.Recipe.model_fields)


def test_a_search_needs_data_and_a_validation_split(script):
    assert "data/digits.npz is missing" in sentence(script("tune.py", "data=digits"))
    assert "data=nowhere is not known; known: cifar10" in sentence(script("tune.py", "data=nowhere"))


def test_the_edge_is_that_of_the_activation_s_own_grid_and_seeds_are_its_own():
    found = tuning.best(trials(relu={0.001: [0.9, 0.8], 0.003: [0.7, 0.7]}, tanh={0.0001: [0.1], 0.001: [0.8], 0.01: [0.2]})).set_index("activation")
    assert found["at_edge"].to_dict() == {"relu": True, "tanh": False}
    assert found["learning_rate"].to_dict() == {"relu": 0.001, "tanh": 0.001}
