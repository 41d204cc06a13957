"""Where the results of a report come from: data, recipe, code and machines of its runs."""

from collections.abc import Collection
from typing import Any

import numpy as np

from actgrad.analysis.evidence import Evidence
from actgrad.analysis.runs import Runs, every_run
from actgrad.analysis.runs import configuration as setting
from actgrad.config.schema import Data
from actgrad.data import storage
from actgrad.files import sha256


def provenance(evidence: Evidence, data: Data) -> dict[str, Any]:
    """Facts as plain values, for the page and for provenance.json.

    Returns:
        dataset, source and licence; images, as returned by `images`; headline, the name of the condition that the report is about; recipe and
        model of its runs; data_sha256, core_sha256 and environments of all runs, each environment with the keys of its runs.
    """
    runs = [run for runs in evidence.conditions.values() for run in every_run(runs)]
    environments: dict[tuple, list[str]] = {}
    for run in runs:
        environments.setdefault(tuple(run.metrics["environment"].items()), []).append(run.key)
    digests = sorted({run.metrics["data_sha256"] for run in runs})
    return {
        "dataset": evidence.dataset,
        "source": data.source,
        "licence": data.licence,
        "images": images(evidence.dataset, digests),
        "headline": evidence.headline,
        "recipe": recipe(evidence.runs),
        "model": setting(runs[0])["model"],
        "data_sha256": digests,
        "core_sha256": sorted({run.metrics["core_sha256"] for run in runs}),
        "environments": [{"values": dict(values), "runs": keys} for values, keys in environments.items()],
    }


def images(dataset: str, digests: Collection[str]) -> dict[str, Any] | None:
    """What the runs were trained on: the number of images of each split, height, width and channels of an image, and the number of classes.

    Args:
        digests: checksums of the files that the runs were trained on.

    Returns:
        None if data/<dataset>.npz is not there, or is not the file that all runs were trained on.
    """
    file = storage.path(dataset)
    if not file.is_file() or {sha256(file)} != {*digests}:
        return None
    with np.load(file, allow_pickle=False) as arrays:
        sizes = {split: len(arrays[f"y_{split}"]) for split in storage.SPLITS}
        return {**sizes, "shape": list(arrays["x_val"].shape[1:]), "classes": len(arrays["class_names"])}  # an empty split has a shape too


def recipe(runs: Runs) -> dict[str, Any]:
    """The recipe of a condition. If learning rates differ, `learning_rate` maps each activation to its rate."""
    rates = {name: setting(of_activation[0])["recipe"]["learning_rate"] for name, of_activation in runs.items()}
    recipe = setting(every_run(runs)[0])["recipe"]
    return recipe if len({*rates.values()}) == 1 else recipe | {"learning_rate": rates}
