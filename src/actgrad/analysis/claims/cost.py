"""Claims about what an activation costs."""

from actgrad.analysis.claims.registry import INCONCLUSIVE, NOT_MEASURED, Finding, claim, measured, verdict
from actgrad.analysis.evidence import Evidence
from actgrad.analysis.statistics import Estimate


@claim("relu-is-cheap", "ReLU's computation is simple, which speeds up training.", figure="times", title="ReLU speeds up training")
def relu_is_cheap(evidence: Evidence) -> Finding:
    """Time of a whole training step with sigmoid and with tanh, as a multiple of a step with ReLU, in the rounds of one benchmark.
    Confirmed if both intervals lie above 1.02 (ReLU saves 2 % of a step), refuted if both lie below."""
    if evidence.times is None or not {"sigmoid", "tanh"} <= set(evidence.times["activations"]):
        return Finding(NOT_MEASURED, f"No times were measured on this dataset: make bench DATA={evidence.dataset}.")
    rows = {name: evidence.times["activations"][name] for name in ("sigmoid", "tanh")}
    steps = {name: Estimate(**row["step_to_relu"]) for name, row in rows.items()}
    verdicts = {verdict(step, lambda low, _: low > 1.02, lambda _, high: high < 1.02) for step in steps.values()}
    rival, step = min(steps.items(), key=lambda item: item[1].value)
    alone = " and ".join(f"{row['layers_to_relu']['value']:.1f} times ({name})" for name, row in rows.items())
    whole = " and ".join(f"{step.value:.2f} times" for step in steps.values())
    machine = evidence.times["machine"]
    sentence = (
        f"The activation layers alone take {alone} as long as ReLU's, a whole training step {whole}. Measured on {machine['processor']} with "
        f"{machine['cores']} cores ({evidence.times['dataset']}, batches of {evidence.times['batch_size']})."
    )
    return measured(verdicts.pop() if len(verdicts) == 1 else INCONCLUSIVE, sentence, step, f"times a step with ReLU ({rival})", ())
