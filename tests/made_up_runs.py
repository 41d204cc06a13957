"""Made-up runs with known numbers, and the evidence for a report."""

import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from actgrad.analysis.evidence import Evidence
from actgrad.analysis.runs import Runs
from actgrad.config.schema import Data
from actgrad.results.run import RunResult
from actgrad.training.names import HISTORY, TEST_ACCURACY, TRAIN_ACCURACY, VAL_ACCURACY
from conftest import LAYERS, SITES

HOSTILE = "<script>alert(1)</script>"
DATA = Data(name="toy", format="npz", val_size=1, source=HOSTILE)


FINGERPRINTS = itertools.count()


def made_up(activation: str, seed: int, accuracy: float, epochs: int = 3, condition: str = "baseline", **metrics) -> RunResult:
    """A made-up run with known numbers, in the form of a real run."""
    step = np.arange(1, 10 * epochs + 1)
    history = pd.DataFrame({"epoch": range(1, epochs + 1), "step": range(10, 10 * epochs + 1, 10)})
    for name in HISTORY:
        history[name] = np.linspace(0.1, accuracy, epochs) if "accuracy" in name else np.linspace(2, 1, epochs)
    norms = {
        "grad_norm": np.ravel([np.float32(i + 1) / step for i in range(len(LAYERS))]),
        "update_norm": np.float32(1),
        "weight_norm": np.float32(9),
    }
    steps = pd.DataFrame({"step": np.tile(step, len(LAYERS)), "layer": np.repeat(LAYERS, len(step)), **norms})
    measured = {
        "units": 6,
        "preact_grad_rms": 0.1,
        "slope_ms": 0.5,
        "gain": 0.5,
        "predicted": 0.5,
        "dead": 0,
        "newly_dead": 0,
        "revived": 0,
        "revived_since_last": 0,
        "dormant_0.025": 0.0,
        "act_std": 1.0,
        "loss": 2.0,
        "loss_at_chance": 2.0,
        "saturated": 0.0,
    }
    sites = [{"layer": layer, "kind": activation, "hidden": layer != "output", **measured} for layer in (*SITES, "output")]
    probes = pd.DataFrame([{"epoch": e, "step": 10 * e, **site} for e in range(epochs + 1) for site in sites]).astype({"epoch": "Int64"})
    z = np.linspace(-6, 6, 25)
    values = dict.fromkeys((TRAIN_ACCURACY, VAL_ACCURACY, TEST_ACCURACY), accuracy)
    return RunResult(
        config="activation: {config: {}}\nrecipe: {input_scaling: none, optimizer: Adam, learning_rate: 0.1, batch_size: 2, epochs: 3, "
        "kernel_initializer: glorot_uniform, threads: 2}\nmodel: {build: actgrad.networks.lenet5.build, config: {pooling: max}}\n",
        history=history,
        steps=steps,
        probes=probes,
        activation=pd.DataFrame({"z": z, "value": z, "derivative": 1.0}),
        metrics={
            "key": f"toy/{activation}/{condition}-{seed}",
            "status": "finished",
            "validation_split": "val",
            "largest_class": 1 / 6,
            "epochs": epochs,
            "steps": 10 * epochs,
            "distance": dict.fromkeys(LAYERS, 1.0),
            "layers": [{"layer": layer, "kind": "Dense", "parameters": 9} for layer in LAYERS],
            "last": values,
            "best": {"epoch": epochs} | values,
            "linearity": {"folding_error": 0.5, "superposition_error": 0.2},
            "fingerprint": str(next(FINGERPRINTS)),
            "data_sha256": "0" * 64,
            "core_sha256": "1" * 64,
            "environment": {"python": "3", "tensorflow": "2.21.0", "keras": "3", "numpy": "2", "cpu": "abacus", "gpu": "none"},
        }
        | metrics,
    )


def study_runs(condition: str = "baseline", **metrics) -> dict[str, list[RunResult]]:
    """Two activations with two seeds. `metrics` changes the first run of the second activation."""
    return {
        "relu": [made_up("relu", 0, 0.5, condition=condition), made_up("relu", 1, 0.7, condition=condition)],
        "snake": [made_up("snake", 0, 0.9, condition=condition, **metrics), made_up("snake", 1, 0.9, condition=condition)],
    }


def deep(depth: int, decades: Mapping[str, Callable[[int], float]], seeds: Sequence[int] = (0, 1)) -> Runs:
    """Runs of a network of this depth. `decades`: attenuation before any update, for each activation and seed."""

    def one(name: str, seed: int) -> RunResult:
        run = made_up(name, seed, 0.5, condition=f"deep_{depth}")
        run.probe.loc[run.probe["layer"].eq(SITES[0]) & run.probe["epoch"].eq(0), "preact_grad_rms"] = 0.1 * 10.0 ** -decades[name](seed)
        config = run.config.replace("lenet5.build, config: {pooling: max}", f"mlp.build, config: {{depth: {depth}, width: 84}}")
        assert config != run.config
        object.__setattr__(run, "config", config)
        return run

    return {name: [one(name, seed) for seed in seeds] for name in decades}


def evidence(runs: Runs, others: dict[str, Runs] | None = None, dataset: str = "toy", **more) -> Evidence:
    return Evidence(dataset, {"baseline": runs, **(others or {})}, **more)


DEEP = {f"deep_{depth}": deep(depth, dict.fromkeys(("relu", "snake"), lambda _, depth=depth: 0.1 * depth)) for depth in (2, 3)}
LEAKY = {"leaky_25": {"leaky_relu": [made_up("leaky_relu", seed, value, condition="leaky_25") for seed, value in ((0, 0.1), (1, 0.6))]}}
"""A larger slope with one failed run."""
TRIALS = pd.DataFrame(
    {
        "activation": ["relu", "relu", "snake", "snake"],
        "learning_rate": [0.01, 0.1] * 2,
        "seed": 0,
        "epochs": 2,
        "status": ["finished", "finished", "finished", "diverged"],
        "val_accuracy": [0.5, 0.7, 0.6, np.nan],
    }
)
TIMES = {
    "machine": {"processor": "abacus", "cores": 2},
    "dataset": "toy",
    "batch_size": 8,
    "activations": {
        name: {
            "layers_ms": 1.0,
            "step_ms": 2.0,
            "layers_to_relu": dict(zip(("value", "low", "high"), ends, strict=True)),
            "step_to_relu": {"value": 1.0, "low": None, "high": None},
        }
        for name, ends in (("relu", (1.0, 1.0, 1.0)), ("sigmoid", (2.0, 1.5, 2.5)), ("tanh", (2.0, 1.5, 2.5)), ("absent", (3.0, 2.0, 4.0)))
    },
}
