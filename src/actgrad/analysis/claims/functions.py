"""Claims about the functions themselves."""

import numpy as np

from actgrad.analysis.claims.registry import CONFIRMED, NOT_MEASURED, REFUTED, Finding, claim
from actgrad.analysis.evidence import Evidence
from actgrad.monitor.names import SATURATION
from actgrad.results.run import RunResult

LINEAR_POOLING = "average_pooling"
"""The condition under which a network without an activation is fully linear."""

AFFINE = 1e-4
"""Largest difference, as a share of the largest logit, at which a network counts as affine. float32's rounding stays well below."""


@claim(
    "linear-collapse",
    "Layers without a non-linearity amount to one linear layer.",
    ["linear"],
    "linearity",
    title="Linear layers collapse into one",
)
def linear_collapse(evidence: Evidence) -> Finding:
    """A network without activation and with average pooling is trained and folded into one affine map. Both are given the first 2,000 images of
    the test split, or all there are. Confirmed if their logits differ by at most 1e-4 of the largest logit in every such run; else refuted. For
    comparison: superposition in the networks without activation that have maximum pooling, which is not linear. It is how far the logits of the
    mean of two images are from the mean of their logits."""
    folded = [run for run in evidence.other_conditions.get(LINEAR_POOLING, {}).get("linear", []) if run.metrics["linearity"]]
    pooled = [run for run in evidence.runs["linear"] if run.metrics["linearity"]]
    if not (folded and pooled):
        return Finding(NOT_MEASURED, f"The study has no runs of linear under the condition {LINEAR_POOLING}, or they diverged.")
    largest = float(np.max([run.metrics["linearity"]["folding_error"] for run in folded]))
    least = float(np.min([run.metrics["linearity"]["superposition_error"] for run in pooled]))
    sentence = (
        f"With average pooling the trained network and the affine map that it folds into differ by {largest:.1g} of the largest logit. "
        "With maximum pooling, which is not linear, the logits of the mean of two images differ from the mean of their logits by "
        f"{100 * least:.0f} %{' or more' if len(pooled) > 1 else ''}."
    )
    keys = tuple(run.key for run in (*folded, *pooled))
    return Finding(CONFIRMED if largest <= AFFINE else REFUTED, sentence, largest, "of the largest logit", keys=keys)


@claim(
    "sigmoid-derivative",
    "The sigmoid's derivative never exceeds 0.25 and vanishes for large inputs.",
    ["sigmoid"],
    "activations",
    title="Sigmoid's derivative stays below 0.25",
)
def sigmoid_derivative(evidence: Evidence) -> Finding:
    """Confirmed if the derivative of the layer, for z from -6 to 6, stays at or below 0.25 and ends below 5 % of its largest value;
    else refuted."""
    run = evidence.runs["sigmoid"][0]
    largest, ends = _largest_and_ends(run)
    verdict = CONFIRMED if largest <= 0.25 + 1e-6 and ends < SATURATION else REFUTED
    sentence = f"Its largest derivative is {largest:.4f}; at z = 6 it is down to {100 * ends:.1f} % of that."
    return Finding(verdict, sentence, largest, "dphi/dz", keys=(run.key,))


@claim(
    "tanh-derivative",
    "tanh's derivative reaches 1, four times the sigmoid's, and vanishes for large inputs too.",
    ["sigmoid", "tanh"],
    "activations",
    title="tanh's derivative is 4 times sigmoid's",
)
def tanh_derivative(evidence: Evidence) -> Finding:
    """Confirmed if the largest derivative is 1 and four times the sigmoid's, both to 0.1 %, and its ends are below 5 % of it; else refuted."""
    run, sigmoid = evidence.runs["tanh"][0], evidence.runs["sigmoid"][0]
    largest, ends = _largest_and_ends(run)
    ratio = largest / _largest_and_ends(sigmoid)[0]
    verdict = CONFIRMED if abs(largest - 1) < 1e-3 and abs(ratio - 4) < 4e-3 and ends < SATURATION else REFUTED
    sentence = f"Its largest derivative is {largest:.4f}, {ratio:.2f} times the sigmoid's; at z = 6 it is down to {100 * ends:.3f} % of that."
    return Finding(verdict, sentence, ratio, "times the sigmoid's", keys=(run.key, sigmoid.key))


def _largest_and_ends(run: RunResult) -> tuple[float, float]:
    """The largest derivative, and the larger derivative at both ends of the curve (z = -6 and 6) as a share of it."""
    derivatives = run.activation["derivative"].to_numpy()
    slopes = np.abs(derivatives)
    return float(derivatives.max()), float(slopes[[0, -1]].max() / slopes.max())
