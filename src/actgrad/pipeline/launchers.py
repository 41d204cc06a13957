"""What a launcher of Hydra is told, so that it trains as many runs at once as there is room for."""

import os

from omegaconf import OmegaConf

from actgrad.config.composing import launcher_choice
from actgrad.config.loading import CONF


def launcher_overrides(threads: int) -> list[str]:
    """Overrides of train.py for the launcher that conf/local/default.yaml chooses, or for joblib on this machine.

    Args:
        threads: of one run.

    Returns:
        The launcher, and what the user's file does not say itself: how many runs at once, and how many processors each needs.

    Raises:
        UserError: if the launcher is not known, or its packages are not installed.
    """
    name = launcher_choice()
    own = _own_values()
    at_once = max(1, _cores() // threads)
    if name == "basic" and not own and at_once > 1:
        name = "joblib"
    told: dict[str, object] = {}
    if name == "joblib":
        told = {"hydra.launcher.n_jobs": at_once}
    elif name == "ray":
        told = {"++hydra.launcher.ray.remote.num_cpus": threads}
        if not any(key.startswith("ray.init") for key in own):
            told["++hydra.launcher.ray.init.num_cpus"] = at_once * threads
    elif name == "submitit_local":
        told = {"hydra.launcher.cpus_per_task": threads, "hydra.sweeper.max_batch_size": at_once}
    elif name == "submitit_slurm":
        told = {"hydra.launcher.cpus_per_task": threads}
    keys = {key.removeprefix("++").removeprefix("hydra.launcher."): key for key in told}
    return [f"hydra/launcher={name}", *(f"{full}={told[full]}" for key, full in keys.items() if key not in own)]


def _own_values() -> set[str]:
    """The dotted keys that conf/local/default.yaml sets for the launcher."""
    path = CONF / "local" / "default.yaml"
    values = OmegaConf.to_container(OmegaConf.load(path)) if path.is_file() else {}
    launcher = (values.get("hydra") or {}).get("launcher") or {} if isinstance(values, dict) else {}
    return set(_dotted(launcher)) if isinstance(launcher, dict) else set()


def _dotted(values: dict, prefix: str = "") -> list[str]:
    return [
        dotted
        for key, value in values.items()
        for dotted in (_dotted(value, f"{prefix}{key}.") if isinstance(value, dict) and value else [f"{prefix}{key}"])
    ]


def _cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
