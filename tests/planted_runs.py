"""Runs with planted values, for judging claims."""

import itertools
import json

import numpy as np
import pandas as pd

from actgrad.analysis import claims
from actgrad.analysis.claims.article import BUILD, NETWORK, TRAINING
from actgrad.analysis.evidence import Evidence
from actgrad.results.run import RunResult
from actgrad.training.names import TEST_ACCURACY, TRAIN_ACCURACY, VAL_ACCURACY, VAL_LOSS
from conftest import SITES

FINGERPRINTS = itertools.count()
Z = np.linspace(-6, 6, 241)
SIGMOID = 1 / (1 + np.exp(-Z))
SLOPES = {"sigmoid": SIGMOID * (1 - SIGMOID), "tanh": 1 - np.tanh(Z) ** 2, "silu": SIGMOID + Z * SIGMOID * (1 - SIGMOID)}
SLOPES["gelu"] = SLOPES["silu"]
RELU_LOG = {TRAIN_ACCURACY: 0.86, VAL_ACCURACY: 0.54}


def made_up(
    name: str,
    seed: int,
    *,
    decades=0.0,
    end_decades=None,
    units=(0, 0, 0),
    saturated=0.0,
    accuracy=0.9,
    slope=None,
    linearity=(0.0, 0.0),
    weights=(1.0, 1.0),
    epochs=10,
    condition="baseline",
    depth=None,
    dormant=0.0,
    weight_decades=0.0,
    ratio=1e-3,
    distance=(1.0, 1.0),
    **last,
) -> RunResult:
    """The gradient shrinks by `decades` from dense1 to conv1 at the start and by `end_decades` at the end. Its derivatives are 0.1, and its weights
    multiply it by `weights` at the start and at the end. `units`: dead at the start, revived of these at the end, and newly dead at the end. The
    weight gradient shrinks by `weight_decades` from the output to conv1. Every update has `ratio` times the norm of the weights. Training moves
    the weights of the first and last activated layer by `distance`."""
    dead, revived, newly_dead = units
    rows = []
    for epoch, fall in ((0, decades), (1, decades if end_decades is None else end_decades)):
        for place, layer in enumerate((*SITES, "output")):
            counts = {"dead": dead + epoch * (newly_dead - revived), "newly_dead": epoch * newly_dead, "revived": epoch * revived}
            counts["revived_since_last"] = counts["revived"]
            states = counts if layer == "conv3_activation" else dict.fromkeys(counts, 0)
            measured = (
                states
                | {
                    "dormant_0.025": dormant,
                    "act_std": 1.0,
                    "saturated": saturated,
                    "slope_ms": 0.01,
                    "gain": weights[epoch] ** 2,
                    "predicted": 0.1 * weights[epoch],
                }
                if layer in SITES
                else {}
            )
            signal = 10 ** (-fall * (3 - place) / 3)
            place_of = {"epoch": epoch, "step": 10 * epoch, "layer": layer, "kind": name, "hidden": layer in SITES}
            rows.append(place_of | {"units": 10, "preact_grad_rms": signal, "loss": 2.3, "loss_at_chance": 2.3} | measured)
    history = pd.DataFrame({"epoch": range(1, 11), VAL_LOSS: np.abs(np.arange(1, 11) - 4.0)})
    slopes = SLOPES.get(name, np.ones_like(Z)) if slope is None else slope
    layers = [site.removesuffix("_activation") for site in SITES] + ["output"]
    falls = {layer: 10 ** (-weight_decades * (4 - place) / 4) for place, layer in enumerate(layers)}
    norms = [
        {"step": step, "layer": layer, "grad_norm": 2 * falls[layer], "update_norm": ratio, "weight_norm": 1.0}
        for step in range(1, 11)
        for layer in layers
    ]
    moved = dict.fromkeys(layers, 1.0) | {layers[0]: distance[0], layers[-2]: distance[1]}
    metrics = {
        "key": f"cifar10/{name}/{condition}-{seed}",
        "fingerprint": str(next(FINGERPRINTS)),
        "status": "finished",
        "epochs": 10,
        "steps": 10,
        "layers": [{"layer": layer, "kind": "Dense", "parameters": 4} for layer in layers],
        "distance": moved,
        "validation_split": "val",
        "largest_class": 0.1,
        "last": {TEST_ACCURACY: accuracy} | RELU_LOG | last,
        "linearity": dict(zip(("folding_error", "superposition_error"), linearity, strict=True)),
    }
    activation = pd.DataFrame({"z": Z, "value": Z, "derivative": slopes})
    model = {"build": BUILD, "config": NETWORK if depth is None else {"depth": depth}}
    values = {"activation": {"config": {}}, "recipe": TRAINING | {"epochs": epochs}, "model": model}
    return RunResult(json.dumps(values), history, pd.DataFrame(norms), pd.DataFrame(rows).astype({"epoch": "Int64"}), activation, metrics)


def made(kinds: dict[str, dict], seeds: int = 4, condition: str = "baseline") -> dict[str, list[RunResult]]:
    """Made-up runs of several activations. A callable value is called with each seed."""

    def one(name: str, seed: int, kind: dict) -> RunResult:
        values = {key: value(seed) if callable(value) else value for key, value in kind.items()}
        return made_up(name, seed, condition=condition, **values)

    return {name: [one(name, seed, kind) for seed in range(seeds)] for name, kind in kinds.items()}


def judged(evidence: Evidence) -> dict[str, dict]:
    return {row["id"]: row for row in claims.ledger(evidence)}


def evidence(runs: dict[str, list[RunResult]], dataset: str = "toy", others: dict | None = None, **more) -> Evidence:
    return Evidence(dataset, {"baseline": runs, **(others or {})}, **more)


def findings(dataset: str = "cifar10", seeds: int = 4, **kinds: dict) -> dict[str, dict]:
    """The ledger of a study with made-up runs."""
    return judged(evidence(made(kinds, seeds), dataset=dataset))


def wobble(value: float, size: float = 0.01):
    """A value that varies slightly with the seed."""
    return lambda seed: value + size * (-1) ** seed * (1 + seed)
