"""Published rules that fire on measurements, and the page that shows them."""

import json
import re

import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers

from actgrad import ActivationProbe, GradientMonitor
from actgrad.diagnosis import experience
from actgrad.diagnosis.rules import RULES, Measurements, diagnose
from monitor_models import X, Y, line

pytestmark = pytest.mark.usefixtures("names_from_the_start")


def test_rules_fire_where_their_thresholds_are_passed():
    steps = pd.DataFrame({"step": [1, 2], "layer": "d", "grad_norm": [1.0, np.nan], "update_norm": 1.0, "weight_norm": 1.0})
    steps = steps.assign(grad_rms=[5e-7, np.nan], update_ratio=[5e-3, 0.5])
    found = diagnose(Measurements(steps, pd.DataFrame(), pd.DataFrame({"layer": ["d"], "kind": ["Dense"], "parameters": [1]})))
    assert set(zip(found["rule"], found["source"].str.split(" ").str[0], found["step"], strict=True)) == {
        ("vanishing gradient", "TheDeepChecker", 1),
        ("exploding gradient", "SageMaker", 2),
        ("update ratio", "DeepDiagnosis", 2),
        ("update ratio", "TheDeepChecker", 2),
        ("update ratio", "Karpathy", 2),
    }


def test_a_gradient_that_doubles_at_each_check_is_found_and_one_that_is_not_finite_is_null_in_json(tmp_path):
    steps = pd.DataFrame({"step": range(1, 8), "layer": "d", "grad_norm": [*(2.5 ** np.arange(6)), np.inf], "update_norm": 1.0, "weight_norm": 1.0})
    steps = steps.assign(grad_rms=1e-3, update_ratio=1e-3)
    found = diagnose(Measurements(steps, pd.DataFrame(), pd.DataFrame({"layer": ["d"], "kind": ["Dense"], "parameters": [1]})))
    assert found[["rule", "step"]].to_numpy().tolist() == [["exploding gradient", 7], ["growing gradient", 6]]
    seen = GradientMonitor()
    model = line("sgd")
    model.compile("sgd", lambda _, p: p * float("inf"))
    model.fit(X, Y, verbose=0, callbacks=[seen])
    seen.diagnose(tmp_path / "new" / "diagnosis.json")
    written = json.loads((tmp_path / "new" / "diagnosis.json").read_text(), parse_constant=pytest.fail)
    assert [row["value"] for row in written["findings"] if row["rule"] == "exploding gradient"] == [None]


def test_rho_of_a_unit_is_its_mean_distance_from_the_middle_of_its_range():
    model = keras.Sequential([keras.Input((1,)), layers.Dense(4, activation="sigmoid", name="s"), layers.Dense(1)])
    model.compile("sgd", "mse")
    model.layers[0].set_weights([np.zeros((1, 4)), np.log([19.0, 1 / 19, 9.0, 1.0])])  # sigmoid: 0.95, 0.05, 0.9, 0.5; rho 0.9, 0.9, 0.8, 0
    row = ActivationProbe(model, np.ones((3, 1), np.float32), np.zeros((3, 1), np.float32)).measure().iloc[0]
    assert row["rho_over_0.85"] == 0.5


def test_the_first_layer_is_compared_with_the_last_though_a_gradient_is_not_a_number():
    layer = ["first", "last"] * 3
    steps = pd.DataFrame({"step": [1, 1, 2, 2, 3, 3], "layer": layer, "grad_norm": [1e-5, 1.0, np.nan, np.nan, 71.0, 1.0], "update_norm": 1.0})
    steps = steps.assign(weight_norm=1.0, grad_rms=1e-3, update_ratio=1e-3)
    found = diagnose(Measurements(steps, pd.DataFrame(), pd.DataFrame({"layer": ["first", "last"], "kind": "Dense", "parameters": 1})))
    ours = found[found["source"].str.startswith("AUTOTRAINER")]
    assert ours[["rule", "layer", "step", "times"]].to_numpy().tolist() == [
        ["vanishing gradient", "first", 1, 1],
        ["exploding gradient", "first", 3, 1],
    ]
    assert ours["value"].tolist() == pytest.approx([1e-5, 71])


def test_dead_units_are_found_and_written_and_shown(tmp_path):
    model = keras.Sequential([keras.Input((3,)), layers.Dense(10, activation="relu", name="d"), layers.Dense(2, activation="softmax", name="out")])
    model.layers[0].set_weights([np.zeros((3, 10)), np.where(np.arange(10) < 8, -1.0, 1.0)])
    model.compile("sgd", "sparse_categorical_crossentropy")
    x, y = np.ones((32, 3), np.float32), np.arange(32) % 2
    seen = GradientMonitor(probe=(x, y), census=np.concatenate([x, np.full((1, 3), 2, np.float32)]))
    model.fit(x, y, verbose=0, callbacks=[seen])
    found = seen.diagnose(tmp_path / "diagnosis.json")
    dead = found[found["rule"] == "dead ReLU"]
    assert set(dead["layer"]) == {"d"}
    assert len(dead) == 4
    assert dead["value"].tolist() == pytest.approx([0.8] * 4)
    assert dead["seen"].str.fullmatch(r"fired in \d+ of \d+ runs that learned; no run failed in which it could fire").all()
    assert dead["gained"].str.contains("scaled inputs (digits_all): ", regex=False).all()
    written = json.loads((tmp_path / "diagnosis.json").read_text())
    assert (len(written["findings"]), written["rules"]) == (len(found), len(RULES))
    assert seen.units[["layer", "unit", "died"]].to_dict("records") == [{"layer": "d", "unit": unit, "died": 0} for unit in range(8)]
    assert seen.units["dead_in_census"].all()
    page = seen.report(tmp_path / "new" / "gradients.html").read_text()
    assert "more than 50 % of units" in page
    assert "http" not in page.partition("<script>")[0]


def test_a_gradient_of_zero_is_drawn_at_the_lower_end_of_the_axis(tmp_path):
    model = keras.Sequential([keras.Input((2,)), layers.Dense(2, activation="relu", name="d"), layers.Dense(1, name="out")])
    model.layers[0].set_weights([np.zeros((2, 2)), np.full(2, -1.0)])
    model.compile("sgd", "mse")
    seen = GradientMonitor()
    model.fit(X, Y, batch_size=2, verbose=0, callbacks=[seen])
    specs = json.loads(re.search("const SPECS = (.*?);\n", seen.report(tmp_path / "page.html").read_text())[1])
    drawn = {row["layer"]: row["grad_norm"] for rows in specs["gradients"]["datasets"].values() for row in rows if "grad_norm" in row}
    assert drawn["out"] > 0
    assert drawn["d"] == pytest.approx(drawn["out"] / 10)


def test_before_any_measurement_there_is_nothing_to_diagnose():
    with pytest.raises(ValueError, match="nothing was measured"):
        GradientMonitor().diagnose()


def test_units_that_put_out_nan_are_not_called_dead():
    """A probe with NaN, and a network that had diverged, were said to have dead ReLUs."""
    steps = pd.DataFrame({"step": [1], "layer": "d", "grad_norm": 1.0, "update_norm": 1e-3, "weight_norm": 1.0})
    steps = steps.assign(grad_rms=1.0, update_ratio=1e-3)
    for spread, names in ((1.0, ["dead ReLU"]), (np.nan, [])):
        units = pd.DataFrame({"step": [1], "layer": "d", "kind": "relu", "hidden": True, "act_std": spread, "rarely_active": 1.0, "loss": 1.0})
        units["flat"] = units["not_positive"] = units["silent"] = 0.0
        assert diagnose(Measurements(steps, units, pd.DataFrame({"layer": ["d"]})))["rule"].tolist() == names


def test_a_rule_that_could_fire_in_no_failed_run_is_not_said_to_have_missed_one(monkeypatch):
    """All runs that failed had sigmoid layers, and a rule about ReLU was said to fire in none of them."""
    row = {"rule": "dead ReLU", "threshold": "many", "dataset": "toy", "failed": 0, "learned": 7, "fired_failed": 0, "fired_learned": 2}
    monkeypatch.setattr(experience, "experience", lambda: {"alarms": [row], "remedies": []})
    assert experience.seen("dead ReLU", "many") == "fired in 2 of 7 runs that learned; no run failed in which it could fire"
    row |= {"failed": 4, "fired_failed": 1}
    assert experience.seen("dead ReLU", "many") == "fired in 1 of 4 failed runs, and in 2 of 7 that learned"
