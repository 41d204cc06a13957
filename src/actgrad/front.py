"""The results of a report in one glance, as Markdown for the front page."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from actgrad import config
from actgrad.errors import UserError
from actgrad.evidence import STUDY
from actgrad.results import LAYERS

SECTION = re.compile(r"(?<=<!-- results of )(\S+) -->\n.*?(?=<!-- end of results -->)", re.DOTALL)
"""What the front page says of a dataset's results, its name first."""
FIGURE = "delta"
VERSIONS = ("python", "tensorflow", "keras", "numpy")


def replaced(page: str, section: str) -> str:
    """A page with another section of results.

    Raises:
        UserError: if the page has no place for it.
    """
    if not SECTION.search(page):
        raise UserError("README.md has no lines <!-- results of NAME --> and <!-- end of results -->; write them where the results are to stand")
    return SECTION.sub(lambda _: section, page)


def section(dataset: str, reports: Path = Path("reports"), runs: Path = Path("runs")) -> str:
    """Table, figure and sentences, from the files of reports/<dataset>/ and the metrics of its cells.

    Raises:
        UserError: if there is no report, or a cell that it rests on is missing.
    """
    folder = reports / dataset
    if not (folder / "experiments.csv").is_file():
        raise UserError(f"{folder} has no report; make it with dvc repro report@{dataset}")
    accuracy, pairs = (_of_study(pd.read_csv(folder / name)) for name in ("experiments.csv", "pairs.csv"))
    ranked = list(accuracy.sort_values("mean", ascending=False, kind="stable").itertuples())
    seeds = pd.read_csv(folder / "summary.csv").set_index("activation")["seeds"].str.split()
    claims = json.loads((folder / "claims.json").read_text())
    best, *others = (row.activation for row in ranked)
    apart = {name: _told_apart(pairs, best, name) for name in others}
    level = _listed([name for name in others if not apart[name]])
    lost = _lost(pd.read_csv(folder / "delta.csv"))
    dead = _dead(pd.read_csv(folder / "census.csv"))
    worst, least = lost.idxmax(), lost.idxmin()
    rows = [
        f"| {row.activation} | {_accuracy(row)} | {_against_best(apart.get(row.activation))} | {_fold(lost[row.activation])} | "
        f"{dead[row.activation]} | {row.seeds} | {_keys(dataset, row.activation, seeds[row.activation])} |"
        for row in ranked
    ]
    return f"""{dataset} -->
- **Best:** {best}, {_accuracy(ranked[0])} % of the test images. **Not told apart from it** by these seeds: {level}.
- **The gradient vanishes** most in {worst}, {_fold(lost[worst])} from output to conv1 before any update; least in {least}, {_fold(lost[least])}.
- **Claims that fell:** {_statements(claims, "refuted")}. **Not settled:** {_statements(claims, "inconclusive")}.

| activation | test accuracy, % [95 % interval] | against the best | signal lost to conv1 | dead units | seeds | cells |
| --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}

![The gradient of one image's loss at each layer, before any update and after the last epoch]({reports.name}/{dataset}/figures/{FIGURE}.svg)

*{_conditions(dataset, runs)} Signal lost: how much smaller the gradient of one image's loss is at the pre-activations of conv1 than at those of the
output, before the first update. Dead units: after the last epoch, mean over seeds. Each claim with its rule, and all else:
[the report]({reports.name}/{dataset}/index.html). This section: `python src/front_page.py data={dataset}`.*
"""


def _of_study(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["experiment"] == STUDY]


def _told_apart(pairs: pd.DataFrame, best: str, name: str) -> bool:
    (row,) = pairs[pairs["first"].isin([best, name]) & pairs["second"].isin([best, name])].itertuples()
    return bool(row.told_apart)


def _lost(delta: pd.DataFrame) -> pd.Series:
    """Activation -> how many times smaller dL/dz is at the first layer than at the last, before the first update."""
    start = delta[delta["epoch"] == 0].set_index(["layer", "activation"])["delta_rms"]
    return start[LAYERS[-1]] / start[LAYERS[0]]


def _dead(census: pd.DataFrame) -> pd.Series:
    """Activation -> dead of all units after the last epoch, as text."""
    totals = census[census["epoch"] == census["epoch"].max()].groupby("activation")[["dead", "units"]].sum()
    return totals["dead"].map("{:.3g}".format) + " of " + totals["units"].map("{:.0f}".format)


def _conditions(dataset: str, runs: Path) -> str:
    """Data, recipe and machine of the cells of a study, as sentences."""
    folders = sorted(path.parent for path in (runs / dataset).glob("*/metrics.json"))
    environments = [json.loads((folder / "metrics.json").read_text())["environment"] for folder in folders]
    data, recipe = config.data_config(dataset, []), yaml.safe_load((runs / dataset / "recipe.yaml").read_text())
    machine = sorted({f"a CPU of type {each['cpu']}, with " + ", ".join(f"{name} {each[name]}" for name in VERSIONS) for each in environments})
    threads = f"{recipe['threads']} thread{'s' * (recipe['threads'] > 1)}"
    return (
        f"LeNet-5 on {dataset}: {data.source}. {recipe['epochs']} epochs in batches of {recipe['batch_size']}, "
        f"{recipe['optimizer']} at {recipe['learning_rate']:g}; trained with {threads} on {'; '.join(machine)}."
    )


def _accuracy(row: Any) -> str:
    interval = "" if pd.isna(row.low) else f" [{100 * row.low:.1f}, {100 * row.high:.1f}]"
    return f"{100 * row.mean:.1f}{interval}"


def _against_best(apart: bool | None) -> str:
    return {None: "the best", True: "worse", False: "not told apart"}[apart]


def _fold(ratio: float) -> str:
    return f"{float(f'{ratio:.2g}'):,.0f}-fold"


def _keys(dataset: str, activation: str, seeds: Sequence[str]) -> str:
    return f"`{dataset}/{activation}-{{{','.join(seeds)}}}`"


def _statements(claims: Sequence[Mapping[str, Any]], verdict: str) -> str:
    return _listed([f"“{claim['statement'].rstrip('.')}”" for claim in claims if claim["verdict"] == verdict])


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
