"""Definition of a claim, and functions that claims share."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from actgrad.analysis.evidence import Evidence
from actgrad.analysis.runs import every_run, probed
from actgrad.analysis.statistics import Estimate, share
from actgrad.analysis.words import CONFIRMED, INCONCLUSIVE, NOT_MEASURED, REFUTED, number
from actgrad.results.run import RunResult


@dataclass(frozen=True)
class Finding:
    """A verdict with the number that it is based on.

    Attributes:
        verdict: confirmed, refuted, inconclusive or not measured.
        sentence: what was found, in plain words.
        effect: the number, in `unit`; None if nothing was measured.
        low, high: its interval over seeds; None if it has none.
        keys: the runs it was computed from.
    """

    verdict: str
    sentence: str
    effect: float | None = None
    unit: str = ""
    low: float | None = None
    high: float | None = None
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Claim:
    """A statement, and how it is judged.

    Attributes:
        needs: activations whose runs are required; otherwise the verdict is `not measured`.
        figure: name of the figure that shows it.
        title: short title.
        judge: returns the finding; its docstring is the rule.
        changes: reason for each later version of the rule.
    """

    id: str
    statement: str
    needs: tuple[str, ...]
    figure: str
    title: str
    judge: Callable[[Evidence], Finding]
    changes: tuple[str, ...] = ()

    @property
    def rule(self) -> str:
        return " ".join((self.judge.__doc__ or "").split())

    def finding(self, evidence: Evidence) -> Finding:
        missing = [name for name in self.needs if name not in evidence.runs]
        if missing:
            return Finding(NOT_MEASURED, f"The study has no runs of {', '.join(missing)}.")
        found = self.judge(evidence)
        if found.effect is not None and not np.isfinite(found.effect):
            return Finding(INCONCLUSIVE, "A run has measured NaN or infinity, so there is no number to judge.", keys=found.keys)
        return found


CLAIMS: list[Claim] = []
Judge = Callable[[Evidence], Finding]


def claim(
    id: str, statement: str, needs: Sequence[str] = (), figure: str = "", title: str = "", changes: Sequence[str] = ()
) -> Callable[[Judge], Judge]:
    """Decorator that adds a function to the ledger. It takes Evidence and returns a Finding; its docstring is the rule."""

    def register(judge: Judge) -> Judge:
        CLAIMS.append(Claim(id, statement, tuple(needs), figure, title or statement.rstrip("."), judge, tuple(changes)))
        return judge

    return register


def ledger(evidence: Evidence) -> list[dict[str, Any]]:
    """Every claim with its finding on the headline's runs; see `ledgers`."""
    return ledgers(evidence)[evidence.headline]


def ledgers(evidence: Evidence) -> dict[str, list[dict[str, Any]]]:
    """Condition -> its ledger. The headline's ledger uses all evidence. `under` has the verdict of each other condition that can judge the claim,
    unless the headline's own verdict rests on such a condition alone."""
    alone = {name: [_row(entry, evidence.under(name)) for entry in CLAIMS] for name in evidence.other_conditions}
    rows = [_row(entry, evidence) for entry in CLAIMS]
    own = {run.key for run in every_run(evidence.runs)}
    for place, row in enumerate(rows):
        if row["keys"] and own.isdisjoint(row["keys"]):  # judged by other conditions alone, whose verdict is this one
            continue
        row["under"] = {name: found[place]["verdict"] for name, found in alone.items() if found[place]["verdict"] != NOT_MEASURED}
    return {evidence.headline: rows} | alone


def _row(entry: Claim, evidence: Evidence) -> dict[str, Any]:
    finding = entry.finding(evidence)
    said = {"id": entry.id, "title": entry.title, "statement": entry.statement, **asdict(finding), "number": number(finding.effect, finding.unit)}
    rule = {"rule": entry.rule, "version": len(entry.changes) + 1, "changes": list(entry.changes)}
    return said | rule | {"figure": entry.figure, "under": {}}


# --- parts


def of_share(count: int, of: int, confirmed: Callable[[float, float], bool], refuted: Callable[[float, float], bool]) -> tuple[str, Estimate]:
    """The verdict on a share by its exact interval, and the share."""
    found = share(count, of)
    return verdict(found, confirmed, refuted), found


def keys(evidence: Evidence, *activations: str) -> tuple[str, ...]:
    return tuple(run.key for name in activations for run in evidence.runs[name])


def verdict(effect: Estimate, confirmed: Callable[[float, float], bool], refuted: Callable[[float, float], bool]) -> str:
    """Verdict by the interval. A single seed has no interval, so it is inconclusive."""
    if effect.low is None or effect.high is None:
        return INCONCLUSIVE
    if confirmed(effect.low, effect.high):
        return CONFIRMED
    return REFUTED if refuted(effect.low, effect.high) else INCONCLUSIVE


def measured(verdict: str, sentence: str, effect: Estimate, unit: str, keys: tuple[str, ...]) -> Finding:
    """A finding with its interval. Where a number cannot be below 0, or above 1, its interval is not either."""
    low, high = effect.low, effect.high
    if low is not None and high is not None:
        low = max(low, 0.0) if re.match("share|of the|.*(units|accuracy)$", unit) else low
        high = min(high, 1.0) if re.match(r"share|of the (\w+ )?units|.*accuracy$", unit) else high
    return Finding(verdict, sentence, effect.value, unit, low, high, keys)


def largest(estimates: Mapping[str, Estimate]) -> tuple[str, Estimate]:
    """The largest estimate and its name. NaN counts as largest, so that it is never hidden."""
    return max(estimates.items(), key=lambda item: (bool(np.isnan(item[1].value)), item[1].value))


def total(run: RunResult, epoch: int, name: str) -> float:
    """Sum of a probe value over the layers with an activation; NaN if one of them is NaN."""
    return sum(probed(run, epoch, layer, name) for layer in run.activated)


def last_epoch(run: RunResult) -> int:
    return int(run.probe["epoch"].max())
