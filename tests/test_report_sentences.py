"""Sentences of the report: what they say of the data, the runs and the verdicts, and in which words."""

import dataclasses
import itertools
import re

import numpy as np
import pandas as pd
import pytest

from actgrad.analysis import answers, words
from actgrad.analysis.ranking import ranking
from actgrad.files import sha256
from actgrad.report.provenance import provenance
from actgrad.training.names import VAL_ACCURACY
from made_up_runs import DATA, TRIALS, evidence, made_up, study_runs
from test_report import drawn, page, tables_of

RISING = "every run has its highest validation accuracy after the last epoch, so more epochs may help."


def test_without_a_failed_run_no_alarm_is_drawn_and_one_line_says_so():
    assert "alarms" not in tables_of(study_runs())
    assert "No run failed, so none of 24 published rules can be judged." in page(study_runs())


def test_alarms_are_unfolded_once_enough_runs_have_failed():
    lost = {"leaky_25": {"leaky_relu": [made_up("leaky_relu", seed, 0.1, condition="leaky_25") for seed in range(8)]}}
    text = page(study_runs(), lost, pictures=True)
    assert '<p class="answer">Over 12 different trainings, of which 8 failed, ' in text
    assert '<summary class="answer">' not in text


def test_a_condition_under_which_no_run_learned_says_so_instead_of_an_empty_frame():
    lost = {"relu": [made_up("relu", seed, 0.1) for seed in (0, 1)]}
    assert "No run learned," in drawn(lost)["learning_curves"].svg
    assert "No run learned," not in drawn(study_runs())["learning_curves"].svg
    one = evidence(lost)
    assert answers.answers(one, ranking(one), [])["learning"] == "No run learned, so there is no mean to draw; each seed has its curve."
    both = evidence(study_runs() | {"tanh": [made_up("tanh", 0, 0.1)]})
    assert answers.answers(both, ranking(both), [])["learning"] == f"With relu and snake, {RISING} No run learned with tanh."


def test_the_first_sentence_names_those_that_differ_from_the_best_those_that_do_not_and_those_that_failed():
    accuracies = {"relu": (0.97, 0.95, 0.96), "elu": (0.95, 0.96, 0.95), "sigmoid": (0.61, 0.60, 0.61), "tanh": (0.96, 0.1, 0.95)}
    study = evidence({name: [made_up(name, seed, value) for seed, value in enumerate(values)] for name, values in accuracies.items()})
    found = answers.answers(study, ranking(study), [])
    assert found["results"] == (
        "relu has the highest mean test accuracy, 96.0 %; elu, with 95.3 % or more, does not differ significantly; "
        "sigmoid is significantly lower. Runs failed with tanh (1 of 3)."
    )
    assert found["pairs"] == "2 of 6 pairs differ significantly: relu from sigmoid and elu from sigmoid."
    without_tanh = evidence({name: runs for name, runs in study.runs.items() if name != "tanh"})
    assert answers.answers(without_tanh, ranking(without_tanh), [])["pairs"] == "2 of 3 pairs differ significantly: sigmoid from all others."


ALIKE = "do not differ significantly"


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ({"elu": (0.8, 0.9)}, "elu, with 85.0 % or more, does not differ significantly, although it is lower in every seed."),
        (
            {"elu": (0.8, 0.9), "tanh": (0.7, 0.8)},
            f"elu and tanh, with 75.0 % or more, {ALIKE}, although each is lower in every seed.",
        ),
        (
            {"elu": (0.97, 0.91), "tanh": (0.7, 0.8)},
            f"elu and tanh, with 75.0 % or more, {ALIKE}, although tanh is lower in every seed.",
        ),
        ({"elu": (0.97, 0.91)}, "elu, with 94.0 % or more, does not differ significantly."),
    ],
)
def test_few_seeds_that_all_say_the_same_are_not_passed_over(others, said):
    """“9 others, with 47.7 % or more, do not differ significantly” from 67.6 %: three seeds are too few after Holm's correction."""
    accuracies = {"relu": (0.95, 0.96)} | others
    study = evidence({name: [made_up(name, seed, value) for seed, value in enumerate(values)] for name, values in accuracies.items()})
    ranked = ranking(study)
    assert answers.answers(study, ranked, [])["results"] == f"relu has the highest mean test accuracy, 95.5 %; {said}"
    assert ("but lower in both seeds" in answers.portraits(study, ranked)["elu"]) == (others["elu"][0] < 0.95)


def test_equal_activations_share_the_first_place_and_a_higher_mean_of_what_failed_once_is_not_hidden():
    accuracies = {"relu": (0.9, 0.9, 0.9), "elu": (0.9, 0.9, 0.9), "tanh": (0.99, 0.1, 0.99)}
    study = evidence({name: [made_up(name, seed, value) for seed, value in enumerate(values)] for name, values in accuracies.items()})
    assert answers.answers(study, ranking(study), [])["results"] == (
        "relu and elu have the highest mean test accuracy of those that learn in every seed, 90.0 %. Runs failed with tanh (1 of 3)."
    )


def test_pairs_that_are_not_named_are_counted():
    """“14 of 45 pairs differ significantly: sigmoid from all others” left out five pairs without a word."""
    names = ("sigmoid", "tanh", "relu", "prelu", "elu", "gelu", "silu", "maxout")
    pairs = [*itertools.combinations(names, 2)]
    sigmoid, tanh = ({pair for pair in pairs if name in pair} for name in ("sigmoid", "tanh"))

    def said(differing):
        study = evidence({name: [made_up(name, 0, 0.9)] for name in names})
        ranked = ranking(study)
        rows = [(*pair, 0.5, pair in differing, study.headline) for pair in pairs]
        study.__dict__["pairs_under"] = pd.DataFrame(rows, columns=["first", "second", "p_holm", "significant", "condition"])
        return answers.answers(study, ranked, [])["pairs"]

    assert said(sigmoid | {("tanh", "relu")}) == "8 of 28 pairs differ significantly: sigmoid from all others and tanh from relu."
    assert said(sigmoid | tanh - {("tanh", "relu")}) == "12 of 28 pairs differ significantly: sigmoid from all others and 5 more."
    assert said(sigmoid | tanh) == "13 of 28 pairs differ significantly: sigmoid and tanh from all others."
    assert said({*pairs}) == "All 28 pairs differ significantly."
    assert said({}) == "None of 28 pairs differs significantly."


def test_what_may_gain_from_more_epochs_is_named():
    def said(relu, elu):
        study = evidence({"relu": relu, "elu": elu})
        return answers.answers(study, ranking(study), []).get("learning", "")

    def runs(name, epochs=3, values=(0.9, 0.9)):
        return [made_up(name, seed, value, epochs) for seed, value in enumerate(values)]

    peaked = runs("elu", values=(0.8, 0.8))
    peaked[1].history.loc[1, VAL_ACCURACY] = 0.95
    words = f"With relu, {RISING}"
    assert said(runs("relu"), peaked) == words
    assert words not in said(runs("relu", values=(0.9, 0.1)), peaked)  # one of them failed
    assert "more epochs" not in said(runs("relu", epochs=1), runs("elu", epochs=1))


def test_what_the_images_are_is_said_if_their_file_is_the_one_that_was_trained_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shapes = {"train": 1197, "val": 0, "test": 3}
    arrays = {f"x_{name}": np.zeros((size, 8, 9, 1), np.uint8) for name, size in shapes.items()}
    (tmp_path / "data").mkdir()
    np.savez(tmp_path / "data" / "toy.npz", **arrays, **{f"y_{name}": np.zeros(size) for name, size in shapes.items()}, class_names=["a", "b"])
    runs = study_runs(data_sha256=sha256(tmp_path / "data" / "toy.npz"))
    assert "training images" not in page(runs)  # one run was trained on another file
    for run in (*runs["relu"], *runs["snake"]):
        run.metrics["data_sha256"] = sha256(tmp_path / "data" / "toy.npz")
    assert provenance(evidence(runs), DATA)["images"] == {"train": 1197, "val": 0, "test": 3, "shape": [8, 9, 1], "classes": 2}
    said = " ".join(page(runs).split())
    assert "<p>1,197 training images of 8x9 pixels, in grey, 2 classes; none for validation, 3 for the test.</p> <div data-slot" in said


def test_how_many_verdicts_may_be_wrong_by_chance_is_computed():
    verdicts = [("confirmed", 0.1), ("refuted", 0.1), ("confirmed", None), ("inconclusive", 0.1), ("not measured", None)]
    ledgers = {name: [{"verdict": word, "low": low} for word, low in verdicts] for name in ("baseline", "he")}
    said = answers.by_chance(ledgers)
    assert said.startswith("8 verdicts were looked at, under 2 conditions; 4 of them confirm or refute a statement with a 95 % interval.")
    assert "of 4, up to 0.2 are then wrong on average. The chance that at least one is wrong is up to 19 %," in said
    assert answers.by_chance({"baseline": [{"verdict": "confirmed", "low": None}]}) == ""


def test_the_distance_from_one_affine_map_is_said_as_the_figure_shows_it():
    runs = study_runs(linearity={"folding_error": 2.5, "superposition_error": 0.1})
    pooled = {"average_pooling": {"linear": [made_up("linear", 0, 0.5, linearity={"folding_error": 5e-7, "superposition_error": 0.0})]}}
    assert answers.linearity(evidence(runs, pooled), "baseline") == (
        "Under baseline, no network amounts to one affine map: relu is closest, and its logits differ by 0.5 of the largest; "
        "with average pooling, those of linear differ by 5e-07."
    )
    assert answers.linearity(evidence(runs, pooled), "average_pooling") == (
        "Under average_pooling, linear amounts to one affine map: the logits differ by at most 5e-07 of the largest."
    )
    alone = evidence({"relu": runs["relu"]})
    assert answers.linearity(alone, "baseline") == "Under baseline, relu does not amount to one affine map: its logits differ by 0.5 of the largest."


@pytest.mark.parametrize(
    ("differing", "said"),
    [
        ({"recipe.input_scaling": "none"}, "raw inputs"),
        ({"recipe.input_scaling": "standardized", "recipe.learning_rate": "0.001 to 0.01"}, "standardized inputs, learning rate 0.001 to 0.01"),
        (
            {
                "model.build": "actgrad.networks.mlp.build",
                "model.config.depth": "16",
                "model.config.residual": "True",
                "model.config.normalization": "none",
            },
            "Multilayer perceptron, 16 layers, residual paths",
        ),
        ({"activation.config.negative_slope": "0.25"}, "negative slope 0.25"),
        ({"model.config.pooling": "average", "model.config.batch_normalization": "False"}, "average pooling"),
    ],
)
def test_a_condition_in_words(differing, said):
    assert words.settings(differing) == said


def test_activations_that_did_less_well_when_tuned_are_named():
    """One that is lower in the mean, but not significantly, was named too."""
    runs = {name: [made_up(name, seed, 0.9 + 0.01 * seed) for seed in range(3)] for name in ("relu", "snake", "elu")}
    lower = {"relu": (0.4, 0.42, 0.45), "snake": (0.95, 0.96, 0.97), "elu": (0.4, 0.95, 0.95)}
    tuned = {name: [made_up(name, seed, accuracy, condition="standardized_tuned") for seed, accuracy in enumerate(of)] for name, of in lower.items()}
    said = "significantly less test accuracy under <b>standardized_tuned</b> than under <b>baseline</b>."
    assert f">relu: {said}" in page(runs, {"standardized_tuned": tuned}, trials=TRIALS)


def test_a_headline_with_a_learning_rate_for_each_activation_says_so():
    runs = study_runs()
    runs["relu"] = [dataclasses.replace(run, config=run.config.replace("learning_rate: 0.1", "learning_rate: 0.2")) for run in runs["relu"]]
    assert re.search(r"Adam with\s+a learning rate for each activation,", page(runs))
    assert re.search(r"Adam with\s+learning rate 0.1,", page(study_runs()))


def test_numbers_of_three_digits_are_written_out():
    """`deep_16` once had “1e+02 %” and “1.5e+02 newly dead units”."""
    assert [words.number(1.0, "of the runs"), words.number(150.2, "newly dead units")] == ["100 % of the runs", "150 newly dead units"]
    assert words.number(1.026, "times a step with ReLU (tanh)") == "1.03 times a step with ReLU (tanh)"  # it was 1, and the rule's limit is 1.02
    assert words.number(np.log10(0.414), "decades of variance") == "0.41 times the variance"
    assert [words.number(0.0333, "of the units"), words.number(0.25, "dphi/dz")] == ["3.3 % of the units", "0.25 dphi/dz"]


def test_a_gradient_that_grows_is_called_larger():
    """“0.65-fold smaller” was said of a gradient that is larger at the first layer."""
    assert [words.smaller(2.0), words.smaller(float(np.log10(0.65)))] == ["100-fold smaller", "1.5-fold larger"]


def test_how_fast_activations_learn_and_how_many_pairs_differ_is_said():
    one = evidence({"relu": [made_up("relu", seed, 0.6 + seed / 100) for seed in (0, 1)], "tanh": [made_up("tanh", seed, 0.8) for seed in (0, 1)]})
    for name, first in (("relu", (0.2, 0.4)), ("tanh", (0.5, 0.5))):
        for run, accuracy in zip(one.runs[name], first, strict=True):
            run.history.loc[0, "val/accuracy"] = accuracy
    said = answers.answers(one, ranking(one), [])
    assert said["learning"] == (
        "tanh learns fastest, with a validation accuracy of 50.0 % after the first epoch; relu learns slowest, with 30.0 %. "
        f"With relu and tanh, {RISING}"
    )
    assert "pairs" not in said  # with one pair, the table says it


def test_an_order_is_shown_where_one_condition_lacks_an_activation():
    """Conditions that share no pair left the table out."""
    names = {"baseline": ("relu", "snake"), "deep_2": ("relu", "snake"), "he": ("relu", "sigmoid")}
    runs = {one: {name: [made_up(name, seed, 0.5, condition=one) for seed in (0, 1)] for name in of} for one, of in names.items()}
    said = page(runs.pop("baseline"), runs)
    assert re.search(r"<td>relu minus snake</td><td class=\"alike\">.*</td><td class=\"alike\">.*</td><td>–</td></tr>", said)
    assert "sigmoid minus" not in said
    assert "minus sigmoid" not in said


def test_every_activation_with_the_smallest_or_largest_rate_is_named():
    """Of several with the same rate, only the first was."""
    rates = {"sigmoid": 0.01, "elu": 0.001, "tanh": 0.01}
    rows = [
        {"activation": name, "learning_rate": rate, "seed": 0, "epochs": 1, "status": "finished", "val_accuracy": 0.5} for name, rate in rates.items()
    ]
    study = dataclasses.replace(evidence(study_runs()), trials=pd.DataFrame(rows))
    said = answers.of_study(study)["learning_rates"]
    assert said == "In short trials the best learning rates lie between 0.001 (elu) and 0.01 (sigmoid and tanh)."
