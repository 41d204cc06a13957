"""One cell from its configuration to its files: trained, tracked, and taken up again where it was interrupted."""

import math
from pathlib import Path
from typing import Any

from actgrad import files
from actgrad.config.schema import Config
from actgrad.console import load_keras
from actgrad.data import storage as datasets
from actgrad.data.storage import Dataset
from actgrad.pipeline import checkpoints
from actgrad.pipeline.checkpoints import Checkpoint
from actgrad.results import fingerprint as provenance
from actgrad.results import run as results


def train(cell: Config) -> float:
    """Train, track and write one cell, unless that has been done; returns its last validation accuracy, NaN if it diverged.

    Raises:
        UserError: if its dataset, its folder or a value of its configuration cannot be used.
    """
    dataset = datasets.load(cell.data)
    folder = files.new_folder(cell.run_dir, "run_dir")
    checkpoint = Checkpoint(checkpoints.path(folder), provenance.fingerprint(cell.deciding(), dataset.sha256))
    with checkpoint.alone():
        metrics = results.finished(folder, checkpoint.fingerprint)
        if metrics is not None and not checkpoint.exists():  # it is removed last, when the run is complete too
            (folder / "metrics.json").touch()  # tells a sweep that this result is the one it asked for
            print(f"{cell.key}: {metrics['status']} before, with the same configuration, data and code; results in {folder}")
        else:
            metrics = _train(cell, dataset, folder, checkpoint)
            print(f"{cell.key}: {metrics['status']}, results in {folder}")
    return metrics["last"].get(results.VAL_ACCURACY, math.nan)


def _train(cell: Config, dataset: Dataset, folder: Path, checkpoint: Checkpoint) -> dict[str, Any]:
    load_keras()  # here, because what is refused or finished need not wait for it
    from actgrad.pipeline.progress import Progress
    from actgrad.tracking.store import logged
    from actgrad.training import loop as training

    steps = training.steps_per_epoch(cell, dataset) * cell.recipe.epochs
    progress = Progress(cell, steps)
    with logged(cell, dataset, steps, checkpoint.fingerprint) as run:
        result, network = training.train(cell, dataset, [progress, run], progress.callbacks, checkpoint)
        result.write(folder)
        run.finished(result, folder, network)
    checkpoint.remove()
    return result.metrics
