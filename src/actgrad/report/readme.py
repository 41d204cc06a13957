"""A short summary of a report's results, as Markdown for the README."""

import json
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from actgrad.analysis import ranking, remedies
from actgrad.analysis.words import CONFIRMED, INCONCLUSIVE, REFUTED, attenuated, network, run_count
from actgrad.diagnosis.experience import SCALED
from actgrad.errors import UserError

SECTION = re.compile(r"(?<=<!-- results of )(\S+) -->\n.*?(?=<!-- end of results -->)", re.DOTALL)
"""The README's section with a dataset's results, which begins with the dataset's name."""
FINDINGS = re.compile(r"(?<=<!-- findings of )(\S+) -->\n.*?(?=<!-- end of findings -->)", re.DOTALL)
"""The same for its findings."""
FIGURE = "preact_grads"
TABLE = "ranking.csv"
"""The report's table that the section is made from."""


def with_results(page: str, dataset: str, root: Path = Path()) -> str:
    """A page whose section of results is that of a dataset, and its section of findings too, if it has one.

    Raises:
        UserError: if the page has no place for results, or the report of the dataset has none.
    """
    if not SECTION.search(page):
        raise UserError(
            "no-place", "README.md has no lines <!-- results of NAME --> and <!-- end of results -->; write them where the results are to stand"
        )
    page = SECTION.sub(lambda _: section(dataset, root), page)
    return FINDINGS.sub(lambda _: findings(dataset, root), page)


def findings(dataset: str, root: Path = Path()) -> str:
    """What a practitioner takes away, in three sentences, from the files of reports/<dataset>/: scaling, weight gradients, alarms."""
    report = root / "reports" / dataset
    table, facts = _read(report, dataset)
    gains = pd.read_csv(report / "remedies.csv")
    if not {*remedies.COLUMNS} <= {*gains}:
        raise _older(report, dataset)
    claims = {claim["id"]: claim for claim in json.loads((report / "claims.json").read_text())}
    best = table[table["condition"] == facts["headline"]].iloc[0]
    said = [_scaling(row, best) for row in gains[(gains["remedy"] == SCALED) & gains["points"].notna()].to_dict("records")]
    said += [f"**{heads[found['verdict']]}** {found['sentence']}" for name, heads in HEADS.items() if (found := claims[name])["verdict"] in heads]
    return f"{dataset} -->\n" + "".join(f"{_filled(f'- {one}', indent='  ')}\n" for one in said)


HEADS = {
    "weight-gradients-show-vanishing": {
        CONFIRMED: "The norm of the weights' gradient shows whether gradients vanish.",
        INCONCLUSIVE: "The number that everybody logs may miss a vanishing gradient.",
        REFUTED: "The number that everybody logs misses vanishing gradients.",
    },
    "alarms-tell-of-failure": {
        CONFIRMED: "Most published alarms tell of failure.",
        INCONCLUSIVE: "Published alarms are little proof of failure.",
        REFUTED: "Most published alarms do not tell of failure.",
    },
}
"""Claim -> verdict -> its finding in a few words. A claim without a verdict has none."""


def _scaling(row: Mapping[Any, Any], best: pd.Series) -> str:
    head = "Scale your inputs first." if row["low"] > 0 else "Scaled inputs do harm here." if row["high"] < 0 else "Scaled inputs change little here."
    points = f"{row['points']:+.1f} points" + ("" if pd.isna(row["low"]) else f" [{row['low']:+.1f}, {row['high']:+.1f}]")
    ends = f", from {row['least_points']:+.1f} ({row['least']}) to {row['most_points']:+.1f} ({row['most']})" if row["activations"] > 1 else ""
    said = f"**{head}** Test accuracy with standardized instead of raw inputs: {points}, mean over {row['activations']} activations{ends}."
    failed = f" Failed runs: {row['failed_with']} instead of {row['failed_without']} of {row['runs']}." if row["failed_without"] else ""
    return f"{said}{failed} {best['activation']} is then highest, {100 * best['mean']:.1f} %."


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
        raise _older(folder, dataset)
    table = pd.read_csv(folder / TABLE, dtype={"seeds": str})
    if not {*ranking.COLUMNS} <= {*table}:
        raise _older(folder, dataset)
    return table, json.loads((folder / "provenance.json").read_text())


def _older(folder: Path, dataset: str) -> UserError:
    return UserError("stale-result", f"{folder} was made by older code; make it anew with dvc repro report@{dataset}")


def _filled(text: str, indent: str = "") -> str:
    return textwrap.fill(text, 100, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


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
