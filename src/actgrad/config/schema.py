"""The typed schema of conf/ and params.yaml: refuses unknown keys, wrong types and values out of range, each with a sentence."""

import math
import re
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from actgrad.errors import UserError, did_you_mean, must_be

NAME, SHA256, FILE_NAME = r"^[A-Za-z0-9_]+$", r"^[0-9a-f]{64}$", r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$"
LAYER, BUILDER = r"^[A-Za-z_][A-Za-z0-9_.]*$", r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+$"
PATTERNS = {
    NAME: "it must be of letters, digits and _ alone",
    SHA256: "it must be a sha256: 64 characters of 0-9 and a-f",
    FILE_NAME: "it must be the name of a file, of letters, digits, _, - and dots",
    LAYER: "it must be the name of a layer, such as ReLU or my_pkg.acts.Snake",
    BUILDER: "it must be the dotted path of a function, such as my_pkg.nets.build",
}
"""Pattern -> error text, which says what a value must be if it does not match."""

Name = Annotated[str, Field(pattern=NAME)]
Positive = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Sha256 = Annotated[str, Field(pattern=SHA256)]
FileName = Annotated[str, Field(pattern=FILE_NAME)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, protected_namespaces=())


S = TypeVar("S", bound=Strict)


def _each_once(values: list) -> list:
    if twice := [value for value in dict.fromkeys(values) if values.count(value) > 1]:
        raise ValueError(f"{twice[0]} is listed twice; remove one")
    return values


Names = Annotated[list[Name], Field(min_length=1), AfterValidator(_each_once)]
Seeds = Annotated[list[Natural], Field(min_length=1), AfterValidator(_each_once)]


class Data(Strict):
    """A dataset: where its images come from and how they are split.

    Attributes:
        urls: addresses of the file with the checksum `sha256`; or of the folder in which the `files` lie.
        files: name -> sha256 of the unpacked file, where a dataset is several files.
        image_size: height and width that all images are resized to.
    """

    name: Name
    format: Literal["cifar10_binary", "cifar100_binary", "digits", "idx", "image_folder", "npz", "parquet"]
    urls: list[str] = []
    sha256: Sha256 | None = None
    files: dict[FileName, Sha256] = {}
    archive: Annotated[str, Field(min_length=1)] | None = None
    image_size: Annotated[int, Field(ge=4, le=1024)] | None = None
    val_size: Natural
    test_size: Natural = 0
    split_seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    source: str = ""
    licence: str = ""


class Activation(Strict):
    """A Keras layer, by its name in keras.layers or by a dotted path, and its arguments.

    Attributes:
        conditions: under which a study trains it. None: all that list it, and all that list no activation.
    """

    name: Name
    layer: Annotated[str, Field(pattern=LAYER)]
    config: dict[str, Any] = {}
    conditions: Names | None = None


class Model(Strict):
    """A function that builds a network, by a dotted path, and its arguments; see networks.build."""

    build: Annotated[str, Field(pattern=BUILDER)]
    config: dict[str, Any] = {}


Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Recipe(Strict):
    """How a run is trained and probed."""

    input_scaling: Literal["none", "standardized"]
    kernel_initializer: Literal["glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_uniform", "lecun_normal", "orthogonal"]
    optimizer: Literal["Adam", "AdamW", "SGD", "RMSprop"]
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
        if type(value) is not int:
            return value
        return float(value) if abs(value) <= sys.float_info.max else math.inf


class Tracking(Strict):
    """Where runs are logged.

    Attributes:
        experiment: the MLflow experiment of a run by hand.
        study: the MLflow experiment of the study's runs; empty if they use `experiment` too.
        name: the name of the MLflow run. Empty: made from the overrides, or from the key of a run of the study.
    """

    enabled: bool
    uri: str
    experiment: str
    study: str = ""
    name: str = ""

    def of_study(self) -> "Tracking":
        """These settings for a run of the study."""
        return self.model_copy(update={"experiment": self.study or self.experiment, "name": ""})


class Condition(Strict):
    """What a set of runs has in common, apart from the dataset. It may list fewer activations or other seeds than params.yaml."""

    name: Name
    activations: Names | None = None
    seeds: Seeds | None = None


class Config(Strict):
    """The whole configuration of one run.

    Attributes:
        run: the key of a run of the study, whose values come from its composed file; None for a run by hand.
    """

    run: str | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    run_dir: Annotated[str, Field(min_length=1)]
    test: bool
    condition: Condition
    data: Data
    activation: Activation
    model: Model
    recipe: Recipe
    tracking: Tracking

    @property
    def key(self) -> str:
        return f"{self.data.name}/{self.activation.name}/{self.condition.name}-{self.seed}"

    def named(self, name: str) -> "Config":
        """This configuration with a name for MLflow, unless it has one."""
        return self.model_copy(update={"tracking": self.tracking.model_copy(update={"name": self.tracking.name or name})})

    def deciding(self) -> dict[str, Any]:
        """The values that decide a result. Not among them: names, where things are written, and the dataset, which counts by its checksum."""
        return self.model_dump(
            include={"seed": True, "test": True, "activation": {"name", "layer", "config"}, "model": True, "recipe": True}, warnings=False
        )


class Fewer(Strict):
    """The study's conditions and seeds that are used for one dataset; None: all. `most_seeds` limits the number of seeds of single conditions."""

    conditions: Names | None = None
    seeds: Seeds | None = None
    most_seeds: dict[Name, Positive] = {}


class Study(Strict):
    """params.yaml: which runs exist.

    Attributes:
        only: dataset -> the conditions and seeds that it is limited to.
    """

    datasets: Names
    conditions: Names
    activations: Names
    seeds: Seeds
    only: dict[Name, Fewer] = {}


def parse(schema: type[S], values: Any, where: str = "") -> S:
    """Check plain values against a schema.

    Raises:
        UserError: naming each offending key, what it may be and what it was.
    """
    if not isinstance(values, dict) or not values:
        raise UserError("not-yaml", f"{where.rstrip(': .')} holds no KEY: VALUE; it needs {', '.join(schema.model_fields)}")
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        wrong = [_refusal(schema, e, where) for e in error.errors()]
        raise UserError(wrong[0].code, "; ".join(map(str, wrong))) from None


def _known(schema: Any, place: Sequence[str | int]) -> list[str]:
    """The keys at a place of a schema."""
    for part in place:
        schema = schema.model_fields[part].annotation if part in getattr(schema, "model_fields", {}) else get_args(schema)[-1]
    return list(schema.model_fields)


def _refusal(schema: type[Strict], error: Any, where: str) -> UserError:
    """The UserError for one of the errors that pydantic lists."""
    key = where + ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        known = _known(schema, error["loc"][:-1])
        suggestion = did_you_mean(str(error["loc"][-1]), known)
        return UserError("unknown-key", f"{key} is not a key of this configuration; known there: {', '.join(known)}{suggestion}")
    if error["type"] == "missing":
        return UserError("missing-value", f"{key} is missing; give it a value")
    given = error["input"]
    named = f"the key {given!r} of {where}{'.'.join(map(str, error['loc'][:-2]))}" if error["loc"][-1] == "[key]" else f"{key}={given!r}"
    wrong = f"{named} cannot be used: {PATTERNS.get(error.get('ctx', {}).get('pattern')) or must_be(error)}"
    return UserError("wrong-value", wrong + _remedy(error, given))


def _remedy(error: Any, given: Any) -> str:
    """How to write a value, if its type tells; else empty."""
    if error["type"] == "literal_error":
        return did_you_mean(str(given), re.findall("'([^']+)'", error["ctx"]["expected"]))
    if error["type"] == "string_type" and isinstance(given, bool):
        return "; YAML reads no, yes, on and off as true or false: write it in quotes"
    if error["type"] == "string_type" and isinstance(given, int | float):
        return f"; write it in quotes, '{given}'"
    if error["type"] == "list_type" and isinstance(given, str | int):
        return f"; write it as a list, [{given}]"
    return ""
