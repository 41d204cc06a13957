"""Claims about how well networks learn."""

from typing import Any

from actgrad.analysis.claims.registry import CONFIRMED, INCONCLUSIVE, REFUTED, Finding, claim, keys, measured
from actgrad.analysis.evidence import Evidence
from actgrad.analysis.runs import test_accuracy, threshold
from actgrad.analysis.statistics import estimate


@claim("relu-performs-best", "Of sigmoid, tanh and ReLU, ReLU gives the best results.", ["sigmoid", "tanh", "relu"], "learning_curves")
def relu_performs_best(evidence: Evidence) -> Finding:
    """Test accuracy at the last epoch, paired by seed. Confirmed if ReLU is significantly better than both (Holm-corrected over all pairs of the
    condition), refuted if one of them is significantly better than ReLU."""
    rows = {name: _against(evidence, "relu", name) for name in ("sigmoid", "tanh")}
    of = keys(evidence, "relu", "sigmoid", "tanh")
    if any(item["seeds"] == 0 for item in rows.values()):
        return Finding(INCONCLUSIVE, "No seed of ReLU can be compared: one of the two diverged.", keys=of)
    rival, row = min(rows.items(), key=lambda item: item[1]["difference"])
    if all(item["significant"] and item["difference"] > 0 for item in rows.values()):
        verdict = CONFIRMED
    else:
        verdict = REFUTED if any(item["significant"] and item["difference"] < 0 for item in rows.values()) else INCONCLUSIVE
    tested = {name: f" (corrected p {item['p_holm']:.2g})" if item["p_holm"] == item["p_holm"] else "" for name, item in rows.items()}
    tests = [f"{100 * item['difference']:+.1f} points against {name}{tested[name]}" for name, item in rows.items()]
    low, high = (None, None) if row["seeds"] < 2 else (row["low"], row["high"])
    sentence = f"ReLU: {' and '.join(tests)}."
    if verdict == INCONCLUSIVE:
        seeds = "1 seed" if row["seeds"] == 1 else f"{row['seeds']} seeds"
        sentence += f" With {seeds}, corrected over {len(evidence.pairs)} pairs, not both differences are significant."
    return Finding(verdict, sentence, row["difference"], f"test accuracy over {rival}", low, high, of)


def _against(evidence: Evidence, name: str, other: str) -> dict[str, Any]:
    """The row of a pair, as name minus other."""
    pairs = evidence.pairs
    row = pairs[pairs[["first", "second"]].isin([name, other]).all(axis=1)].iloc[0].to_dict()
    return row if row["first"] == name else row | {"difference": -row["difference"], "low": -row["high"], "high": -row["low"]}


@claim(
    "monotonic-required",
    "An activation must be monotonically increasing or gradient descent cannot be applied.",
    ["gelu", "silu", "relu"],
    "activations",
)
def monotonic_required(evidence: Evidence) -> Finding:
    """GELU and SiLU fall somewhere. A run has failed below a test accuracy of twice the share of the largest class, or of halfway from that share to
    1 if that is less. Refuted if both have a negative derivative and both reach more (lower end of the interval of test accuracy, last epoch);
    confirmed if neither does (upper end) where ReLU does."""
    names = ("gelu", "silu", "relu")
    falls = all((run.activation["derivative"] < 0).any() for name in names[:2] for run in evidence.runs[name])
    enough = threshold(evidence.runs["relu"][0])
    accuracies = {name: [test_accuracy(run) for run in evidence.runs[name]] for name in names}
    if any(accuracy is None for of_activation in accuracies.values() for accuracy in of_activation):
        return Finding(INCONCLUSIVE, "A run of one of them diverged.", keys=keys(evidence, *names))
    gelu, silu, relu = (estimate(accuracies[name]) for name in names)
    least = min(gelu, silu, key=lambda accuracy: accuracy.value)
    verdict = INCONCLUSIVE
    if falls and all(reached.low is not None and reached.low > enough for reached in (gelu, silu)):
        verdict = REFUTED
    elif falls and relu.low is not None and relu.low > enough and max(gelu.high, silu.high) < enough:
        verdict = CONFIRMED
    sentence = (
        f"{'Both' if falls else 'They do not both'} fall for some inputs. The lesser of them reaches {100 * least.value:.1f} % on the test split; "
        f"below {100 * enough:.0f} % a run has failed."
    )
    return measured(verdict, sentence, least, "test accuracy", keys(evidence, *names))
