"""Names of what is measured, and the files in which it is kept."""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from actgrad.errors import UserError
from actgrad.files import write_bytes

LAYERS = ("conv1", "conv2", "conv3", "dense1", "output")
ACTIVATED_LAYERS = LAYERS[:-1]
PROBED = ("delta_rms", "dead", "died", "revived", "saturated")
"""What of the probe's measurements a run logs."""

SATURATION = 0.05
"""A derivative below this share of the function's largest counts as saturated."""

TRAIN_LOSS, TRAIN_ACCURACY = "train/loss", "train/accuracy"
VAL_LOSS, VAL_ACCURACY = "val/loss", "val/accuracy"
TEST = TEST_LOSS, TEST_ACCURACY = "test/loss", "test/accuracy"
HISTORY = (TRAIN_LOSS, TRAIN_ACCURACY, VAL_LOSS, VAL_ACCURACY)


def grad_norm(layer: str) -> str:
    return f"grad_norm/{layer}"


def folder(study: str, activation: str, seed: int) -> Path:
    """Where the pipeline keeps a cell of a study, <dataset> or <dataset>/<experiment>."""
    return Path("runs", study, f"{activation}-{seed}")


def recipe_path(dataset: str, experiment: str | None = None) -> Path:
    """Where the pipeline keeps the recipe of a dataset's study, or of one of its experiments."""
    return Path("runs", dataset, f"recipe-{experiment}.yaml" if experiment else "recipe.yaml")


def depth_path(dataset: str) -> Path:
    """Where the attenuation of stacks of several depths is kept."""
    return Path("runs", dataset, "depth.csv")


def tuning_path(dataset: str) -> Path:
    """Where the search for learning rates is kept: one row a trial."""
    return Path("runs", dataset, "tuning.csv")


def validation_label(metrics: dict[str, Any]) -> str:
    """What the validation figures of a cell were measured on, in words."""
    return "validation" if metrics["validation_split"] == "val" else "test as validation"


FILES = ("config.yaml", "history.csv", "gradients.parquet", "probe.csv", "activation.csv", "metrics.json")
"""The files of a cell, in the order in which they are written."""


@dataclass(frozen=True)
class CellResult:
    """What one training measured. Nothing in it differs between two runs of the same cell on one machine.

    Attributes:
        config: the resolved configuration, less what decides no result (tracking, run_dir), as YAML text.
        history: one row per finished epoch: epoch, step, and the metrics of HISTORY.
        gradients: one row per optimizer step: step (from 1) and the gradient norm of each of LAYERS, float32.
        probe: one row per epoch (0 is before any update) and layer: epoch, step, and what gradients.Probe measures.
        activation: z, value and derivative of the activation function at initialisation.
        metrics: status, epochs, last and best values, how far the network is from affine, checksums, environment.
    """

    config: str
    history: pd.DataFrame
    gradients: pd.DataFrame
    probe: pd.DataFrame
    activation: pd.DataFrame
    metrics: dict[str, Any]

    @property
    def key(self) -> str:
        return self.metrics["key"]

    @property
    def seed(self) -> int:
        return int(self.key.rpartition("-")[2])

    def write(self, folder: Path) -> None:
        """Write the files of the cell, each of them whole or not at all; metrics.json last, so that it means that all are there."""
        parquet = io.BytesIO()
        self.gradients.to_parquet(parquet, index=False)
        write_bytes(folder / "config.yaml", self.config.encode())
        write_bytes(folder / "history.csv", csv_bytes(self.history))
        write_bytes(folder / "gradients.parquet", parquet.getvalue())
        write_bytes(folder / "probe.csv", csv_bytes(self.probe))
        write_bytes(folder / "activation.csv", csv_bytes(self.activation))
        write_bytes(folder / "metrics.json", json_bytes(self.metrics))

    @classmethod
    def read(cls, folder: Path) -> "CellResult":
        """Read the files that `write` wrote.

        Raises:
            UserError: if one is missing or damaged.
        """
        try:
            return cls(
                config=(folder / "config.yaml").read_text(),
                history=pd.read_csv(folder / "history.csv").astype(dict.fromkeys(HISTORY, float)),
                gradients=pd.read_parquet(folder / "gradients.parquet"),
                probe=pd.read_csv(folder / "probe.csv"),
                activation=pd.read_csv(folder / "activation.csv"),
                metrics=json.loads((folder / "metrics.json").read_text()),
            )
        except FileNotFoundError as error:
            raise UserError(f"{error.filename} is missing; train the cell: dvc repro, or dvc pull if it was trained elsewhere") from None
        except (ValueError, KeyError) as error:
            raise UserError(f"a file in {folder} is damaged ({' '.join(str(error).split())}); remove the folder, and train the cell again") from None


def finished(folder: Path, fingerprint: str) -> dict[str, Any] | None:
    """The metrics of a cell of this fingerprint that has been written there, whole; None if there is none."""
    try:
        metrics = json.loads((folder / "metrics.json").read_text())
    except (OSError, ValueError):
        return None
    return metrics if metrics.get("fingerprint") == fingerprint and not missing(folder) else None


def missing(folder: Path) -> list[str]:
    """Those of FILES that a folder has not."""
    return [name for name in FILES if not (folder / name).is_file()]


def csv_bytes(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False, lineterminator="\n").encode()


def json_bytes(values: Any) -> bytes:
    return (json.dumps(values, indent=2, allow_nan=False) + "\n").encode()
