"""Words for numbers and counts on the page, in the README and in claims."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

CONFIRMED, REFUTED, INCONCLUSIVE, NOT_MEASURED = "confirmed", "refuted", "inconclusive", "not measured"
"""Verdicts on claims."""


def fold(decades: float) -> str:
    """A ratio with two digits, from its decimal logarithm: 3,100-fold, or 0.3-fold."""
    if pd.isna(decades):
        return "not measured"
    if not -4 <= decades < 9:
        return f"10^{decades:.0f}-fold"
    ratio = float(f"{10**decades:.2g}")
    return f"{ratio:,.0f}-fold" if ratio >= 10 else f"{ratio:g}-fold"


def smaller(decades: float) -> str:
    """How much smaller something is, from its decimal logarithm: 3,100-fold smaller, 1.5-fold larger, or no smaller."""
    ratio = fold(abs(decades))
    return "no smaller" if ratio == "1-fold" else f"{ratio} {'larger' if decades < 0 else 'smaller'}"


def attenuated(decades: float) -> str:
    """An attenuation where a heading says "smaller": 3,100-fold, or 1.5-fold larger where the gradient grows."""
    ratio = fold(abs(decades))
    return f"{ratio} larger" if decades < 0 and ratio != "1-fold" else ratio


def more(decades: float) -> str:
    """By how much one shrinks more than another, from the decimal logarithm: 54-fold more, or 1.5-fold less."""
    return f"{fold(abs(decades))} {'less' if decades < 0 else 'more'}"


def shrinks(decades: float) -> str:
    """What a gradient does on its way back, in decades: shrinks by 1.6 decades, or grows by 0.1 decades."""
    size = f"{abs(decades):.1f}"
    return "keeps its size" if size == "0.0" else f"{'grows' if decades < 0 else 'shrinks'} by {size} decades"


def network(model: Mapping[str, Any]) -> str:
    """Name of a network from the values of its conf/model; for a user's own network, the path of its builder."""
    known = {"actgrad.networks.lenet5.build": "LeNet-5", "actgrad.networks.mlp.build": "Multilayer perceptron"}
    name, depth = known.get(model["build"], model["build"]), model.get("config", {}).get("depth")
    return f"{name} of {depth} layers" if depth and model["build"] in known else name


SETTINGS = {
    "recipe.kernel_initializer": "{} initial weights",
    "model.config.pooling": "{} pooling",
    "model.config.depth": "{} layers",
}
"""Dotted key of a setting -> words for it, with {} for its value."""
SETTINGS_ON = {"model.config.batch_normalization": "batch normalization", "model.config.residual": "residual paths"}
"""Dotted key of what may be on or off -> words for on."""


def settings(differing: Mapping[str, str]) -> str:
    """Settings in few words, for a heading: he uniform initial weights, 16 layers. What is off is left out.

    Args:
        differing: dotted key -> value, as runs.differences returns them.
    """
    said = []
    for key, value in differing.items():
        if key == "model.build":
            said.append(network({"build": value}))
        elif key == "recipe.input_scaling":
            said.append("raw inputs" if value == "none" else f"{value} inputs")
        elif value in ("False", "none"):
            continue
        elif key in SETTINGS_ON:
            said.append(SETTINGS_ON[key])
        else:
            said.append(SETTINGS.get(key, key.rpartition(".")[2].replace("_", " ") + " {}").format(value.replace("_", " ")))
    return ", ".join(said)


def run_count(row: Mapping[Any, Any]) -> str:
    """Number of an activation's runs, and of failed and diverged ones, from a row of tables.summary."""
    lost = [f"{row[name]} {name}" for name in ("failed", "diverged") if row[name]]
    number = str(len(row["seeds"].split()))
    return f"{number}: {', '.join(lost)}" if lost else number


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def listed(names: Sequence[str], quote: str = "") -> str:
    """Names in a sentence: a, b and c."""
    names = [f"{quote}{name}{'”' if quote else ''}" for name in names]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


def ordinal(number: int) -> str:
    if number <= len(ORDINALS):
        return ORDINALS[number - 1]
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


NEGATIVE = {
    "": " less",
    " a layer": " less a layer",
    " more than linear": " less than linear",
    " less than sigmoid": " more than sigmoid",
}
"""Units of a loss of gradient without their "decades" -> the same for a negative number."""


def number(effect: float | None, unit: str) -> str:
    """The number of a finding, short enough for a column: 450-fold, 92 %, 3.3 % of the units, +5.1 points."""
    if effect is None or pd.isna(effect):
        return ""
    if unit.startswith("decades"):
        than = unit.removeprefix("decades")
        if than == " of variance":
            return f"{10**effect:.2g} times the variance"
        return fold(-effect) + NEGATIVE[than] if effect < 0 and than in NEGATIVE else fold(effect) + than
    if unit.startswith(("test accuracy over", "test accuracy,")):
        return f"{100 * effect:+.1f} points{unit.removeprefix('test accuracy')}"
    if unit.startswith("of the ") and not 0 < abs(effect) < 1e-3:
        return f"{_two_digits(100 * effect)} % {unit.removesuffix('_activation')}"
    if unit.startswith("share"):
        return f"{100 * effect:.0f} %"
    if unit.endswith("accuracy"):
        return f"{percent(effect)} accuracy"
    if unit.startswith("times a step"):
        return f"{effect:.2f} {unit}"
    return f"{_two_digits(effect)} {unit.removesuffix('_activation')}"


def _two_digits(value: float) -> str:
    """Two digits, and all of a number of three or more: 0.25, 36, 150."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2g}"
