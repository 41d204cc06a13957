"""What depth does to the gradient on one dataset: measured for the activations that need it, and kept in one table."""

import hashlib
import sys

import pandas as pd
from tqdm import tqdm

from actgrad.config import loading
from actgrad.config.schema import Study, Tracking
from actgrad.data import storage
from actgrad.errors import UserError
from actgrad.files import write_bytes
from actgrad.pipeline import composed
from actgrad.pipeline.environment import environment
from actgrad.pipeline.keras_process import load_core
from actgrad.results import paths
from actgrad.results.fingerprint import CORE_SHA256
from actgrad.results.run import csv_bytes

UNTRACKED = Tracking(enabled=False, uri="", experiment="")


def write(dataset_name: str, study: Study) -> int:
    """Write the table of a dataset: the rows of training.depth.measure, each with a checksum of the rows of its activation.

    An activation whose rows have the checksum that they should have is not measured again.

    Returns:
        The number of activations that were measured.

    Raises:
        UserError: if the runs of an activation have not been composed, or for another core.
    """
    dataset = storage.load(loading.data_config(dataset_name, []))
    path = paths.depth_path(dataset_name)
    before = pd.read_csv(path) if path.is_file() else pd.DataFrame()
    tables, measured = [], 0
    for activation in tqdm(study.activations, desc=f"depth on {dataset_name}", unit="activation", disable=not sys.stderr.isatty()):
        runs = [run for run in composed.current(dataset_name, activation) if run.condition == study.conditions[0]]
        if not runs:
            raise UserError(f"{activation} has no runs under {study.conditions[0]}, the first condition of params.yaml; list it there")
        fingerprints = [run.fingerprint(dataset.sha256, CORE_SHA256, environment()) for run in runs]
        rows = before[before["activation"] == activation].drop(columns="checksum") if {"activation", "checksum"} <= set(before) else before[:0]
        checksum = _checksum(fingerprints, rows)
        if rows.empty or set(before.loc[rows.index, "checksum"]) != {checksum}:
            load_core()
            from actgrad.training import depth

            rows, measured = pd.concat([depth.of_run(run.config(UNTRACKED), dataset) for run in runs]), measured + 1
            checksum = _checksum(fingerprints, rows)
        tables.append(rows.assign(checksum=checksum))
    write_bytes(path, csv_bytes(pd.concat(tables)))
    return measured


def _checksum(fingerprints: list[str], rows: pd.DataFrame) -> str:
    """Of the rows of an activation, and of the runs whose values they were measured with."""
    return hashlib.sha256("".join(fingerprints).encode() + csv_bytes(rows)).hexdigest()
