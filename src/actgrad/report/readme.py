"""A short summary of a report's results, as Markdown for the README."""

import json
import re
import textwrap
from pathlib import Path
from typing import Any

import pandas as pd

from actgrad.analysis import ranking
from actgrad.analysis.words import attenuated, network, run_count
from actgrad.errors import UserError

SECTION = re.compile(r"(?<=<!-- results of )(\S+) -->\n.*?(?=<!-- end of results -->)", re.DOTALL)
"""The README's section with a dataset's results, which begins with the dataset's name."""
FIGURE = "preact_grads"
TABLE = "ranking.csv"
"""The report's table that the section is made from."""


def with_results(page: str, dataset: str, root: Path = Path()) -> str:
    """A page whose section of results is that of a dataset.

    Raises:
        UserError: if the page has no place for results, or the report of the dataset has none.
    """
    if not SECTION.search(page):
        raise UserError(
            "no-place", "README.md has no lines <!-- results of NAME --> and <!-- end of results -->; write them where the results are to stand"
        )
    return SECTION.sub(lambda _: section(dataset, root), page)


def section(dataset: str, root: Path = Path()) -> str:
    """Table and figure, from the files of reports/<dataset>/ in the repository `root`.

    Raises:
        UserError: if there is no report, older code made it, or it has no accuracy.
    """
    report = root / "reports" / dataset
    table, facts = _read(report, dataset)
    ranked = table[table["condition"] == facts["headline"]]
    if ranked["mean"].isna().all():
        raise UserError("all-diverged", f"{report} has no accuracy to show: every run has failed or diverged; choose a lower recipe.learning_rate")
    best = ranked["activation"].iloc[0]
    rows = [
        f"| {row.activation} | {_accuracy(row)} | {'' if row.activation == best else _against_best(row)} | "
        f"{attenuated(row.attenuation)} | {row.dead:.3g} of {row.units:.0f} | {run_count(row._asdict())} |"
        for row in ranked.itertuples()
    ]
    caption = (
        f"*{network(facts['model'])} on {dataset}, condition `{facts['headline']}`: means over the runs that learned. Significantly: paired t-test "
        "over seeds, 5 % level, corrected for all pairs; other differences are not significant. Attenuation: by what factor dL/dz shrinks from the "
        f"last activation to the first, before training. [The report](reports/{dataset}/index.html) has the rest.*"
    )
    return f"""{dataset} -->
| activation | test accuracy, % [95 % interval] | against {best} | attenuation | dead units | runs |
| --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}

![The gradient of one image's loss at each layer, before training](reports/{dataset}/figures/{FIGURE}.svg)

{_filled(caption)}
"""


def _read(folder: Path, dataset: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Ranking and provenance of a report."""
    if not (folder / "summary.csv").is_file():
        raise UserError("missing-report", f"{folder} has no report; make it with dvc repro report@{dataset}")
    if not all((folder / name).is_file() for name in (TABLE, "provenance.json")):
        raise older(folder, dataset)
    table = pd.read_csv(folder / TABLE, dtype={"seeds": str})
    if not {*ranking.COLUMNS} <= {*table}:
        raise older(folder, dataset)
    return table, json.loads((folder / "provenance.json").read_text())


def older(folder: Path, dataset: str) -> UserError:
    """The error for a report in whose files this code does not find what it looks for."""
    return UserError("stale-result", f"{folder} was made by older code; make it anew with dvc repro report@{dataset}")


def _filled(text: str) -> str:
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)


def _accuracy(row: Any) -> str:
    """Accuracy with its interval, cut to 0 and 100 %."""
    if pd.isna(row.mean):
        return "diverged" if row.diverged and not row.failed else "failed"
    interval = "" if pd.isna(row.low) else f" [{100 * max(row.low, 0):.1f}, {100 * min(row.high, 1):.1f}]"
    return f"{100 * row.mean:.1f}{interval}"


def _against_best(row: Any) -> str:
    if pd.isna(row.p_holm):
        return "not compared"
    return "significantly lower" if row.significant else f"lower in {row.behind} of {row.compared} seeds"
