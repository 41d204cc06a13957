"""Compose the configuration of runs with Hydra, and turn Hydra's errors into one sentence."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException
from yaml import YAMLError

from actgrad.config.loading import CONF, FIRST_LINE, PLACE_OF_NAME, check_first_lines, require_name_of_file, run_config, unknown, without_first_line
from actgrad.config.schema import Config
from actgrad.errors import UserError, nearest

COMPOSING = (HydraException, OmegaConfBaseException, YAMLError, UnicodeDecodeError)
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
    found = with_hydra(overrides)
    choices = found.hydra.runtime.choices
    with open_dict(found):
        del found["hydra"]
    return run_config(found, choices)


def with_hydra(overrides: Sequence[str]) -> DictConfig:
    """What Hydra composes from these overrides, with its own values.

    Raises:
        UserError: if they, or a file of conf/, cannot be used.
    """
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose("config", list(overrides), return_hydra_config=True)
    except COMPOSING as error:
        raise refusal(error) from None


def run_dir_as_written(values: DictConfig) -> str:
    """run_dir, before the values that it names are put in."""
    written: Any = OmegaConf.to_container(values, resolve=False)
    return str(written["run_dir"])


def without_local() -> list[str]:
    """Overrides that leave out conf/local: DVC and other machines do not see it, so it must not decide a result of the study."""
    return ["~local"] if (CONF / "local" / "default.yaml").is_file() else []


def launcher_choice() -> str:
    """The launcher that conf/, with the user's own conf/local, chooses: `basic` unless told otherwise.

    Raises:
        UserError: if one of these files cannot be used.
    """
    found = with_hydra(["run_dir=unused"])
    check_first_lines(found)
    return found.hydra.runtime.choices["hydra/launcher"]


def check_names(config: Config, choices: Mapping[str, Any], overrides: Sequence[str] = ()) -> None:
    """Raise UserError if a file of conf/ holds another name than its file name.

    Args:
        config: of a run.
        choices: group -> file that the configuration was composed from.
        overrides: the overrides of that composition. They may set a name.
    """
    given = {one.lstrip("+").partition("=")[0] for one in overrides}
    for group in PLACE_OF_NAME:
        if f"{group}.name" not in given:
            require_name_of_file(group, choices[group], getattr(config, group).name)


def refusal(error: Exception) -> UserError:
    """The UserError for an error that Hydra or OmegaConf raised while composing. An error of another origin is raised again."""
    if isinstance(error, UnicodeDecodeError):
        if not (files := [path for path in sorted(CONF.rglob("*.yaml")) if not _is_utf8(path)]):
            raise error
        return UserError("not-yaml", f"conf/{files[0].relative_to(CONF)} is not text in UTF-8 ({error}); save it as UTF-8")
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        if group == "hydra/launcher" and choice in NEED_PACKAGES:
            return UserError("missing-packages", f"{group}={choice} needs packages that are not installed; install them with make setup-scale")
        if group == "hydra/launcher":
            return UserError("unknown-name", f"{group}={choice} is not known; known: basic, joblib, {', '.join(NEED_PACKAGES)}")
        if group == "rates":
            search = f"search them: python src/tune.py data={choice}, or take standardized_tuned out"
            return UserError("no-learning-rate", f"no learning rates have been searched for {choice}; {search}")
        return UserError("unknown-name", unknown(group, choice, error.options) + (NEW_MODEL if group == "model" else ""))
    override = re.match(r"In '([^']+)': Could not override ", str(error))  # Hydra looked for the key under the file's group
    if override and not _begins_rightly(override[1]):
        return UserError("no-first-line", without_first_line(override[1]))
    cause = error.__cause__
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) and cause.parent_node is not None:
        known = ", ".join(str(key) for key in cause.parent_node if key != "hydra") or "none"
        more = f"; to pass another argument, write +{cause.full_key}=VALUE" if ".config." in str(cause.full_key) else ""
        suggestion = _suggestion(str(cause.full_key), cause, str(error))
        return UserError("unknown-key", f"{cause.full_key} is not a key of this configuration; known there: {known}{more}{suggestion}")
    return UserError("wrong-configuration", " ".join(str(error).split()))


def _is_utf8(path: Path) -> bool:
    try:
        path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _begins_rightly(file: str) -> bool:
    """Whether a file of conf/ begins with FIRST_LINE, as Hydra reads it, or need not begin with it."""
    path = CONF / f"{file}.yaml"
    if file.partition("/")[0] not in ("local", "data", "condition") or not path.is_file():
        return True
    return " ".join(path.read_text(encoding="utf-8").lstrip().partition("\n")[0].lstrip("# ").split()) == FIRST_LINE.lstrip("# ")


def _suggestion(typed: str, cause: OmegaConfBaseException, said: str) -> str:
    """`; did you mean KEY=VALUE?` for the key most similar to a typed one. The typed key may lack the part before the last dot."""
    whole: Any = OmegaConf.to_container(cause.parent_node._get_root(), resolve=False)
    known = list(dotted(whole))
    last = {key.rpartition(".")[2]: key for key in known}
    key = nearest(typed, known, 0.85) if "." in typed else last.get(nearest(typed, last) or "")
    key = None if key and typed.startswith(f"{key}.") else key
    value = re.search(r"use \+[^=]*(=.*)$", said)
    return f"; did you mean {key}{value[1] if value else ''}?" if key else ""


def dotted(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The keys of nested values, such as recipe and recipe.epochs, without those of Hydra's own."""
    for key, value in values.items():
        if key != "hydra":
            yield f"{prefix}{key}"
            yield from dotted(value, f"{prefix}{key}.") if isinstance(value, dict) else ()
