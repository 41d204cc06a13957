"""The claim ledger: statements about activation functions, each with a rule that was fixed before looking at results.

A claim is one function below: it takes Evidence and returns a Finding. Where cells that it needs are missing, its verdict
is `not measured`. To add one, write one function with @claim.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import yaml

from actgrad import results
from actgrad.results import ACTIVATED_LAYERS, LAYERS, SATURATION, CellResult
from actgrad.statistics import Estimate, estimate

CONFIRMED, REFUTED, INCONCLUSIVE, NOT_MEASURED = "confirmed", "refuted", "inconclusive", "not measured"


@dataclass(frozen=True)
class Evidence:
    """What claims are judged on: the cells of one dataset by activation, and their paired comparison of test accuracy."""

    dataset: str
    cells: Mapping[str, Sequence[CellResult]]
    pairs: pd.DataFrame


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
    """Every claim with its finding, in the order of this file."""
    rows = []
    for entry in CLAIMS:
        finding = entry.finding(evidence)
        rows.append({"id": entry.id, "statement": entry.statement, **asdict(finding), "rule": entry.rule, "figure": entry.figure})
    return rows


# --- what the claims are computed from


def _keys(evidence: Evidence, *activations: str) -> tuple[str, ...]:
    return tuple(cell.key for name in activations for cell in evidence.cells[name])


def _deltas(cell: CellResult, epoch: int) -> pd.Series:
    rows = cell.probe[cell.probe["epoch"] == epoch]
    return rows.set_index("layer")["delta_rms"]


def _attenuation(cell: CellResult) -> float:
    """Decades by which delta shrinks from the output layer back to conv1, before any update."""
    deltas = _deltas(cell, 0)
    tiny = np.finfo(np.float32).tiny
    return float(np.log10(max(deltas[LAYERS[-1]], tiny) / max(deltas[LAYERS[0]], tiny)))


def _excess(evidence: Evidence, activation: str, reference: str) -> Estimate:
    """Attenuation of one activation beyond another's, in decades, paired by seed: both start with the same weights."""
    reference_of = {cell.seed: _attenuation(cell) for cell in evidence.cells[reference]}
    return estimate([_attenuation(cell) - reference_of[cell.seed] for cell in evidence.cells[activation]])


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


@claim("linear-collapse", "Layers without a non-linearity amount to one linear layer.")
def linear_collapse(evidence: Evidence) -> Finding:
    """Needs a network without an activation and with average pooling; maximum pooling is a non-linearity of its own."""
    return Finding(NOT_MEASURED, f"The networks of {evidence.dataset} have maximum pooling, which is not linear.")


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
        f"{_fold(effect.value)} beyond what the weights and pooling alone do."
    )
    verdict = _verdict(effect, lambda low, _: low > 1, lambda _, high: high < 0)
    return _measured(verdict, sentence, effect, "decades beyond linear", _keys(evidence, "sigmoid", "linear"))


@claim("depth-exacerbates", "More layers make it worse.")
def depth_exacerbates(evidence: Evidence) -> Finding:
    """Needs networks of several depths, which this study does not have."""
    return Finding(NOT_MEASURED, f"The study of {evidence.dataset} has one depth.")


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
    sentence = f"ReLU loses {_fold(effect.value)} more signal on the way back than a network without any activation."
    return _measured(verdict, sentence, effect, "decades beyond linear", _keys(evidence, "relu", "linear"))


@claim("weights-may-compensate", "The weights' own factor may exceed 1, but at the start of training weights are small.", ["linear"], "delta")
def weights_may_compensate(evidence: Evidence) -> Finding:
    """Without an activation only weights and pooling change delta. Confirmed if they shrink it between every two neighbouring
    layers before any update (interval of the decades lost above 0) and, in some cell, delta grows between two neighbouring
    layers after training; refuted if they do not shrink it at the start."""
    steps = {
        later: estimate([np.log10(_deltas(cell, 0)[later] / _deltas(cell, 0)[layer]) for cell in evidence.cells["linear"]])
        for layer, later in itertools.pairwise(LAYERS)
    }
    weakest = min(steps.values(), key=lambda step: step.value)
    every = [cell for cells in evidence.cells.values() for cell in cells]
    grown = [cell for cell in every if (np.diff(_deltas(cell, cell.probe["epoch"].max())[list(LAYERS)]) < 0).any()]
    verdict = _verdict(weakest, lambda low, _: low > 0, lambda _, high: high < 0)
    if verdict == CONFIRMED and not grown:
        verdict = INCONCLUSIVE
    sentence = (
        f"At the start weights and pooling shrink the signal at every layer, at least {_fold(weakest.value)}; "
        f"after training it grows between some neighbouring layers in {len(grown)} of {len(every)} cells."
    )
    return _measured(verdict, sentence, weakest, "decades at the layer that shrinks it least", _keys(evidence, "linear"))


# --- units


@claim("saturation", "Pre-activations of large magnitude put sigmoid units in a region where almost no gradient passes.", ["sigmoid"], "activations")
def saturation(evidence: Evidence) -> Finding:
    """The share of saturated sigmoid activations before any update, in the layer where it is largest.
    Confirmed if its interval over seeds lies above 5 %, refuted if below."""
    shares = {layer: estimate([_probed(cell, 0, layer, "saturated") for cell in evidence.cells["sigmoid"]]) for layer in ACTIVATED_LAYERS}
    layer, effect = max(shares.items(), key=lambda item: item[1].value)
    verdict = _verdict(effect, lambda low, _: low > SATURATION, lambda _, high: high < SATURATION)
    sentence = f"Before the first update {100 * effect.value:.0f} % of the sigmoid activations of {layer} have a derivative below 5 % of the largest."
    return _measured(verdict, sentence, effect, f"share of {layer}", _keys(evidence, "sigmoid"))


def _probed(cell: CellResult, epoch: int, layer: str, name: str) -> float:
    rows = cell.probe
    return float(rows.loc[(rows["epoch"] == epoch) & (rows["layer"] == layer), name].iloc[0])


def _dead(cell: CellResult, epoch: int) -> int:
    return int(sum(_probed(cell, epoch, layer, "dead") for layer in ACTIVATED_LAYERS))


@claim("dying-relu", "ReLU units can die: no gradient for any example.", ["relu"])
def dying_relu(evidence: Evidence) -> Finding:
    """Units without gradient on the whole probe batch, at the end less those at the start.
    Confirmed if every seed has more at the end than at the start (so some have died), refuted if no seed ever has one."""
    cells = evidence.cells["relu"]
    starts, ends = [_dead(cell, 0) for cell in cells], [_dead(cell, cell.probe["epoch"].max()) for cell in cells]
    units = int(cells[0].probe.query("epoch == 0 and layer in @ACTIVATED_LAYERS")["units"].sum())
    ever = any(_dead(cell, epoch) for cell in cells for epoch in cell.probe["epoch"].unique())
    verdict = CONFIRMED if all(end > start for start, end in zip(starts, ends, strict=True)) else INCONCLUSIVE if ever else REFUTED
    fewest = min(end - start for start, end in zip(starts, ends, strict=True))
    sentence = f"Of {units} ReLU units, {np.mean(starts):.0f} pass no gradient before the first update and {np.mean(ends):.0f} at the end."
    return Finding(verdict, sentence, float(fewest), "units more than at the start, in the seed with the fewest", keys=_keys(evidence, "relu"))


@claim("leaky-never-dies", "A slope on the negative side leaves no unit without gradient.", ["leaky_relu", "prelu"])
def leaky_never_dies(evidence: Evidence) -> Finding:
    """Confirmed if leaky ReLU and PReLU have no unit without gradient in any layer, epoch and seed; else refuted."""
    cells = [cell for name in ("leaky_relu", "prelu") for cell in evidence.cells[name]]
    most = max(_dead(cell, epoch) for cell in cells for epoch in cell.probe["epoch"].unique())
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
    if row["seeds"] == 0:
        return Finding(INCONCLUSIVE, "No seed of ReLU can be compared: one of the two diverged.", keys=_keys(evidence, "relu", "sigmoid", "tanh"))
    tests = [f"{100 * item['difference']:+.1f} points against {name} (corrected p {item['p_holm']:.2g})" for name, item in rows.items()]
    low, high = (None, None) if row["seeds"] < 2 else (row["low"], row["high"])
    sentence = f"ReLU: {' and '.join(tests)}."
    if verdict == INCONCLUSIVE:
        sentence += f" With {row['seeds']} seeds, and corrected over {len(evidence.pairs)} pairs, that does not tell it apart from both."
    return Finding(verdict, sentence, row["difference"], f"test accuracy over {rival}", low, high, _keys(evidence, "relu", "sigmoid", "tanh"))


def _against(evidence: Evidence, name: str, other: str) -> dict[str, Any]:
    """The row of a pair, as name minus other."""
    pairs = evidence.pairs
    row = pairs[pairs[["first", "second"]].isin([name, other]).all(axis=1)].iloc[0].to_dict()
    return row if row["first"] == name else row | {"difference": -row["difference"], "low": -row["high"], "high": -row["low"]}


@claim(
    "monotonic-required",
    "An activation must be monotonically increasing or gradient descent cannot be applied.",
    ["gelu", "silu"],
    "activations",
)
def monotonic_required(evidence: Evidence) -> Finding:
    """GELU and SiLU fall somewhere. Refuted if both have a negative derivative and both are trained beyond twice the accuracy of
    guessing (lower end of the interval of test accuracy, last epoch); confirmed if neither gets there (upper end)."""
    cells = [cell for name in ("gelu", "silu") for cell in evidence.cells[name]]
    falls = all((cell.activation["derivative"] < 0).any() for cell in cells)
    classes = _probed(cells[0], 0, LAYERS[-1], "units")
    reached = [estimate([cell.metrics["last"].get(results.TEST_ACCURACY, 0.0) for cell in evidence.cells[name]]) for name in ("gelu", "silu")]
    least = min(reached, key=lambda accuracy: accuracy.value)
    verdict, enough = INCONCLUSIVE, 2 / classes
    if falls and all(accuracy.low is not None and accuracy.low > enough for accuracy in reached):
        verdict = REFUTED
    elif falls and all(accuracy.high is not None and accuracy.high < enough for accuracy in reached):
        verdict = CONFIRMED
    sentence = f"Both fall for some inputs; the lesser of them reaches {100 * least.value:.1f} % on the test split, guessing {100 / classes:.0f} %."
    return _measured(verdict, sentence, least, "test accuracy", _keys(evidence, "gelu", "silu"))


@claim("relu-is-cheap", "ReLU's computation is simple, which speeds up training.")
def relu_is_cheap(evidence: Evidence) -> Finding:
    """Needs a measurement of time, which no cell holds: its files are the same in every run."""
    return Finding(NOT_MEASURED, f"The cells of {evidence.dataset} hold no times.")


ARTICLE = {"train": 0.8605, "validation": 0.5417, "epoch": 4}
"""The article's log of its ReLU network on CIFAR-10: accuracies of epoch 10, and the epoch of the lowest validation loss."""


@claim(
    "lenet5-relu-cifar10",
    "LeNet-5 with ReLU on CIFAR-10 reaches 0.86 training and 0.54 validation accuracy in ten epochs, with the lowest validation loss near epoch 4.",
    ["relu"],
    "learning_curves",
)
def lenet5_relu_cifar10(evidence: Evidence) -> Finding:
    """Only on CIFAR-10 or its re-encoded copy, under the recipe `article`. Confirmed if mean training accuracy is within 0.05 and mean
    validation accuracy within 0.03 of the article's at epoch 10, and validation loss is lowest in epochs 2 to 6 in every seed; else refuted."""
    cells = evidence.cells["relu"]
    if evidence.dataset not in ("cifar10", "cifar10_jpeg") or yaml.safe_load(cells[0].config)["recipe"]["name"] != "article":
        return Finding(NOT_MEASURED, "This is not CIFAR-10 under the recipe article.")
    if any(cell.metrics["status"] != "finished" for cell in cells):
        return Finding(INCONCLUSIVE, "A cell of ReLU diverged.", keys=_keys(evidence, "relu"))
    train = estimate([cell.metrics["last"][results.TRAIN_ACCURACY] for cell in cells])
    validation = estimate([cell.metrics["last"][results.VAL_ACCURACY] for cell in cells])
    lowest = [int(cell.history.loc[cell.history[results.VAL_LOSS].idxmin(), "epoch"]) for cell in cells]
    near = abs(train.value - ARTICLE["train"]) <= 0.05 and abs(validation.value - ARTICLE["validation"]) <= 0.03
    verdict = CONFIRMED if near and all(abs(epoch - ARTICLE["epoch"]) <= 2 for epoch in lowest) else REFUTED
    sentence = (
        f"Here: {train.value:.3f} training and {validation.value:.3f} {results.validation_label(cells[0].metrics)} accuracy after epoch "
        f"{cells[0].metrics['epochs']}, lowest loss at epoch {', '.join(map(str, lowest))}."
    )
    return _measured(verdict, sentence, validation, "validation accuracy", _keys(evidence, "relu"))
