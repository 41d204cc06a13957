"""A run that diverges is a result: it ends with exit code 0, its files say so, and it is not trained again."""

import json

import pytest

from conftest import ROOT

ARGUMENTS = ["data=digits", "recipe.optimizer=SGD", "recipe.learning_rate=1e30", "recipe.epochs=2", "recipe.steps_per_execution=1", "run_dir=here"]


@pytest.mark.slow
def test_a_run_that_diverges_ends_well(script, tmp_path):
    assert script("download.py", "data=digits").returncode == 0
    done = script("train.py", *ARGUMENTS, "tracking.enabled=false")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "digits/relu/baseline-0: diverged, results in here"
    metrics = json.loads((tmp_path / "here" / "metrics.json").read_text())
    assert (metrics["status"], metrics["last"]) == ("diverged", {})
    again = script("train.py", *ARGUMENTS, "tracking.enabled=false")
    assert (again.returncode, "diverged before, with the same configuration, data and code" in again.stdout) == (0, True)


def test_the_documents_say_so():
    said = " ".join((ROOT / "docs" / "one-run.md").read_text().split())
    assert "That is a result of the activation, not an error: the run ends there, keeps what was measured, and exits with 0." in said
    assert '`"status": "diverged"`' in said
