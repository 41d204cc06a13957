"""What depth does to the gradient on one dataset: measured for the activations that need it, and kept in one table."""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd
from tqdm import tqdm

from actgrad.config import loading
from actgrad.config.schema import Activation, Study, parse
from actgrad.data import storage
from actgrad.errors import UserError
from actgrad.files import write_bytes
from actgrad.pipeline import composed
from actgrad.pipeline.composed import ComposedRun
from actgrad.pipeline.environment import environment
from actgrad.pipeline.keras_process import load_core
from actgrad.results import paths
from actgrad.results.fingerprint import CORE_SHA256
from actgrad.results.run import csv_bytes

if TYPE_CHECKING:
    from actgrad.data.storage import Dataset


def write(dataset_name: str, study: Study) -> int:
    """Write the table of a dataset: the rows of training.depth.measure, each with the fingerprint of the run whose values it has.

    An activation whose rows have the fingerprints that they should have is not measured again.

    Returns:
        The number of activations that were measured.

    Raises:
        UserError: if the runs of an activation have not been composed, or for another core.
    """
    dataset = storage.load(loading.data_config(dataset_name, []))
    path = paths.depth_path(dataset_name)
    before = pd.read_csv(path) if path.is_file() else pd.DataFrame(columns=["activation", "fingerprint"])
    tables, measured = [], 0
    for activation in tqdm(study.activations, desc=f"depth on {dataset_name}", unit="activation", disable=not sys.stderr.isatty()):
        runs = [run for run in composed.current(dataset_name, activation) if run.condition == study.conditions[0]]
        if not runs:
            raise UserError(f"{activation} has no runs under {study.conditions[0]}, the first condition of params.yaml; list it there")
        fingerprints = {run.fingerprint(dataset.sha256, CORE_SHA256, environment()): run for run in runs}
        rows = before[before["activation"] == activation]
        if list(dict.fromkeys(rows["fingerprint"])) != list(fingerprints):
            rows, measured = _measure(dataset, fingerprints), measured + 1
        tables.append(rows)
    write_bytes(path, csv_bytes(pd.concat(tables)))
    return measured


def _measure(dataset: "Dataset", runs: Mapping[str, ComposedRun]) -> pd.DataFrame:
    load_core()
    from actgrad.networks.inputs import scaled
    from actgrad.training import batches, depth, determinism

    tables = []
    for fingerprint, run in runs.items():
        recipe, activation = run.values["recipe"], parse(Activation, run.values["activation"])
        determinism.start(0, recipe["threads"])
        split = batches.validation_split(dataset.images)
        images, labels = batches.probe_batch(dataset.images[split], dataset.labels[split], recipe["probe_size"])
        images = scaled(images, recipe["input_scaling"], dataset.images["train"])
        units, classes = run.values["model"]["dense_units"], len(dataset.class_names)
        table = depth.measure(activation, run.seed, images, labels, classes, units, recipe["kernel_initializer"])
        tables.append(table.assign(fingerprint=fingerprint))
    return pd.concat(tables)
