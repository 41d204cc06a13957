"""Interrupted trainings that continue."""

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import mlflow
import numpy as np
import pytest

from actgrad.pipeline import checkpoints
from actgrad.pipeline.checkpoints import Checkpoint
from actgrad.results.run import FILES
from conftest import ROOT, as_project, train


class Killed(BaseException):
    pass


class Memory:
    """Keeps states like a checkpoint, and may end the training right after one of them."""

    def __init__(self, path: Path, killed_after: int | None = None):
        self._kept, self._left = Checkpoint(path, "f"), killed_after

    def load(self):
        return self._kept.load()

    def save(self, state):
        self._kept.save(state)
        if self._left is not None:
            self._left -= 1
            if self._left == 0:
                raise Killed

    def not_kept(self, reason):
        self._kept.not_kept(reason)


class Seen:
    def __init__(self):
        self.resumed_with, self.finished = [], []

    def resumed(self, epochs):
        self.resumed_with = [epoch.number for epoch in epochs]

    def epoch_finished(self, epoch):
        self.finished.append(epoch.number)


@pytest.mark.parametrize(
    "overrides",
    [
        ["activation=tanh"],
        pytest.param(["activation=prelu", "recipe.optimizer=RMSprop"], marks=pytest.mark.slow),
        pytest.param(["activation=relu", "condition=batch_norm"], marks=pytest.mark.slow),
        pytest.param(["activation=maxout"], marks=pytest.mark.slow),
        pytest.param(
            [
                "activation.name=rrelu",
                "activation.layer=actgrad.networks.layers.RReLU",
                "activation.config={}",
                "recipe.kernel_initializer=orthogonal",
            ],
            marks=pytest.mark.slow,
        ),
    ],
    ids=lambda overrides: overrides[-1],
)
def test_a_training_that_goes_on_ends_in_the_same_bytes(run_config, few_digits, tmp_path, overrides):
    config = run_config(*overrides, "recipe.epochs=4")
    whole, _ = train(config, few_digits)
    with pytest.raises(Killed):
        train(config, few_digits, checkpoint=Memory(tmp_path / "c.npz", killed_after=2))
    seen = Seen()
    resumed, _ = train(config, few_digits, [seen], checkpoint=Memory(tmp_path / "c.npz"))
    assert (seen.resumed_with, seen.finished) == ([0, 1, 2], [3, 4])
    for result, name in ((whole, "whole"), (resumed, "resumed")):
        result.write(tmp_path / name)
    for name in FILES:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "resumed" / name).read_bytes(), name


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-200]), "it is damaged"),
        (lambda path: path.write_bytes(b""), "it is damaged"),
        (
            lambda path: Checkpoint(path, "other").save({"a": np.zeros(2)}),
            "configuration, data, code or packages are not those that it was made with",
        ),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_not_used_and_says_so(tmp_path, capsys, spoil, reason):
    checkpoint = Checkpoint(tmp_path / "c.npz", "f")
    checkpoint.save({"a": np.arange(1000)})
    assert checkpoint.load()["a"].tolist() == list(range(1000))
    spoil(checkpoint.path)
    assert checkpoint.load() is None
    assert f"c.npz is not used, {reason}; the run starts from its beginning" in capsys.readouterr().err
    checkpoint.remove()
    assert checkpoint.load() is None
    assert capsys.readouterr().err == ""


def test_each_folder_has_a_checkpoint_of_its_own_outside_it(tmp_path):
    first, second = checkpoints.path(tmp_path / "a"), checkpoints.path(tmp_path / "b")
    assert first != second
    assert first.parent == second.parent == checkpoints.FOLDER


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A folder with the digits, and a run of six epochs without interruption."""
    folder = tmp_path_factory.mktemp("resume")
    command = [sys.executable, folder / "src" / "download.py", "data=digits"]
    subprocess.run(command, cwd=folder, env=os.environ | as_project(folder), check=True, capture_output=True)
    whole = start(folder, "whole")
    whole.communicate()
    assert whole.returncode == 0
    return folder


def start(folder: Path, run_dir: str) -> subprocess.Popen:
    arguments = ["data=digits", "activation=relu", "recipe.epochs=6", f"run_dir={run_dir}", f"tracking.uri=sqlite:///{run_dir}.db"]
    env = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"} | as_project(folder)
    command = [sys.executable, folder / "src" / "train.py", *arguments]
    heard = partial(signal.signal, signal.SIGINT, signal.default_int_handler)  # a background shell ignores it
    return subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heard)


def stop(training: subprocess.Popen, epoch: int, how: signal.Signals) -> str:
    """Send a signal after an epoch was reported. Returns the training's stderr until its end."""
    for line in training.stdout:
        if f"epoch {epoch}/6" in line:
            training.send_signal(how)
            break
    with training:
        return training.stderr.read()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        (signal.SIGKILL, -9, ""),
        (signal.SIGTERM, 143, "terminated; the same command goes on after the last finished epoch\n"),
        (signal.SIGINT, 130, "interrupted; the same command goes on after the last finished epoch\n"),
    ],
)
def test_the_same_command_goes_on_after_a_signal(project, how, code, said):
    name = how.name.lower()
    interrupted = start(project, name)
    assert stop(interrupted, 2, how).endswith(said)
    assert interrupted.returncode == code
    assert not (project / name / "metrics.json").exists()
    again = start(project, name)
    printed, _ = again.communicate()
    assert again.returncode == 0
    assert "digits/relu/baseline-0  goes on after epoch" in printed
    for file in FILES:
        assert (project / name / file).read_bytes() == (project / "whole" / file).read_bytes(), file
    assert list((project / "checkpoints").glob("*.npz")) == []
    same_mlflow_run_without_doubled_steps(project, name)
    finished = start(project, name)
    assert "digits/relu/baseline-0: finished before, with the same configuration, data and code" in finished.communicate()[0]


@pytest.mark.parametrize(("number", "code", "said"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")])
def test_an_interruption_in_a_weak_references_callback_is_heard(number, code, said):
    """Python ignores an exception there, so Ctrl-C while TensorFlow traced a network changed nothing."""
    program = f"""
import signal, time, weakref
from actgrad.console import run_script

class Thing:
    pass

def main():
    thing = Thing()
    reference = weakref.ref(thing, lambda _: signal.raise_signal({number.value}))
    del thing
    time.sleep(20)

run_script(main)
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    heard = partial(signal.signal, signal.SIGINT, signal.default_int_handler)  # a background shell ignores it
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False, preexec_fn=heard)
    assert (done.returncode, done.stderr) == (code, f"{said}; start it again\n")


def same_mlflow_run_without_doubled_steps(project: Path, name: str) -> None:
    values = {}
    for store in ("whole", name):
        client = mlflow.MlflowClient(f"sqlite:///{project}/{store}.db")
        (run,) = client.search_runs([client.get_experiment_by_name("digits by hand").experiment_id], "tags.key = 'digits/relu/baseline-0'")
        assert run.info.status == "FINISHED"
        histories = {metric: client.get_metric_history(run.info.run_id, metric) for metric in run.data.metrics}
        values[store] = {metric: sorted((one.step, one.value) for one in history) for metric, history in histories.items()}
        assert len(client.search_logged_models([run.info.experiment_id])) == 1
    assert values["whole"] == values[name]
    assert json.loads((project / name / "metrics.json").read_text())["steps"] == 228
