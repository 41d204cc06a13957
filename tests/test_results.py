"""The files of a run: written, read, checked, and refused if damaged."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml

from actgrad.monitor.probe import COLUMNS
from actgrad.pipeline.environment import environment
from actgrad.results import run as results
from actgrad.results.fingerprint import CORE_SHA256, fingerprint
from actgrad.results.run import FILES, RunResult
from conftest import refuses, train


@pytest.fixture(scope="module")
def expected(trained) -> str:
    """The fingerprint of the run that `written` holds."""
    config, result, _ = trained
    return fingerprint(config.deciding(), result.metrics["data_sha256"], CORE_SHA256, environment())


@pytest.fixture
def written(trained, expected, tmp_path) -> Path:
    """The folder of a run."""
    result = trained[1]
    dataclasses.replace(result, metrics=result.metrics | {"fingerprint": expected}).write(tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture(scope="module")
def other(run_config, few_digits, tmp_path_factory) -> Path:
    """The folder of a different run."""
    result, _ = train(run_config("activation=relu", "seed=1", "recipe.epochs=1"), few_digits)
    folder = tmp_path_factory.mktemp("other")
    result.write(folder)
    return folder


def test_files_of_a_run_are_read_as_they_were_written(trained, written):
    _, result, _ = trained
    again = RunResult.read(written)
    pd.testing.assert_frame_equal(again.steps, result.steps)
    pd.testing.assert_frame_equal(again.history, result.history)
    pd.testing.assert_frame_equal(again.probes, result.probes, check_dtype=False)
    pd.testing.assert_frame_equal(again.activation, result.activation, check_dtype=False, rtol=1e-6)
    assert again.config == result.config
    assert {**again.metrics, "fingerprint": "", "files": ""} == {**result.metrics, "fingerprint": "", "files": ""}


def test_the_files_say_what_a_run_is(trained, written):
    config, _, _ = trained
    again = RunResult.read(written)
    assert sorted(path.name for path in written.iterdir()) == sorted(FILES)
    assert again.key == config.key == "digits/tanh/baseline-0"
    assert (again.dataset, again.activation_name, again.condition, again.seed) == ("digits", "tanh", "baseline", 0)
    values = yaml.safe_load((written / "config.yaml").read_text())
    assert list(values) == ["seed", "test", "activation", "model", "recipe"]
    assert "name" not in values["recipe"]
    metrics = again.metrics
    assert list(metrics["files"]) == list(FILES[:-1])
    assert set(metrics) == {
        *(
            "key",
            "status",
            "validation_split",
            "epochs",
            "steps",
            "largest_class",
            "last",
            "best",
            "linearity",
            "weights_sha256",
            "layers",
            "census",
            "distance",
        ),
        *("data_sha256", "fingerprint", "core_sha256", "environment", "files"),
    }
    assert metrics["layers"][0] == {"layer": "conv1", "kind": "Conv2D", "parameters": 156}
    assert metrics["census"]["dense1_activation"] == {"units": 84, "dead": 0}
    assert set(metrics["linearity"]) == {"folding_error", "superposition_error"}
    assert metrics["core_sha256"] == CORE_SHA256
    assert metrics["environment"] == environment()
    assert list(pd.read_csv(written / "probe.csv")) == [
        *("epoch", "step"),
        *(name for name in COLUMNS if name != "preact_grad_rms_batch"),
        *("loss", "loss_at_chance"),
    ]
    assert again.probes["step"].unique().tolist() == [0, 1, 2, 4, 8, 10, 20]
    assert again.probe["step"].unique().tolist() == [0, 10, 20]


def test_the_condition_of_a_key_may_have_digits_and_underscores(trained):
    again = dataclasses.replace(trained[1], metrics={"key": "digits/leaky_relu/seed_9-12"})
    assert (again.activation_name, again.condition, again.seed) == ("leaky_relu", "seed_9", 12)


def test_a_copy_for_another_condition_differs_in_its_key_alone(written, expected, tmp_path):
    metrics = results.copy(written, tmp_path / "copy", "digits/tanh/same-0")
    assert {name for name in FILES if (written / name).read_bytes() != (tmp_path / "copy" / name).read_bytes()} == {"metrics.json"}
    assert RunResult.read(tmp_path / "copy").metrics == metrics == RunResult.read(written).metrics | {"key": "digits/tanh/same-0"}
    assert results.finished(tmp_path / "copy", expected) == metrics


# --- complete or damaged


def test_a_whole_run_of_this_fingerprint_is_finished(written, expected):
    assert results.finished(written, expected) == RunResult.read(written).metrics
    assert results.finished(written, "f" * 64) is None
    assert results.finished(written / "nowhere", expected) is None
    assert results.missing(written) == []


def test_a_run_that_a_cpu_made_is_not_finished_on_a_gpu(trained, written, expected):
    config, result, _ = trained
    assert environment()["gpu"] == "none"
    on_gpu = fingerprint(config.deciding(), result.metrics["data_sha256"], CORE_SHA256, environment() | {"gpu": "NVIDIA H100 80GB HBM3"})
    assert results.finished(written, on_gpu) is None
    assert results.finished(written, expected) is not None


def flipped(content: bytes) -> bytes:
    """Flip a bit in the middle of a file."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda content: content[: len(content) // 2],
    "short of a byte": lambda content: content[:-2],
    "empty": lambda _: b"",
    "zeros": lambda content: bytes(len(content)),
    "flipped": flipped,
    "longer": lambda content: content + b"x",
}


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_not_finished_and_is_named(written, expected, name, how):
    path = written / name
    path.write_bytes(DAMAGE[how](path.read_bytes()))
    if (name, how) == ("metrics.json", "flipped"):
        path.write_bytes(path.read_bytes().replace(b'"key"', b'"key'))  # only git or DVC can detect a flipped bit in a number
    assert results.finished(written, expected) is None
    with refuses("damaged-result", name):
        RunResult.read(written)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_not_finished_and_is_named(written, expected, name):
    (written / name).unlink()
    assert results.finished(written, expected) is None
    assert results.missing(written) == [name]
    with refuses("missing-run", name, "dvc repro"):
        RunResult.read(written)


@pytest.mark.parametrize("name", FILES[:-1])
def test_a_file_of_another_run_is_not_finished_and_is_named(written, expected, other, name):
    shutil.copy(other / name, written / name)
    assert results.finished(written, expected) is None
    with refuses("damaged-result", name, "metrics.json"):
        RunResult.read(written)


def test_metrics_of_another_run_are_not_finished_and_refuse_its_files(written, expected, other):
    shutil.copy(other / "metrics.json", written)
    assert results.finished(written, expected) is None
    with refuses("damaged-result", "config.yaml", "metrics.json"):
        RunResult.read(written)


def test_two_files_that_changed_places_are_not_finished(written, expected):
    (written / "history.csv").rename(written / "x")
    (written / "probe.csv").rename(written / "history.csv")
    (written / "x").rename(written / "probe.csv")
    assert results.finished(written, expected) is None
    with refuses("damaged-result", "history.csv", "metrics.json"):
        RunResult.read(written)


@pytest.mark.parametrize(
    "edit",
    [
        lambda _: [],
        lambda _: None,
        lambda _: "metrics",
        lambda metrics: {name: value for name, value in metrics.items() if name != "files"},
        lambda metrics: metrics | {"files": None},
        lambda metrics: metrics | {"files": list(metrics["files"])},
        lambda metrics: metrics | {"files": {name: value for name, value in metrics["files"].items() if name != "probe.csv"}},
        lambda metrics: metrics | {"files": dict.fromkeys(metrics["files"], "0" * 64)},
        lambda metrics: metrics | {"files": dict.fromkeys(metrics["files"])},
    ],
    ids=["list", "null", "string", "no files", "files null", "files list", "a file less", "other checksums", "null checksums"],
)
def test_metrics_that_are_json_but_no_metrics_are_not_finished_and_refused(written, expected, edit):
    path = written / "metrics.json"
    path.write_text(json.dumps(edit(json.loads(path.read_text()))))
    assert results.finished(written, expected) is None
    with refuses("damaged-result", "metrics.json"):
        RunResult.read(written)


def test_a_file_that_is_a_folder_is_not_finished(written, expected):
    (written / "probe.csv").unlink()
    (written / "probe.csv").mkdir()
    assert results.finished(written, expected) is None
    assert results.missing(written) == ["probe.csv"]


def test_the_metrics_of_another_run_are_not_taken(tmp_path, monkeypatch):
    """Two folders that were swapped: publish would log each run as the other."""
    monkeypatch.chdir(tmp_path)
    folder = Path("runs", "digits", "relu", "baseline-0")
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps({"files": {}, "key": "digits/relu/baseline-1"}))
    with refuses("misplaced-file", "baseline-0 holds the run digits/relu/baseline-1"):
        results.read_metrics(folder)
