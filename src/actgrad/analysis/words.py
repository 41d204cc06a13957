"""Numbers and counts as the page, the README and the claims say them."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

CONFIRMED, REFUTED, INCONCLUSIVE, NOT_MEASURED = "confirmed", "refuted", "inconclusive", "not measured"
"""Verdicts on claims."""


def fold(decades: float) -> str:
    """A ratio, given by its decimal logarithm, to two digits: 3,100-fold; below one as it is: 0.3-fold."""
    if pd.isna(decades):
        return "not measured"
    if not -4 <= decades < 9:
        return f"10^{decades:.0f}-fold"
    ratio = float(f"{10**decades:.2g}")
    return f"{ratio:,.0f}-fold" if ratio >= 10 else f"{ratio:g}-fold"


def network(model: Mapping[str, Any]) -> str:
    """What a network is called, by the values of its conf/model; one of the user's own by the path of its builder."""
    known = {"actgrad.networks.lenet5.build": "LeNet-5", "actgrad.networks.mlp.build": "Multilayer perceptron"}
    return known.get(model["build"], model["build"])


def run_count(row: Mapping[Any, Any]) -> str:
    """Of a row of tables.summary: how many runs an activation has, and how many of them failed or diverged."""
    lost = [f"{row[name]} {name}" for name in ("failed", "diverged") if row[name]]
    number = str(len(row["seeds"].split()))
    return f"{number}: {', '.join(lost)}" if lost else number
