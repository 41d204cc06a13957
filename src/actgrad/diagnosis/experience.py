"""Results of this project's own runs about published rules and usual remedies, from the committed reports."""

import functools
import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

SCALED, HE, BATCH_NORM = "scaled inputs", "He's initial weights", "batch normalisation"
RESIDUAL, SEARCHED = "residual paths", "a searched learning rate"
"""Remedies that were tried."""

FILE = "experience.json"


@functools.cache
def experience() -> dict[str, list[dict[str, Any]]]:
    """`alarms`: one row per rule and dataset; `remedies`: one row per remedy and dataset."""
    return json.loads(resources.files(__package__).joinpath(FILE).read_text())


def seen(rule: str, threshold: str) -> str:
    """Words for the number of runs in which a rule fired in the first three epochs; empty if it was not counted."""
    of_dataset = {row["dataset"]: row for row in experience()["alarms"] if (row["rule"], row["threshold"]) == (rule, threshold)}
    rows = of_dataset.values()
    if not rows:
        return ""
    failed, learned, in_failed, in_learned = (sum(row[name] for row in rows) for name in ("failed", "learned", "fired_failed", "fired_learned"))
    if not failed:
        return f"fired in {in_learned} of {learned} runs that learned; no run failed in which it could fire"
    return f"fired in {in_failed} of {failed} failed runs, and in {in_learned} of {learned} that learned"


def gained(remedies: Sequence[str]) -> str:
    """Words for the test accuracy that remedies gained, with 95 % intervals, and for failed runs; empty if none was tried."""
    return "; ".join(_brought(row) for row in experience()["remedies"] if row["remedy"] in remedies)


def _brought(row: dict[str, Any]) -> str:
    points = "" if row["points"] is None else f"{row['points']:+z.1f} points"
    interval = "" if row["low"] is None else f" [{row['low']:+z.1f}, {row['high']:+z.1f}]"
    failed = (
        f"{row['failed_with']} instead of {row['failed_without']} of {row['runs']} runs failed" if row["failed_with"] or row["failed_without"] else ""
    )
    return f"{row['remedy']} ({row['dataset']}): {', '.join(part for part in (points + interval, failed) if part)}"
