"""Count how often each published rule of diagnosis.rules fires in runs that fail, and in runs that learn."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from actgrad.analysis.runs import LEARNED, Runs, every_run, outcome
from actgrad.analysis.statistics import share
from actgrad.analysis.words import CONFIRMED, INCONCLUSIVE, NOT_MEASURED, REFUTED
from actgrad.diagnosis.rules import RULES, Measurements
from actgrad.monitor.names import NORMS
from actgrad.results.run import RunResult

EPOCHS = 3
"""Rules are evaluated after this many epochs, because an alarm at the end of training is useless."""


OUTCOMES = {"failed": False, "learned": True}


def published() -> dict[tuple[str, str], list[int]]:
    """The different rules: name and threshold -> their indices in RULES. A rule that several sources publish is one rule."""
    found: dict[tuple[str, str], list[int]] = {}
    for number, rule in enumerate(RULES):
        found.setdefault((rule.name, rule.threshold), []).append(number)
    return found


def alarms(conditions: Mapping[str, Runs]) -> pd.DataFrame:
    """One row per different rule, over the trainings of all conditions that have an activation that it looks at: rule, source, threshold; failed
    and learned, the numbers of such runs; fired_failed and fired_learned, the numbers of these in which the rule fires within EPOCHS epochs; both as
    shares with exact intervals: sensitivity, sensitivity_low, sensitivity_high, false_alarms, false_alarms_low, false_alarms_high; verdict, by the
    claim about alarms. A diverged run counts as failed. A training that two conditions share counts once.
    """
    runs = trainings(conditions)
    fired = [fired_in(run) for run in runs]
    learned = [outcome(run) == LEARNED for run in runs]
    kinds = [{*run.probe["kind"][run.probe["hidden"]]} for run in runs]
    rows = []
    for (rule, threshold), numbers in published().items():
        looked_at = {kind for number in numbers for kind in RULES[number].kinds}
        counted = [(ok, not one.isdisjoint(numbers)) for one, ok, of in zip(fired, learned, kinds, strict=True) if not looked_at or looked_at & of]
        counts = {name: sum(ok == of for ok, _ in counted) for name, of in OUTCOMES.items()}
        counts |= {f"fired_{name}": sum(fires for ok, fires in counted if ok == of) for name, of in OUTCOMES.items()}
        row = {"rule": rule, "source": ", ".join(RULES[number].source for number in numbers), "threshold": threshold, **counts}
        row |= _shares(counts)
        rows.append(row | {"verdict": _verdict(row)})
    return pd.DataFrame(rows)


def trainings(conditions: Mapping[str, Runs]) -> list[RunResult]:
    """The runs of all conditions; of a training that several share, one."""
    return [*{run.metrics["fingerprint"]: run for of_condition in conditions.values() for run in every_run(of_condition)}.values()]


def totals(table: pd.DataFrame) -> tuple[int, int]:
    """How many runs failed, and how many learned. A rule that looks at some activations alone counts fewer.

    Args:
        table: the table of `alarms`.
    """
    failed, learned = (int(table[name].max()) for name in OUTCOMES)
    return failed, learned


def _shares(counts: Mapping[str, int]) -> dict[str, Any]:
    """The shares of failed runs and of those that learned in which a rule fires, with their intervals."""
    row: dict[str, Any] = {}
    for name, of in (("sensitivity", "failed"), ("false_alarms", "learned")):
        found = share(counts[f"fired_{of}"], counts[of])
        row |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
    return row


def enough_failed(table: pd.DataFrame) -> bool:
    """Whether so many runs failed that a rule that fires in all of them, and in none that learned, would be found to tell of failure.

    Args:
        table: the table of `alarms`.
    """
    failed, learned = totals(table)
    ideal = {"failed": failed, "learned": learned, "fired_failed": failed, "fired_learned": 0}
    return _verdict(ideal | _shares(ideal)) == CONFIRMED


def _verdict(row: Mapping[str, Any]) -> str:
    if not row["failed"] or not row["learned"]:
        return NOT_MEASURED
    if row["sensitivity_low"] > max(0.5, row["false_alarms_high"]):
        return CONFIRMED
    return REFUTED if row["sensitivity_high"] < 0.5 or row["false_alarms_low"] > 0.5 else INCONCLUSIVE


def fired_in(run: RunResult) -> set[int]:
    """The indices in RULES of the rules that fire within the first EPOCHS epochs of a run."""
    steps_an_epoch = run.metrics["steps"] // max(1, run.metrics["epochs"]) or run.metrics["steps"]
    last = EPOCHS * steps_an_epoch
    asked = Measurements(_monitored(run, last), _until(run.probes, last), pd.DataFrame(run.metrics["layers"]))
    return {number for number, rule in enumerate(RULES) if next(rule.fired(asked), None) is not None}


def _until(table: pd.DataFrame, last: int) -> dict[str, np.ndarray]:
    """The columns of a table up to a step."""
    within = table["step"].to_numpy() <= last
    return {str(name): np.asarray(column)[within] for name, column in table.items()}


def _monitored(run: RunResult, last: int) -> dict[str, np.ndarray]:
    """The steps of a run up to `last`, with the columns of GradientMonitor.steps."""
    steps = _until(run.steps, last)
    grad, update, weight = (steps[name].astype(float) for name in NORMS)
    sizes = {one["layer"]: one["parameters"] for one in run.metrics["layers"]}
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = {"grad_rms": grad / np.sqrt([sizes[layer] for layer in steps["layer"]]), "update_ratio": update / weight}
    return {"step": steps["step"], "layer": steps["layer"], **dict(zip(NORMS, (grad, update, weight), strict=True)), **ratios}
