"""Rules about the code that no linter checks."""

import re
import subprocess

import pytest

from conftest import ROOT

SRC = ROOT / "src"


@pytest.mark.parametrize("script", sorted(path.name for path in SRC.glob("*.py")))
def test_entry_scripts_are_wiring(script):
    assert len((SRC / script).read_text().splitlines()) <= 60


def test_no_file_is_two():
    files = [path for folder in ("benchmarks", "src", "tests") for path in (ROOT / folder).rglob("*.py")]
    assert [path.name for path in files if len(path.read_text().splitlines()) > 400] == []


def test_the_pipeline_is_wiring():
    assert len((ROOT / "dvc.yaml").read_text().splitlines()) < 100


def test_one_module_says_which_name_is_like_another():
    """So that case and separators are ignored for every mistyped name."""
    assert [path.relative_to(SRC).as_posix() for path in SRC.rglob("*.py") if "difflib" in path.read_text()] == ["actgrad/errors.py"]


def test_no_index_address_is_committed():
    for path in (*ROOT.glob("requirements*.lock"), ROOT / "pyproject.toml", ROOT / "Makefile"):
        assert not re.search(r"--(extra-)?index-url|--find-links|https?://(?!127\.0\.0\.1)", path.read_text())


def test_no_committed_file_is_larger_than_a_megabyte():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    assert [name for name in listed if (ROOT / name).is_file() and (ROOT / name).stat().st_size > 1_000_000] == []
