"""`train.py -m`: a failed run does not stop others, and is named at the end, without Hydra's own line."""

import re
from pathlib import Path

import pytest

from actgrad.config import overrides
from actgrad.pipeline import status
from conftest import sentence

TINY = ["data=digits", "recipe.steps_per_execution=1", "recipe.probe_size=16", "tracking.enabled=false"]
JOBLIB = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]


@pytest.fixture
def digits_file(script, tmp_path) -> Path:
    assert script("download.py", "data=digits").returncode == 0
    return tmp_path


@pytest.mark.parametrize("launcher", [[], JOBLIB], ids=["basic", "joblib"])
@pytest.mark.slow
def test_the_other_runs_go_on_and_the_failed_are_named_at_the_end(script, digits_file, launcher):
    done = script("train.py", "-m", *TINY, "seed=0", "recipe.epochs=0,1,two", *launcher)
    assert done.returncode == 1
    assert "digits/relu/baseline-0: finished" in done.stdout
    named = "data=digits recipe.steps_per_execution=1 recipe.probe_size=16 tracking.enabled=False seed=0 recipe.epochs"
    assert [line.split(" cannot be used")[0] for line in done.stderr.splitlines()] == [
        f"failed: {named}=0: recipe.epochs=0",
        f"failed: {named}=two: recipe.epochs='two'",
        "error[runs-failed]: 2 of 3 runs failed, see above; mend the cause and start the same command again",
    ]
    assert sorted(path.name for path in (digits_file / "outputs").iterdir()) == ["digits", "multirun"]  # no temporary files are left
    again = script("train.py", "-m", *TINY, "seed=0", "recipe.epochs=1", *launcher)
    assert (again.returncode, again.stderr) == (0, "")
    assert "finished before, with the same configuration, data and code" in again.stdout


def test_one_run_that_fails_is_one_sentence(script):
    assert "recipe.epochs=0" in sentence(script("train.py", "-m", "data=digits", "recipe.epochs=0"), "wrong-value")
    assert "data/digits.npz" in sentence(script("train.py", "-m", "data=digits"), "missing-dataset")


@pytest.mark.slow
def test_what_cannot_be_composed_stops_all_before_a_run_is_started(script, digits_file):
    assert "activation=tnh" in sentence(script("train.py", "-m", *TINY, "activation=relu,tnh"), "unknown-name")
    assert not (digits_file / "outputs" / "digits").exists()


@pytest.mark.slow
def test_a_file_that_cannot_be_written_is_named_too(script, digits_file):
    (digits_file / "checkpoints").write_text("")  # a file instead of the folder
    done = script("train.py", "-m", *TINY, "seed=0,1", "recipe.epochs=1")
    failed = [line for line in done.stderr.splitlines() if line.startswith("failed: ")]
    assert (done.returncode, len(failed)) == (1, 2)
    assert all("checkpoints" in line and line.endswith(", and start the same command again") for line in failed)


@pytest.mark.slow
def test_an_error_that_is_not_the_users_is_shown_whole_after_the_other_runs(script, digits_file):
    """It is a bug of this project, so its traceback is needed."""
    (digits_file / "broken.py").write_text(
        "from actgrad.data import storage\n"
        "loaded = storage.load\n"
        "def load(data, compared=None):\n"
        "    import hydra\n"
        "    if hydra.core.hydra_config.HydraConfig.get().job.num == 0:\n"
        "        raise ZeroDivisionError('of ours')\n"
        "    return loaded(data, compared)\n"
        "storage.load = load\n"
        "import runpy\n"
        "runpy.run_path('src/train.py', run_name='__main__')\n"
    )
    done = script(digits_file / "broken.py", "-m", *TINY, "seed=0,1,2", "recipe.epochs=1")
    assert done.returncode == 1
    assert len(re.findall(r": finished, test accuracy [\d.]+ %, results in ", done.stdout)) == 2
    assert "ZeroDivisionError: of ours" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "several", "watched"),
    [
        (["data=digits"], False, False),
        (["-m", "data=digits"], True, False),
        (["--multirun", "data=digits"], True, False),
        (["-m", "--help"], False, False),
        (["-m", *status.overrides(Path("x")), "run=digits/relu/baseline-0"], True, True),
        (["-m", *status.overrides(Path("x")), "data=digits", "condition=tuning"], True, False),  # from src/tune.py
        (["-m", "run=digits/relu/baseline-0,digits/relu/baseline-1"], True, False),
    ],
)
def test_the_runs_of_a_study_are_left_to_it(arguments, several, watched):
    assert (overrides.are_several_runs(arguments), status.is_watched(arguments)) == (several, watched)
