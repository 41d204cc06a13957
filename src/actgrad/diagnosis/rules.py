"""Apply published rules to a training. Each finding has a value, a threshold, a source and the usual remedy.

Rules and thresholds are those of the sources, which contradict each other. Some quantities differ from the sources:

- `grad_rms` replaces the mean absolute value of a gradient; it is at least as large;
- the derivative of a ReLU replaces the gradient of its output, in AUTOTRAINER's share of zeros;
- for units, the gradients and outputs of the probe replace those of a training batch;
- all trained weights of a layer together replace a single weight, in update ratios.
"""

import copy
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from actgrad.diagnosis.experience import BATCH_NORM, HE, RESIDUAL, SCALED, SEARCHED, gained, seen

SAGEMAKER = "SageMaker Debugger"
AUTOTRAINER = "AUTOTRAINER (TDSC 2024)"
DEEPDIAGNOSIS = "DeepDiagnosis (ICSE 2022)"
DEEPCHECKER = "TheDeepChecker (2022)"
KARPATHY = "Karpathy (makemore 3)"

SCALE = "scale the inputs to mean 0 and deviation 1; use ReLU or its variants with He's initial weights, batch normalisation or residual paths"
CLIP = "lower the learning rate; clip the norm of the gradient (clipnorm)"
REVIVE = "lower the learning rate; scale the inputs; try a leaky variant"
RATE = "change the learning rate until the ratio is about 1e-3"
SPREAD = "initialise otherwise (He for ReLU, Glorot for tanh), scale the inputs, or normalise"
START = "initialise the last layer with smaller weights; see that loss and labels fit"

TRIED = {
    SCALE: (SCALED, HE, BATCH_NORM, RESIDUAL),
    CLIP: (SEARCHED,),
    REVIVE: (SEARCHED, SCALED),
    RATE: (SEARCHED,),
    SPREAD: (HE, SCALED, BATCH_NORM),
    START: (),
}
"""Usual remedy -> the parts of it that this project's own runs have tried."""

Found = Iterator[tuple[str, int, float]]
"""(layer, step, value) wherever a rule fires."""
Fires = Callable[[np.ndarray], np.ndarray]
"""Whether a rule fires at each of some values. NaN fires only if a rule says so."""


Table = Mapping[str, np.ndarray]
"""Column -> values, because pandas takes ten times as long for tables this small."""


class Measurements:
    """What rules look at.

    Args:
        steps, probes, layers: GradientMonitor.steps, .probes and .layers, or all columns of the first two. The first and last of `layers` are the
            outer layers.

    Attributes:
        units: the rows of `probes` of hidden sites.
        start: the rows of `probes` before any update.
    """

    def __init__(self, steps: pd.DataFrame | Table, probes: pd.DataFrame | Table, layers: pd.DataFrame):
        self.steps, self.probes = _columns(steps), _columns(probes)
        self.layers: list[str] = layers["layer"].tolist()
        measured = "hidden" in self.probes  # a probe's table has no such column before the first measurement
        self.units = _rows(self.probes, self.probes["hidden"].astype(bool)) if measured else {}
        self.start = _rows(self.probes, self.probes["step"] == 0) if measured else {}

    def of(self, kinds: Sequence[str]) -> "Measurements":
        """The same, with the units of these activations alone."""
        chosen = copy.copy(self)
        if self.units:
            chosen.units = _rows(self.units, np.isin(self.units["kind"].astype(str), kinds))
        return chosen

    @functools.cached_property
    def ends(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Steps; ratio of the first to the last layer's gradient norm, and the first layer's norm, at each (layers with weights)."""
        first, last = (self._norms_by_step(layer) for layer in (self.layers[0], self.layers[-1]))
        steps = [step for step in first if step in last]
        norms, of_last = (np.array([of[step] for step in steps], float) for of in (first, last))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.array(steps, int), norms / of_last, norms

    @functools.cached_property
    def checked(self) -> list[tuple[str, np.ndarray, np.ndarray]]:
        """For each layer: its name, up to twelve evenly spaced steps (six or more if as many were recorded), and the gradient norms there."""
        names, norms, steps = (self.steps[column] for column in ("layer", "grad_norm", "step"))
        found = []
        for layer in dict.fromkeys(names):
            of_layer = np.flatnonzero(names == layer)
            at = of_layer[:: max(1, len(of_layer) // 6)]
            found.append((str(layer), steps[at], norms[at].astype(float)))
        return found

    def _norms_by_step(self, layer: str) -> dict[int, float]:
        rows = self.steps["layer"] == layer
        return dict(zip(self.steps["step"][rows].tolist(), self.steps["grad_norm"][rows].tolist(), strict=True))


def _columns(table: pd.DataFrame | Table) -> Table:
    return {str(name): np.asarray(column) for name, column in table.items()}


def _rows(table: Table, chosen: np.ndarray) -> Table:
    return {name: column[chosen] for name, column in table.items()}


@dataclass(frozen=True)
class Rule:
    """A published rule.

    Attributes:
        name: what it finds.
        source: who published it.
        threshold: in words.
        remedy: the usual remedy.
        find: yields where it fires.
        kinds: the activations that it looks at; with none, it looks at everything.
    """

    name: str
    source: str
    threshold: str
    remedy: str
    find: Callable[[Measurements], Found]
    kinds: tuple[str, ...] = ()

    def fired(self, measurements: Measurements) -> Found:
        """Yields where it fires."""
        return self.find(measurements.of(self.kinds) if self.kinds else measurements)


def _each(table: Table, column: str, fires: Fires, among: np.ndarray | None = None) -> Found:
    """Where a column fires, among these rows."""
    if column not in table:
        return
    values = table[column].astype(float)
    fired = fires(values) if among is None else fires(values) & among
    for row in np.flatnonzero(fired):
        yield str(table["layer"][row]), int(table["step"][row]), float(values[row])


def _steps(column: str, fires: Fires) -> Callable[[Measurements], Found]:
    return lambda m: _each(m.steps, column, fires)


def _units(column: str, fires: Fires) -> Callable[[Measurements], Found]:
    """Fires only where the outputs are numbers: of units that put out NaN, all would count as dead."""
    return lambda m: _each(m.units, column, fires, np.isfinite(m.units["act_std"].astype(float)) if m.units else None)


def _not_finite(m: Measurements) -> Found:
    """Fires only for updates that were made, because an optimizer with a scaled loss skips updates that are not finite."""
    return _each(m.steps, "grad_norm", lambda norm: ~np.isfinite(norm), m.steps["update_norm"] != 0)


def _five_times(fires: Fires) -> Callable[[Measurements], Found]:
    """Where `fires(norm / previous norm)` holds five times in a row, at six or more evenly spaced steps."""

    def find(m: Measurements) -> Found:
        for layer, steps, norms in m.checked:
            for i in range(5, len(norms)):
                window = norms[i - 5 : i + 1]
                if (window[:-1] > 0).all() and fires(window[1:] / window[:-1]).all():
                    yield layer, int(steps[i]), float(window[-1] / window[0])
                    break

    return find


def _first_by_last(fires: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Callable[[Measurements], Found]:
    """Where `fires(ratio, first)` holds, with the two columns of `Measurements.ends`."""

    def find(m: Measurements) -> Found:
        if len(m.layers) < 2:
            return
        steps, ratio, first = m.ends
        for row in np.flatnonzero(fires(ratio, first)):
            yield m.layers[0], int(steps[row]), float(ratio[row])

    return find


def _variance_ratio(m: Measurements) -> Found:
    if not m.start:
        return
    start = _rows(m.start, m.start["hidden"].astype(bool))
    if len(start["layer"]) > 1:
        variances = start["act_std"].astype(float) ** 2
        if variances.min() > 0 and variances.max() / variances.min() > 10:
            yield str(start["layer"][int(variances.argmin())]), 0, float(variances.max() / variances.min())


def _initial_loss(tolerance: float) -> Callable[[Measurements], Found]:
    def find(m: Measurements) -> Found:
        if m.start and len(m.start["loss"]):
            loss, expected = (float(m.start[name][0]) for name in ("loss", "loss_at_chance"))
            if expected > 0 and abs(loss - expected) / expected > tolerance:
                yield "loss", 0, loss / expected

    return find


VANISHES = _first_by_last(lambda ratio, first: (ratio < 1e-3) & (first < 1e-4))
EXPLODES = _first_by_last(lambda ratio, _: ratio > 70)
SIGMOID, TANH, RELU = ("sigmoid",), ("tanh",), ("relu",)
RULES = (
    Rule("vanishing gradient", SAGEMAKER, "mean absolute gradient below 1e-7", SCALE, _steps("grad_rms", lambda v: v < 1e-7)),
    Rule("vanishing gradient", AUTOTRAINER, "norm of first by last layer below 1e-3, and of the first below 1e-4", SCALE, VANISHES),
    Rule("vanishing gradient", DEEPDIAGNOSIS, "mean absolute gradient below 1e-7", SCALE, _steps("grad_rms", lambda v: v < 1e-7)),
    Rule("vanishing gradient", DEEPCHECKER, "mean absolute gradient below 1e-6", SCALE, _steps("grad_rms", lambda v: v < 1e-6)),
    Rule("shrinking gradient", DEEPCHECKER, "falls by more than half at each of 5 checks", SCALE, _five_times(lambda v: v < 0.5)),
    Rule("exploding gradient", SAGEMAKER, "inf or NaN", CLIP, _not_finite),
    Rule("exploding gradient", AUTOTRAINER, "norm of first by last layer above 70", CLIP, EXPLODES),
    Rule("exploding gradient", DEEPCHECKER, "mean absolute gradient above 1e6", CLIP, _steps("grad_rms", lambda v: v > 1e6)),
    Rule("growing gradient", DEEPCHECKER, "more than doubles at each of 5 checks", CLIP, _five_times(lambda v: v > 2)),
    Rule("dead ReLU", SAGEMAKER, "more than 50 % of units active in less than 1 %", REVIVE, _units("rarely_active", lambda v: v > 0.5), RELU),
    Rule("dead ReLU", AUTOTRAINER, "70 % or more of the gradient's elements are 0", REVIVE, _units("flat", lambda v: v >= 0.7), RELU),
    Rule("dead ReLU", DEEPDIAGNOSIS, "70 % or more of the outputs are at most 0", REVIVE, _units("not_positive", lambda v: v >= 0.7), RELU),
    Rule("dead ReLU", DEEPCHECKER, "more than 50 % of units below 1e-5 at the 95th percentile", REVIVE, _units("silent", lambda v: v > 0.5), RELU),
    Rule("saturation", SAGEMAKER, "more than 50 % of inputs of tanh above 9.5", SCALE, _units("preact_over_9.5", lambda v: v > 0.5), TANH),
    Rule(
        "saturation",
        SAGEMAKER,
        "more than 50 % of inputs of sigmoid outside -23 to 17",
        SCALE,
        _units("preact_outside_-23_17", lambda v: v > 0.5),
        SIGMOID,
    ),
    Rule("saturation", DEEPDIAGNOSIS, "more than 50 % of inputs above 5", SCALE, _units("preact_over_5", lambda v: v > 0.5), TANH + SIGMOID),
    Rule("saturation", DEEPCHECKER, "more than 50 % of units with rho > 0.85", SCALE, _units("rho_over_0.85", lambda v: v > 0.5), TANH + SIGMOID),
    Rule("saturation", KARPATHY, "more than 50 % of outputs of tanh above 0.97", SCALE, _units("act_over_0.97", lambda v: v > 0.5), TANH),
    Rule("update ratio", SAGEMAKER, "update by weight outside 1e-8 to 10", RATE, _steps("update_ratio", lambda v: (v < 1e-8) | (v > 10))),
    Rule("update ratio", DEEPDIAGNOSIS, "update by weight outside 1e-5 to 1e-1", RATE, _steps("update_ratio", lambda v: (v < 1e-5) | (v > 1e-1))),
    Rule("update ratio", DEEPCHECKER, "log10 of update by weight outside -4 to -1", RATE, _steps("update_ratio", lambda v: (v < 1e-4) | (v > 1e-1))),
    Rule("update ratio", KARPATHY, "update by weight below 1e-4 or above 1e-2", RATE, _steps("update_ratio", lambda v: (v < 1e-4) | (v > 1e-2))),
    Rule("activations' spread", SAGEMAKER, "variances of two layers differ by more than 10 at the start", SPREAD, _variance_ratio),
    Rule("activations' spread", DEEPCHECKER, "standard deviation outside 0.5 to 2", SPREAD, _units("act_std", lambda v: (v < 0.5) | (v > 2))),
    Rule("initial loss", DEEPCHECKER, "more than 100 % off that of chance, ln(classes)", START, _initial_loss(1.0)),
)

COLUMNS = ("rule", "source", "layer", "step", "value", "threshold", "times", "remedy", "seen", "gained")


def diagnose(measurements: Measurements) -> pd.DataFrame:
    """One row for each rule and layer where it fired.

    Returns:
        rule, source, layer; step: where it fired first; value: what was measured there; threshold; times: steps or measurements at
        which it fired; remedy; seen and gained: results of this project's own runs about the rule and its remedies.

    Raises:
        ValueError: if nothing was measured.
    """
    if not any(len(columns.get("step", ())) for columns in (measurements.steps, measurements.probes)):
        raise ValueError("nothing was measured, so there is nothing to diagnose; give the monitor to model.fit(…, callbacks=[monitor]) first")
    rows = []
    for rule in RULES:
        found: dict[str, list[tuple[int, float]]] = {}
        for layer, step, value in rule.fired(measurements):
            found.setdefault(layer, []).append((step, value))
        for layer, at in found.items():
            step, value = min(at)
            rows.append(
                (
                    rule.name,
                    rule.source,
                    layer,
                    step,
                    value,
                    rule.threshold,
                    len(at),
                    rule.remedy,
                    seen(rule.name, rule.threshold),
                    gained(TRIED[rule.remedy]),
                )
            )
    return pd.DataFrame(rows, columns=list(COLUMNS))
