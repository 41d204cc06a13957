"""Comparison of a retrained run with the committed one."""

import json
import math

import pytest

from actgrad.pipeline.reproduce import DIFFERENT, IDENTICAL, WITHIN, Verdict, compare

BEFORE = {
    "run": "baseline-0",
    "status": "finished",
    "files_sha256": "f",
    "weights_sha256": "w",
    "data_sha256": "d",
    "core_sha256": "c",
    "test/loss": 0.2,
    "test/accuracy": 0.95,
    "environment": json.dumps({"tensorflow": "2.21.0", "cpu": "x86_64_v4"}),
}
KEY = "digits/relu/baseline-0"
AGAIN = {"files_sha256": "g"}
MOVED = AGAIN | {"weights_sha256": "v", "test/accuracy": 0.94, "test/loss": 0.5}
OTHER_CPU = AGAIN | {"environment": json.dumps({"tensorflow": "2.21.0", "cpu": "x86_64_v3"})}
FLAGS = {"environment": json.dumps({"tensorflow": "2.21.0", "cpu": "x86_64_v4", "XLA_FLAGS": "--a --b=c"})}
DIVERGED = AGAIN | {"status": "diverged", "test/accuracy": math.nan, "test/loss": math.nan}
CPU = "cpu x86_64_v4 -> x86_64_v3"
THREADS = {"threads": ("1", "2")}


@pytest.mark.parametrize(
    ("change", "on_purpose", "word", "differences"),
    [
        ({}, {}, IDENTICAL, ""),
        (AGAIN, {}, DIFFERENT, "files"),
        (MOVED, {}, DIFFERENT, "weights_sha256, test/loss by 0.3, the most of all"),
        (MOVED, THREADS, WITHIN, "weights_sha256, threads 1 -> 2, test/loss by 0.3, the most of all"),
        (MOVED | OTHER_CPU, {}, WITHIN, f"weights_sha256, {CPU}, test/loss by 0.3, the most of all"),
        (AGAIN | {"test/accuracy": 0.89}, THREADS, DIFFERENT, "threads 1 -> 2, test/accuracy by 0.06, the most of all"),
        (OTHER_CPU | {"data_sha256": "e"}, {}, DIFFERENT, f"data_sha256, {CPU}"),
        (OTHER_CPU | {"core_sha256": "e"}, {}, DIFFERENT, f"core_sha256, {CPU}"),
        (OTHER_CPU | DIVERGED, {}, DIFFERENT, f"status, {CPU}"),
        (AGAIN | FLAGS, {}, WITHIN, "XLA_FLAGS none -> --a --b=c"),
    ],
)
def test_a_difference_is_excused_by_another_environment_only(change, on_purpose, word, differences):
    assert compare(KEY, BEFORE, BEFORE | change, on_purpose) == Verdict(KEY, word, differences)


def test_a_run_that_has_gone_is_different():
    assert compare(KEY, BEFORE, None, {}) == Verdict(KEY, DIFFERENT, "it was not trained again")
