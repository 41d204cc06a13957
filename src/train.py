"""Train one cell: python src/train.py --help"""

import os
import sys

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from actgrad.config import schema as config
from actgrad.console import refused, run_script
from actgrad.errors import UserError
from actgrad.pipeline import run as cells

os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach main(), which says them in one sentence


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def train(composed: DictConfig) -> float:
    """Train, track and write one cell; returns its last validation accuracy, for sweepers."""
    try:
        return cells.train(config.cell_config(composed))
    except (UserError, OSError) as error:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise  # Hydra goes on with the other cells, and raises this one again when they are done
        sys.exit(refused(error))  # here, because Hydra adds a line of its own to an exception


def main() -> None:
    sys.argv[1:] = config.overrides(sys.argv[1:])
    try:
        train()
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        raise UserError(config.refusal(error)) from None


if __name__ == "__main__":
    run_script(main, "the same command goes on after the last finished epoch")
