"""Train one run: python src/train.py --help"""

import os
import sys

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from actgrad.config import composing, loading
from actgrad.console import refused, run_script
from actgrad.errors import UserError
from actgrad.pipeline import composed, run

os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach main(), which says them in one sentence


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def one_run(values: DictConfig) -> float:
    """Train, track and write one run; returns its last validation accuracy, for sweepers."""
    try:
        config = loading.run_config(values)
        if config.run:
            composed.check_no_other_values(HydraConfig.get().overrides.task)
            of_study = composed.run(config.run)
            values.merge_with(of_study.names)
            config = of_study.config(loading.run_config(values).tracking)
        return run.complete(config)
    except (UserError, OSError) as error:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise  # Hydra goes on with the other runs, and raises this one again when they are done
        sys.exit(refused(error))  # here, because Hydra adds a line of its own to an exception


def main() -> None:
    composing.check_overrides(sys.argv[1:])
    try:
        one_run()
    except composing.COMPOSING as error:
        raise UserError(composing.refusal(error)) from None


if __name__ == "__main__":
    run_script(main, "the same command goes on after the last finished epoch")
