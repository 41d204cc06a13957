"""Settings for Hydra's launchers, so that they train as many runs at once as the machine can."""

import os
from typing import Any

from omegaconf import OmegaConf

from actgrad.config.composing import dotted, launcher_choice
from actgrad.config.loading import CONF


def launcher_overrides(threads: int) -> list[str]:
    """Overrides of train.py for the launcher that conf/local/default.yaml chooses, or for joblib on this machine.

    Args:
        threads: number of threads of one run.

    Returns:
        The launcher, and settings that the user's file lacks: the number of runs at once, and the processors that each needs.

    Raises:
        UserError: if the launcher is not known, or its packages are not installed.
    """
    name = launcher_choice()
    own_file = _own_file()
    own = _own_values(own_file)
    at_once = max(1, _cores() // threads)
    if not _chosen(own_file) and at_once > 1:
        name = "joblib"
    told: dict[str, object] = {}
    if name == "joblib":
        told = {"hydra.launcher.n_jobs": at_once}
    elif name == "ray":
        told = {"++hydra.launcher.ray.remote.num_cpus": threads}
        if not any(key.startswith("launcher.ray.init") for key in own):
            told["++hydra.launcher.ray.init.num_cpus"] = at_once * threads
    elif name == "submitit_local":
        told = {"hydra.launcher.cpus_per_task": threads, "hydra.sweeper.max_batch_size": at_once}
    elif name == "submitit_slurm":
        told = {"hydra.launcher.cpus_per_task": threads}
    return [
        f"hydra/launcher={name}",
        *(f"{key}={value}" for key, value in told.items() if key.removeprefix("++hydra.").removeprefix("hydra.") not in own),
    ]


def _own_file() -> dict[str, Any]:
    """The content of conf/local/default.yaml; empty if there is none."""
    path = CONF / "local" / "default.yaml"
    values: Any = OmegaConf.to_container(OmegaConf.load(path)) if path.is_file() else {}
    return values if isinstance(values, dict) else {}


def _chosen(own_file: dict[str, Any]) -> bool:
    """Whether the user's file names a launcher."""
    return any("hydra/launcher" in str(key) for entry in own_file.get("defaults") or () if isinstance(entry, dict) for key in entry)


def _own_values(own_file: dict[str, Any]) -> set[str]:
    """The dotted keys below `hydra` that the user's file sets, such as launcher.n_jobs."""
    own = own_file.get("hydra")
    return set(dotted(own)) if isinstance(own, dict) else set()


def _cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
