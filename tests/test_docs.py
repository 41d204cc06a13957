"""Statements in the documents are true: commands, links, numbers of runs, verdicts and measurements."""

import importlib
import json
import re
import shutil
import subprocess

import pytest
import yaml

from actgrad.config import composing, loading
from actgrad.diagnosis.experience import experience
from actgrad.pipeline import launchers
from actgrad.report import readme
from actgrad.report.experience import images_of, with_report
from conftest import ROOT

PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")]
README = (ROOT / "README.md").read_text()
CLUSTER = re.findall(r"^```yaml\n(.*?)^```$", (ROOT / "docs" / "clusters.md").read_text(), re.MULTILINE | re.DOTALL)


# --- results


def test_the_readme_has_what_the_committed_report_says(tmp_path):
    """In a clone, because the work tree may have results of another study or machine."""
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    page = (clone / "README.md").read_text()
    dataset = readme.SECTION.search(page)[1]
    assert readme.with_results(page, dataset, clone) == page, f"write it anew: python src/report.py data={dataset} --readme"


def test_the_findings_have_the_verdicts_of_the_committed_reports():
    rows = [[entry.strip() for entry in line.split("|")[1:4]] for line in (ROOT / "docs" / "findings.md").read_text().splitlines() if "|" in line]
    told = {claim: verdicts for claim, *verdicts in rows[2:]}
    found: dict[str, list[str]] = {}
    for number, name in enumerate(rows[0][1:]):
        for claim in json.loads((ROOT / "reports" / name.strip("`") / "claims.json").read_text()):
            found.setdefault(claim["id"], ["not measured"] * 2)[number] = claim["verdict"]
    assert told == found


def test_diagnose_says_what_the_committed_reports_found():
    kept = experience()
    datasets = {row["dataset"] for row in kept["alarms"] + kept["remedies"]}
    reports = {path.parent.name for path in ROOT.glob("reports/*/remedies.csv")}
    assert datasets <= reports
    assert {*map(str, (images_of(name, ROOT) for name in datasets))} == {*map(str, (images_of(name, ROOT) for name in reports))}
    for name in datasets:
        assert with_report(kept, name, ROOT) == kept, f"write it anew: python src/report.py data={name} --experience"


def test_what_it_costs_is_what_was_measured():
    page = (ROOT / "benchmarks" / "README.md").read_text()
    for path in ROOT.glob("benchmarks/*.json"):
        for what, answer in json.loads(path.read_text()).get("answers", {}).items():
            assert f"| {what} | {answer} |" in page, f"{path.name} is newer than benchmarks/README.md"


def test_the_table_of_faults_has_every_fault():
    rows = (ROOT / "docs" / "faults.md").read_text().partition("| --- | --- | --- |\n")[2].splitlines()
    assert len(rows) > 60
    modules = [importlib.import_module(path.stem) for path in sorted(ROOT.glob("tests/test_faults*.py"))]
    tests = [test for module in modules for name, test in vars(module).items() if name.startswith("test_")]
    named = [(mark.args[0], test.pytestmark) for test in tests for mark in getattr(test, "pytestmark", ()) if mark.name == "fault"]
    assert named
    alone = {name for name, marks in named if "parametrize" not in {mark.name for mark in marks}}  # the others name one fault a parameter
    assert alone <= {row.removeprefix("| ").split(" | ")[0] for row in rows}
    assert all(row.count(" | ") == 2 for row in rows)


# --- runs and conditions


def test_the_runs_of_the_study_are_counted():
    study = loading.study(ROOT / "params.yaml")
    demo = loading.listed(study, "digits")
    assert f"the demo's {sum(len(one.activations) * len(one.seeds) for one in demo.values())} runs" in README
    listed = loading.listed(study, "cifar10")
    rows = re.findall(r"^\| `(\w+)` \| .* \| (\d+) × (\d+) \|$", (ROOT / "docs" / "conditions.md").read_text(), re.MULTILINE)
    assert {name: (int(activations), int(seeds)) for name, activations, seeds in rows} == {
        name: (len(one.activations), len(one.seeds)) for name, one in listed.items()
    }


@pytest.mark.parametrize("text", CLUSTER, ids=lambda text: re.search("launcher: ([a-z_]+)", text)[1])
def test_the_launchers_that_are_shown_are_whole_files(tmp_path, monkeypatch, text):
    name = re.search("launcher: ([a-z_]+)", text)[1]
    package = f"hydra_plugins.hydra_{name.partition('_')[0]}_launcher"
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed: make setup-scale")
    shutil.copytree(ROOT / "conf", tmp_path / "conf", ignore=shutil.ignore_patterns("local"))
    (tmp_path / "conf" / "local").mkdir()
    (tmp_path / "conf" / "local" / "default.yaml").write_text(text)
    for module in (composing, launchers):
        monkeypatch.setattr(module, "CONF", tmp_path / "conf")
    assert launchers.launcher_overrides(1)[0] == f"hydra/launcher={name}"


def test_three_launchers_are_shown():
    assert len(CLUSTER) == 3


# --- commands and links


def commands(page: str) -> list[str]:
    """The lines of shell blocks and inline code, without the results section, which comes from a report."""
    page = readme.SECTION.sub("", page)
    lines = [line for block in re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL) for line in block.splitlines()]
    return [line.partition(" #")[0] for line in lines] + re.findall("`([^`\n]+)`", page)


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "faults.md"], ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_a_page_is_there(page):
    """Except for the page of `make faults`, which quotes output."""
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    for command in commands(page.read_text()):
        for target in re.findall(r"^make ([a-z-]+)", command):
            assert target in targets, command
        for stage in re.findall(r"\b([a-z_]+)@", command) if command.startswith("dvc ") else ():
            assert stage in stages, command
        for script in re.findall(r"\b(?:src|benchmarks)/\w+\.py", command):
            assert (ROOT / script).is_file(), command
            if command.startswith("python ") and script != "src/train.py":  # whose options are Hydra's
                options = re.findall(r" (--[a-z-]+)", command)
                assert [one for one in options if one not in (ROOT / script).read_text()] == [], command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in link:
            continue
        name, _, place = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not place or place in headings(target.read_text()), link


def headings(page: str) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.+)$", page, re.MULTILINE)}


def test_every_script_of_the_makefile_is_there():
    named = re.findall(r"python ((?:src|benchmarks)/\S+\.py)", (ROOT / "Makefile").read_text())
    assert len(named) >= 5
    assert [name for name in named if not (ROOT / name).is_file()] == []
