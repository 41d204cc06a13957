"""Train one cell: python src/train.py --help"""

import math
import os
import sys
from pathlib import Path

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from actgrad import config, datasets
from actgrad.console import muted_stderr, run_script
from actgrad.errors import UserError

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach main(), which says them in one sentence


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def train(composed: DictConfig) -> float:
    """Train, track and write one cell; returns its last validation accuracy, for sweepers."""
    cell = config.cell_config(composed)
    dataset = datasets.load(datasets.path(cell.data.name))
    with muted_stderr():  # TensorFlow's libraries write lines there before its log level counts
        import keras  # here, because it takes seconds, which --help and a refused value need not wait for
    keras.config.disable_interactive_logging()
    from actgrad import training
    from actgrad.progress import Progress
    from actgrad.tracking import logged

    steps = training.steps_per_epoch(cell, dataset) * cell.recipe.epochs
    folder, progress = Path(cell.run_dir), Progress(cell, steps)
    with logged(cell, dataset, steps) as run:
        result, network = training.train(cell, dataset, [progress, run], progress.callbacks)
        result.write(folder)
        run.finished(result, folder, network)
    print(f"{cell.key}: {result.metrics['status']}, results in {folder}")
    return result.metrics["last"].get("val/accuracy", math.nan)


def main() -> None:
    # params.yaml's word for the recipe that the dataset's own file names, which is what Hydra takes when none is given
    sys.argv = [argument for argument in sys.argv if argument != "recipe=default"]
    try:
        train()
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(config.refusal(error)) from None


if __name__ == "__main__":
    run_script(main)
