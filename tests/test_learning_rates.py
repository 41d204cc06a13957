"""The search for learning rates: which rates it chooses, and which a run uses."""

import json
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import yaml

from actgrad.analysis import learning_rates, tables
from actgrad.files import write_bytes
from actgrad.pipeline import search
from actgrad.pipeline import status as statuses
from actgrad.results.paths import trials_path
from actgrad.results.run import json_bytes
from conftest import ROOT, refuses, sentence


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
    found = learning_rates.best(
        trials(
            relu={0.001: [0.5, 0.7], 0.01: [0.9, 0.4], 0.1: [0.2, 0.3]},
            tanh={0.001: [0.5, 0.5], 0.01: [0.5, 0.5], 0.1: [0.2, 0.3]},
            elu={0.001: [0.1, 0.1], 0.01: [0.8, 0.8], 0.1: [0.9, None]},
        )
    ).set_index("activation")
    assert found["learning_rate"].to_dict() == {"relu": 0.01, "tanh": 0.001, "elu": 0.01}  # if equal, the smallest; diverged ones are excluded
    assert found["at_edge"].to_dict() == {"relu": False, "tanh": True, "elu": False}
    assert found.loc["relu", "val_accuracy"] == pytest.approx(0.65)


def test_an_activation_whose_trials_all_diverged_is_named():
    with refuses("all-diverged", "elu", "recipe.learning_rate="):
        learning_rates.best(trials(relu={0.1: [0.5]}, elu={0.1: [None]}))


def test_a_search_of_some_activations_leaves_the_others_as_they_were():
    before = trials(relu={0.001: [0.5], 0.01: [0.9]}, tanh={0.001: [0.8]})
    after = learning_rates.merged(before, trials(relu={0.1: [0.95]}))
    assert after[["activation", "learning_rate"]].to_numpy().tolist() == [["relu", 0.1], ["tanh", 0.001]]


def test_new_trials_of_another_length_are_not_taken_for_the_earlier_ones():
    before, shorter = trials(relu={0.1: [0.5, 0.6]}, tanh={0.1: [0.5]}), trials(relu={0.1: [0.4]}).assign(epochs=1)
    assert learning_rates.replaced(before, shorter) == ["relu: 1 trials of 1 epochs replace 2 trials of 2 epochs"]
    assert learning_rates.replaced(before, trials(relu={0.1: [0.5, 0.7]}, elu={0.1: [0.1]})) == []


def test_only_the_trials_that_are_named_are_read(tmp_path):
    """Newer folders of another search do not count."""
    for name, rate, status, last in (
        ("relu/0.1", 0.1, "diverged", {}),
        ("relu/0.01", 0.01, "finished", {"val/accuracy": 0.5, "val/loss": 1.5}),
        ("relu/9.0", 9.0, "finished", {"val/accuracy": 1.0, "val/loss": 0.0}),
    ):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        values = {"seed": 0, "activation": {"name": "relu"}, "recipe": {"learning_rate": rate, "epochs": 4}}
        (folder / "config.yaml").write_text(yaml.safe_dump(values))
        (folder / "metrics.json").write_text(json.dumps({"status": status, "last": last}))
        (folder / "probe.csv").write_text("step,layer,hidden,units,dead\n0,a,True,8,0\n9,a,True,8,3\n9,b,True,2,0\n9,output,False,,\n")
    table = learning_rates.read([tmp_path / "relu" / "0.1", tmp_path / "relu" / "0.01"])
    assert table["learning_rate"].tolist() == [0.01, 0.1]
    assert table["status"].tolist() == ["finished", "diverged"]
    assert table["val_accuracy"].iloc[0] == 0.5
    assert table["dead_share"].tolist() == [0.3, 0.3]
    assert table["val_accuracy"].isna().tolist() == [False, True]
    assert learning_rates.read([]).columns.tolist() == list(learning_rates.COLUMNS)


def test_the_rates_are_a_file_of_conf():
    text = learning_rates.rates_text("digits", trials(tanh={0.01: [0.4]}, relu={0.01: [0.5], 0.1: [0.6]}), {"relu": 0.5, "silu": 0.2})
    assert text.startswith("# @package recipe\n# ")
    assert "the trials in runs/digits/learning-rates.csv,\n# which src/tune.py trained. Without trials there, and from before: silu.\n" in text
    assert "from before" not in learning_rates.rates_text("digits", trials(tanh={0.01: [0.4]}), {})
    assert yaml.safe_load(text) == {"learning_rate": {"relu": 0.1, "silu": 0.2, "tanh": 0.01}}


def test_a_run_takes_the_rate_of_its_activation(run_config):
    rates = yaml.safe_load((ROOT / "conf" / "rates" / "digits.yaml").read_text())["learning_rate"]
    for name in ("sigmoid", "relu"):
        tuned = run_config(f"activation={name}", "condition=standardized_tuned")
        assert (tuned.recipe.learning_rate, tuned.key) == (rates[name], f"digits/{name}/standardized_tuned-0")
    assert run_config("activation=relu", "condition=standardized_tuned", "recipe.learning_rate=7.0").recipe.learning_rate == 7


def test_an_activation_without_a_tuned_rate_is_refused(run_config):
    with refuses("no-learning-rate", "snake", "elu, "):
        run_config("activation=relu", "activation.name=snake", "condition=standardized_tuned")


@pytest.mark.parametrize("dataset", [path.parent.name for path in (ROOT / "runs").glob("*/learning-rates.csv")])
def test_the_committed_rates_come_from_their_trials(dataset):
    table = pd.read_csv(ROOT / trials_path(dataset))
    written = yaml.safe_load((ROOT / "conf" / "rates" / f"{dataset}.yaml").read_text())
    assert written == {"learning_rate": dict(learning_rates.best(table)[["activation", "learning_rate"]].to_numpy().tolist())}


def test_a_search_needs_data_and_a_validation_split(script):
    assert "data/digits.npz" in sentence(script("tune.py", "data=digits"), "missing-dataset")
    assert "data=nowhere is not known; known: cifar10" in sentence(script("tune.py", "data=nowhere"), "unknown-name")


def test_a_search_over_what_the_table_does_not_tell_apart_is_refused():
    with refuses("several-values", "recipe.batch_size has several values", "activation, recipe.learning_rate, seed"):
        search.run("digits", ["activation=relu,tanh", "recipe.batch_size=32,64", "recipe.epochs=1"])


def test_warnings_of_trials_are_said_at_the_end(tmp_path, monkeypatch, capsys):
    """Some launchers keep the output of their jobs in files of their own."""

    def trained(command: list[str], **_: object) -> subprocess.CompletedProcess:
        folder = Path(next(one for one in command if one.startswith("+hydra.callbacks.status.folder=")).partition("=")[2])
        content = {"run": "outputs/x", "state": statuses.DONE, "warnings": [{"sentence": "no store", "of_runs": "were not logged to MLflow"}]}
        write_bytes(statuses.path(folder, "outputs/x"), json_bytes(content))
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(search, "_dataset_sha256", lambda _: "d")
    monkeypatch.setattr(search.subprocess, "run", trained)
    with refuses("runs-failed", "nothing was written"):
        search.run("digits", [])
    assert "warning: 1 runs were not logged to MLflow: outputs/x; " in capsys.readouterr().out


def test_the_edge_is_that_of_the_activation_s_own_grid_and_seeds_are_its_own():
    searched = trials(relu={0.001: [0.9, 0.8], 0.003: [0.7, 0.7]}, tanh={0.0001: [0.1], 0.001: [0.8], 0.01: [0.2]})
    found = learning_rates.best(searched).set_index("activation")
    assert found["at_edge"].to_dict() == {"relu": True, "tanh": False}
    assert found["learning_rate"].to_dict() == {"relu": 0.001, "tanh": 0.001}


def test_a_trial_that_diverged_counts_as_0_and_one_without_a_number_does_not():
    """The status decides. A trial that diverged after an epoch has a number, which does not count either."""
    table = trials(relu={0.01: [0.5, 0.7], 0.1: [0.4, None], 1.0: [0.9, 0.8]})
    table.loc[4, "status"] = "diverged"
    table.loc[1, "val_accuracy"] = float("nan")
    means = tables.learning_rates(table)["mean"]
    assert means.isna().tolist() == [True, False, False]
    assert means.tolist()[1:] == pytest.approx([0.2, 0.4])
