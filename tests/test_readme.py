"""The results of a report as the README has them."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from actgrad.report import readme
from conftest import refuses, sentence

SEEDS = {"elu": [0, 1], "relu": [0, 1], "sigmoid": [0, 1], "linear": [0], "maxout": [0, 1, 2]}
HEADER = "condition,rank,activation,seeds,learned,failed,diverged,mean,low,high,difference,p_holm,significant,attenuation,units,dead\n"
RANKING = (
    HEADER
    + f"""\
baseline,1,elu,0 1,2,0,0,0.95,0.9,1.1,,,False,{np.log10(2)},6,6
baseline,2,relu,0 1,2,0,0,0.95,0.94,0.96,0,1,False,{np.log10(4)},6,6
baseline,3,sigmoid,0 1,2,0,0,0.5,0.4,0.6,-0.45,0.01,True,3,6,6
baseline,4,maxout,0 1 2,1,1,1,0.7,,,-0.5,0.2,False,{np.log10(0.3)},6,6
baseline,5,linear,0,0,0,1,,,,,,False,0,6,2
he,1,sigmoid,0 1,2,0,0,0.99,0.98,1.0,,,False,3,6,6
"""
)
OLD = ("reports/digits", "dvc repro report@digits")


@pytest.fixture
def small_report(tmp_path) -> Path:
    """A report of five activations, as files: two are equal, one is worse, one has diverged in its only seed, and of one a seed has learned, one
    has failed and one has diverged."""
    report = tmp_path / "reports" / "digits"
    report.mkdir(parents=True)
    (report / "summary.csv").write_text("activation\n")
    (report / "ranking.csv").write_text(RANKING)
    claims = [
        {
            "id": f"{verdict}-id",
            "statement": f"It is {verdict}.",
            "verdict": verdict,
            "under": {"he": "refuted", "tuned": "inconclusive", "batch_norm": "refuted"},
        }
        for verdict in ("refuted", "confirmed")
    ]
    (report / "claims.json").write_text(json.dumps(claims))
    keys = [f"digits/{name}/baseline-{seed}" for name, seeds in SEEDS.items() for seed in seeds]
    one = dict.fromkeys((*readme.VERSIONS, "cpu"), "1") | {"gpu": "none"}
    other = [{"values": one | {"cpu": "b"}, "runs": ["digits/relu/baseline-1", "digits/relu/he-0"]}]
    facts = {
        "dataset": "digits",
        "source": "somewhere",
        "headline": "baseline",
        "recipe": {"epochs": 3, "batch_size": 32, "optimizer": "Adam", "learning_rate": 0.001, "threads": 1},
        "model": {"build": "actgrad.networks.lenet5.build", "config": {}},
        "environments": [{"values": one | {"cpu": "a"}, "runs": [key for key in keys if key != "digits/relu/baseline-1"]}, *other],
    }
    (report / "provenance.json").write_text(json.dumps(facts))
    return tmp_path


def test_a_reader_sees_what_won_what_is_level_and_what_failed(small_report):
    said = readme.section("digits", small_report)
    assert said.startswith("digits -->\n")
    assert "**Highest test accuracy (mean over seeds):** elu, relu, 95.0 %. **Significantly lower than elu:** sigmoid.\n" in said
    assert "**No significant difference** from elu: maxout, linear. **Failed runs:** maxout in 1 of 3 seeds.\n" in said
    assert "| maxout | 70.0 | no significant difference | 0.3-fold | 6 of 6 | 3: 1 failed, 1 diverged | `digits/maxout/baseline-{0,1,2}` |" in said
    assert "most in sigmoid, 1,000-fold from the last activated layer to the first, before any update; least in maxout, 0.3-fold" in said
    assert "**Refuted:** “It is refuted”. **Inconclusive:** none." in said
    assert "\n- **Other verdicts under other conditions:** `confirmed-id` is refuted under `he` and `batch_norm`.\n" in said
    assert "| elu | 95.0 [90.0, 100.0] |" in said
    assert "| relu | 95.0 [94.0, 96.0] | no significant difference | 4-fold |" in said
    assert "| sigmoid | 50.0 [40.0, 60.0] | significantly lower | 1,000-fold | 6 of 6 | 2 | `digits/sigmoid/baseline-{0,1}` |" in said
    assert "| linear | diverged | no significant difference | 1-fold | 2 of 6 | 1: 1 diverged | `digits/linear/baseline-{0}` |" in said
    assert "LeNet-5 on digits: somewhere. 3 epochs in batches of 32, Adam at 0.001; trained with 1 thread on a CPU of type b with python 1" in said
    assert "tensorflow 1, keras 1, numpy 1 (`digits/relu/baseline-{1}`), and on a CPU of type a with" in said
    assert "(all other runs)" in said


def test_an_attenuation_that_was_not_measured_is_not_called_small(small_report):
    path = small_report / "reports" / "digits" / "ranking.csv"
    table = pd.read_csv(path)
    table.loc[table["activation"] == "maxout", "attenuation"] = np.nan
    table.to_csv(path, index=False)
    said = readme.section("digits", small_report)
    assert "| maxout | 70.0 | no significant difference | not measured |" in said
    assert "least in linear, 1-fold" in said
    table.assign(attenuation=np.nan).to_csv(path, index=False)
    assert "vanishes" not in readme.section("digits", small_report)


def test_other_machines_and_rates_are_named(small_report):
    path = small_report / "reports" / "digits" / "provenance.json"
    facts = json.loads(path.read_text())
    facts["recipe"]["learning_rate"] = {"elu": 0.1, "relu": 0.2}
    facts["environments"][1]["values"]["gpu"] = "H100"
    path.write_text(json.dumps(facts))
    said = readme.section("digits", small_report)
    assert "Adam at a learning rate for each activation; trained" in said
    assert "a CPU of type b and a GPU of type H100 with python 1" in said


def test_results_without_a_report_or_a_place_are_refused(small_report):
    with refuses("missing-report", "reports/cifar10", "dvc repro report@cifar10"):
        readme.section("cifar10", small_report)
    with refuses("no-place", "<!-- results of NAME -->"):
        readme.replaced("# a page", "digits -->\n")
    table = small_report / "reports" / "digits" / "ranking.csv"
    table.write_text(f"{HEADER}baseline,1,relu,0,0,1,0,,,,,,False,1,6,0\n")
    with refuses("all-diverged", "recipe.learning_rate"):
        readme.section("digits", small_report)


@pytest.mark.parametrize("name", ["provenance.json", "ranking.csv"])
def test_a_report_with_files_of_older_code_is_refused(small_report, name):
    (small_report / "reports" / "digits" / name).unlink()
    with refuses("stale-result", *OLD):
        readme.section("digits", small_report)


def test_a_report_with_columns_of_older_code_is_refused(small_report, script):
    (small_report / "reports" / "digits" / "ranking.csv").write_text("activation,seeds,diverged,not_learned\nelu,0 1,0,0\n")
    with refuses("stale-result", *OLD):
        readme.section("digits", small_report)
    page = "<!-- results of digits -->\nold\n<!-- end of results -->\n"
    (small_report / "README.md").write_text(page)
    said = sentence(script("report.py", "data=digits", "--readme"), "stale-result")
    assert all(part in said for part in OLD)
    assert (small_report / "README.md").read_text() == page
