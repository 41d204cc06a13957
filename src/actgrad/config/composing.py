"""Compose the configuration of runs with Hydra, and say in one sentence what it refuses."""

import re
from collections.abc import Sequence

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException
from yaml import YAMLError

from actgrad.config.loading import CONF, run_config
from actgrad.config.schema import Config
from actgrad.errors import UserError

COMPOSING = (HydraException, OmegaConfBaseException, YAMLError)
"""The errors that Hydra and OmegaConf raise while composing."""
NEED_PACKAGES = ("ray", "submitit_local", "submitit_slurm")
"""Launchers that `make setup-scale` installs."""
NEW_MODEL = (
    ", with `build: my_pkg.nets.build`, where my_pkg is on PYTHONPATH and build is a function "
    "(input_shape, classes, activation, initializer, **config) -> keras.Model, and `config: {}`, which holds its other arguments"
)


def composed(overrides: Sequence[str]) -> Config:
    """The checked configuration of the run that these overrides name; run_dir must be among them.

    Raises:
        UserError: if they, or a file of conf/, cannot be used.
    """
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return run_config(compose("config", list(overrides)))
    except COMPOSING as error:
        raise UserError(refusal(error)) from None


def without_local() -> list[str]:
    """Overrides that leave out conf/local: DVC and other machines do not see it, so it must not decide a result of the study."""
    return ["~local"] if (CONF / "local" / "default.yaml").is_file() else []


def launcher_choice() -> str:
    """The launcher that conf/, with the user's own conf/local, chooses: `basic` unless told otherwise."""
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose("config", ["run_dir=unused"], return_hydra_config=True).hydra.runtime.choices["hydra/launcher"]
    except COMPOSING as error:
        raise UserError(refusal(error)) from None


def refusal(error: Exception) -> str:
    """The sentence for an error that Hydra or OmegaConf raised while composing."""
    if getattr(error, "missing_cfg_file", None) and getattr(error, "options", None):
        group, _, choice = error.missing_cfg_file.rpartition("/")
        if group == "hydra/launcher" and choice in NEED_PACKAGES:
            return f"{group}={choice} needs packages that are not installed; install them with make setup-scale"
        if group == "hydra/launcher":
            return f"{group}={choice} is not known; known: basic, joblib, {', '.join(NEED_PACKAGES)}"
        if group == "rates":
            return f"no learning rates have been searched for {choice}; search them with python src/tune.py data={choice}, or leave out `tuned`"
        known = f"{group}={choice} is not known; known: {', '.join(error.options)}; a new one is a file conf/{group}/{choice}.yaml"
        return known + (NEW_MODEL if group == "model" else "")
    cause = error.__cause__
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) and cause.parent_node is not None:
        known = ", ".join(str(key) for key in cause.parent_node if key != "hydra") or "none"
        more = f"; to pass another argument, write +{cause.full_key}=VALUE" if ".config." in str(cause.full_key) else ""
        return f"{cause.full_key} is not a key of this configuration; known there: {known}{more}"
    return " ".join(str(error).split())


def check_overrides(arguments: Sequence[str]) -> None:
    """Raise UserError for GROUP=CHOICE where CHOICE is no name; Hydra would merge a list of them into a single run."""
    for argument in arguments:
        group, equals, choice = argument.partition("=")
        if equals and (CONF / group).is_dir() and not re.match(r"[A-Za-z_*]", choice):
            raise UserError(f"{argument} is not understood; write {group}=NAME, or -m {group}=NAME,NAME,… for several runs")
