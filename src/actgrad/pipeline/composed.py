"""The composed configuration of all runs of one activation, in a file that DVC, git and training use."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from actgrad.config import composing, loading
from actgrad.config.schema import Config, Study, Tracking, parse
from actgrad.errors import UserError
from actgrad.files import write_bytes
from actgrad.networks.own_code import is_own
from actgrad.results import fingerprint, paths


@dataclass(frozen=True)
class ComposedRun:
    """One run of a study: its names, and the values that decide its result. `values` has no seed."""

    dataset: str
    activation: str
    condition: str
    seed: int
    values: Mapping[str, Any] = field(compare=False)

    @property
    def key(self) -> str:
        return f"{self.dataset}/{self.activation}/{self.condition}-{self.seed}"

    @property
    def names(self) -> dict[str, Any]:
        """Values for interpolations in conf/tracking, such as ${data.name}."""
        return {"data": {"name": self.dataset}, "activation": {"name": self.activation}, "condition": {"name": self.condition}, "seed": self.seed}

    @property
    def folder(self) -> Path:
        return paths.run_folder(self.dataset, self.activation, self.condition, self.seed)

    @property
    def threads(self) -> int:
        return self.values["recipe"]["threads"]

    def fingerprint(self, data_sha256: str, core_sha256: str, environment: Mapping[str, str]) -> str:
        return fingerprint.fingerprint({"seed": self.seed, **self.values}, data_sha256, core_sha256, environment)

    def config(self, tracking: Tracking) -> Config:
        """The whole configuration for training the run."""
        values = {"seed": self.seed, **self.values, "run": self.key, "run_dir": str(self.folder), "condition": {"name": self.condition}}
        values |= {"data": loading.data_config(self.dataset, []).model_dump(), "tracking": tracking.model_dump()}
        return parse(Config, values, f"{paths.composed_path(self.dataset, self.activation)}: ")


@dataclass(frozen=True)
class Composed:
    """All runs of an activation, and the sha256 of the core that they are composed for."""

    core_sha256: str
    runs: list[ComposedRun]


def write(dataset: str, activation: str, study: Study) -> None:
    """Compose the runs of an activation, and write them to their file. Raises the same errors as `text`."""
    write_bytes(paths.composed_path(dataset, activation), text(dataset, activation, study).encode())


def text(dataset: str, activation: str, study: Study) -> str:
    """The composed runs of an activation, as YAML.

    Raises:
        UserError: if a file of conf/ or params.yaml cannot be used.
    """
    conditions = {}
    for name, listed in loading.listed(study, dataset).items():
        if activation not in listed.activations:
            continue
        values = _config(dataset, activation, name, listed.seeds[0]).deciding()
        del values["seed"]
        conditions[name] = {"seeds": listed.seeds, **values}
    content = {"core_sha256": fingerprint.CORE_SHA256, "conditions": conditions}
    return _head(dataset, activation) + yaml.safe_dump(content, sort_keys=False, default_flow_style=None)


def check(study: Study) -> int:
    """Compose a run of each dataset and condition, and one of each activation, and return the number of runs of the study.

    Raises:
        UserError: if a file of conf/ or params.yaml cannot be used, or the module of an own activation or network is not found.
    """
    runs = 0
    for dataset in study.datasets:
        checked: set[str] = set()
        for name, one in loading.listed(study, dataset).items():
            for activation in [other for other in one.activations if other not in checked] or one.activations[:1]:
                _check_own_code(_config(dataset, activation, name, one.seeds[0]))
            checked |= {*one.activations}
            runs += len(one.activations) * len(one.seeds)
    return runs


def _config(dataset: str, activation: str, condition: str, seed: int) -> Config:
    chosen = [f"data={dataset}", f"activation={activation}", f"condition={condition}", f"seed={seed}", "run_dir=unused"]
    config = composing.composed([*chosen, *composing.without_local()])
    composing.check_names(config, {"data": dataset, "activation": activation, "condition": condition})
    return config


def _check_own_code(config: Config) -> None:
    for key, path in (("activation.layer", config.activation.layer), ("model.build", config.model.build)):
        if is_own(path) and not fingerprint.own_files(path):
            raise UserError(
                "missing-module",
                f"{key}={path}: there is no module {path.partition('.')[0]} in PYTHONPATH; put its folder there: export PYTHONPATH=FOLDER",
            )


def _head(dataset: str, activation: str) -> str:
    """The first line of the file, which names its activation and dataset."""
    command = f"python src/study.py data={dataset} activation={activation} --compose"
    return f"# The runs of {activation} on {dataset}, and what decides their results: {command}\n"


def read(dataset: str, activation: str) -> Composed:
    """The runs of an activation, as `write` wrote them.

    Raises:
        UserError: if the file is missing, damaged, or belongs to another activation or dataset.
    """
    path = paths.composed_path(dataset, activation)
    again = f"write it with python src/study.py data={dataset} activation={activation} --compose"
    try:
        written = path.read_text(encoding="utf-8")
        if written.startswith("# The runs of ") and not written.startswith(_head(dataset, activation)):
            raise UserError("misplaced-file", f"{path} does not hold the runs of {activation} on {dataset}, but those of another; {again}")
        content = yaml.load(written, yaml.CSafeLoader)
        runs = [
            ComposedRun(dataset, activation, condition, seed, {key: value for key, value in values.items() if key != "seeds"})
            for condition, values in content["conditions"].items()
            for seed in values["seeds"]
        ]
        return Composed(content["core_sha256"], runs)
    except FileNotFoundError:
        raise UserError("not-composed", f"{path} is missing; {again}") from None
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError("damaged-result", f"{path} is damaged ({' '.join(str(error).split())}); {again}") from None


def current(dataset: str, activation: str) -> list[ComposedRun]:
    """The runs of an activation, as `write` wrote them for the core of this process.

    Raises:
        UserError: if the file is missing or damaged, or was written for another core.
    """
    found = read(dataset, activation)
    if found.core_sha256 != fingerprint.CORE_SHA256:
        path = paths.composed_path(dataset, activation)
        raise UserError(
            "stale-result", f"{path} was written for other code of src/actgrad; write it anew with dvc repro compose@{dataset}-{activation}"
        )
    return found.runs


def run(key: str) -> ComposedRun:
    """The run of this key, from its composed file.

    Raises:
        UserError: if there is no such run.
    """
    parts = key.split("/")
    if len(parts) != 3:
        raise UserError(
            "not-understood", f"run={key} is not understood; write run=DATASET/ACTIVATION/CONDITION-SEED, such as run=digits/relu/baseline-0"
        )
    runs = {one.key: one for one in read(*parts[:2]).runs}
    if key not in runs:
        raise UserError(
            "unknown-run", f"{paths.composed_path(*parts[:2])} has no run {parts[2]}; it has {', '.join(one.split('/')[2] for one in runs)}"
        )
    return runs[key]


def check_no_other_values(overrides: Sequence[str]) -> None:
    """Raise UserError if the command line sets other values with run=KEY, which takes all values from its composed file."""
    if others := [one for one in overrides if one.lstrip("+").partition("=")[0] != "run" and not one.startswith("tracking.")]:
        raise UserError("no-use", f"{others[0]} has no use beside run=KEY, whose values are those of its file in runs/; leave it out")
