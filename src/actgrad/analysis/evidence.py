"""All data that a report is made from."""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from actgrad.analysis import tables
from actgrad.analysis.alarms import alarms
from actgrad.analysis.remedies import remedies
from actgrad.analysis.runs import Runs, belong_together
from actgrad.config.loading import Listed, listed
from actgrad.config.schema import Study
from actgrad.results.paths import run_folder, trials_path
from actgrad.results.run import RunResult

TIMES = Path("benchmarks", "activation_time.json")


@dataclass(frozen=True)
class Evidence:
    """The data for judging claims and drawing figures.

    Attributes:
        dataset: its name.
        conditions: the runs of each condition, in the order of params.yaml. The first one is the headline: the report is about its runs, and
            compares the other conditions with them.
        trials: the search for learning rates, as learning_rates.read returns it.
        times: results of benchmarks/activation_time.py on this dataset.
    """

    dataset: str
    conditions: Mapping[str, Runs]
    trials: pd.DataFrame | None = None
    times: Mapping[str, Any] | None = None

    @property
    def headline(self) -> str:
        """The name of the first condition."""
        return next(iter(self.conditions))

    @property
    def runs(self) -> Runs:
        """The runs of the headline."""
        return self.conditions[self.headline]

    @property
    def other_conditions(self) -> dict[str, Runs]:
        """The other conditions."""
        return {name: runs for name, runs in self.conditions.items() if name != self.headline}

    def under(self, condition: str) -> "Evidence":
        """Evidence with only one condition, to judge claims under it."""
        return Evidence(self.dataset, {condition: self.conditions[condition]})

    @functools.cached_property
    def pairs_under(self) -> pd.DataFrame:
        """The paired comparisons of test accuracy under each condition, as tables.pairs returns them."""
        return tables.pairs(self.conditions)

    @functools.cached_property
    def alarms(self) -> pd.DataFrame:
        """How well published rules predict failure, as alarms.alarms returns it."""
        return alarms(self.conditions)

    @functools.cached_property
    def remedies(self) -> pd.DataFrame:
        """What the usual remedies bring, as returned by remedies.remedies."""
        return remedies(self.conditions)

    @functools.cached_property
    def depth(self) -> pd.DataFrame | None:
        """Networks of several depths, as tables.by_depth returns them."""
        return tables.by_depth(self.conditions)

    @property
    def pairs(self) -> pd.DataFrame:
        """The paired comparisons of the headline."""
        return self.pairs_under[self.pairs_under["condition"] == self.headline]

    @classmethod
    def read(cls, dataset: str, study: Study) -> "Evidence":
        """Read all that params.yaml lists for a dataset from runs/ and benchmarks/.

        Raises:
            UserError: if a run is missing, or runs cannot be compared.
        """
        conditions = {name: _runs(dataset, name, one) for name, one in listed(study, dataset).items()}
        belong_together(conditions)
        return cls(
            dataset,
            conditions,
            trials=_table(trials_path(dataset), study.activations),
            times=_times(dataset),
        )


def _runs(dataset: str, condition: str, members: Listed) -> Runs:
    return {name: [RunResult.read(run_folder(dataset, name, condition, seed)) for seed in members.seeds] for name in members.activations}


def _times(dataset: str) -> Mapping[str, Any] | None:
    times = json.loads(TIMES.read_text()) if TIMES.is_file() else {}
    return times if times.get("dataset") == dataset else None


def _table(path: Path, activations: Sequence[str]) -> pd.DataFrame | None:
    """The rows of a file about these activations, in their order; None if there are none."""
    rows = pd.read_csv(path) if path.is_file() else pd.DataFrame({"activation": []})
    rows = rows[rows["activation"].isin(activations)]
    if rows.empty:
        return None
    return rows.sort_values("activation", key=lambda names: names.map(list(activations).index), kind="stable")
