"""Claims about how well networks learn."""

from collections.abc import Mapping, Sequence
from typing import Any

from actgrad.analysis import statistics
from actgrad.analysis.claims.registry import CONFIRMED, INCONCLUSIVE, REFUTED, Finding, claim, keys, measured
from actgrad.analysis.evidence import Evidence
from actgrad.analysis.runs import accuracies, test_accuracy, threshold
from actgrad.analysis.statistics import MOST_SEEDS, estimate, seeds_to_settle

RIVALS = ("sigmoid", "tanh")
"""The activations that ReLU is compared with."""


@claim(
    "relu-performs-best",
    "Of sigmoid, tanh and ReLU, ReLU gives the best results.",
    ["sigmoid", "tanh", "relu"],
    "learning_curves",
    changes=[
        "Corrected over the two comparisons that the claim is about, no longer over all pairs; "
        "failed runs count as failures, no longer as accuracies: one of chance decided a mean."
    ],
    title="ReLU beats sigmoid and tanh",
)
def relu_performs_best(evidence: Evidence) -> Finding:
    """ReLU against sigmoid and against tanh, Holm-corrected over the two. Where a run of either failed, by the number of failed runs (Fisher's exact
    test); else by test accuracy at the last epoch, paired by seed (t test). Confirmed if ReLU is significantly better than both, refuted if one of
    them is significantly better than ReLU."""
    runs = {name: accuracies(evidence.runs[name]) for name in ("relu", "sigmoid", "tanh")}
    table = statistics.paired(runs, [("relu", name) for name in RIVALS]).set_index("second")
    failed = {name: sum(value is None for value in of_activation.values()) for name, of_activation in runs.items()}
    by_failures = [name for name in RIVALS if failed[name] or failed["relu"]]
    for name in by_failures:
        table.loc[name, "p"] = statistics.fisher(failed["relu"], len(runs["relu"]), failed[name], len(runs[name]))
    tested = table["p"].notna()
    table.loc[tested, "p_holm"] = statistics.holm(table.loc[tested, "p"].to_numpy())
    rows = table.to_dict("index")
    ahead = {name: failed[name] - failed["relu"] if name in by_failures else rows[name]["difference"] for name in RIVALS}
    significant = {name: bool(rows[name]["p_holm"] < 1 - statistics.LEVEL) for name in RIVALS}
    if all(significant[name] and ahead[name] > 0 for name in RIVALS):
        verdict = CONFIRMED
    else:
        verdict = REFUTED if any(significant[name] and ahead[name] < 0 for name in RIVALS) else INCONCLUSIVE
    ahead_in = {name: f"above {name} in {_ahead(evidence, name)} of {len(runs['relu'])} seeds" for name in RIVALS}
    said = []
    for name in RIVALS:
        corrected = f", corrected p {rows[name]['p_holm']:.2g}" if tested[name] else ""
        failures = f"{failed['relu']} of {len(runs['relu'])} runs failed, {failed[name]} of {len(runs[name])} of {name}"
        said.append(f"{ahead_in[name]} ({failures if name in by_failures else f'{100 * ahead[name]:+.1f} points'}{corrected})")
    rival = table["difference"].astype(float).idxmin() if table["difference"].notna().any() else None
    sentence = f"ReLU is {' and '.join(said)}."
    if verdict == INCONCLUSIVE:
        sentence += _what_would_settle({name: rows[name] for name in RIVALS if not significant[name]}, by_failures)
    of = keys(evidence, "relu", *RIVALS)
    if rival is None:
        return Finding(verdict, sentence, keys=of)
    return measured(verdict, sentence, statistics.of_row(rows[rival]), f"test accuracy over {rival}", of)


def _ahead(evidence: Evidence, rival: str) -> int:
    """Number of seeds in which ReLU has a higher test accuracy than a rival, failed runs included."""
    ours, theirs = ({run.seed: test_accuracy(run) or 0.0 for run in evidence.runs[name]} for name in ("relu", rival))
    return sum(ours[seed] > theirs.get(seed, ours[seed]) for seed in ours)


def _what_would_settle(rows: Mapping[str, Mapping[Any, Any]], by_failures: Sequence[str]) -> str:
    """Sentences: which differences are not significant, and how many seeds would settle them."""
    said = f" The difference from {' and '.join(rows)} is not significant after correction over two comparisons."
    needed = [None if name in by_failures else seeds_to_settle(row["difference"], row["deviation"], len(RIVALS)) for name, row in rows.items()]
    known = [seeds for seeds in needed if seeds is not None]
    if not rows or len(known) < len(needed):
        return f"{said if rows else ''} More seeds are needed to tell how many would settle it."
    return f"{said} About {max(known):,}{' or more' * (max(known) == MOST_SEEDS)} seeds would settle it."


@claim(
    "monotonic-required",
    "An activation must be monotonically increasing or gradient descent cannot be applied.",
    ["gelu", "silu", "relu"],
    "activations",
    title="An activation must be monotonic",
)
def monotonic_required(evidence: Evidence) -> Finding:
    """GELU and SiLU fall somewhere. A run has failed below a test accuracy of twice the share of the largest class, or of halfway from that share to
    1 if that is less. Refuted if both have a negative derivative and both reach more (lower end of the interval of test accuracy, last epoch);
    confirmed if neither does (upper end) where ReLU does."""
    names = ("gelu", "silu", "relu")
    falls = all((run.activation["derivative"] < 0).any() for name in names[:2] for run in evidence.runs[name])
    enough = threshold(evidence.runs["relu"][0])
    accuracies = {name: [one for one in map(test_accuracy, evidence.runs[name]) if one is not None] for name in names}
    if any(len(accuracies[name]) < len(evidence.runs[name]) for name in names):
        return Finding(INCONCLUSIVE, "A run of one of them diverged.", keys=keys(evidence, *names))
    gelu, silu, relu = (estimate(accuracies[name]) for name in names)
    least = min(gelu, silu, key=lambda accuracy: accuracy.value)
    verdict = INCONCLUSIVE
    if falls and all(reached.low is not None and reached.low > enough for reached in (gelu, silu)):
        verdict = REFUTED
    elif falls and relu.low is not None and relu.low > enough and all(short.high is not None and short.high < enough for short in (gelu, silu)):
        verdict = CONFIRMED
    sentence = (
        f"{'Both' if falls else 'They do not both'} fall for some inputs. The lesser of them reaches {100 * least.value:.1f} % on the test split; "
        f"below {100 * enough:.0f} % a run has failed."
    )
    return measured(verdict, sentence, least, "test accuracy", keys(evidence, *names))
