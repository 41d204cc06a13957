"""Compare activations on your own network and data, without the pipeline but with the same training and analysis."""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from actgrad.analysis import tables
from actgrad.analysis.evidence import Evidence
from actgrad.analysis.runs import Runs
from actgrad.config.schema import Activation, Condition, Config, Data, Model, Recipe, Tracking, parse
from actgrad.data.dataset import Dataset, with_all_splits
from actgrad.data.labels import check_not_negative
from actgrad.data.splits import split
from actgrad.errors import UserError
from actgrad.files import write_bytes
from actgrad.networks.activations import ActivationFactory, curve
from actgrad.pipeline.progress import gradient
from actgrad.pipeline.run import result_of
from actgrad.report.content import content
from actgrad.training import loop
from actgrad.training.epochs import Epoch
from actgrad.training.names import VAL_ACCURACY

NAME = "comparison"
OWN_LAYERS = {
    "leaky_relu": ("LeakyReLU", {"negative_slope": 0.01}),
    "prelu": ("actgrad.networks.layers.ChannelPReLU", {}),
    "maxout": ("actgrad.networks.layers.Maxout", {}),
}
"""Layers and arguments of activations that keras.activations lacks, or whose default in Keras differs from their paper."""

WORDS = {
    "model.build=": "build=",
    "activation.layer=": "activation=",
    "activation.config={}": "a call without arguments",
    "activation.config=": "activation=",
    ", or change a value of model.config": "",
    ", and set recipe.precision": "",
    "recipe.batch_size=": "batch_size=",
    f" of {NAME};": ";",
}
"""Words of the pipeline in the sentences of training -> words of `compare`."""


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Attributes:
        runs: activation -> its runs, one per seed.
        summary: one row per activation: seeds, runs that diverged or failed, accuracies and gradient norms (mean and standard deviation).
        pairs: one row per pair of activations: difference of test accuracy, paired by seed, its interval, and whether it is significant after
            Holm's correction.
        gradients: one row per activation, epoch and activated layer: `preact_grad_rms`, and `attenuation` of the whole network in decades.
        units: one row per activation: number of units, and of dead units before and after training.
    """

    runs: Runs
    data: Data

    @property
    def summary(self) -> pd.DataFrame:
        return tables.summary(self.runs).copy()

    @property
    def pairs(self) -> pd.DataFrame:
        return tables.paired(self.runs)

    @property
    def gradients(self) -> pd.DataFrame:
        return tables.preact_grads(self.runs)

    @property
    def units(self) -> pd.DataFrame:
        return tables.unit_totals(tables.unit_states(self.runs))

    @property
    def overview(self) -> pd.DataFrame:
        """One row per activation: mean test accuracy of runs that learned, attenuation before training in decades, dead units after training."""
        start = self.gradients.query("epoch == 0").groupby("activation", sort=False)["attenuation"].first()
        rows = self.summary.set_index("activation")[["test_accuracy_last_mean", "diverged", "failed"]]
        return rows.rename(columns={"test_accuracy_last_mean": "test_accuracy"}).join(start).join(self.units.set_index("activation")["dead"])

    def __str__(self) -> str:
        return self.overview.to_string(float_format=lambda value: f"{value:.3g}")

    def _repr_html_(self) -> str:
        """Table that a notebook shows."""
        return self.overview.to_html(float_format=lambda value: f"{value:.3g}")

    def report(self, folder: str | Path) -> Path:
        """Write the report page, its tables and its figures into a folder, and return the page's path.

        Raises:
            ValueError: if there is a file of this name.
        """
        folder = Path(folder)
        if folder.is_file():
            raise ValueError(f"{folder} is a file; name a folder")
        for name, content_of_file in content(Evidence(NAME, {NAME: self.runs}), self.data).items():
            write_bytes(folder / name, content_of_file)
        return folder / "index.html"


def compare(
    build: Callable[[ActivationFactory], keras.Model],
    activations: Sequence[str],
    data: tuple[Any, Any],
    test: tuple[Any, Any] | None = None,
    seeds: int | Sequence[int] = 3,
    epochs: int = 10,
    batch_size: int = 32,
    optimizer: str = "Adam",
    learning_rate: float = 0.001,
) -> Comparison:
    """Train a network with each activation and seed, measure every step of it, and compare.

    Nothing is written to disk. Keras' session is cleared before each run, its random generators are seeded, and TensorFlow stays deterministic
    afterwards.

    Args:
        build: function that takes an activation and returns the network, not compiled. `activation()` makes a new layer, as in
            `Dense(64, activation=activation())`. The network's outputs are logits or probabilities, one per class.
        activations: names of keras.activations, `leaky_relu`, `prelu`, `maxout`, or dotted paths of Keras layers of your own.
        data: (x, y): x (n, …) as the network takes it, y (n,) the classes, numbered from 0. A tenth is held out for validation, and at least
            one example of each class.
        test: (x, y); without it a fifth of the data is held out, and at least one example of each class.
        seeds: number of seeds, or a list of them.
        epochs, batch_size, learning_rate: how each run is trained.
        optimizer: "Adam", "AdamW", "SGD" or "RMSprop", with Keras' defaults for all but the learning rate.

    Raises:
        ValueError: if an argument cannot be used; it says which, and what to do.
    """
    if keras.backend.backend() != "tensorflow":
        raise ValueError(f"compare trains on TensorFlow, and Keras' backend is {keras.backend.backend()}; set KERAS_BACKEND=tensorflow")
    precision = keras.config.dtype_policy()
    try:
        if isinstance(activations, str):
            raise UserError("wrong-value", f"activations={activations!r} is one name; write activations=[{activations!r}]")
        named = dict(map(_activation, activations))
        keras.config.set_dtype_policy("float32")
        for activation in named.values():
            curve(activation)  # refuse an unusable activation before any training
        if len(named) < len(activations) or not named:
            raise UserError("wrong-value", f"activations={list(activations)} must be one or more, each once")
        recipe = parse(
            Recipe,
            {
                "input_scaling": "none",
                "kernel_initializer": "glorot_uniform",
                "optimizer": optimizer,
                "learning_rate": learning_rate,
                "batch_size": batch_size,
                "epochs": epochs,
                "precision": "float32",
                "threads": 1,
                "steps_per_execution": 1,
                "probe_size": 512,
            },
        ).model_copy(update={"threads": None, "kernel_initializer": "the network's own"})  # keep the threads that this process has
        described, dataset = _dataset(data, test)
        return Comparison(_trained(build, named, dataset, _seeds(seeds), recipe, described), described)
    except UserError as error:
        said = str(error)
        for word, ours in WORDS.items():
            said = said.replace(word, ours)
        raise ValueError(said) from None
    finally:
        keras.config.set_dtype_policy(precision)


def _trained(build: Callable, named: dict[str, Activation], dataset: Dataset, seeds: Sequence[int], recipe: Recipe, data: Data) -> Runs:
    if not callable(build) or isinstance(build, keras.Layer):
        raise UserError("not-a-function", f"build={build!r} is not a function; give one that takes an activation and returns a network")

    def builder(_shape: Any, _classes: int, activation: ActivationFactory, _initializer: Any) -> keras.Model:
        return build(activation)

    fixed: dict[str, Any] = {"run_dir": "", "test": True, "condition": Condition(name=NAME), "data": data, "recipe": recipe}
    fixed |= {"model": Model.model_construct(build=f"{build.__module__}.{build.__qualname__}", config={})}
    fixed |= {"run": None, "tracking": Tracking(enabled=False, uri="", experiment="")}
    runs: dict[str, list] = {name: [] for name in named}
    with tqdm(total=len(named) * len(seeds) * recipe.epochs, unit="epoch", file=sys.stderr) as bar:
        for seed in seeds:  # seeds outside, so that every activation is trained early
            for name, activation in named.items():
                config = Config.model_construct(seed=seed, activation=activation, **fixed)
                bar.set_description(f"{name}, seed {seed}")
                measured, _ = loop.train(config, dataset, [_Progress(bar)], builder=builder)
                bar.update(recipe.epochs - measured.metrics["epochs"])  # a diverged run ends early
                runs[name].append(result_of(config, measured, "", ""))
    return runs


def _seeds(seeds: Any) -> list[int]:
    found = [*range(seeds)] if isinstance(seeds, int) else [*seeds] if isinstance(seeds, Iterable) else []
    if not found or len(set(found)) < len(found) or not all(isinstance(seed, int | np.integer) and 0 <= seed < 2**31 for seed in found):
        raise UserError("wrong-value", f"seeds must be 1 or more, or a list of different whole numbers from 0 on; they are {seeds!r}")
    return [int(seed) for seed in found]


class _Progress:
    """Shows each epoch."""

    def __init__(self, bar: tqdm):
        self._bar = bar

    def resumed(self, epochs: Sequence[Epoch]) -> None:
        """Never called, because no state is kept."""

    def epoch_finished(self, epoch: Epoch) -> None:
        if epoch.history:
            self._bar.update()
            self._bar.set_postfix_str(", ".join([f"accuracy {epoch.history[VAL_ACCURACY]:.3f}", *gradient(epoch)]))


def _activation(name: str) -> tuple[str, Activation]:
    if not isinstance(name, str):
        raise UserError("wrong-value", f"activations must be names or dotted paths, such as 'gelu' or 'my_pkg.acts.Snake'; {name!r} is neither")
    if "." in name:
        short = name.rpartition(".")[2].lower()
        return short, parse(Activation, {"name": short, "layer": name})
    if name in OWN_LAYERS:
        layer, config = OWN_LAYERS[name]
        return name, Activation(name=name, layer=layer, config=config)
    try:
        keras.activations.get(name)
    except ValueError:
        raise UserError(
            "unknown-name",
            f"activation {name!r} is not known; give a name of keras.activations, {', '.join(OWN_LAYERS)}, or the dotted path of a layer",
        ) from None
    return name, Activation(name=name, layer="Activation", config={"activation": name})


def _dataset(data: tuple[Any, Any], test: tuple[Any, Any] | None) -> tuple[Data, Dataset]:
    """Description of the data, and its splits."""
    parts = {"train": _arrays(data, "data")} | ({} if test is None else {"test": _arrays(test, "test")})
    _check(parts)
    x, y = parts["train"]
    classes, examples = 1 + int(y.max()), len(x)
    test_size = 0 if test is not None else max(classes, examples // 5)
    described = Data(name=NAME, format="npz", source="data of your own", test_size=test_size, val_size=max(classes, examples // 10))
    whole = with_all_splits({name: x for name, (x, _) in parts.items()}, {name: y for name, (_, y) in parts.items()}, [*map(str, range(classes))])
    return described, split(described, whole)


def _check(parts: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Raise UserError unless the parts are alike, and each class has enough examples to train, validate and test on."""
    x, y = parts["train"]
    labels, counts = np.unique(y, return_counts=True)
    uses = ["train", "validate"]
    if "test" in parts:
        test_x, test_y = parts["test"]
        if test_x.shape[1:] != x.shape[1:]:
            raise UserError("mixed-sizes", f"an example of test has the shape {test_x.shape[1:]}, and one of data {x.shape[1:]}; give both the same")
        if len(other := np.setdiff1d(test_y, labels)):
            raise UserError("wrong-labels", f"test has the label {other[0]}, and data has no example of it; each class of test must be in data too")
    else:
        uses.append("test")
    if labels[0] > 0:
        remedy = f"subtract {labels[0]}, as in (x, y - {labels[0]})" if labels[-1] - labels[0] < len(labels) else "number the classes from 0"
        raise UserError("wrong-labels", f"labels of data run from {labels[0]} to {labels[-1]}, and classes are numbered from 0; {remedy}")
    if len(labels) < 2:
        raise UserError("one-class", "data has examples of one class; a classifier needs at least two")
    if counts.min() < len(uses):
        raise UserError(
            "wrong-arrays",
            f"data has {len(y)} examples, {counts.min()} of them of the class {labels[counts.argmin()]}; "
            f"each class needs {len(uses)}, to {', '.join(uses)}: add some, or leave the class out",
        )


def _arrays(pair: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    if not (isinstance(pair, tuple | list) and len(pair) == 2):
        raise UserError("wrong-arrays", f"{name} must be (x, y)")
    x, y = (np.asarray(part) for part in pair)
    if x.ndim < 2 or x.dtype.kind not in "fiub" or y.ndim != 1 or y.dtype.kind not in "iu" or len(x) != len(y) or not len(y):
        raise UserError(
            "wrong-arrays",
            f"{name}=(x, y) must be numbers (n, …) and labels (n,), whole numbers from 0 on; they are {x.dtype} {x.shape} and {y.dtype} {y.shape}",
        )
    check_not_negative(name, y)
    if not np.isfinite(x).all():
        raise UserError("wrong-arrays", f"x of {name} has NaN or infinity; mend it")
    return x, y
