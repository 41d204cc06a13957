"""The files of a run."""

import functools
import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from actgrad.errors import UserError
from actgrad.files import write_bytes
from actgrad.results.paths import RUNS
from actgrad.training.names import HISTORY

FILES = ("config.yaml", "history.csv", "steps.parquet", "probe.csv", "activation.csv", "metrics.json")
"""The files of a run, in the order in which they are written."""


@dataclass(frozen=True)
class RunResult:
    """Measurements of one training. They are identical if the same run is trained twice on one machine.

    Attributes:
        config: the configuration that decides the result (Config.deciding), as YAML text.
        history: one row per finished epoch: epoch, step, and the metrics of HISTORY.
        steps: one row per optimizer step and layer: step (from 1), layer, and the norms of its gradient, update and weights, float32.
        probes: one row per measurement and site: epoch (0 is before any update; missing within an epoch), step, and the columns of
            ActivationProbe.
        activation: z, value and derivative of the activation function at initialisation.
        metrics: key, status, epochs, layers, last and best values, linearity, census, distance, checksums, environment.
    """

    config: str
    history: pd.DataFrame
    steps: pd.DataFrame
    probes: pd.DataFrame
    activation: pd.DataFrame
    metrics: dict[str, Any]

    @property
    def key(self) -> str:
        """<dataset>/<activation>/<condition>-<seed>"""
        return self.metrics["key"]

    @property
    def dataset(self) -> str:
        return self.key.split("/")[0]

    @property
    def activation_name(self) -> str:
        return self.key.split("/")[1]

    @property
    def condition(self) -> str:
        return self.key.split("/")[2].rpartition("-")[0]

    @property
    def seed(self) -> int:
        return int(self.key.rpartition("-")[2])

    @property
    def layers(self) -> list[str]:
        """The layers whose gradient was recorded, in the order of the network."""
        return [one["layer"] for one in self.metrics["layers"]]

    @functools.cached_property
    def gradients(self) -> pd.DataFrame:
        """One row per optimizer step: step, and the gradient norm of each layer."""
        norms = self.steps.pivot(index="step", columns="layer", values="grad_norm").reindex(columns=self.layers)  # noqa: PD010  half the time of pivot_table
        return norms.rename_axis(columns=None).reset_index()

    @functools.cached_property
    def probe(self) -> pd.DataFrame:
        """The measurements of the probe before any update and at the end of each epoch."""
        whole = self.probes[self.probes["epoch"].notna().to_numpy()]
        return whole.assign(epoch=whole["epoch"].to_numpy(int))

    @functools.cached_property
    def activated(self) -> list[str]:
        """The layers that apply an activation function, in the order of the network."""
        hidden = self.probes["hidden"].astype(bool)
        return list(dict.fromkeys(self.probes.loc[hidden, "layer"]))

    def write(self, folder: Path) -> dict[str, Any]:
        """Write each file in one step, and metrics.json last, with the sha256 of the others.

        Returns:
            The content of metrics.json.
        """
        parquet = io.BytesIO()
        self.steps.to_parquet(parquet, index=False)
        contents = (self.config.encode(), csv_bytes(self.history), parquet.getvalue(), csv_bytes(self.probes), csv_bytes(self.activation))
        metrics = self.metrics | {"files": {name: hashlib.sha256(data).hexdigest() for name, data in zip(FILES[:-1], contents, strict=True)}}
        for name, data in zip(FILES, (*contents, json_bytes(metrics)), strict=True):
            write_bytes(folder / name, data)
        return metrics

    @classmethod
    def read(cls, folder: Path) -> "RunResult":
        """Read the files that `write` wrote.

        Raises:
            UserError: if a file is missing, damaged, or not the one that was written.
        """
        try:
            metrics = read_metrics(folder)
            contents = {name: (folder / name).read_bytes() for name in FILES[:-1]}
            if changed := [name for name, data in contents.items() if hashlib.sha256(data).hexdigest() != metrics["files"].get(name)]:
                raise UserError("damaged-result", f"{folder / changed[0]} is not the file that metrics.json lists there; {AGAIN}")
            return cls(
                config=contents["config.yaml"].decode(),
                history=pd.read_csv(io.BytesIO(contents["history.csv"]), dtype=dict.fromkeys(HISTORY, float)),
                steps=pd.read_parquet(io.BytesIO(contents["steps.parquet"])),
                probes=pd.read_csv(io.BytesIO(contents["probe.csv"]), dtype={"epoch": "Int64"}),
                activation=pd.read_csv(io.BytesIO(contents["activation.csv"])),
                metrics=metrics,
            )
        except FileNotFoundError as error:
            raise UserError(
                "missing-run",
                f"{error.filename} is missing; train the run with dvc repro, or bring it with dvc pull (one that git holds: --remote published)",
            ) from None
        except (ValueError, KeyError) as error:
            raise UserError("damaged-result", f"a file in {folder} is damaged ({' '.join(str(error).split())}); {AGAIN}") from None


AGAIN = "remove the folder, and train the run again"


def read_metrics(folder: Path) -> dict[str, Any]:
    """The metrics.json of a run.

    Raises:
        UserError: if it is damaged, or another run's.
    """
    path = folder / "metrics.json"
    try:
        metrics = json.loads(path.read_text())
    except ValueError as error:
        raise UserError("damaged-result", f"{path} is damaged ({' '.join(str(error).split())}); {AGAIN}") from None
    if not (isinstance(metrics, dict) and isinstance(metrics.get("files"), dict)):
        raise UserError("damaged-result", f"{path} does not hold the metrics of a run; {AGAIN}")
    if folder.parts[-4:-3] == (RUNS.name,) and metrics.get("key") != "/".join(folder.parts[-3:]):
        raise UserError("misplaced-file", f"{folder} holds the run {metrics.get('key')}; {AGAIN}")
    return metrics


def identity_of(folder: Path) -> tuple[str, str] | None:
    """Key and fingerprint of the run in a folder; None if its metrics.json cannot be read."""
    try:
        metrics = json.loads((folder / "metrics.json").read_text())
        return metrics["key"], metrics["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def copy(source: Path, folder: Path, key: str) -> dict[str, Any]:
    """Copy the files of a run for the run `key`, which has the same values under another condition. Only the key in metrics.json changes.

    Returns:
        Its metrics.
    """
    metrics = json.loads((source / "metrics.json").read_text()) | {"key": key}
    contents = {name: (source / name).read_bytes() for name in FILES[:-1]} | {"metrics.json": json_bytes(metrics)}
    for name, data in contents.items():
        write_bytes(folder / name, data)
    return metrics


def finished(folder: Path, fingerprint: str) -> dict[str, Any] | None:
    """The metrics of the run in a folder, if it has this fingerprint and each file has the checksum that metrics.json lists.

    Returns:
        None if there is no such run.
    """
    try:
        metrics = read_metrics(folder)
        if metrics["fingerprint"] != fingerprint or set(metrics["files"]) != set(FILES[:-1]):
            return None
        whole = all(hashlib.sha256((folder / name).read_bytes()).hexdigest() == listed for name, listed in metrics["files"].items())
    except (OSError, UserError, KeyError):
        return None
    return metrics if whole else None


def missing(folder: Path) -> list[str]:
    """The names in FILES that a folder lacks."""
    return [name for name in FILES if not (folder / name).is_file()]


def validation_label(metrics: dict[str, Any]) -> str:
    """Words for the split that a run was validated on."""
    return "validation" if metrics["validation_split"] == "val" else "test as validation"


def csv_bytes(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False, lineterminator="\n").encode()


def json_bytes(values: Any) -> bytes:
    return (json.dumps(values, indent=2, allow_nan=False) + "\n").encode()
