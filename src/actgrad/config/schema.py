"""The typed schema of conf/: refuses unknown keys, wrong types and values out of range, each with a sentence."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator
from yaml import YAMLError

from actgrad.errors import UserError

CONF = Path(__file__).parents[3] / "conf"

NO_EXPERIMENT = "none"
"""Where there is no experiment: the study itself."""

TUNED = "tuned"
"""conf/experiment's name for learning rates that were searched for, and what the recipes that hold them end in."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")]
Positive = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, protected_namespaces=())


S = TypeVar("S", bound=Strict)


class Data(Strict):
    """A dataset: where its images come from and how they are split."""

    name: Name
    format: Literal["cifar10_binary", "digits", "image_folder", "npz"]
    urls: list[str] = []
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    archive: str | None = None
    val_size: Natural
    test_size: Natural = 0
    split_seed: Natural = 0
    source: str = ""
    licence: str = ""


class Activation(Strict):
    """A Keras layer, by its name in keras.layers or by a dotted path, and its arguments."""

    name: Name
    layer: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.]*$")]
    config: dict[str, Any] = {}


class Model(Strict):
    """LeNet-5's sizes."""

    name: Name
    filters: Annotated[list[Positive], Field(min_length=3, max_length=3)]
    kernel_size: Positive
    dense_units: Positive
    pooling: Literal["max", "average"]
    batch_normalization: bool


Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Recipe(Strict):
    """How a cell is trained and probed. A file of conf/recipe may give a learning rate for each activation; a cell has one."""

    name: Name
    input_scaling: Literal["none", "standardized"]
    kernel_initializer: Literal["glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_uniform", "lecun_normal"]
    optimizer: Literal["Adam", "SGD", "RMSprop"]
    learning_rate: Rate
    batch_size: Positive
    epochs: Positive
    precision: Literal["float32", "mixed_bfloat16"]
    threads: Positive
    steps_per_execution: Positive
    probe_size: Positive

    @field_validator("learning_rate", mode="before")
    @classmethod
    def whole_numbers_are_rates_too(cls, value: Any) -> Any:
        return float(value) if type(value) is int else value


class Tracking(Strict):
    """Where runs are logged."""

    enabled: bool
    uri: str
    experiment: str


class Config(Strict):
    """One cell, whole."""

    seed: Annotated[int, Field(ge=0, lt=2**31)]
    run_dir: str
    experiment: Name
    test: bool
    data: Data
    activation: Activation
    model: Model
    recipe: Recipe
    tracking: Tracking

    @property
    def key(self) -> str:
        study = self.data.name if self.experiment == NO_EXPERIMENT else f"{self.data.name}/{self.experiment}"
        return f"{study}/{self.activation.name}-{self.seed}"

    def deciding(self) -> dict[str, Any]:
        """All values that decide a result: the whole configuration but where things are written and logged."""
        return self.model_dump(exclude={"run_dir", "tracking"})


def _each_once(values: list) -> list:
    if twice := [value for value in dict.fromkeys(values) if values.count(value) > 1]:
        raise ValueError(f"{twice[0]} stands there more than once, and the same cell again is no further evidence; name it once")
    return values


Names = Annotated[list[Name], Field(min_length=1), AfterValidator(_each_once)]
Seeds = Annotated[list[Natural], Field(min_length=1), AfterValidator(_each_once)]


class Experiment(Strict):
    """Which cells an experiment has."""

    activations: Names
    seeds: Seeds


class Study(Strict):
    """params.yaml: which cells exist."""

    datasets: Names
    activations: Names
    seeds: Seeds
    experiments: Annotated[list[Name], AfterValidator(_each_once)] = []
    recipe: Name


def parse(schema: type[S], values: Any, where: str = "") -> S:
    """Check plain values against a schema.

    Raises:
        UserError: naming each offending key, what it may be and what it was.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise UserError("; ".join(_sentence(schema, e, where) for e in error.errors())) from None


def _sentence(schema: type[Strict], error: Any, where: str) -> str:
    key = where + ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        for part in error["loc"][:-1]:
            schema = schema.model_fields[part].annotation
        return f"{key} is not a key of this configuration; known there: {', '.join(schema.model_fields)}"
    if error["type"] == "missing":
        return f"{key} is missing; give it a value"
    reason = error["msg"].removeprefix("Value error, ")
    return f"{key}={error['input']!r} cannot be used: {reason[0].lower()}{reason[1:]}"


def cell_config(composed: DictConfig) -> Config:
    """The checked configuration of one cell, from what Hydra composed."""
    try:
        values = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise UserError(f"the configuration does not resolve: {str(error).splitlines()[0]}") from None
    rates, activation = values["recipe"].get("learning_rate"), values["activation"].get("name")
    check_tuned(values.get("experiment"), values["data"].get("name"), str(values["recipe"].get("name")))
    if isinstance(rates, dict):
        if activation not in rates:
            raise UserError(
                f"the recipe {values['recipe'].get('name')} has no learning rate for {activation}, only for {', '.join(rates)}; "
                "give one with recipe.learning_rate=NUMBER, or search for it with src/tune.py"
            )
        values["recipe"]["learning_rate"] = rates[activation]
    return parse(Config, values)


def check_tuned(experiment: str | None, dataset: str, recipe: str) -> None:
    """Raise UserError if the experiment `tuned` is to have a recipe that was not searched for."""
    if experiment == TUNED and not recipe.endswith(f"_{TUNED}"):
        raise UserError(
            f"experiment={TUNED} takes the recipe {dataset}_{TUNED}, written by src/tune.py, not {recipe}; "
            f"leave recipe= away, or take {TUNED} out of the experiments of params.yaml"
        )


def refusal(error: Exception) -> str:
    """The sentence for an error that Hydra or OmegaConf raised while composing."""
    if getattr(error, "missing_cfg_file", None) and getattr(error, "options", None):
        group, _, choice = error.missing_cfg_file.rpartition("/")
        return f"{group}={choice} is not known; known: {', '.join(error.options)}; a new one is a file conf/{group}/{choice}.yaml"
    cause = error.__cause__
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) and cause.parent_node is not None:
        known = ", ".join(str(key) for key in cause.parent_node if key != "hydra") or "none"
        more = f"; to pass another argument to the layer, write +{cause.full_key}=VALUE" if ".config." in str(cause.full_key) else ""
        return f"{cause.full_key} is not a key of this configuration; known there: {known}{more}"
    return " ".join(str(error).split())


def overrides(arguments: list[str]) -> list[str]:
    """The arguments for Hydra: without recipe=default, params.yaml's word for the recipe that the dataset's own file names.

    Raises:
        UserError: for GROUP=CHOICE where CHOICE is no name; Hydra would merge a list of them into a single cell.
    """
    for argument in arguments:
        group, equals, choice = argument.partition("=")
        if equals and (CONF / group).is_dir() and not re.match(r"[A-Za-z_*]", choice):
            raise UserError(f"{argument} is not understood; write {group}=NAME, or -m {group}=NAME,NAME,… for several cells")
    return [argument for argument in arguments if argument != "recipe=default"]


def data_config(name: str, overrides: list[str], conf: Path = CONF) -> Data:
    """The checked configuration of one dataset: conf/data/<name>.yaml with `data.KEY=VALUE` overrides."""
    values = _file("data", name, conf)
    if wrong := [item for item in overrides if not item.startswith("data.") or "=" not in item]:
        raise UserError(f"{wrong[0]!r} is not understood; write data.KEY=VALUE, with a KEY of {', '.join(Data.model_fields)}")
    try:
        merged = OmegaConf.merge(OmegaConf.create(values).data, OmegaConf.from_dotlist(overrides).get("data", {}))
        data = parse(Data, OmegaConf.to_container(merged, resolve=True), "data.")
    except (YAMLError, OmegaConfBaseException, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"conf/data/{name}.yaml {' '.join(overrides)} cannot be read ({reason}); mend it") from None
    if data.name != name:
        raise UserError(f"conf/data/{name}.yaml has data.name={data.name}; give it the name of its file, {name}")
    return data


def activation_config(name: str, conf: Path = CONF) -> Activation:
    """The checked conf/activation/<name>.yaml."""
    return parse(Activation, _file("activation", name, conf), f"conf/activation/{name}.yaml: ")


def model_config(name: str, conf: Path = CONF) -> Model:
    """The checked conf/model/<name>.yaml."""
    return parse(Model, _file("model", name, conf), f"conf/model/{name}.yaml: ")


def recipe_config(name: str, conf: Path = CONF) -> Recipe:
    """The checked conf/recipe/<name>.yaml, of one learning rate for all activations."""
    return parse(Recipe, _file("recipe", name, conf), f"conf/recipe/{name}.yaml: ")


def experiment(name: str, conf: Path = CONF) -> Experiment:
    """Which cells conf/experiment/<name>.yaml lists for Hydra's sweeper."""
    sweep = OmegaConf.select(OmegaConf.create(_file("experiment", name, conf)), "hydra.sweeper.params") or {}
    listed = {key: [part.strip() for part in str(sweep.get(key, "")).split(",")] for key in ("activation", "seed")}
    where = f"conf/experiment/{name}.yaml"
    if not all(seed.isdecimal() for seed in listed["seed"]):
        example = 'hydra: {sweeper: {params: {activation: "sigmoid,relu", seed: "0,1,2"}}}'
        raise UserError(f"{where} lists no cells, so there is nothing to compare; give it {example}")
    seeds = [int(seed) for seed in listed["seed"]]
    return parse(Experiment, {"activations": listed["activation"], "seeds": seeds}, f"{where}: ")


def cells(study: Study, conf: Path = CONF) -> dict[str | None, Experiment]:
    """Which cells the study itself (None) and each of its experiments has."""
    own = Experiment(activations=study.activations, seeds=study.seeds)
    return {None: own} | {name: experiment(name, conf) for name in study.experiments}


def _file(group: str, name: str, conf: Path) -> dict[str, Any]:
    path = conf / group / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(path.stem for path in (conf / group).glob("*.yaml")))
        raise UserError(f"{group}={name} is not known; known: {known}; a new one is a file conf/{group}/{name}.yaml")
    values = _yaml(path, f"conf/{group}/{name}.yaml")
    if not isinstance(values, dict):
        raise UserError(f"conf/{group}/{name}.yaml holds no KEY: VALUE; mend it")
    return values


def _yaml(path: Path, shown: str) -> Any:
    try:
        return OmegaConf.to_container(OmegaConf.load(path))
    except (YAMLError, OmegaConfBaseException, OSError, ValueError) as error:
        raise UserError(f"{shown} is not YAML of keys and values ({' '.join(str(error).split())}); mend it") from None


def study(path: Path) -> Study:
    """The checked params.yaml."""
    if not path.is_file():
        raise UserError(f"{path} is missing; it lists datasets, activations, seeds and recipe of the study")
    return parse(Study, _yaml(path, str(path)), f"{path.name}: ")
