"""Tiny runs, compared with the numbers in golden/<processor>.json: does an edit of the core keep the numbers?

After an intended change of numbers, after a new version of a library, and for a new processor type, write the file again:
python -m pytest tests/test_golden.py --write-golden
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from actgrad.monitor.names import NORMS
from actgrad.pipeline.environment import environment
from actgrad.results.run import RunResult
from conftest import train

GOLDEN = Path(__file__).parent / "golden"
WRITE = "python -m pytest tests/test_golden.py --write-golden"
RUNS = {
    "relu": ["activation=relu"],
    "maxout with batch normalization": ["activation=maxout", "model.config.batch_normalization=true"],
    "silu on standardized inputs": ["activation=silu", "recipe.input_scaling=standardized", "model.config.pooling=average"],
    "tanh in a residual perceptron": ["activation=tanh", "model=mlp", "model.config.residual=true", "model.config.normalization=layer"],
}
"""Together they cover dead units, pieces, saturation, both poolings, both input scalings, both networks and all normalisations.
Each lists its values, because a condition of the study may change although the core does not."""
READABLE = ("preact_grad_rms", "preact_grad_rms_batch", "slope_ms", "gain", "predicted", "saturated", "dead")


@pytest.fixture(scope="module")
def surroundings() -> dict[str, str]:
    """What numbers depend on apart from the code: the environment, without packages that only write or read files."""
    return {name: value for name, value in environment().items() if name not in ("python", "pandas", "pyarrow")}


@pytest.fixture(scope="module")
def measured(run_config, few_digits) -> dict[str, dict[str, Any]]:
    """The numbers of the runs: one epoch of ten steps each."""
    return {name: numbers(train(run_config(*overrides, "recipe.epochs=1"), few_digits)[0]) for name, overrides in RUNS.items()}


def numbers(result: RunResult) -> dict[str, Any]:
    """Checksums of all numbers of a run, and some of the numbers themselves, so that a reader can see what changed."""
    table = result.probes.select_dtypes("number").drop(columns="revived_since_last")  # this count is newer than the golden numbers
    numeric = table.to_numpy(np.float64, na_value=np.nan)
    history = {name: float(result.history[name].iloc[0]) for name in result.history.columns.drop(["epoch", "step"])}
    readable = {"history": history, "linearity": result.metrics["linearity"], "census": result.metrics["census"]}
    for step in (1, result.metrics["steps"]):
        for row in result.steps[result.steps["step"] == step].itertuples():
            readable[f"{row.layer} at step {step}"] = {name: float(getattr(row, name)) for name in NORMS}
    shown = [name for name in READABLE if name in result.probes]
    for (step, layer), row in result.probes.set_index(["step", "layer"])[shown].iterrows():
        readable[f"probe of {layer} at step {step}"] = {name: float(value) for name, value in row.items() if not pd.isna(value)}
    return {
        "weights_sha256": result.metrics["weights_sha256"],
        "steps_sha256": hashlib.sha256(result.steps[list(NORMS)].to_numpy(np.float32).tobytes()).hexdigest(),
        "probes_sha256": hashlib.sha256(numeric.tobytes()).hexdigest(),
        **readable,
    }


def differences(found: dict[str, Any], golden: dict[str, Any], where: str = "") -> list[str]:
    """A line for each number that differs."""
    lines = []
    for name in found | golden:
        here, there = found.get(name), golden.get(name)
        if isinstance(here, dict) and isinstance(there, dict):
            lines += differences(here, there, f"{where}{name}: ")
        elif isinstance(here, float) and isinstance(there, float) and here != there:
            change = f" ({100 * (here - there) / abs(there):+.2g} %)" if there else ""
            lines.append(f"{where}{name} is {here:.9g}, was {there:.9g}{change}")
        elif here != there:
            lines.append(f"{where}{name} is another one")
    return lines


@pytest.fixture(scope="module")
def golden(surroundings, request) -> dict[str, Any]:
    """The content of this processor type's file."""
    processor = surroundings["cpu"] if surroundings["gpu"] == "none" else f"{surroundings['cpu']}, {surroundings['gpu']}"
    path = GOLDEN / f"{processor.replace(', ', '-').replace(' ', '_')}.json"
    if request.config.getoption("write_golden", False):
        path.write_text(json.dumps({"environment": surroundings, "runs": request.getfixturevalue("measured")}, indent=1) + "\n")
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in GOLDEN.glob("*.json")))
        pytest.skip(
            f"no golden numbers for {processor}, only for {known or 'none'}; on a clean checkout, write tests/golden/{path.name} with: {WRITE}"
        )
    return json.loads(path.read_text())


def test_the_golden_numbers_are_of_these_versions(surroundings, golden):
    if moved := differences(surroundings, golden["environment"]):
        pytest.fail("\n".join([f"the golden numbers are of other versions or flags; write them anew with: {WRITE}", *moved]), pytrace=False)


@pytest.mark.parametrize("name", RUNS)
def test_the_numbers_of_a_run_are_the_golden_ones(name, golden, request):
    if moved := differences(request.getfixturevalue("measured")[name], golden["runs"].get(name, {})):
        pytest.fail("\n".join([f"the numbers of {name} moved; if they were to, write the new ones with: {WRITE}", *moved]), pytrace=False)
