"""The published results, as a reader has them who has neither the images nor the time to train."""

import re

import pytest

from conftest import ROOT, Project


@pytest.mark.slow
def test_a_reader_without_the_images_makes_the_same_report_and_checks_the_cells(tmp_path):
    """By the README's own commands, in a clone: it is the last commit's cells and report that are looked at."""
    reader = Project.clone(ROOT, tmp_path / "clone")
    (commands,) = re.findall(r"```sh\n(sed -i .*?)```", (reader.folder / "README.md").read_text(), re.DOTALL)
    edit, pull, report, publish, verify, _ = commands.splitlines()
    for command in (edit, pull, report):
        reader.run("bash", "-c", command)
    assert reader.run("git", "status", "--porcelain") == " M params.yaml\n"
    assert "cifar10_jpeg: 50 of 50 cells, 50 runs made" in reader.run("bash", "-c", publish)
    assert verify.split("#")[0].split() == ["python", "src/verify.py", "--cell", "cifar10_jpeg"]  # which takes minutes
    printed = reader.run("python", "src/verify.py", "--cell", "cifar10_jpeg/relu-0", "cifar10_jpeg/tuned/relu-0")
    assert printed.count("ok    dvc.lock ") == 2
    assert "\n2 of 2 hold; a dash marks what cannot be derived here" in printed
    assert printed.count("ok    metrics of the run ") == 2
    assert printed.count("-     data_sha256 ") == 2
    assert "WRONG" not in printed
