"""What the documents say is what was measured."""

import importlib
import json
import re

import pytest

import test_faults
from actgrad import front
from actgrad.errors import UserError
from conftest import ROOT


@pytest.fixture
def overview(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("overview")


def measured(name: str) -> dict:
    return json.loads((ROOT / "benchmarks" / f"{name}.json").read_text())


def test_what_it_costs_is_what_was_measured(overview):
    assert overview.README.read_text() == overview.text(measured("training_time"), measured("study_time"))
    assert overview.MEASURED.search(overview.SCALE.read_text())[0] == overview.growth_tables(measured("growth"))


def test_the_front_page_has_what_the_report_says():
    page = (ROOT / "README.md").read_text()
    dataset = front.SECTION.search(page)[1]
    assert front.replaced(page, front.section(dataset, ROOT / "reports", ROOT / "runs")) == page


def test_results_without_a_report_or_a_place_are_refused(tmp_path):
    with pytest.raises(UserError, match="has no report; make it with dvc repro report@digits"):
        front.section("digits", tmp_path)
    with pytest.raises(UserError, match="no lines <!-- results of NAME -->"):
        front.replaced("# a page", "digits -->\n")


def test_the_multiplications_of_a_network(overview):
    assert overview.multiplications(32, 32, 3) == 25 * (1024 * 3 * 6 + 256 * 6 * 16 + 64 * 16 * 120) + 64 * 120 * 84 + 84 * 10


def test_the_price_of_determinism_is_the_measured_one():
    determinism = measured("determinism")
    text = (ROOT / "docs" / "reproducibility.md").read_text()
    assert determinism["command"] in text
    for name, one in determinism["datasets"].items():
        ratio, seconds, weights, off = one["on_to_off"], one["seconds_an_epoch"], one["different_weights"], one["distance"]["off"]
        cells = (
            name,
            f"{seconds['on']:.3g} s",
            f"{seconds['off']:.3g} s",
            f"{ratio['value']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}]",
            f"{weights['on']} of {determinism['rounds']}",
            f"{weights['off']} of {determinism['rounds']}",
            f"{off['weights']:.2g}",
            f"{100 * off['val/accuracy']:.2g} points",
        )
        assert f"| {' | '.join(cells)} |" in text


def test_the_table_of_faults_has_every_fault():
    rows = (ROOT / "docs" / "faults.md").read_text().split("| --- | --- | --- |\n")[1].splitlines()
    assert len(rows) > 60
    named = [
        (mark.args[0], test.pytestmark) for test in vars(test_faults).values() for mark in getattr(test, "pytestmark", ()) if mark.name == "fault"
    ]
    alone = {name for name, marks in named if "parametrize" not in {mark.name for mark in marks}}  # the others name one fault a parameter
    assert alone <= {row.removeprefix("| ").split(" | ")[0] for row in rows}
    assert all(row.count(" | ") == 2 for row in rows)


@pytest.mark.parametrize("page", [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")], ids=lambda page: page.stem)
def test_every_file_that_a_page_links_to_is_there(page):
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text())]
    assert [link for link in links if link and "://" not in link and not (page.parent / link).exists()] == []


def test_every_script_of_the_makefile_is_there():
    named = re.findall(r"python ((?:src|benchmarks)/\S+\.py)", (ROOT / "Makefile").read_text())
    assert len(named) >= 6
    assert [name for name in named if not (ROOT / name).is_file()] == []
