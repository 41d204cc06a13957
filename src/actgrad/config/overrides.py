"""Prepare the arguments of train.py for Hydra, and refuse those that Hydra would misunderstand."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any, NoReturn

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, Override, OverrideType
from hydra.errors import HydraException
from omegaconf import OmegaConf

from actgrad.config import composing
from actgrad.config.loading import CONF
from actgrad.config.schema import Data
from actgrad.console import each_once, wrong_usage
from actgrad.errors import UserError

OPTIONAL_GROUPS = ("local", "rates")
"""Groups of conf/ that a run can do without."""
OF_DATA = [f"data.{key}" for key in Data.model_fields]
"""Keys that a file of conf/data may lack."""

UNNAMED = ("activation", "activation.name", "data", "data.archive", "local", "run", "run_dir")
"""Keys that are left out of the name of a run by hand: they are shown elsewhere, or decide no result."""

EXCLUSIVE_FLAGS = ("run", "multirun", "cfg", "info", "shell_completion")
"""Hydra's flags that exclude each other."""


def for_hydra(arguments: Sequence[str]) -> list[str]:
    """The arguments of train.py for Hydra, flags first. KEY={…} replaces a dictionary, where Hydra alone would merge the two.

    Raises:
        UserError: for arguments that Hydra would misunderstand or refuse.
    """
    parser: Any = get_args_parser()  # Hydra's own, whose error() would end the process
    parser.error = _refuse
    flags = [one for one in arguments if one != "--"]
    given = parser.parse_intermixed_args(flags)
    if given.experimental_rerun:
        raise UserError("no-use", "--experimental-rerun has no use here: no run keeps what it needs; start the same command again")
    if len(asked := [flag for flag in EXCLUSIVE_FLAGS if getattr(given, flag)]) > 1:
        raise UserError("usage", f"--{' and --'.join(asked).replace('_', '-')} cannot be asked for at once; leave one out")
    if given.resolve and not (given.cfg or given.help):
        raise UserError("no-use", "--resolve has no use here: it belongs to --cfg job, which shows the configuration; leave it out")
    overrides = [_parsed(text) for text in given.overrides]
    each_once(one.get_key_element().lstrip("+") for one in overrides)
    for override in overrides:
        _check_choice(override)
        _check_values(override, given.multirun)
    if given.multirun:
        _check_together({override.key_or_group: override for override in overrides})
    for text in given.overrides:
        flags.remove(text)
    return flags + [text for override in overrides for text in _replacing(override)]


def are_several_runs(arguments: Sequence[str]) -> bool:
    """Whether these arguments of train.py, as for_hydra returns them, train several runs."""
    given = get_args_parser().parse_intermixed_args(list(arguments))
    return given.multirun and not (given.help or given.hydra_help)


def swept(given: Sequence[str]) -> list[str]:
    """The keys of the overrides that name several values."""
    return [one.key_or_group for one in map(_parsed, given) if one.is_sweep_override()]


def run_name(activation: str, given: Sequence[str]) -> str:
    """The name of a run by hand: its activation, and what else was overridden, as in `leaky_relu negative_slope=0.1 seed=7`.

    Args:
        activation: its name.
        given: the overrides, as Hydra has taken them.
    """
    keys = [one.lstrip("+~").partition("=")[0] for one in given]
    last = [key.rpartition(".")[2] for key in set(keys)]
    shown = {}
    for text, key in zip(given, keys, strict=True):
        short = key.rpartition(".")[2]
        if key not in UNNAMED and not key.startswith("tracking."):  # a later override of the same key takes the place of this one
            shown[key] = f"{'~' if text.startswith('~') else ''}{text.lstrip('+~').replace(key, short if last.count(short) == 1 else key, 1)}"
    return " ".join([activation, *shown.values()])


def _refuse(message: str) -> NoReturn:
    raise wrong_usage(message, "python src/train.py")


def _parsed(text: str) -> Override:
    try:
        return OverridesParser.create().parse_override(text)
    except HydraException:
        raise UserError(
            "not-understood",
            f"{text!r} is not understood; write KEY=VALUE, such as data=digits, or -m KEY=VALUE,VALUE for several runs; "
            "other characters than letters, digits and ./-+ stand in quotes: \"KEY='VALUE'\"",
        ) from None


def _check_choice(override: Override) -> None:
    """Raise UserError for a group of conf/ or of Hydra without a choice, and for a value that every run needs but is left out."""
    group = override.key_or_group
    if override.is_delete():
        if "." not in group and "/" not in group and group not in OPTIONAL_GROUPS:
            raise UserError("missing-value", f"{override.input_line} leaves out what every run needs; give it another value: {group}=VALUE")
        return
    if group.partition("/")[0] == "hydra" and override.value() in (None, ""):
        raise UserError("not-understood", f"{override.input_line} is not understood; write hydra/launcher=NAME")
    if not (CONF / group).is_dir():
        return
    allowed = (str, type(None)) if group in OPTIONAL_GROUPS else str
    values = _values(override)
    if not all(isinstance(one, allowed) and one != "" for one in values):
        raise UserError("not-understood", f"{override.input_line} is not understood; write {group}=NAME, or -m {group}=NAME,NAME,… for several runs")
    if files := [one for one in values if one and ("/" in one or one.endswith(".yaml"))]:
        raise UserError(
            "file-for-name", f"{override.input_line} names a file; write the name alone: {group}={PurePosixPath(files[0]).name.removesuffix('.yaml')}"
        )


def _check_values(override: Override, multirun: bool) -> None:
    """Raise UserError for several values without -m, and for a value that is listed twice."""
    if not override.is_sweep_override():
        return
    if not multirun:
        raise UserError("several-values", f"{override.input_line} names several values; write -m {override.input_line} to train a run for each")
    values = [str(one) for one in _values(override)]
    if not values and not override.is_interval_sweep():
        raise UserError(
            "missing-value", f"{override.input_line} names no value, so there is no run to train; write {override.key_or_group}=VALUE,VALUE"
        )
    if twice := [one for one, times in Counter(values).items() if times > 1]:
        raise UserError("given-twice", f"{override.input_line} lists {twice[0]} twice; remove one")


def _check_together(overrides: dict[str, Override]) -> None:
    """Raise UserError for several runs that would share a folder, or that differ from the runs which their conditions list."""
    sweeps = [one for one in overrides.values() if one.is_sweep_override()]
    condition = overrides.get("condition")
    if condition in sweeps:
        if "tuning" in _values(condition):
            raise UserError(
                "several-conditions", f"{condition.input_line} cannot be trained together: tuning lists trials of its own; write -m condition=tuning"
            )
        if "activation" not in overrides:
            raise UserError(
                "several-conditions",
                f"{condition.input_line} would train one run of each, whatever activations and seeds these conditions list; name those you mean, "
                "such as activation=relu,tanh seed=0,1, or train all that a condition lists: python src/study.py data=NAME condition=NAME",
            )

    if "run" in overrides:  # of the study, whose runs have folders of their own
        return
    found = composing.with_hydra([text for one in overrides.values() if one not in sweeps for text in _replacing(one)])
    of_conf = OmegaConf.select(found, "hydra.sweeper.params") or {}  # such as those of conf/condition/tuning.yaml
    run_dir = composing.run_dir_as_written(found)
    if "${" not in run_dir and (sweeps or of_conf.keys() - overrides.keys() or "," in run_dir):
        raise UserError(
            "shared-run-folder",
            f"run_dir={run_dir} would be the folder of several runs; leave it out, or name what differs: run_dir='outputs/${{seed}}'",
        )


def _replacing(override: Override) -> Iterator[str]:
    """An override as Hydra takes it. A dictionary takes the place of another, and a key that the file of a dataset lacks is added."""
    key, text = override.key_or_group, str(override.input_line)
    may_lack = key in OF_DATA or override.type is not OverrideType.CHANGE
    if override.is_delete():
        yield text
    elif any(isinstance(one, dict) for one in _values(override)):
        yield f"++{key}=null" if may_lack else f"~{key}"
        yield f"+{text.lstrip('+')}"
    else:
        yield f"++{text.lstrip('+')}" if key in OF_DATA else text


def _values(override: Override) -> list[Any]:
    """The values of an override: several for choices, a pattern or a range, none for an interval."""
    value = override.value()
    if isinstance(value, ChoiceSweep):
        return [Override._convert_value(one) for one in value.list]
    if isinstance(value, Glob):
        return value.filter(sorted(path.stem for path in (CONF / override.key_or_group).glob("*.yaml")))
    if override.is_range_sweep():
        return list(override.sweep_iterator())
    return [] if override.is_sweep_override() else [value]
