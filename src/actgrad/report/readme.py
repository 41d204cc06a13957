"""The results of a report in one glance, as Markdown for the README."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from actgrad.analysis import tables
from actgrad.analysis.claims import CONFIRMED, INCONCLUSIVE, REFUTED
from actgrad.analysis.words import fold, network, run_count
from actgrad.errors import UserError

SECTION = re.compile(r"(?<=<!-- results of )(\S+) -->\n.*?(?=<!-- end of results -->)", re.DOTALL)
"""What the README says of a dataset's results, its name first."""
FIGURE = "preact_grads"
VERSIONS = ("python", "tensorflow", "keras", "numpy")

COLUMNS = {
    "summary.csv": {"activation", "seeds", "diverged", "failed"},
    "conditions.csv": {"condition", "activation", "mean", "low", "high"},
    "pairs.csv": {"condition", "first", "second", "significant"},
    "seeds.csv": {"activation", "test_accuracy_last"},
    "preact_grads.csv": {"activation", "epoch", "attenuation"},
    "unit_states.csv": {"activation", "epoch", *tables.UNIT_COLUMNS},
}
"""The tables of a report that the section is made from, and their columns."""


def replaced(page: str, section: str) -> str:
    """A page with another section of results.

    Raises:
        UserError: if the page has no place for it.
    """
    if not SECTION.search(page):
        raise UserError("README.md has no lines <!-- results of NAME --> and <!-- end of results -->; write them where the results are to stand")
    return SECTION.sub(lambda _: section, page)


def section(dataset: str, root: Path = Path()) -> str:
    """Table, figure and sentences, from the files of reports/<dataset>/ in the repository `root`.

    Raises:
        UserError: if there is no report, or older code made it.
    """
    table, facts, claims = _read(root / "reports" / dataset, dataset)
    accuracy, pairs = (table[name][table[name]["condition"] == facts["headline"]] for name in ("conditions.csv", "pairs.csv"))
    summary = table["summary.csv"].set_index("activation")
    failed = summary.index[summary["failed"] > 0].tolist()
    ranked = {row.activation: row for row in accuracy.sort_values("mean", ascending=False, kind="stable").itertuples()}
    if not ranked:
        raise UserError(f"{root / 'reports' / dataset} has no accuracy to show: every run has diverged; choose a lower recipe.learning_rate")
    best = next((name for name in ranked if name not in failed), next(iter(ranked)))
    lower = {name: _significant(pairs, best, name) for name in ranked if name not in (best, *failed)}
    alike = [name for name in ranked if name not in failed and _percent(ranked[name].mean) == _percent(ranked[best].mean)] or [best]
    grads = table["preact_grads.csv"]
    decades = grads[grads["epoch"] == 0].groupby("activation", sort=False)["attenuation"].first()
    units = tables.unit_totals(table["unit_states.csv"]).set_index("activation")
    each = table["seeds.csv"].groupby("activation")["test_accuracy_last"]
    shown = {name: _accuracy(row) for name, row in ranked.items()}
    shown |= {name: ", ".join(map(_percent, each.get_group(name).dropna())) for name in failed}
    shown |= {name: "diverged" for name in summary.index if name not in shown}
    seeds = summary["seeds"].str.split()
    rows = [
        f"| {name} | {accuracy} | {_against_best(lower.get(name))} | {fold(decades.get(name))} | {_dead(units.loc[name])} | "
        f"{run_count(summary.loc[name])} | {_keys(dataset, name, facts['headline'], seeds[name])} |"
        for name, accuracy in shown.items()
    ]
    stuck = [f"{name} in {summary.loc[name, 'failed']} of {len(seeds[name])} seeds" for name in failed]
    return f"""{dataset} -->
- **Highest test accuracy (mean over seeds):** {_listed(alike)}, {_percent(ranked[best].mean)} %. **Significantly lower than {best}:** \
{_listed([name for name in lower if lower[name]])}.
  **No significant difference** from {best}: {_listed([name for name in lower if not lower[name] and name not in alike])}.\
{f" **Failed runs:** {_listed(stuck)}." if stuck else ""}
{_vanishing(decades)}- **Refuted:** {_statements(claims, REFUTED)}. **Inconclusive:** {_statements(claims, INCONCLUSIVE)}.
- **Other verdicts under other conditions:** {_listed(_changed(claims))}.

| activation | test accuracy, % [95 % interval] | against {best} | attenuation | dead units | seeds | runs |
| --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}

![The gradient of one image's loss at each layer, before any update and after the last epoch](reports/{dataset}/figures/{FIGURE}.svg)

*Attenuation: how much smaller dL/dz, the gradient of one image's loss with respect to the pre-activations, is at the first activated layer
than at the last, before the first update. Dead units: after the last epoch, mean over seeds. Significant: paired t test over seeds, 5 % level
after Holm's correction over all pairs; with few seeds, a difference of several points can stay without significance. A run has failed if its
test accuracy stays below twice the share of the largest class, or below halfway from that share to 100 % where that is less. If any seed
failed, the table lists the seeds instead of a mean, and compares them with none.
{_made_by(facts)} Each claim with its rule, and all else: [the report](reports/{dataset}/index.html). This section:
`python src/report.py data={dataset} --readme`.*
"""


def _read(folder: Path, dataset: str) -> tuple[dict[str, pd.DataFrame], dict[str, Any], list[dict[str, Any]]]:
    """Tables, provenance and claims of a report."""
    if not (folder / "summary.csv").is_file():
        raise UserError(f"{folder} has no report; make it with dvc repro report@{dataset}")
    older = UserError(f"{folder} was made by older code; make it anew with dvc repro report@{dataset}")
    if not all((folder / name).is_file() for name in (*COLUMNS, "provenance.json", "claims.json")):
        raise older
    found = {name: pd.read_csv(folder / name, dtype={"seeds": str}) for name in COLUMNS}
    if not all(columns <= set(found[name]) for name, columns in COLUMNS.items()):
        raise older
    return found, *(json.loads((folder / name).read_text()) for name in ("provenance.json", "claims.json"))


def _significant(pairs: pd.DataFrame, best: str, name: str) -> bool:
    (row,) = pairs[pairs["first"].isin([best, name]) & pairs["second"].isin([best, name])].itertuples()
    return bool(row.significant)


def _vanishing(decades: pd.Series) -> str:
    """The line about attenuation; none where nothing was measured."""
    known = decades.dropna()
    if known.empty:
        return ""
    worst, least = known.idxmax(), known.idxmin()
    return (
        f"- **The gradient vanishes** most in {worst}, {fold(known[worst])} from the last activated layer to the first, before any update; "
        f"least in {least}, {fold(known[least])}.\n"
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
    return _percent(row.mean) + ("" if pd.isna(row.low) else f" [{_percent(max(row.low, 0))}, {_percent(min(row.high, 1))}]")


def _dead(units: pd.Series) -> str:
    return f"{units['dead']:.3g} of {units['units']:.0f}"


def _against_best(lower: bool | None) -> str:
    return {None: "", True: "significantly lower", False: "no significant difference"}[lower]


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
