"""The results of a report in one glance, as Markdown for the front page."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from actgrad.analysis import tables
from actgrad.analysis.claims import CONFIRMED, REFUTED
from actgrad.analysis.evidence import STUDY
from actgrad.config import schema as config
from actgrad.errors import UserError
from actgrad.results import run as results
from actgrad.results.run import LAYERS

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


def section(dataset: str, root: Path = Path()) -> str:
    """Table, figure and sentences, from the files of reports/<dataset>/ and the metrics of its cells, in the repository `root`.

    Raises:
        UserError: if there is no report, or a cell that it rests on is missing.
    """
    folder = root / "reports" / dataset
    if not (folder / "experiments.csv").is_file():
        raise UserError(f"{folder} has no report of a study with experiments; list them in params.yaml, then dvc repro report@{dataset}")
    accuracy, pairs = (_of_study(pd.read_csv(folder / name)) for name in ("experiments.csv", "pairs.csv"))
    ranked = list(accuracy.sort_values("mean", ascending=False, kind="stable").itertuples())
    if not ranked:
        raise UserError(f"{folder} has no accuracy to show: every cell has diverged; choose a lower recipe.learning_rate")
    summary = pd.read_csv(folder / "summary.csv").set_index("activation")
    if "not_learned" not in summary:
        raise UserError(f"{folder} was made by older code; make it anew with dvc repro report@{dataset}")
    seeds = summary["seeds"].str.split().to_dict()
    near_guessing = summary.index[summary["not_learned"] > 0].tolist()
    claims = json.loads((folder / "claims.json").read_text())
    best, *others = (row.activation for row in ranked)
    apart = {name: _told_apart(pairs, best, name) for name in others if name not in near_guessing}
    first = [row.activation for row in ranked if _percent(row.mean) == _percent(ranked[0].mean)]
    level = [name for name in apart if not apart[name] and name not in first]
    worse = [name for name in apart if apart[name]]
    lost = _lost(pd.read_csv(folder / "delta.csv"))
    units = tables.unit_totals(pd.read_csv(folder / "census.csv")).set_index("activation")
    worst, least = lost.idxmax(), lost.idxmin()
    accuracies = {row.activation: _accuracy(row) for row in ranked}
    each = pd.read_csv(folder / "seeds.csv").groupby("activation")["test_accuracy_last"]
    accuracies |= {name: ", ".join(map(_percent, each.get_group(name).dropna())) for name in near_guessing}
    accuracies |= {name: "diverged" for name in seeds if name not in accuracies}
    stuck = [f"{name} in {summary.loc[name, 'not_learned']} of {len(seeds[name])} seeds" for name in near_guessing]
    rows = [
        f"| {name} | {shown} | {_against_best(apart.get(name))} | {_fold(lost[name])} | {_dead(units.loc[name])} | "
        f"{tables.seeds_in_words(summary.loc[name])} | {_keys(dataset, name, seeds[name])} |"
        for name, shown in accuracies.items()
    ]
    return f"""{dataset} -->
- **Highest mean:** {_listed(first)}, {_percent(ranked[0].mean)} % of the test images. **Worse than {best}:** {_listed(worse)}.
  **Not told apart** from it by these seeds: {_listed(level)}.{f" **Did not learn:** {_listed(stuck)}." if stuck else ""}
- **The gradient vanishes** most in {worst}, {_fold(lost[worst])} from output to conv1 before any update; least in {least}, {_fold(lost[least])}.
- **Claims that fell:** {_statements(claims, "refuted")}. **Not settled:** {_statements(claims, "inconclusive")}.
- **Other verdicts under other conditions:** {_listed(_changed(claims))}.

| activation | test accuracy, % [95 % interval] | against {best} | signal lost to conv1 | dead units | seeds | cells |
| --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}

![The gradient of one image's loss at each layer, before any update and after the last epoch](reports/{dataset}/figures/{FIGURE}.svg)

*Signal lost: how much smaller the gradient of one image's loss is at the pre-activations of conv1 than at those of the output, before the first
update. Dead units: after the last epoch, mean over seeds. Told apart: paired t-test over seeds, below 5 % after Holm's correction for all pairs,
so that with few seeds a difference of several points can stay open. A cell that did not learn stays below twice the accuracy of guessing, or
75 % where there are two classes; an activation with such cells has no meaningful mean, so each seed is given, and it is compared with none.
{_conditions(dataset, seeds, root)} Each claim with its rule, and all else: [the report](reports/{dataset}/index.html). This section:
`python src/front_page.py data={dataset}`.*
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


def _conditions(dataset: str, seeds: Mapping[str, Sequence[str]], root: Path) -> str:
    """Data, recipe and machine of the cells of a study, as sentences."""
    of_environment: dict[str, dict[str, list[str]]] = {}
    for activation, of_activation in seeds.items():
        for seed in of_activation:
            path = root / results.folder(dataset, activation, int(seed)) / "metrics.json"
            if not path.is_file():
                raise UserError(f"{path} is missing, which the report rests on; train it with dvc repro report@{dataset}")
            made_in = json.loads(path.read_text())["environment"]
            text = f"a CPU of type {made_in['cpu']} with " + ", ".join(f"{name} {made_in[name]}" for name in VERSIONS)
            of_environment.setdefault(text, {}).setdefault(activation, []).append(seed)
    data, recipe = config.data_config(dataset, []), yaml.safe_load((root / results.recipe_path(dataset)).read_text())
    fewest_first = sorted(of_environment, key=lambda text: sum(map(len, of_environment[text].values())))
    named = [f"{text} ({', '.join(_keys(dataset, *one) for one in of_environment[text].items())})" for text in fewest_first[:-1]]
    machines = [*named, fewest_first[-1] + " (all other cells)" * bool(named)]
    return (
        f"LeNet-5 on {dataset}: {data.source}. {recipe['epochs']} epochs in batches of {recipe['batch_size']}, {recipe['optimizer']} at "
        f"{recipe['learning_rate']:g}; trained with {recipe['threads']} thread{'s' * (recipe['threads'] > 1)} on {', and on '.join(machines)}."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _accuracy(row: Any) -> str:
    """With its interval, of which no end is an accuracy that there cannot be."""
    return _percent(row.mean) + ("" if pd.isna(row.low) else f" [{_percent(max(row.low, 0))}, {_percent(min(row.high, 1))}]")


def _dead(units: pd.Series) -> str:
    return f"{units['dead']:.3g} of {units['units']:.0f}"


def _against_best(apart: bool | None) -> str:
    return {None: "", True: "worse", False: "not told apart"}[apart]


def _fold(ratio: float) -> str:
    return f"{float(f'{ratio:.2g}'):,.0f}-fold"


def _keys(dataset: str, activation: str, seeds: Sequence[str]) -> str:
    return f"`{dataset}/{activation}-{{{','.join(seeds)}}}`"


def _statements(claims: Sequence[Mapping[str, Any]], verdict: str) -> str:
    return _listed([f"“{claim['statement'].rstrip('.')}”" for claim in claims if claim["verdict"] == verdict])


def _changed(claims: Sequence[Mapping[str, Any]]) -> list[str]:
    """Of each claim that another condition confirms or refutes, other than the study does, under which ones."""
    under = {
        (claim["id"], verdict): [f"`{condition}`" for condition, found in claim["under"].items() if found == verdict]
        for claim in claims
        for verdict in (CONFIRMED, REFUTED)
        if verdict != claim["verdict"]
    }
    return [f"`{claim}` is {verdict} under {' and '.join(conditions)}" for (claim, verdict), conditions in under.items() if conditions]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
