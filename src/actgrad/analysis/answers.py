"""Computed sentences about each activation, and the answer to the question of each section of the page."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from actgrad.analysis import attenuation, learning_rates, ranking, statistics, tables, updates
from actgrad.analysis.alarms import enough_failed, totals
from actgrad.analysis.claims import CONFIRMED, NOT_MEASURED, REFUTED
from actgrad.analysis.claims.functions import AFFINE, LINEAR_POOLING
from actgrad.analysis.claims.leaky import slopes
from actgrad.analysis.evidence import Evidence
from actgrad.analysis.runs import every_run, learned
from actgrad.analysis.words import listed, ordinal, percent, smaller
from actgrad.results.run import RunResult
from actgrad.training.names import VAL_ACCURACY

NAMED = 4
"""At most so many activations, pairs or statements are named in a sentence."""


def portraits(evidence: Evidence, ranked: pd.DataFrame) -> dict[str, str]:
    """Activation -> a sentence about it, in the order of one condition's ranking."""
    rows = ranked.to_dict("records")
    best = rows[0]["activation"]
    return {row["activation"]: "; ".join(_portrait(evidence, row, best, len(rows))) + "." for row in rows}


def _portrait(evidence: Evidence, row: Mapping[Any, Any], best: str, number: int) -> list[str]:
    runs = len(row["seeds"].split())
    if pd.isna(row["mean"]):
        head = "diverged in every seed" if row["diverged"] == runs else f"failed in {row['failed'] + row['diverged']} of {runs} seeds"
    else:
        head = percent(row["mean"]) + (f" in the {row['learned']} of {runs} seeds that learned" if row["learned"] < runs else "")
    place = f", {ordinal(row['rank'])} of {number} here" if number > 1 else ", the only one here"
    said = [f"{head}{'' if pd.isna(row['mean']) else place}{_compared(evidence, row, best)}"]
    if np.isfinite(row["attenuation"]):
        said.append(f"gradient {smaller(row['attenuation'])} at the first layer")
    if np.isfinite(row["dead"]):
        said.append("no dead unit" if row["dead"] == 0 else f"{row['dead']:.3g} of {row['units']:.0f} units dead at the end")
    return said


def _compared(evidence: Evidence, row: Mapping[Any, Any], best: str) -> str:
    if row["activation"] == best:
        below = [name for name in evidence.runs if name != best and _differs(evidence, best, name)]
        return f", significantly above {listed(below)}" if below else ""
    if pd.isna(row["p_holm"]):
        return ""
    if row["significant"]:
        return f", significantly below {best}"
    seeds = "both" if row["compared"] == 2 else f"all {row['compared']}"
    return f", no significant difference from {best}" + (f", but lower in {seeds} seeds" if row["behind"] == row["compared"] else "")


def _differs(evidence: Evidence, first: str, second: str) -> bool:
    return bool(ranking.against(evidence.pairs, first, second)["significant"])


def answers(evidence: Evidence, ranked: pd.DataFrame, findings: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Section -> its answer in one sentence, for one condition. `findings` are those of the whole study.

    Sections that these runs cannot answer are left out.
    """
    found = {
        "results": _results(ranked),
        "learning": _learning(evidence),
        "pairs": _pairs(evidence),
        "signal": _signal(ranked),
        "training": _training(evidence),
        "explained": _explained(evidence),
        "updates": _updates(evidence),
        "units": _units(ranked),
        "conditions": _conditions(findings),
        "functions": _functions(evidence),
    }
    return {name: sentence for name, sentence in found.items() if sentence}


def of_study(evidence: Evidence) -> dict[str, str]:
    """Section -> its answer, for sections that do not depend on one condition."""
    found = {"depth": _depth(evidence), "slopes": _slopes(evidence), "learning_rates": _learning_rates(evidence)}
    found |= {"alarms": _alarms(evidence), "times": _times(evidence)}
    return {name: sentence for name, sentence in found.items() if sentence}


def _results(ranked: pd.DataFrame) -> str:
    best, others = ranked.iloc[0], ranked.iloc[1:]
    if pd.isna(best["mean"]):
        return "No run learned."
    failed = ranked[ranked["failed"] + ranked["diverged"] > 0]
    first = ranked.loc[ranked["mean"] == best["mean"], "activation"].tolist()
    more = len(failed) and failed["mean"].max() > best["mean"]
    highest = "the highest mean test accuracy" + (" of those that learn in every seed" if more else "")
    said = f"{listed(first)} {'has' if len(first) == 1 else 'have'} {highest}, {percent(best['mean'])}"
    whole = others[others["p_holm"].notna() & ~others["activation"].isin([*first, *failed["activation"]])]
    alike, below = whole[~whole["significant"]], others[others["significant"]]
    if len(alike):
        said += f"; {_named(alike['activation'])}, with {percent(alike['mean'].min())} or more, "
        said += f"{'does' if len(alike) == 1 else 'do'} not differ significantly{_beaten(alike)}"
    if len(below):
        said += f"; {_named(below['activation'])} {'is' if len(below) == 1 else 'are'} significantly lower"
    lost = [f"{row['activation']} ({row['failed'] + row['diverged']} of {len(row['seeds'].split())})" for _, row in failed.iterrows()]
    return f"{said}.{f' Runs failed with {listed(lost)}.' if lost else ''}"


def _beaten(alike: pd.DataFrame) -> str:
    """Those of some activations that are lower than the best in every seed, which few seeds cannot make significant."""
    lower = alike.loc[alike["behind"] == alike["compared"], "activation"].tolist()
    if not lower:
        return ""
    if len(lower) == len(alike):
        return f", although {'it' if len(alike) == 1 else 'each'} is lower in every seed"
    return f", although {listed(lower) if len(lower) <= NAMED else f'{len(lower)} of them'} {'is' if len(lower) == 1 else 'are'} lower in every seed"


def _named(names: Iterable[str]) -> str:
    """A few names, or the number of them."""
    named = list(names)
    return listed(named) if len(named) <= NAMED else f"{len(named)} others"


def _learning(evidence: Evidence) -> str:
    kept = {name: learned(runs) for name, runs in evidence.runs.items()}
    none = [name for name, runs in kept.items() if not runs]
    if len(none) == len(kept):
        return "No run learned, so there is no mean to draw; each seed has its curve."
    said = []
    firsts = {name: float(np.mean([run.history[VAL_ACCURACY].iloc[0] for run in runs])) for name, runs in kept.items() if runs}
    if len({*firsts.values()}) > 1:
        best, worst = max(firsts, key=lambda name: firsts[name]), min(firsts, key=lambda name: firsts[name])
        fastest = f"{best} learns fastest, with a validation accuracy of {percent(firsts[best])} after the first epoch"
        said.append(f"{fastest}; {worst} learns slowest, with {percent(firsts[worst])}.")
    rising = [name for name, runs in evidence.runs.items() if kept[name] == list(runs) and all(_rises_to_the_end(run) for run in runs)]
    if rising:
        said.append(f"With {_named(rising)}, every run has its highest validation accuracy after the last epoch, so more epochs may help.")
    if none:
        said.append(f"No run learned with {listed(none)}.")
    return " ".join(said)


def _rises_to_the_end(run: RunResult) -> bool:
    accuracies = run.history[VAL_ACCURACY].to_numpy()
    return len(accuracies) > 1 and accuracies.argmax() == len(accuracies) - 1


def _pairs(evidence: Evidence) -> str:
    tested = evidence.pairs[evidence.pairs["p_holm"].notna()]
    if len(tested) < 2:
        return ""
    pairs = list(tested.loc[tested["significant"], ["first", "second"]].itertuples(index=False, name=None))
    if len(pairs) in (0, len(tested)):
        return f"{'All' if pairs else 'None of'} {len(tested)} pairs differ{'' if pairs else 's'} significantly."
    from_all = [name for name in evidence.runs if sum(name in pair for pair in pairs) == len(evidence.runs) - 1]
    others = [f"{first} from {second}" for first, second in pairs if not {first, second} & {*from_all}]
    named = [f"{listed(from_all)} from all others"] if from_all else []
    named += others if len(others) <= NAMED else [f"{len(others)} more"] if from_all else []
    return f"{len(pairs)} of {len(tested)} pairs differ significantly{f': {listed(named)}' if named else ''}."


def _signal(ranked: pd.DataFrame) -> str:
    known = ranked.set_index("activation")["attenuation"].dropna()
    if known.empty:
        return ""
    most, least = known.idxmax(), known.idxmin()
    said = f"Before training, the gradient that arrives at the first layer is {smaller(known.max())} than at the last with {most}"
    return f"{said}, and {smaller(known.min())} with {least}." if len(known) > 1 else f"{said}."


def _training(evidence: Evidence) -> str:
    change = {}
    for name, runs in evidence.runs.items():
        decades = pd.concat([attenuation.by_epoch(run) for run in runs]).groupby(level="epoch").mean()
        change[name] = decades.iloc[[0, -1]].to_numpy()
    known = {name: ends for name, ends in change.items() if np.isfinite(ends).all()}
    if not known:
        return ""
    most = max(known, key=lambda name: abs(known[name][1] - known[name][0]))
    less = sum(ends[1] < ends[0] for ends in known.values())
    start, end = map(smaller, known[most])
    after = f"After training the gradient shrinks less than before, or grows more, with {less} of {len(known)} activations"
    rest = f"; it changes most with {most}, whose gradient at the first layer is {start} before and {end} after" if start != end else ""
    return f"{after}{rest}."


def _explained(evidence: Evidence) -> str:
    table = tables.share_of_next(evidence.runs).reset_index(drop=True)
    table = table[(table["share_of_next"] > 0) & (table["predicted"] > 0)]  # NaN is not above 0 either
    if table.empty:
        return ""
    off, alone = ((table[name] / table["share_of_next"]).apply(np.log10).abs() for name in ("predicted", "derivatives_alone"))
    worst = table.iloc[off.argmax()]
    within, within_alone = (int((10**one <= 2).sum()) for one in (off, alone))
    return (
        f"Derivatives and weights together predict the step from layer to layer within a factor of two in {within} of {len(table)} cases "
        f"(furthest off: {worst['activation']} at {worst['layer'].removesuffix('_activation')}); derivatives alone do so in {within_alone}."
    )


def _updates(evidence: Evidence) -> str:
    ratios = pd.Series({name: np.median([updates.of_network(run) for run in runs]) for name, runs in evidence.runs.items()})
    known = ratios[np.isfinite(ratios)]
    if known.empty:
        return ""
    near = int(updates.usual(known).sum())
    ends = f"from {known.min():.1g} ({known.idxmin()}) to {known.max():.1g} ({known.idxmax()})" if len(known) > 1 else f"{known.iloc[0]:.1g}"
    return f"In the last epoch an update is {ends} of the weights; {near} of {len(known)} activations are near 1e-3."


def _units(ranked: pd.DataFrame) -> str:
    known = ranked.dropna(subset=["dead"])
    if known.empty:
        return ""
    dead, worst = known[known["dead"] > 0], known.iloc[known["dead"].argmax()]
    if dead.empty:
        return "No unit of any activation is dead after training."
    alive = len(known) - len(dead)
    rest = f"; {alive} of {len(known)} activations have no dead unit" if alive else ""
    return f"After training, {worst['dead']:.3g} of {worst['units']:.0f} units are dead with {worst['activation']}{rest}."


def _conditions(findings: Sequence[Mapping[str, Any]]) -> str:
    judged = [finding for finding in findings if finding["under"] and finding["verdict"] != NOT_MEASURED]
    if not judged:
        return ""
    changed = [finding for finding in judged if {*finding["under"].values()} != {finding["verdict"]}]
    if not changed:
        return "No statement has another verdict under another condition that can judge it."
    names = [finding["title"] for finding in changed]
    same = f"{len(judged) - len(changed)} of {len(judged)} statements have the same verdict wherever they could be judged"
    others = f"{listed(names, '“')} {'has' if len(names) == 1 else 'have'}" if len(names) <= NAMED else f"{len(names)} have"
    return f"{same}; {others} another verdict under some condition."


def _functions(evidence: Evidence) -> str:
    largest = {name: float(runs[0].activation["derivative"].abs().max()) for name, runs in evidence.runs.items()}
    below = [name for name, value in largest.items() if value < 0.999]
    least = min(largest, key=lambda name: largest[name])
    if not below:
        return f"Every derivative reaches 1 somewhere between z = {_ends(evidence)}."
    return f"The derivative of {least} never exceeds {largest[least]:.2g}; {len(largest) - len(below)} of {len(largest)} activations reach 1 or more."


def _ends(evidence: Evidence) -> str:
    z = every_run(evidence.runs)[0].activation["z"]
    return f"{z.min():g} and {z.max():g}"


def _depth(evidence: Evidence) -> str:
    if evidence.depth is None:
        return ""
    rates = tables.depth_rates(evidence.depth).set_index("activation")["rate"].sort_values(ascending=False, kind="stable")
    each = [f"{smaller(rate)} with {name}" for name, rate in rates.items()]
    return f"One more layer makes the gradient {listed(each)}." if each else ""


def _slopes(evidence: Evidence) -> str:
    table = slopes(evidence)
    if table is None or not table["learned"].any():
        return ""
    means = table[table["learned"]].groupby("slope")["accuracy"].mean()
    best, worst = (f"a {name} slope" if name in ("learned", "random") else f"the slope {name}" for name in (means.idxmax(), means.idxmin()))
    said = f"{best} has the highest mean test accuracy, {percent(means.max())}; {worst} has the lowest, {percent(means.min())}."
    return said[0].upper() + said[1:]


def _alarms(evidence: Evidence) -> str:
    table = evidence.alarms
    failed, others = totals(table)
    if not (failed and others):
        return f"No run {'learned' if failed else 'failed'}, so none of {len(table)} published rules can be judged."
    counts = table["verdict"].value_counts()
    tell, do_not = int(counts.get(CONFIRMED, 0)), int(counts.get(REFUTED, 0))
    if not enough_failed(table):
        said = f"Of {failed + others} different trainings {failed} failed, too few to show that any of {len(table)} published rules tells of failure"
        return f"{said}; {do_not} {'are' if do_not > 1 else 'is'} known not to." if do_not else f"{said}."
    judged = f"{tell} of {len(table)} published rules tell of failure, {do_not} do not"
    return f"Over {failed + others} different trainings, of which {failed} failed, {judged}; the others cannot be judged."


def _learning_rates(evidence: Evidence) -> str:
    if evidence.trials is None:
        return ""
    best = learning_rates.best(evidence.trials).set_index("activation")["learning_rate"]
    smallest, largest = best.min(), best.max()
    if smallest == largest:
        return f"In short trials, {smallest:g} is the best learning rate of every activation."
    low, high = (f"{rate:g} ({_named(best.index[best == rate])})" for rate in (smallest, largest))
    return f"In short trials the best learning rates lie between {low} and {high}."


def linearity(evidence: Evidence, condition: str) -> str:
    """The distance of a condition's networks from one affine map, and of the one that is affine by design, in a sentence; empty if unknown."""
    table = tables.linearity({condition: evidence.conditions[condition]})
    if table.empty:
        return ""
    affine = table[table["folding_error"] <= AFFINE]
    least = table.iloc[table["folding_error"].argmin()]
    if len(affine):
        amount = f"{listed(affine['activation'].tolist())} {'amounts' if len(affine) == 1 else 'amount'} to one affine map"
        said = f"Under {condition}, {amount}: the logits differ by at most {affine['folding_error'].max():.1g} of the largest"
    else:
        none = f"no network amounts to one affine map: {least['activation']} is closest, and its" if len(table) > 1 else ""
        said = f"Under {condition}, {none or least['activation'] + ' does not amount to one affine map: its'} logits differ by "
        said += f"{least['folding_error']:.2g} of the largest"
    pooled = tables.linearity({name: runs for name, runs in evidence.conditions.items() if name == LINEAR_POOLING != condition})
    if len(pooled):
        said += f"; with average pooling, those of {pooled['activation'].iloc[0]} differ by {pooled['folding_error'].iloc[0]:.1g}"
    return f"{said}."


def by_chance(judged: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """How many verdicts a study has, and how many of them may be wrong by chance, in words.

    Args:
        judged: the claim ledger of each condition.
    """
    verdicts = [finding for findings in judged.values() for finding in findings if finding["verdict"] != NOT_MEASURED]
    decided = [one for one in verdicts if one["verdict"] in (CONFIRMED, REFUTED) and one["low"] is not None]
    if not decided:
        return ""
    level, number = statistics.LEVEL, len(decided)
    looked = f"{len(verdicts)} verdicts were looked at{f', under {len(judged)} conditions' if len(judged) > 1 else ''}"
    confirm = "confirm or refute" if number > 1 else "confirms or refutes"
    return (
        f"{looked}; {number} of them {confirm} a statement with a {100 * level:.0f} % interval. Each of these may be wrong by chance, in up to "
        f"{100 * (1 - level):.0f} % of cases, and nothing corrects for their number: of {number}, up to {number * (1 - level):.1f} are then wrong on "
        f"average. The chance that at least one is wrong is up to {100 * (1 - level**number):.0f} %, if they are independent."
    )


def _times(evidence: Evidence) -> str:
    if not evidence.times:
        return ""
    steps = tables.times(evidence.times, evidence.runs).set_index("activation")["step_to_relu_value"]
    if steps.empty:
        return ""
    least, most = steps.idxmin(), steps.idxmax()
    return f"A training step takes {steps.max():.2f} times as long with {most} as with ReLU, and {steps.min():.2f} times with {least}."
