"""Read conf/ and params.yaml."""

import codecs
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from actgrad.config.schema import Activation, Condition, Config, Data, Fewer, Study, parse
from actgrad.console import each_once, unquoted
from actgrad.errors import UserError, did_you_mean
from actgrad.files import PROJECT

CONF = PROJECT / "conf"
PARAMS = Path("params.yaml")
GROUPS = ("recipe", "data", "activation", "model", "tracking", "condition")
"""Groups of conf/ that every run has."""
FIRST_LINE = "# @package _global_"
"""First line of each file in conf/local, conf/data and conf/condition. Without it there, Hydra puts the file's values under the file's group."""


def run_config(composed: DictConfig, choices: Mapping[str, Any] | None = None) -> Config:
    """The checked configuration of one run, from what Hydra composed.

    Args:
        choices: group of conf/ -> file that it was composed from.
    """
    check_first_lines(composed)
    written: Any = OmegaConf.to_container(composed, resolve=False)
    if wrong := [group for group in GROUPS if not (isinstance(written.get(group), dict) and written[group])]:
        for group, file in (choices or {}).items():
            if group in wrong:
                _file(group, file, CONF)  # refuses a file without values
        return parse(Config, written)  # raises, and says what is wrong with them
    try:
        values: Any = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise UserError("wrong-configuration", f"the configuration does not resolve: {str(error).splitlines()[0]}") from None
    rates, activation = values["recipe"].get("learning_rate"), values["activation"].get("name")
    if isinstance(rates, dict):
        if activation not in rates:
            raise UserError(
                "no-learning-rate",
                f"conf/rates/{values['data'].get('name')}.yaml has no learning rate for {activation}, only for {', '.join(rates)}; "
                "give one with recipe.learning_rate=NUMBER, or search for it with src/tune.py",
            )
        values["recipe"]["learning_rate"] = rates[activation]
    return parse(Config, values)


def check_first_lines(composed: DictConfig) -> None:
    """Raise UserError for a file of conf/ whose values lie under its group, because it does not begin with FIRST_LINE."""
    values: Any = OmegaConf.to_container(composed, resolve=False)
    if "local" in values:
        raise UserError("no-first-line", without_first_line("local/default"))
    for group in ("data", "condition"):
        if isinstance(values.get(group), dict) and isinstance(held := values[group].get(group), dict):
            raise UserError("no-first-line", without_first_line(f"{group}/{held.get('name', 'NAME')}"))


def without_first_line(file: str) -> str:
    """The sentence for a file of conf/ that does not begin with FIRST_LINE, as Hydra reads it."""
    path = CONF / f"{file}.yaml"
    if path.is_file() and path.read_bytes().startswith(codecs.BOM_UTF8):
        return f"conf/{file}.yaml begins with a byte order mark, so Hydra does not see its first line; save it as UTF-8 without this mark"
    return f"conf/{file}.yaml does not begin with the line `{FIRST_LINE}`; write it there, above all else"


PLACE_OF_NAME = {"data": "data.name", "activation": "name", "condition": "condition.name"}
"""Group of conf/ -> key under which each of its files holds its own name."""


def require_name_of_file(group: str, file: str, name: str) -> None:
    """Raise UserError if a file of conf/ holds another name than its file name, because its results would be kept under that name."""
    if name != file:
        raise UserError("misnamed-file", f"conf/{group}/{file}.yaml has {PLACE_OF_NAME[group]}={name}; give it the name of its file, {file}")


def data_config(name: str, overrides: list[str], conf: Path = CONF) -> Data:
    """The checked configuration of one dataset: conf/data/<name>.yaml with `data.KEY=VALUE` overrides."""
    values = _file("data", name, conf)
    if wrong := [item for item in overrides if not item.startswith("data.") or "=" not in item]:
        raise UserError("not-understood", f"{wrong[0]!r} is not understood; write data.KEY=VALUE, with a KEY of {', '.join(Data.model_fields)}")
    each_once(item.partition("=")[0] for item in overrides)
    archives = [value for key, _, value in (item.partition("=") for item in overrides) if key == "data.archive"]
    not_archives = [item for item in overrides if not item.startswith("data.archive=")]
    try:
        merged = OmegaConf.merge(OmegaConf.create(values).data, OmegaConf.from_dotlist(not_archives).get("data", {}))
        plain: Any = OmegaConf.to_container(merged, resolve=True)
        for archive in archives:  # as it was typed: in YAML, "set #1" would be "set", and 2024 a number
            plain["archive"] = None if archive == "null" else unquoted(archive)
        data = parse(Data, plain, "data.")
    except (YAMLError, OmegaConfBaseException, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise UserError("wrong-configuration", f"conf/data/{name}.yaml {' '.join(overrides)} cannot be read ({reason}); mend it") from None
    require_name_of_file("data", name, data.name)
    return data


def activation_config(name: str, conf: Path = CONF) -> Activation:
    """The checked conf/activation/<name>.yaml."""
    activation = parse(Activation, _file("activation", name, conf), f"conf/activation/{name}.yaml: ")
    require_name_of_file("activation", name, activation.name)
    return activation


def condition_config(name: str, conf: Path = CONF) -> Condition:
    """The activations and seeds that conf/condition/<name>.yaml lists, if it lists any."""
    values = _file("condition", name, conf).get("condition", {})
    condition = parse(Condition, values, f"conf/condition/{name}.yaml: condition.")
    require_name_of_file("condition", name, condition.name)
    return condition


@dataclass(frozen=True)
class Listed:
    """The activations and seeds of a condition."""

    activations: list[str]
    seeds: list[int]


def listed(study: Study, dataset: str, conf: Path = CONF) -> dict[str, Listed]:
    """The runs of a dataset under each of its conditions.

    An activation of params.yaml is trained under a condition unless the activation or the condition has a list that lacks the other.

    Raises:
        UserError: if a condition or an activation is not known, a condition has no activation, or an activation no condition, or if `only`
            names what is not listed.
    """
    datasets = [*study.datasets, *sorted(path.stem for path in (conf / "data").glob("*.yaml"))]
    for name in study.only:  # which may keep what is said of a dataset that is left out for a while
        _require_listed("only", name, datasets, "datasets")
    only = study.only.get(dataset, Fewer())
    for name in only.conditions or ():
        _require_listed(f"only.{dataset}.conditions", name, study.conditions, "conditions")
    for name in only.most_seeds:
        _require_listed(f"only.{dataset}.most_seeds", name, only.conditions or study.conditions, "conditions")
    of_activations = {name: activation_config(name, conf).conditions for name in study.activations}
    runs, all_seeds = {}, list(study.seeds)
    for name in (one for one in study.conditions if only.conditions is None or one in only.conditions):
        condition = condition_config(name, conf)
        if _file("condition", name, conf).get("test") is False:
            raise UserError(
                "no-test-split", f"the condition {name} never looks at the test split, so it is none of a study; take it out of params.yaml"
            )
        own = condition.activations or study.activations
        for activation in own:
            activation_config(activation, conf)
        activations = [one for one in own if one in of_activations and name in (of_activations[one] or [name])]
        if not activations:
            raise UserError(
                "empty-condition",
                f"the condition {name} is for {', '.join(own)}, and params.yaml lists none of them; "
                f"add one to its activations, or take {name} out of its conditions",
            )
        all_seeds += condition.seeds or []
        seeds = [seed for seed in condition.seeds or study.seeds if only.seeds is None or seed in only.seeds]
        if not seeds:
            raise UserError(
                "empty-condition", f"params.yaml: only.{dataset}.seeds has none of the seeds of {name}; add one, or take {name} out of its conditions"
            )
        runs[name] = Listed(activations, seeds[: only.most_seeds.get(name)])
    for seed in only.seeds or ():
        _require_listed(f"only.{dataset}.seeds", seed, all_seeds, "seeds")
    for name in of_activations:
        if not any(name in of_condition.activations for of_condition in runs.values()):
            raise UserError(
                "unused-activation",
                f"no condition of {dataset} has the activation {name}; add one to the conditions in params.yaml, or take {name} out",
            )
    return runs


def _require_listed(place: str, named: Any, known: Sequence[Any], plural: str) -> None:
    """Raise UserError if a place of params.yaml names what its list does not have."""
    if named not in known:
        names = list(dict.fromkeys(map(str, known)))
        wrong = f"params.yaml: {place} names {named}, which is none of its {plural} {', '.join(names)}; add it to them, or take it out of only"
        raise UserError("not-in-study", wrong + did_you_mean(str(named), names))


def study(path: Path = PARAMS) -> Study:
    """The checked params.yaml."""
    if not path.is_file():
        raise UserError("missing-file", f"{path} is missing; it lists datasets, conditions, activations and seeds of the study")
    return parse(Study, _yaml(path, str(path)), f"{path.name}: ")


def require_dataset(name: str, study: Study) -> None:
    """Raise UserError unless params.yaml lists a dataset."""
    require("data", name, study.datasets, "datasets")


def require(key: str, name: str, listed: list[str], plural: str) -> None:
    """Raise UserError unless a name is among those that params.yaml lists."""
    if name not in listed:
        known = f"{key}={name} is not in params.yaml, whose {plural} are {', '.join(listed)}; add it there"
        raise UserError("not-in-study", known + did_you_mean(name, listed, f"{key}="))


def unknown(group: str, name: str, known: Sequence[str]) -> str:
    """The sentence for a choice of conf/ that has no file."""
    sentence = f"{group}={name} is not known; known: {', '.join(known)}; a new one is a file conf/{group}/{name}.yaml"
    return sentence + did_you_mean(name, known, f"{group}=")


def _file(group: str, name: str, conf: Path) -> dict[str, Any]:
    path = conf / group / f"{name}.yaml"
    if not path.is_file():
        raise UserError("unknown-name", unknown(group, name, sorted(path.stem for path in (conf / group).glob("*.yaml"))))
    values = _yaml(path, f"conf/{group}/{name}.yaml")
    if not isinstance(values, dict) or not values:
        raise UserError("not-yaml", f"conf/{group}/{name}.yaml holds no KEY: VALUE; mend it")
    return values


def _yaml(path: Path, shown: str) -> Any:
    try:
        return OmegaConf.to_container(OmegaConf.load(path))
    except (YAMLError, OmegaConfBaseException, OSError, ValueError) as error:
        raise UserError("not-yaml", f"{shown} is not YAML of keys and values ({' '.join(str(error).split())}); mend it") from None
