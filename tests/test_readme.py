"""The results of a report in the README."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from actgrad.report import readme
from conftest import refuses, sentence

HEADER = (
    "condition,rank,activation,seeds,learned,failed,diverged,mean,low,high,difference,compared,behind,p_holm,significant,attenuation,units,dead\n"
)
RANKING = (
    HEADER
    + f"""\
baseline,1,elu,0 1,2,0,0,0.95,0.9,1.1,,0,0,,False,{np.log10(2)},6,6
baseline,2,relu,0 1,2,0,0,0.95,0.94,0.96,0,2,1,1,False,{np.log10(4)},6,6
baseline,3,sigmoid,0 1,2,0,0,0.5,0.4,0.6,-0.45,2,2,0.01,True,3,6,6
baseline,4,maxout,0 1 2,1,1,1,0.7,,,-0.5,2,2,0.2,False,{np.log10(0.3)},6,6
baseline,5,linear,0,0,0,1,,,,,0,0,,False,0,6,2
he,1,sigmoid,0 1,2,0,0,0.99,0.98,1.0,,0,0,,False,3,6,6
"""
)
OLD = ("reports/digits", "dvc repro report@digits")


@pytest.fixture
def small_report(tmp_path) -> Path:
    """The files of a report with five activations: two are equal, one is worse, one diverged in its only seed, and one has a seed that learned,
    one that failed and one that diverged."""
    report = tmp_path / "reports" / "digits"
    report.mkdir(parents=True)
    (report / "summary.csv").write_text("activation\n")
    (report / "ranking.csv").write_text(RANKING)
    facts = {"dataset": "digits", "headline": "baseline", "model": {"build": "actgrad.networks.lenet5.build", "config": {}}}
    (report / "provenance.json").write_text(json.dumps(facts))
    return tmp_path


def test_a_reader_sees_what_won_what_is_level_and_what_failed(small_report):
    said = readme.section("digits", small_report)
    assert said.startswith("digits -->\n| activation | test accuracy, % [95 % interval] | against elu | ")
    assert "| elu | 95.0 [90.0, 100.0] |  | 2-fold | 6 of 6 | 2 |" in said
    assert "| relu | 95.0 [94.0, 96.0] | lower in 1 of 2 seeds | 4-fold |" in said
    assert "| sigmoid | 50.0 [40.0, 60.0] | significantly lower | 1,000-fold | 6 of 6 | 2 |" in said
    assert "| maxout | 70.0 | lower in 2 of 2 seeds | 3.3-fold larger | 6 of 6 | 3: 1 failed, 1 diverged |" in said
    assert "| linear | diverged | not compared | 1-fold | 2 of 6 | 1: 1 diverged |" in said
    assert "*LeNet-5 on digits, condition `baseline`: means" in said
    assert all(len(line) <= 100 for line in said.splitlines() if line[:1] not in ("|", "!"))


def test_an_attenuation_that_was_not_measured_is_not_called_small(small_report):
    path = small_report / "reports" / "digits" / "ranking.csv"
    table = pd.read_csv(path)
    table.loc[table["activation"] == "maxout", "attenuation"] = np.nan
    table.to_csv(path, index=False)
    assert "| maxout | 70.0 | lower in 2 of 2 seeds | not measured |" in readme.section("digits", small_report)


def test_results_without_a_report_or_a_place_are_refused(small_report):
    with refuses("missing-report", "reports/cifar10", "dvc repro report@cifar10"):
        readme.section("cifar10", small_report)
    with refuses("no-place", "<!-- results of NAME -->"):
        readme.with_results("# a page", "digits", small_report)
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
