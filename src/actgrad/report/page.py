"""The report page: one self-contained HTML file that can be read with or without JavaScript."""

import functools
import itertools
import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from actgrad.analysis import learning_rates, tables, words
from actgrad.analysis.alarms import enough_failed
from actgrad.analysis.answers import answers, by_chance, linearity, of_study, portraits
from actgrad.analysis.claims import CONFIRMED, INCONCLUSIVE, NOT_MEASURED, REFUTED
from actgrad.analysis.evidence import Evidence
from actgrad.analysis.runs import DIVERGED, differences, every_run, outcome
from actgrad.analysis.words import attenuated, network
from actgrad.report import embedding
from actgrad.report.figures import Drawing, Shown, styles
from actgrad.report.provenance import recipe, setting
from actgrad.results.run import validation_label

PLAIN = ' <>/:;=,()+-.!?*@"'
"""Characters that need no escape when an SVG is a data URI between single quotes. base64 would be a third longer."""
TEMPLATES = Path(__file__).parent / "templates"
SLOTS = ("setup", "verdicts", "results", "pairs", "units")
"""The parts of the page that differ between conditions, which are macros of slots.html. The answers differ too."""


Styles = Mapping[str, tuple[str, Sequence[int]]]
"""Activation -> colour and dash of its line."""


@dataclass(frozen=True)
class Condition:
    """Values of one condition for the slots."""

    name: str
    dataset: str
    network: str
    recipe: Mapping[str, Any]
    seeds: int
    validation: str
    validation_split: str
    diverged: Sequence[str]
    rows: Sequence[Mapping[Any, Any]]
    best: str
    names: Sequence[str]
    pairs: Mapping[tuple[str, str], Mapping[Any, Any]]
    units: Sequence[Mapping[Any, Any]]
    portraits: Mapping[str, str]
    judged: Sequence[Mapping[str, Any]]
    not_judged: Sequence[Mapping[str, Any]]
    verdicts: Mapping[str, int]
    figures: Sequence[str]
    styles: Styles
    runs_at: str | None


def slots(
    evidence: Evidence,
    ranking: pd.DataFrame,
    judged: Mapping[str, Sequence[Mapping[str, Any]]],
    shown: Shown,
    figures: Sequence[str],
    runs_at: str | None = None,
) -> dict[str, dict[str, str]]:
    """The parts that differ between conditions: condition -> slot -> HTML. Names from a configuration or dataset are escaped.

    Args:
        judged: the claim ledger of each condition.
        shown: the tables of the figures.
        figures: the names of the figures that the page has.
        runs_at: path of the folder of all runs, relative to the page; None if runs have no files.
    """
    of_study, lines = judged[evidence.headline], styles(shown.activations)
    return {name: _slots(evidence, name, ranking, judged[name], of_study, figures, lines, runs_at) for name in evidence.conditions}


@functools.cache
def _environment() -> Environment:
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["data_uri"] = lambda svg: "data:image/svg+xml," + quote(svg, safe=PLAIN)
    environment.filters["by_seed"] = _by_seed
    environment.tests["known"] = lambda number: number is not None and number == number  # neither None nor NaN
    return environment


def _by_seed(keys: Sequence[str]) -> dict[str, list[str]]:
    """Keys of runs without their seeds -> the seeds."""
    seeds: dict[str, list[str]] = {}
    for name, _, seed in (key.rpartition("-") for key in keys):
        seeds.setdefault(name, []).append(seed)
    return seeds


def page(
    evidence: Evidence,
    judged: Mapping[str, Sequence[Mapping[str, Any]]],
    shown: Shown,
    drawings: Sequence[Drawing],
    facts: Mapping[str, Any],
    slots: Mapping[str, Mapping[str, str]],
) -> str:
    """The page of one dataset.

    Args:
        judged: the claim ledger of each condition.
        shown: the tables of the figures.
        facts: the result of provenance.provenance.
        slots: the result of `slots`.
    """
    others = {name: of_condition for name, of_condition in slots.items() if name != evidence.headline}
    embedded = json.dumps(
        {
            "specs": {drawing.name: {"spec": drawing.spec, "rows": drawing.rows} for drawing in drawings},
            "slots": {slot: {name: others[name][slot] for name in others} for slot in slots[evidence.headline]},  # alike beside alike: half as large
        },
        allow_nan=False,  # a browser cannot read it, and would show a page without figures
    )
    differing = {name: differences(evidence.runs, runs) for name, runs in evidence.other_conditions.items()}
    trials, tuned = evidence.trials, evidence.other_conditions.get(learning_rates.TUNED, {})
    used = {name: shown.rows[name] for name in shown.rows if any(name in drawing.rows for drawing in drawings)}
    return (
        _environment()
        .get_template("report.html")
        .render(
            facts=facts,
            conditions=list(evidence.conditions),
            styles=styles(shown.activations),
            headline=slots[evidence.headline],
            answers=of_study(evidence),
            findings=judged[evidence.headline],
            by_chance=by_chance(judged),
            alarms_can_be_judged=enough_failed(evidence.alarms),
            drawings={drawing.name: drawing for drawing in drawings},
            differences=differing,
            in_words={name: words.settings(one) for name, one in differing.items()},
            remedies=evidence.remedies.to_dict("records"),
            pairs_under=_pairs_under(evidence),
            sizes={name: (len(next(iter(runs.values()))), len(runs) * (len(runs) - 1) // 2) for name, runs in evidence.conditions.items()},
            worse_when_tuned=tables.worse_when_tuned(evidence.runs, tuned),
            at_edge=[] if trials is None else learning_rates.best(trials).query("at_edge")["activation"].tolist(),
            times=evidence.times,
            environments=[", ".join(f"{name} {value}" for name, value in one["values"].items()) for one in facts["environments"]],
            run_count=sum(len(every_run(runs)) for runs in evidence.conditions.values()),
            configuration=yaml.safe_dump({name: facts[name] for name in ("recipe", "model")}, sort_keys=False),
            library=embedding.deflated(embedding.library()) if drawings else "",
            data=embedding.deflated(f'{{"tables":{embedding.packed(used)},{embedded[1:]}'),
        )
    )


def _slots(
    study: Evidence,
    name: str,
    ranking: pd.DataFrame,
    findings: Sequence[Mapping[str, Any]],
    of_study: Sequence[Mapping[str, Any]],
    figures: Sequence[str],
    lines: Styles,
    runs_at: str | None,
) -> dict[str, str]:
    """The slots of one condition: name -> HTML.

    Args:
        name: the condition.
        findings: its ledger.
        of_study: the ledger of the whole study.
    """
    evidence, ranked = study.under(name), ranking[ranking["condition"] == name]
    one = _condition(evidence, ranked, findings, figures, lines, runs_at)
    macros = _environment().get_template("slots.html").module
    made = {name: str(getattr(macros, name)(one)) for name in SLOTS}
    said = answers(evidence, ranked, of_study) | {"linearity": linearity(study, name)}
    escape = _environment().from_string('<p class="answer">{{ answer }}</p>')
    parts = ("results", "learning", "signal", "training", "explained", "updates", "units", "conditions", "functions", "linearity", "pairs")
    return made | {f"answer-{part}": escape.render(answer=said[part]) if said.get(part) else "" for part in parts}


def _condition(
    evidence: Evidence,
    ranked: pd.DataFrame,
    findings: Sequence[Mapping[str, Any]],
    figures: Sequence[str],
    lines: Styles,
    runs_at: str | None,
) -> Condition:
    first = every_run(evidence.runs)[0]
    summary = tables.summary(evidence.runs).set_index("activation")
    measures = {"train": "train_accuracy_last_mean", "val": "val_accuracy_last_mean", "best_epoch": "best_epoch_mean", "sd": "test_accuracy_last_sd"}
    rows = [
        row
        | {name: summary.loc[row["activation"], column] for name, column in measures.items()}
        | {"fold": attenuated(row["attenuation"]), "keys_of": {run.seed: run.key for run in evidence.runs[row["activation"]]}}
        for row in ranked.to_dict("records")
    ]
    return Condition(
        name=evidence.headline,
        dataset=evidence.dataset,
        network=network(setting(first)["model"]),
        recipe=recipe(evidence.runs),
        seeds=len(next(iter(evidence.runs.values()))),
        validation=validation_label(first.metrics),
        validation_split=first.metrics["validation_split"],
        diverged=[run.key for run in every_run(evidence.runs) if outcome(run) == DIVERGED],
        rows=rows,
        best=rows[0]["activation"],
        names=ranked["activation"].tolist(),
        pairs={(row["first"], row["second"]): row for row in evidence.pairs.to_dict("records")},
        units=tables.unit_totals(tables.unit_states(evidence.runs)).to_dict("records"),
        portraits=portraits(evidence, ranked),
        judged=[finding for finding in findings if finding["verdict"] != NOT_MEASURED],
        not_judged=[finding for finding in findings if finding["verdict"] == NOT_MEASURED],
        verdicts={word: sum(finding["verdict"] == word for finding in findings) for word in (CONFIRMED, REFUTED, INCONCLUSIVE)},
        figures=figures,
        styles=lines,
        runs_at=runs_at,
    )


def _pairs_under(evidence: Evidence) -> dict[tuple[str, str], dict[str, dict[Hashable, Any] | None]]:
    """Pairs that at least half of the conditions with several activations compare: pair -> condition -> row of tables.pairs, None if it has none."""
    compared = [name for name, runs in evidence.conditions.items() if len(runs) > 1]
    if len(compared) < 2:
        return {}
    rows = {(row["condition"], frozenset((row["first"], row["second"]))): row for row in evidence.pairs_under.to_dict("records")}
    found = {pair: {name: rows.get((name, frozenset(pair))) for name in compared} for pair in itertools.combinations(evidence.runs, 2)}
    return {pair: under for pair, under in found.items() if sum(row is not None for row in under.values()) >= len(compared) / 2}
