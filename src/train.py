"""Train one run: python src/train.py --help"""

import os
import sys
from contextlib import nullcontext

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from actgrad.config import composing, loading, overrides
from actgrad.console import refused, run_script
from actgrad.errors import UserError
from actgrad.pipeline import composed, failures, run, status

os.environ["HYDRA_FULL_ERROR"] = "1"  # errors then reach main(), which prints each as one sentence


@hydra.main(version_base="1.3", config_path=str(loading.CONF), config_name="config")
def one_run(values: DictConfig) -> float:
    """Train, track and write one run; returns its last validation accuracy, for sweepers."""
    try:
        hydra_config = HydraConfig.get()
        given, choices = hydra_config.overrides.task, hydra_config.runtime.choices
        config = loading.run_config(values, choices)
        if config.run:
            composed.check_no_other_values(given)
            of_study = composed.run(config.run)
            values.merge_with(of_study.names)
            config = of_study.config(loading.run_config(values).tracking)
        else:
            composing.check_names(config, choices, given)
            config = config.named(overrides.run_name(config.activation.name, given))
        return run.complete(config, may_replace="${hydra:job.override_dirname}" in composing.run_dir_as_written(values))
    except (UserError, OSError) as error:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise  # Hydra goes on with the other runs
        sys.exit(refused(error).line)  # exit here, because Hydra adds its own line to an exception


def main() -> None:
    arguments = overrides.for_hydra(sys.argv[1:])
    by_hand = overrides.are_several_runs(arguments) and not status.is_watched(arguments)
    try:
        with failures.said_at_the_end() if by_hand else nullcontext(()) as more:
            sys.argv[1:] = [*arguments, *more]
            one_run()
    except composing.COMPOSING as error:
        raise composing.refusal(error) from None


if __name__ == "__main__":
    run_script(main, "the same command goes on after the last finished epoch")
