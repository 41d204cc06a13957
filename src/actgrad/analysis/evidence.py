"""All that a report is made from."""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from actgrad.analysis import tables
from actgrad.analysis.tables import Cells
from actgrad.config import schema as config
from actgrad.config.schema import Study
from actgrad.results import run as results
from actgrad.results.run import CellResult

STUDY = "study"
"""What tables and figures call the study itself, beside its experiments."""

TIMES = Path("benchmarks", "activation_time.json")


@dataclass(frozen=True)
class Evidence:
    """What claims are judged on, and figures drawn from.

    Attributes:
        dataset: its name.
        cells: the study's, by activation.
        experiments: the cells of each of the study's experiments.
        depth: attenuation of stacks of several depths, as depth.attenuation gives it.
        trials: the search for learning rates, as tuning.read gives it.
        times: what benchmarks/activation_time.py measured.
    """

    dataset: str
    cells: Cells
    experiments: Mapping[str, Cells] = field(default_factory=dict)
    depth: pd.DataFrame | None = None
    trials: pd.DataFrame | None = None
    times: Mapping[str, Any] | None = None

    @property
    def studies(self) -> dict[str, Cells]:
        """The study itself and its experiments."""
        return {STUDY: self.cells, **self.experiments}

    @functools.cached_property
    def pairs_under(self) -> pd.DataFrame:
        """The paired comparisons of test accuracy in the study and in its experiments, as tables.pairs gives them."""
        return tables.pairs(self.studies)

    @property
    def pairs(self) -> pd.DataFrame:
        """The study's own of them."""
        return self.pairs_under[self.pairs_under["experiment"] == STUDY]

    @classmethod
    def read(cls, dataset: str, study: Study) -> "Evidence":
        """What params.yaml lists of a dataset, from runs/ and benchmarks/.

        Raises:
            UserError: if a cell is missing, or cells do not belong together.
        """
        listed = {name: config.experiment(name) for name in study.experiments}
        return cls(
            dataset,
            _cells(dataset, study.activations, study.seeds),
            experiments={name: _cells(f"{dataset}/{name}", one.activations, one.seeds) for name, one in listed.items()},
            depth=_table(results.depth_path(dataset), study.activations),
            trials=_table(results.tuning_path(dataset), study.activations),
            times=json.loads(TIMES.read_text()) if TIMES.is_file() else None,
        )


def _cells(study: str, activations: Sequence[str], seeds: Sequence[int]) -> Cells:
    cells = {name: [CellResult.read(results.folder(study, name, seed)) for seed in seeds] for name in activations}
    tables.belong_together(cells)
    return cells


def _table(path: Path, activations: Sequence[str]) -> pd.DataFrame | None:
    """What is kept there of these activations, in their order; None where nothing is."""
    rows = pd.read_csv(path) if path.is_file() else pd.DataFrame({"activation": []})
    rows = rows[rows["activation"].isin(activations)]
    if rows.empty:
        return None
    return rows.sort_values("activation", key=lambda names: names.map(list(activations).index), kind="stable")
