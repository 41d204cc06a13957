"""One cell from its configuration to its files: trained, tracked, and taken up again where it was interrupted."""

import math

from actgrad import checkpoints, datasets, files, provenance, results
from actgrad.checkpoints import Checkpoint
from actgrad.config import Config
from actgrad.console import load_keras


def train(cell: Config) -> float:
    """Train, track and write one cell, unless that has been done; returns its last validation accuracy, NaN if it diverged.

    Raises:
        UserError: if its dataset, its folder or a value of its configuration cannot be used.
    """
    dataset = datasets.load(cell.data)
    folder = files.new_folder(cell.run_dir, "run_dir")
    fingerprint = provenance.fingerprint(cell.deciding(), dataset.sha256)
    if (before := results.finished(folder, fingerprint)) is not None:
        (folder / "metrics.json").touch()  # tells a sweep that this result is the one it asked for
        print(f"{cell.key}: {before['status']} before, with the same configuration, data and code; results in {folder}")
        return before["last"].get(results.VAL_ACCURACY, math.nan)
    load_keras()  # here, because what is refused or finished need not wait for it
    from actgrad import training
    from actgrad.progress import Progress
    from actgrad.tracking import logged

    checkpoint = Checkpoint(checkpoints.path(folder), fingerprint)
    steps = training.steps_per_epoch(cell, dataset) * cell.recipe.epochs
    progress = Progress(cell, steps)
    with logged(cell, dataset, steps, fingerprint) as run:
        result, network = training.train(cell, dataset, [progress, run], progress.callbacks, checkpoint)
        result.write(folder)
        run.finished(result, folder, network)
    checkpoint.remove()
    print(f"{cell.key}: {result.metrics['status']}, results in {folder}")
    return result.metrics["last"].get(results.VAL_ACCURACY, math.nan)
