"""How a cell that was trained again is compared with the committed one."""

import pytest

from actgrad.pipeline import reproduce as reproduction
from actgrad.pipeline.reproduce import DIFFERENT, IDENTICAL, WITHIN, Verdict

BEFORE = {
    "key": "digits/relu-0",
    "status": "finished",
    "data_sha256": "d",
    "code_sha256": "c",
    "weights_sha256": "w",
    "last": {"test/accuracy": 0.95, "test/loss": 0.2},
    "environment": {"tensorflow": "2.21.0", "cpu": "x86_64_v4"},
}
MOVED = {"weights_sha256": "v", "last": {"test/accuracy": 0.94, "test/loss": 0.5}}
OTHER_CPU = {"environment": {"tensorflow": "2.21.0", "cpu": "x86_64_v3"}}


CPU = "cpu x86_64_v4 -> x86_64_v3"


@pytest.mark.parametrize(
    ("change", "threads", "same", "word", "differences"),
    [
        ({}, (1, 1), True, IDENTICAL, ""),
        ({}, (1, 1), False, DIFFERENT, "files"),
        (MOVED, (1, 1), False, DIFFERENT, "weights_sha256, test/loss by 0.3, the most of all"),
        (MOVED, (1, 2), False, WITHIN, "weights_sha256, threads 1 -> 2, test/loss by 0.3, the most of all"),
        (MOVED | OTHER_CPU, (1, 1), False, WITHIN, f"weights_sha256, {CPU}, test/loss by 0.3, the most of all"),
        ({"last": {"test/accuracy": 0.89, "test/loss": 0.2}}, (1, 2), False, DIFFERENT, "threads 1 -> 2, test/accuracy by 0.06, the most of all"),
        ({"data_sha256": "e"} | OTHER_CPU, (1, 1), False, DIFFERENT, f"data_sha256, {CPU}"),
        ({"status": "diverged", "last": {}} | OTHER_CPU, (1, 1), False, DIFFERENT, f"status, {CPU}"),
    ],
)
def test_a_difference_is_excused_by_another_environment_only(change, threads, same, word, differences):
    after = BEFORE | change
    environment = reproduction.environment_differences(BEFORE, after, threads)
    assert reproduction.compare(BEFORE, after, same, environment) == Verdict("digits/relu-0", word, differences)
