"""The claim ledger: statements about activation functions, each with a written rule.

A claim is one function below: it takes Evidence and returns a Finding. Where cells that it needs are missing, its verdict
is `not measured`. To add one, write one function with @claim.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from actgrad.analysis import tables
from actgrad.analysis.evidence import Evidence
from actgrad.analysis.statistics import Estimate, estimate
from actgrad.results import run as results
from actgrad.results.run import ACTIVATED_LAYERS, LAYERS, SATURATION, CellResult

CONFIRMED, REFUTED, INCONCLUSIVE, NOT_MEASURED = "confirmed", "refuted", "inconclusive", "not measured"


@dataclass(frozen=True)
class Finding:
    """A verdict with the number it rests on.

    Attributes:
        verdict: confirmed, refuted, inconclusive or not measured.
        sentence: what was found, in plain words.
        effect: the number, in `unit`; None where nothing was measured.
        low, high: its interval over seeds; None for a number that has none.
        keys: the cells it was computed from.
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
    """A statement, the rule for its verdict (the function's docstring), the activations it needs and the figure to look at."""

    id: str
    statement: str
    needs: tuple[str, ...]
    figure: str
    judge: Callable[[Evidence], Finding]

    @property
    def rule(self) -> str:
        return " ".join((self.judge.__doc__ or "").split())

    def finding(self, evidence: Evidence) -> Finding:
        missing = [name for name in self.needs if name not in evidence.cells]
        if missing:
            return Finding(NOT_MEASURED, f"The study has no cells of {', '.join(missing)}.")
        return self.judge(evidence)


CLAIMS: list[Claim] = []


def claim(id: str, statement: str, needs: Sequence[str] = (), figure: str = "") -> Callable:
    def register(judge: Callable[[Evidence], Finding]) -> Callable[[Evidence], Finding]:
        CLAIMS.append(Claim(id, statement, tuple(needs), figure, judge))
        return judge

    return register


def ledger(evidence: Evidence) -> list[dict[str, Any]]:
    """Every claim with its finding, in the order of this file; `under` has the verdict of each experiment that can give one."""
    alone = {name: Evidence(evidence.dataset, cells) for name, cells in evidence.experiments.items()}
    rows = []
    for entry in CLAIMS:
        finding = entry.finding(evidence)
        verdicts = {name: entry.finding(under).verdict for name, under in alone.items()}
        under = {name: verdict for name, verdict in verdicts.items() if verdict != NOT_MEASURED}
        rows.append({"id": entry.id, "statement": entry.statement, **asdict(finding), "rule": entry.rule, "figure": entry.figure, "under": under})
    return rows


# --- what the claims are computed from


def _keys(evidence: Evidence, *activations: str) -> tuple[str, ...]:
    return tuple(cell.key for name in activations for cell in evidence.cells[name])


def _attenuation(cell: CellResult) -> float:
    """Decades by which delta shrinks from the output layer back to conv1, before any update."""
    output, conv1 = (max(_probed(cell, 0, layer, "delta_rms"), np.finfo(np.float32).tiny) for layer in (LAYERS[-1], LAYERS[0]))
    return float(np.log10(output / conv1))


def _excess(evidence: Evidence, activation: str, reference: str) -> Estimate:
    """Attenuation of one activation beyond another's, in decades, paired by seed: both start with the same weights."""
    reference_of = {cell.seed: _attenuation(cell) for cell in evidence.cells[reference]}
    return estimate([_attenuation(cell) - reference_of[cell.seed] for cell in evidence.cells[activation]])


def _cause(cells: Sequence[CellResult]) -> str:
    """What derivatives and weights predict of the attenuation before any update, in a sentence; empty where there is no prediction."""
    start = tables.signal({"": cells}).query("epoch == 0 and layer in @ACTIVATED_LAYERS")
    if start[["predicted", "derivative_factor"]].isna().any(axis=None) or (start[["predicted", "derivative_factor"]] <= 0).any(axis=None):
        return ""
    predicted, derivatives = -np.log10(start["predicted"]).sum(), -np.log10(start["derivative_factor"]).sum()
    return f" Its derivatives alone predict {_fold(derivatives)}, together with the weights and pooling {_fold(predicted)}."


def _verdict(effect: Estimate, confirmed: Callable[[float, float], bool], refuted: Callable[[float, float], bool]) -> str:
    """By the interval; a single seed has none and decides nothing."""
    if effect.low is None or effect.high is None:
        return INCONCLUSIVE
    if confirmed(effect.low, effect.high):
        return CONFIRMED
    return REFUTED if refuted(effect.low, effect.high) else INCONCLUSIVE


def _fold(decades: float) -> str:
    return f"{10**decades:,.0f}-fold" if decades >= 1 else f"{10**decades:.1f}-fold"


def _measured(verdict: str, sentence: str, effect: Estimate, unit: str, keys: tuple[str, ...]) -> Finding:
    return Finding(verdict, sentence, effect.value, unit, effect.low, effect.high, keys)


def _ends(cell: CellResult) -> float:
    """The larger derivative at both ends of the curve (z = -6 and 6), as a share of the largest derivative."""
    slopes = cell.activation["derivative"].abs()
    return float(max(slopes.iloc[0], slopes.iloc[-1]) / slopes.max())


# --- the functions themselves


AFFINE = 1e-4
"""Largest difference, as a share of the largest logit, at which a network counts as affine: rounding in float32 stays well below."""


@claim("linear-collapse", "Layers without a non-linearity amount to one linear layer.", ["linear"], "affine")
def linear_collapse(evidence: Evidence) -> Finding:
    """A network without activation and with average pooling is trained, folded into one affine map, and both are given the first
    2,000 images of the test split, or all there are. Confirmed if their logits differ by at most 1e-4 of the largest logit in every
    such cell; else refuted. For comparison, superposition in the study's own networks without activation, whose maximum pooling is
    not linear: how far the logits of the mean of two images are from the mean of their logits."""
    folded = [cell for cell in evidence.experiments.get("average_pooling", {}).get("linear", []) if cell.metrics["affine"]]
    pooled = [cell for cell in evidence.cells["linear"] if cell.metrics["affine"]]
    if not (folded and pooled):
        return Finding(NOT_MEASURED, "The study has no cells of linear in the experiment average_pooling, or they diverged.")
    largest = max(cell.metrics["affine"]["folding_error"] for cell in folded)
    least = min(cell.metrics["affine"]["superposition_error"] for cell in pooled)
    sentence = (
        f"With average pooling the trained network and the one affine map that it folds into differ by {largest:.1g} of the largest logit. "
        "With maximum pooling, a non-linearity of its own, the logits of the mean of two images are off the mean of their logits by "
        f"{100 * least:.0f} %{' or more' if len(pooled) > 1 else ''}."
    )
    keys = tuple(cell.key for cell in (*folded, *pooled))
    return Finding(CONFIRMED if largest <= AFFINE else REFUTED, sentence, largest, "of the largest logit", keys=keys)


@claim("sigmoid-derivative", "The sigmoid's derivative never exceeds 0.25 and vanishes for large inputs.", ["sigmoid"], "activations")
def sigmoid_derivative(evidence: Evidence) -> Finding:
    """Confirmed if the derivative of the layer, for z from -6 to 6, stays at or below 0.25 and ends below 5 % of its largest value;
    else refuted."""
    cell = evidence.cells["sigmoid"][0]
    largest, ends = float(cell.activation["derivative"].max()), _ends(cell)
    verdict = CONFIRMED if largest <= 0.25 + 1e-6 and ends < SATURATION else REFUTED
    return Finding(
        verdict, f"Its largest derivative is {largest:.4f}; at z = 6 it is down to {100 * ends:.1f} % of that.", largest, "dphi/dz", keys=(cell.key,)
    )


@claim(
    "tanh-derivative", "tanh's derivative reaches 1, four times the sigmoid's, and vanishes for large inputs too.", ["sigmoid", "tanh"], "activations"
)
def tanh_derivative(evidence: Evidence) -> Finding:
    """Confirmed if the largest derivative is 1 and four times the sigmoid's, both to 0.1 %, and its ends are below 5 % of it; else refuted."""
    cell, sigmoid = evidence.cells["tanh"][0], evidence.cells["sigmoid"][0]
    largest, ends = float(cell.activation["derivative"].max()), _ends(cell)
    ratio = largest / float(sigmoid.activation["derivative"].max())
    verdict = CONFIRMED if abs(largest - 1) < 1e-3 and abs(ratio - 4) < 4e-3 and ends < SATURATION else REFUTED
    sentence = f"Its largest derivative is {largest:.4f}, {ratio:.2f} times the sigmoid's; at z = 6 it is down to {100 * ends:.3f} % of that."
    return Finding(verdict, sentence, ratio, "times the sigmoid's", keys=(cell.key, sigmoid.key))


# --- how the gradient travels


@claim(
    "vanishing-gradient",
    "With an activation whose derivative stays below 1, gradients shrink from the output back to the first layer.",
    ["linear", "sigmoid"],
    "delta",
)
def vanishing_gradient(evidence: Evidence) -> Finding:
    """How many decades more delta loses between output and conv1 than without an activation, with the same initial weights.
    Confirmed if the interval over seeds lies above 1 decade, refuted if it lies below 0."""
    effect = _excess(evidence, "sigmoid", "linear")
    whole = estimate([_attenuation(cell) for cell in evidence.cells["sigmoid"]])
    sentence = (
        f"Before the first update the sigmoid network's signal is {_fold(whole.value)} smaller at conv1 than at the output, "
        f"{_fold(effect.value)} beyond what the weights and pooling alone do.{_cause(evidence.cells['sigmoid'])}"
    )
    verdict = _verdict(effect, lambda low, _: low > 1, lambda _, high: high < 0)
    return _measured(verdict, sentence, effect, "decades beyond linear", _keys(evidence, "sigmoid", "linear"))


@claim("depth-exacerbates", "More layers make it worse.", ["sigmoid"], "depth")
def depth_exacerbates(evidence: Evidence) -> Finding:
    """Dense blocks with the sigmoid, stacked 2 to 20 high, before any update: decades of signal that one more block costs between the
    last block and the first, as the slope of a line fitted through the depths of a seed. Confirmed if its interval over seeds lies
    above 0.05 (a factor of ten over 20 blocks), refuted if below 0.05."""
    if evidence.depth is None:
        return Finding(NOT_MEASURED, f"Stacks of several depths were not measured: python src/measure_depth.py data={evidence.dataset}.")
    rates = tables.depth_rates(evidence.depth).set_index("activation")
    if "sigmoid" not in rates.index:
        return Finding(INCONCLUSIVE, "No gradient arrives through stacks of sigmoid blocks at any two depths.")
    effect = Estimate(*(None if pd.isna(value) else float(value) for value in rates.loc["sigmoid", ["rate", "low", "high"]]))
    others = ", ".join(f"{_fold(rates.loc[name, 'rate'])} with {name}" for name in ("linear", "tanh", "relu") if name in rates.index)
    sentence = f"Each further block makes the sigmoid's signal {_fold(effect.value)} smaller{f' ({others})' if others else ''}."
    verdict = _verdict(effect, lambda low, _: low > 0.05, lambda _, high: high < 0.05)
    return _measured(verdict, sentence, effect, "decades a block", (f"{evidence.dataset}/depth.csv",))


@claim("tanh-vanishes-less", "tanh suffers less from vanishing gradients than the sigmoid.", ["sigmoid", "tanh"], "delta")
def tanh_vanishes_less(evidence: Evidence) -> Finding:
    """How many decades more delta loses under the sigmoid than under tanh, with the same initial weights.
    Confirmed if the interval over seeds lies above 0, refuted if below."""
    effect = _excess(evidence, "sigmoid", "tanh")
    verdict = _verdict(effect, lambda low, _: low > 0, lambda _, high: high < 0)
    sentence = f"From the same weights the sigmoid network loses {_fold(effect.value)} more signal on the way back than the tanh network."
    return _measured(verdict, sentence, effect, "decades", _keys(evidence, "sigmoid", "tanh"))


@claim("relu-passes-gradient", "ReLU's derivative of 1 for positive inputs keeps gradients alive.", ["linear", "relu"], "delta")
def relu_passes_gradient(evidence: Evidence) -> Finding:
    """How many decades more delta loses under ReLU than without an activation, with the same initial weights.
    Confirmed if the interval over seeds lies below 1 decade, refuted if above."""
    effect = _excess(evidence, "relu", "linear")
    verdict = _verdict(effect, lambda _, high: high < 1, lambda low, _: low > 1)
    sentence = f"ReLU loses {_fold(effect.value)} more signal on the way back than a network without any activation; below ten-fold the claim stands."
    return _measured(verdict, sentence, effect, "decades beyond linear", _keys(evidence, "relu", "linear"))


@claim(
    "weights-may-compensate",
    "The weights' own factor in the chain rule may exceed 1, but at the start of training weights are small.",
    ["linear"],
    "attenuation",
)
def weights_may_compensate(evidence: Evidence) -> Finding:
    """What a layer's weights multiply the size of an independent signal by on its way back, sqrt(weight_gain) of the probe; pooling
    and derivatives are left out. The largest factor of any layer before any update, in the cells without an activation. Confirmed if
    its interval over seeds lies below 1 and, in some cell of the study, a layer's factor exceeds 1 after training; refuted if it lies above 1."""
    starts = {layer: estimate([np.sqrt(_probed(cell, 0, layer, "weight_gain")) for cell in evidence.cells["linear"]]) for layer in ACTIVATED_LAYERS}
    if any(np.isnan(factor.value) for factor in starts.values()):
        return Finding(NOT_MEASURED, "With batch normalisation, the weights have no factor of their own.")
    layer, largest = max(starts.items(), key=lambda item: item[1].value)
    every = [cell for cells in evidence.cells.values() for cell in cells]
    grown = [cell for cell in every if any(_probed(cell, cell.probe["epoch"].max(), name, "weight_gain") > 1 for name in ACTIVATED_LAYERS)]
    verdict = _verdict(largest, lambda _, high: high < 1, lambda low, _: low > 1)
    if verdict == CONFIRMED and not grown:
        verdict = INCONCLUSIVE
    sentence = (
        f"Before the first update the weights multiply the signal by {largest.value:.2f} on its way back to {layer}, where they are largest; after "
        f"training their factor exceeds 1 at some layer in {len(grown)} of {len(every)} cells."
    )
    return _measured(verdict, sentence, largest, f"times, back to {layer}", tuple(cell.key for cell in every))


# --- units


@claim("saturation", "Pre-activations of large magnitude put sigmoid units in a region where almost no gradient passes.", ["sigmoid"], "census")
def saturation(evidence: Evidence) -> Finding:
    """The share of saturated sigmoid activations before any update, in the layer where it is largest.
    Confirmed if its interval over seeds lies above 10 %, refuted if below."""
    shares = {layer: estimate([_probed(cell, 0, layer, "saturated") for cell in evidence.cells["sigmoid"]]) for layer in ACTIVATED_LAYERS}
    layer, effect = max(shares.items(), key=lambda item: item[1].value)
    verdict = _verdict(effect, lambda low, _: low > 0.1, lambda _, high: high < 0.1)
    sentence = f"Before the first update {100 * effect.value:.0f} % of the sigmoid activations of {layer} have a derivative below 5 % of the largest."
    return _measured(verdict, sentence, effect, f"share of {layer}", _keys(evidence, "sigmoid"))


def _probed(cell: CellResult, epoch: int, layer: str, name: str) -> float:
    epochs, layers, values = (cell.probe[column].to_numpy() for column in ("epoch", "layer", name))  # a mask in pandas takes ten times as long
    return float(values[(epochs == epoch) & (layers == layer)][0])


def _total(cell: CellResult, epoch: int, name: str) -> int:
    """Sum over the layers with an activation."""
    return int(sum(_probed(cell, epoch, layer, name) for layer in ACTIVATED_LAYERS))


def _most_dead(cell: CellResult) -> int:
    """The largest number of units without gradient that a cell has after any of its epochs, in the layers with an activation together."""
    activated = cell.probe[cell.probe["layer"].isin(ACTIVATED_LAYERS)]
    return int(activated.groupby("epoch")["dead"].sum().max())


@claim("dying-relu", "ReLU units can die: no gradient for any example.", ["relu"], "census")
def dying_relu(evidence: Evidence) -> Finding:
    """Units that pass a gradient for some image of the probe batch before the first update, and for none at the end.
    Confirmed if every seed has such a unit, refuted if no seed ever has a unit without gradient."""
    cells = evidence.cells["relu"]
    last = {cell.key: int(cell.probe["epoch"].max()) for cell in cells}
    starts, ends = [_total(cell, 0, "dead") for cell in cells], [_total(cell, last[cell.key], "dead") for cell in cells]
    died, revived = [_total(cell, last[cell.key], "died") for cell in cells], [_total(cell, last[cell.key], "revived") for cell in cells]
    units = _total(cells[0], 0, "units")
    ever = any(_most_dead(cell) for cell in cells)
    verdict = CONFIRMED if min(died) > 0 else INCONCLUSIVE if ever else REFUTED
    sentence = (
        f"Of {units} ReLU units, {np.mean(starts):.1f} pass no gradient before the first update and {np.mean(ends):.1f} at the end: "
        f"{np.mean(died):.1f} have died, {np.mean(revived):.1f} have come to life (means over seeds)."
    )
    return _measured(verdict, sentence, estimate(died), "units died", _keys(evidence, "relu"))


@claim("leaky-never-dies", "A slope on the negative side leaves no unit without gradient.", ["leaky_relu", "prelu"], "census")
def leaky_never_dies(evidence: Evidence) -> Finding:
    """Confirmed if leaky ReLU and PReLU have no unit without gradient in any layer, epoch and seed; else refuted."""
    cells = [cell for name in ("leaky_relu", "prelu") for cell in evidence.cells[name]]
    most = max(_most_dead(cell) for cell in cells)
    sentence = f"The largest number of units without gradient, over all layers, epochs and seeds, is {most}."
    return Finding(CONFIRMED if most == 0 else REFUTED, sentence, float(most), "units", keys=_keys(evidence, "leaky_relu", "prelu"))


# --- results


@claim("relu-performs-best", "Of sigmoid, tanh and ReLU, ReLU gives the best results.", ["sigmoid", "tanh", "relu"], "learning_curves")
def relu_performs_best(evidence: Evidence) -> Finding:
    """Test accuracy at the last epoch, paired by seed. Confirmed if ReLU is told apart from both (Holm-corrected over all pairs of
    the study) and ahead of both, refuted if one of them is told apart and ahead of it."""
    rows = {name: _against(evidence, "relu", name) for name in ("sigmoid", "tanh")}
    rival, row = min(rows.items(), key=lambda item: item[1]["difference"])
    if all(item["told_apart"] and item["difference"] > 0 for item in rows.values()):
        verdict = CONFIRMED
    else:
        verdict = REFUTED if any(item["told_apart"] and item["difference"] < 0 for item in rows.values()) else INCONCLUSIVE
    if any(item["seeds"] == 0 for item in rows.values()):
        return Finding(INCONCLUSIVE, "No seed of ReLU can be compared: one of the two diverged.", keys=_keys(evidence, "relu", "sigmoid", "tanh"))
    tested = {name: f" (corrected p {item['p_holm']:.2g})" if item["p_holm"] == item["p_holm"] else "" for name, item in rows.items()}
    tests = [f"{100 * item['difference']:+.1f} points against {name}{tested[name]}" for name, item in rows.items()]
    low, high = (None, None) if row["seeds"] < 2 else (row["low"], row["high"])
    sentence = f"ReLU: {' and '.join(tests)}."
    if verdict == INCONCLUSIVE:
        seeds = "1 seed" if row["seeds"] == 1 else f"{row['seeds']} seeds"
        sentence += f" With {seeds}, and corrected over {len(evidence.pairs)} pairs, that does not tell it apart from both."
    return Finding(verdict, sentence, row["difference"], f"test accuracy over {rival}", low, high, _keys(evidence, "relu", "sigmoid", "tanh"))


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
    """GELU and SiLU fall somewhere. Refuted if both have a negative derivative and both are trained beyond twice the accuracy of guessing, or beyond
    halfway from guessing to 1 if that is less (lower end of the interval of test accuracy, last epoch); confirmed if neither gets there (upper
    end) where ReLU does."""
    names = ("gelu", "silu", "relu")
    falls = all((cell.activation["derivative"] < 0).any() for name in names[:2] for cell in evidence.cells[name])
    enough = tables.learned_from(evidence.cells)
    if any(results.TEST_ACCURACY not in cell.metrics["last"] for name in names for cell in evidence.cells[name]):
        return Finding(INCONCLUSIVE, "A cell of them diverged.", keys=_keys(evidence, *names))
    gelu, silu, relu = (estimate([cell.metrics["last"][results.TEST_ACCURACY] for cell in evidence.cells[name]]) for name in names)
    least = min(gelu, silu, key=lambda accuracy: accuracy.value)
    verdict = INCONCLUSIVE
    if falls and all(reached.low is not None and reached.low > enough for reached in (gelu, silu)):
        verdict = REFUTED
    elif falls and relu.low is not None and relu.low > enough and max(gelu.high, silu.high) < enough:
        verdict = CONFIRMED
    reached = f"the lesser of them reaches {100 * least.value:.1f} % on the test split, guessing {100 * tables.guessing(evidence.cells):.0f} %"
    sentence = f"Both fall for some inputs; {reached}."
    return _measured(verdict, sentence, least, "test accuracy", _keys(evidence, *names))


@claim("relu-is-cheap", "ReLU's computation is simple, which speeds up training.", figure="times")
def relu_is_cheap(evidence: Evidence) -> Finding:
    """Time of a whole training step with sigmoid and with tanh, as a multiple of a step with ReLU, in the rounds of one benchmark.
    Confirmed if both intervals lie above 1.02 (ReLU saves 2 % of a step), refuted if both lie below."""
    if evidence.times is None or not {"sigmoid", "tanh"} <= set(evidence.times["activations"]):
        return Finding(NOT_MEASURED, "No times were measured: make bench.")
    measured = {name: evidence.times["activations"][name] for name in ("sigmoid", "tanh")}
    steps = {name: Estimate(**row["step_to_relu"]) for name, row in measured.items()}
    verdicts = {_verdict(step, lambda low, _: low > 1.02, lambda _, high: high < 1.02) for step in steps.values()}
    rival, step = min(steps.items(), key=lambda item: item[1].value)
    alone = " and ".join(f"{row['layers_to_relu']['value']:.1f} times ({name})" for name, row in measured.items())
    whole = " and ".join(f"{step.value:.2f} times" for step in steps.values())
    machine = evidence.times["machine"]
    sentence = (
        f"The activation layers alone take {alone} as long as ReLU's, a whole training step {whole}, on {machine['processor']} with "
        f"{machine['cores']} cores ({evidence.times['dataset']}, batches of {evidence.times['batch_size']})."
    )
    verdict = verdicts.pop() if len(verdicts) == 1 else INCONCLUSIVE
    return _measured(verdict, sentence, step, f"times a step with ReLU ({rival})", ())


ARTICLE = {
    "train": (0.3390, 0.4927, 0.5583, 0.6094, 0.6594, 0.7017, 0.7426, 0.7894, 0.8265, 0.8605),
    "val": (0.4513, 0.5106, 0.5170, 0.5534, 0.5513, 0.5494, 0.5488, 0.5435, 0.5333, 0.5417),
}
"""The article's log of its ReLU network on CIFAR-10: accuracy after each epoch. Its validation split is the test split."""

LOWEST_LOSS = 4
"""The epoch at which validation loss is lowest in the article's log."""


TRAINING = {
    "input_scaling": "none",
    "kernel_initializer": "glorot_uniform",
    "optimizer": "Adam",
    "learning_rate": 0.001,
    "batch_size": 256,
    "epochs": len(ARTICLE["train"]),
}
"""What of a recipe makes it the article's."""


def follows_article(evidence: Evidence) -> bool:
    """Whether the study trains ReLU as the article does, on CIFAR-10 or its re-encoded copy."""
    if "relu" not in evidence.cells or evidence.dataset not in ("cifar10", "cifar10_jpeg"):
        return False
    values = tables.configuration(evidence.cells["relu"][0])
    network = values["model"]["pooling"] == "max" and not values["model"]["batch_normalization"]
    return network and TRAINING.items() <= values["recipe"].items()


@claim(
    "lenet5-relu-cifar10",
    "LeNet-5 with ReLU on CIFAR-10 reaches 0.86 training and 0.54 validation accuracy in ten epochs, with the lowest validation loss near epoch 4.",
    ["relu"],
    "article_curve",
)
def lenet5_relu_cifar10(evidence: Evidence) -> Finding:
    """Only on CIFAR-10 or its re-encoded copy, with the article's network and recipe. Confirmed if mean training accuracy is within 0.05 and mean
    validation accuracy within 0.03 of the article's at epoch 10, and validation loss is lowest in epochs 2 to 6 in every seed; else refuted."""
    cells = evidence.cells["relu"]
    if not follows_article(evidence):
        return Finding(NOT_MEASURED, "This is not CIFAR-10 under the article's recipe.")
    if any(cell.metrics["status"] != "finished" for cell in cells):
        return Finding(INCONCLUSIVE, "A cell of ReLU diverged.", keys=_keys(evidence, "relu"))
    train = estimate([cell.metrics["last"][results.TRAIN_ACCURACY] for cell in cells])
    validation = estimate([cell.metrics["last"][results.VAL_ACCURACY] for cell in cells])
    lowest = [int(cell.history.loc[cell.history[results.VAL_LOSS].idxmin(), "epoch"]) for cell in cells]
    near = abs(train.value - ARTICLE["train"][-1]) <= 0.05 and abs(validation.value - ARTICLE["val"][-1]) <= 0.03
    verdict = CONFIRMED if near and all(abs(epoch - LOWEST_LOSS) <= 2 for epoch in lowest) else REFUTED
    sentence = (
        f"Here: {train.value:.3f} training and {validation.value:.3f} {results.validation_label(cells[0].metrics)} accuracy after epoch "
        f"{cells[0].metrics['epochs']}, lowest loss at epoch {', '.join(map(str, lowest))}."
    )
    return _measured(verdict, sentence, validation, "validation accuracy", _keys(evidence, "relu"))
