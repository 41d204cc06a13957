"""What the documents say is what was measured."""

import importlib
import json
import re
import subprocess

import pytest
import yaml

import test_faults
from actgrad.errors import UserError
from actgrad.report import readme as front
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


def test_the_front_page_has_what_the_committed_report_says(tmp_path):
    """In a clone, for the work tree may have another study's results, or those of another machine."""
    subprocess.run(["git", "clone", "--quiet", ROOT, tmp_path / "clone"], check=True)
    page = (tmp_path / "clone" / "README.md").read_text()
    dataset = front.SECTION.search(page)[1]
    assert front.replaced(page, front.section(dataset, tmp_path / "clone")) == page, f"write it anew: python src/front_page.py data={dataset}"


def test_the_findings_have_the_verdicts_of_the_committed_reports():
    rows = [[cell.strip() for cell in line.split("|")[1:4]] for line in (ROOT / "docs" / "findings.md").read_text().splitlines() if "|" in line]
    told = {claim: (cifar10_jpeg, digits) for claim, cifar10_jpeg, digits in rows[2:]}
    reports = [json.loads((ROOT / "reports" / name / "claims.json").read_text()) for name in ("cifar10_jpeg", "digits")]
    assert told == {one["id"]: (one["verdict"], other["verdict"]) for one, other in zip(*reports, strict=True)}


@pytest.fixture
def small_study(tmp_path):
    """A report of five activations, as files: two are equal, one is worse, one has diverged in its only seed, and one has a seed that learned, one
    that did not and one that diverged."""
    report = tmp_path / "reports" / "digits"
    report.mkdir(parents=True)
    (report / "summary.csv").write_text(
        "activation,seeds,diverged,not_learned\nelu,0 1,0,0\nrelu,0 1,0,0\nsigmoid,0 1,0,0\nlinear,0,1,0\nmaxout,0 1 2,1,1\n"
    )
    (report / "experiments.csv").write_text(
        "experiment,activation,seeds,mean,low,high\nstudy,sigmoid,2,0.5,0.4,0.6\nstudy,elu,2,0.95,0.9,1.1\nstudy,relu,2,0.95,0.94,0.96\n"
        "study,maxout,2,0.4,0.1,0.9\nhe,sigmoid,2,0.99,0.98,1.0\n"
    )
    (report / "seeds.csv").write_text("activation,seed,test_accuracy_last\nmaxout,0,0.7\nmaxout,1,0.1\nmaxout,2,\n")
    (report / "pairs.csv").write_text("experiment,first,second,told_apart\nstudy,elu,relu,False\nstudy,elu,sigmoid,True\nstudy,relu,sigmoid,False\n")
    (report / "claims.json").write_text(
        json.dumps(
            [
                {
                    "id": f"{verdict}-id",
                    "statement": f"It is {verdict}.",
                    "verdict": verdict,
                    "under": {"he": "refuted", "tuned": "inconclusive", "batch_norm": "refuted"},
                }
                for verdict in ("refuted", "confirmed")
            ]
        )
    )
    norms = {"elu": 0.5, "relu": 0.25, "sigmoid": 0.001, "linear": 1.0, "maxout": 0.5}
    rows = [f"{name},0,{layer},{delta}" for name, first in norms.items() for layer, delta in (("conv1", first), ("output", 1.0))]
    (report / "delta.csv").write_text("\n".join(["activation,epoch,layer,delta_rms", *rows]))
    last = {"elu": 3, "relu": 3, "sigmoid": 3, "linear": 1, "maxout": 3}
    rows = [f"{name},{epoch},conv1,6,{2 * epoch},0,0,0" for name in last for epoch in (0, last[name])]
    (report / "census.csv").write_text("\n".join(["activation,epoch,layer,units,dead,died,revived,saturated", *rows]))
    for key in ("elu-0", "elu-1", "relu-0", "relu-1", "sigmoid-0", "sigmoid-1", "linear-0", "maxout-0", "maxout-1", "maxout-2"):
        cell = tmp_path / "runs" / "digits" / key
        cell.mkdir(parents=True)
        made_in = dict.fromkeys(front.VERSIONS, "1") | {"cpu": "b" if key == "relu-1" else "a"}
        (cell / "metrics.json").write_text(json.dumps({"environment": made_in}))
    recipe = {"epochs": 3, "batch_size": 32, "optimizer": "Adam", "learning_rate": 0.001, "threads": 1}
    (tmp_path / "runs" / "digits" / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return tmp_path


def test_a_reader_sees_what_won_what_is_level_and_what_diverged(small_study):
    said = front.section("digits", small_study)
    assert "**Highest mean:** elu, relu, 95.0 % of the test images. **Worse than elu:** sigmoid.\n" in said
    assert "**Not told apart** from it by these seeds: none. **Did not learn:** maxout in 1 of 3 seeds.\n" in said
    assert "| maxout | 70.0, 10.0 |  | 2-fold | 6 of 6 | 3: 1 did not learn, 1 diverged | `digits/maxout-{0,1,2}` |" in said
    assert "most in sigmoid, 1,000-fold from output to conv1 before any update; least in linear, 1-fold" in said
    assert "**Claims that fell:** “It is refuted”. **Not settled:** none." in said
    assert "\n- **Other verdicts under other conditions:** `confirmed-id` is refuted under `he` and `batch_norm`.\n" in said
    assert "| elu | 95.0 [90.0, 100.0] |" in said
    assert "| sigmoid | 50.0 [40.0, 60.0] | worse | 1,000-fold | 6 of 6 | 2 | `digits/sigmoid-{0,1}` |" in said
    assert "| linear | diverged |  | 1-fold | 2 of 6 | 1: 1 diverged | `digits/linear-{0}` |" in said
    assert "on a CPU of type b with python 1, tensorflow 1, keras 1, numpy 1 (`digits/relu-{1}`), and on a CPU of type a with" in said
    assert "(all other cells)" in said


def test_results_without_a_report_a_cell_or_a_place_are_refused(small_study):
    (small_study / "runs" / "digits" / "relu-1" / "metrics.json").unlink()
    with pytest.raises(UserError, match=r"relu-1/metrics\.json is missing, which the report rests on"):
        front.section("digits", small_study)
    with pytest.raises(UserError, match=r"has no report of a study with experiments; list them in params\.yaml, then dvc repro report@cifar10"):
        front.section("cifar10", small_study)
    (small_study / "reports" / "digits" / "summary.csv").write_text("activation,seeds\nelu,0 1\n")
    with pytest.raises(UserError, match="was made by older code; make it anew with dvc repro report@digits"):
        front.section("digits", small_study)
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
