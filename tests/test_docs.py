"""What the documents say is what was measured."""

import json
import re

import pytest

import test_faults
from conftest import ROOT


def test_the_price_of_determinism_is_the_measured_one():
    measured = json.loads((ROOT / "benchmarks" / "determinism.json").read_text())
    text = (ROOT / "docs" / "reproducibility.md").read_text()
    assert measured["command"] in text
    for name, one in measured["datasets"].items():
        ratio, seconds, weights, off = one["on_to_off"], one["seconds_an_epoch"], one["different_weights"], one["distance"]["off"]
        cells = (
            name,
            f"{seconds['on']:.3g} s",
            f"{seconds['off']:.3g} s",
            f"{ratio['value']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}]",
            f"{weights['on']} of {measured['rounds']}",
            f"{weights['off']} of {measured['rounds']}",
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
