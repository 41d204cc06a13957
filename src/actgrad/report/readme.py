"""The results of a report in one glance, as Markdown for the README."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from actgrad.analysis import ranking
from actgrad.analysis.claims import CONFIRMED, INCONCLUSIVE, REFUTED
from actgrad.analysis.words import fold, network, run_count
from actgrad.errors import UserError

SECTION = re.compile(r"(?<=<!-- results of )(\S+) -->\n.*?(?=<!-- end of results -->)", re.DOTALL)
"""What the README says of a dataset's results, its name first."""
FIGURE = "preact_grads"
VERSIONS = ("python", "tensorflow", "keras", "numpy")

TABLE = "ranking.csv"
"""The table of a report that the section is made from."""


def replaced(page: str, section: str) -> str:
    """A page with another section of results.

    Raises:
        UserError: if the page has no place for it.
    """
    if not SECTION.search(page):
        raise UserError(
            "no-place", "README.md has no lines <!-- results of NAME --> and <!-- end of results -->; write them where the results are to stand"
        )
    return SECTION.sub(lambda _: section, page)


def section(dataset: str, root: Path = Path()) -> str:
    """Table, figure and sentences, from the files of reports/<dataset>/ in the repository `root`.

    Raises:
        UserError: if there is no report, or older code made it.
    """
    table, facts, claims = _read(root / "reports" / dataset, dataset)
    ranked = table[table["condition"] == facts["headline"]].set_index("activation")
    if ranked["mean"].isna().all():
        report = root / "reports" / dataset
        raise UserError("all-diverged", f"{report} has no accuracy to show: every run has failed or diverged; choose a lower recipe.learning_rate")
    best = ranked.index[0]
    whole = ranked[ranked["failed"] + ranked["diverged"] == 0]
    alike = [name for name in whole.index if _percent(whole.loc[name, "mean"]) == _percent(ranked.loc[best, "mean"])] or [best]
    lower = ranked["significant"].drop(best)
    rows = [
        f"| {row.Index} | {_accuracy(row)} | {'' if row.Index == best else _against_best(row.significant)} | {fold(row.attenuation)} | "
        f"{row.dead:.3g} of {row.units:.0f} | {run_count(row._asdict())} | {_keys(dataset, row.Index, facts['headline'], row.seeds.split())} |"
        for row in ranked.itertuples()
    ]
    stuck = [f"{row.Index} in {row.failed} of {len(row.seeds.split())} seeds" for row in ranked.itertuples() if row.failed]
    return f"""{dataset} -->
- **Highest test accuracy (mean over seeds):** {_listed(alike)}, {_percent(ranked.loc[best, "mean"])} %. **Significantly lower than {best}:** \
{_listed(lower.index[lower])}.
  **No significant difference** from {best}: {_listed([name for name in lower.index[~lower] if name not in alike])}.\
{f" **Failed runs:** {_listed(stuck)}." if stuck else ""}
{_vanishing(ranked["attenuation"])}- **Refuted:** {_statements(claims, REFUTED)}. **Inconclusive:** {_statements(claims, INCONCLUSIVE)}.
- **Other verdicts under other conditions:** {_listed(_changed(claims))}.

| activation | test accuracy, % [95 % interval] | against {best} | attenuation | dead units | seeds | runs |
| --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}

![The gradient of one image's loss at each layer, before any update and after the last epoch](reports/{dataset}/figures/{FIGURE}.svg)

*Attenuation: how much smaller dL/dz, the gradient of one image's loss with respect to the pre-activations, is at the first activated layer
than at the last, before the first update. Dead units: after the last epoch, mean over seeds. Significant: paired t test over seeds, 5 % level
after Holm's correction over all pairs; with few seeds, a difference of several points can stay without significance. A run has failed if its
test accuracy stays below twice the share of the largest class, or below halfway from that share to 100 % where that is less. The mean is taken
over the runs that learned; the test is over all seeds, so that to fail is to be below.
{_made_by(facts)} Each claim with its rule, and all else: [the report](reports/{dataset}/index.html). This section:
`python src/report.py data={dataset} --readme`.*
"""


def _read(folder: Path, dataset: str) -> tuple[pd.DataFrame, dict[str, Any], list[dict[str, Any]]]:
    """Ranking, provenance and claims of a report."""
    if not (folder / "summary.csv").is_file():
        raise UserError("missing-report", f"{folder} has no report; make it with dvc repro report@{dataset}")
    older = UserError("stale-result", f"{folder} was made by older code; make it anew with dvc repro report@{dataset}")
    if not all((folder / name).is_file() for name in (TABLE, "provenance.json", "claims.json")):
        raise older
    table = pd.read_csv(folder / TABLE, dtype={"seeds": str})
    if not {*ranking.COLUMNS} <= {*table}:
        raise older
    return table, *(json.loads((folder / name).read_text()) for name in ("provenance.json", "claims.json"))


def _vanishing(decades: pd.Series) -> str:
    """The line about attenuation; none where nothing was measured."""
    known = decades.dropna()
    if known.empty:
        return ""
    worst, least = known.idxmax(), known.idxmin()
    return (
        f"- **The gradient vanishes** most in {worst}, {fold(known.max())} from the last activated layer to the first, before any update; "
        f"least in {least}, {fold(known.min())}.\n"
    )


def _made_by(facts: Mapping[str, Any]) -> str:
    """Data, recipe and machines of the headline's runs, as sentences."""
    of_machine: dict[str, list[str]] = {}
    for environment in facts["environments"]:
        values = environment["values"]
        processors = f"a CPU of type {values['cpu']}" + (f" and a GPU of type {values['gpu']}" if values["gpu"] != "none" else "")
        text = f"{processors} with " + ", ".join(f"{name} {values[name]}" for name in VERSIONS)
        if keys := [key for key in environment["runs"] if _parts(key)[1] == facts["headline"]]:
            of_machine.setdefault(text, []).extend(keys)
    fewest_first = sorted(of_machine, key=lambda text: len(of_machine[text]))
    named = [f"{text} ({_listed(_grouped(facts, of_machine[text]))})" for text in fewest_first[:-1]]
    machines = [*named, fewest_first[-1] + " (all other runs)" * bool(named)]
    recipe = facts["recipe"]
    rate = recipe["learning_rate"]
    at = "a learning rate for each activation" if isinstance(rate, Mapping) else f"{rate:g}"
    return (
        f"{network(facts['model'])} on {facts['dataset']}: {facts['source'] or 'no source stated'}. "
        f"{recipe['epochs']} epochs in batches of {recipe['batch_size']}, "
        f"{recipe['optimizer']} at {at}; trained with {recipe['threads']} thread{'s' * (recipe['threads'] > 1)} on {', and on '.join(machines)}."
    )


def _grouped(facts: Mapping[str, Any], keys: Sequence[str]) -> list[str]:
    """Keys of the headline's runs, those of an activation as one."""
    seeds: dict[str, list[str]] = {}
    for activation, _, seed in map(_parts, keys):
        seeds.setdefault(activation, []).append(seed)
    return [_keys(facts["dataset"], activation, facts["headline"], of_activation) for activation, of_activation in seeds.items()]


def _parts(key: str) -> tuple[str, str, str]:
    """Activation, condition and seed of a run."""
    _, activation, run = key.split("/")
    condition, _, seed = run.rpartition("-")
    return activation, condition, seed


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _accuracy(row: Any) -> str:
    """With its interval, of which no end is an accuracy that there cannot be."""
    if pd.isna(row.mean):
        return "diverged" if row.diverged and not row.failed else "failed"
    return _percent(row.mean) + ("" if pd.isna(row.low) else f" [{_percent(max(row.low, 0))}, {_percent(min(row.high, 1))}]")


def _against_best(lower: bool) -> str:
    return "significantly lower" if lower else "no significant difference"


def _keys(dataset: str, activation: str, condition: str, seeds: Sequence[str]) -> str:
    return f"`{dataset}/{activation}/{condition}-{{{','.join(seeds)}}}`"


def _statements(claims: Sequence[Mapping[str, Any]], verdict: str) -> str:
    return _listed([f"“{claim['statement'].rstrip('.')}”" for claim in claims if claim["verdict"] == verdict])


def _changed(claims: Sequence[Mapping[str, Any]]) -> list[str]:
    """The claims that another condition confirms or refutes, other than the headline does, and under which."""
    under = {
        (claim["id"], verdict): [f"`{condition}`" for condition, found in claim["under"].items() if found == verdict]
        for claim in claims
        for verdict in (CONFIRMED, REFUTED)
        if verdict != claim["verdict"]
    }
    return [f"`{claim}` is {verdict} under {' and '.join(conditions)}" for (claim, verdict), conditions in under.items() if conditions]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
