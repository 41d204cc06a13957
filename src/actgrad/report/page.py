"""The report page: one self-contained HTML file."""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from actgrad.analysis import learning_rates, tables
from actgrad.analysis.evidence import Evidence
from actgrad.analysis.runs import DIVERGED, differences, every_run, outcome
from actgrad.analysis.words import network, run_count
from actgrad.report.figures import Drawing
from actgrad.results.run import validation_label

PLAIN = ' <>/:;=,()+-.!?*@"'
"""Characters that an SVG may keep in an address between single quotes; base64 would be a third longer."""
TEMPLATES = Path(__file__).parent / "templates"


def page(evidence: Evidence, findings: Sequence[Mapping[str, Any]], drawings: Sequence[Drawing], facts: Mapping[str, Any]) -> str:
    """The page of one dataset. Every name that comes from a configuration or a dataset is escaped.

    Args:
        findings: the claim ledger.
        facts: what provenance.provenance gives.
    """
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["data_uri"] = lambda svg: "data:image/svg+xml," + quote(svg, safe=PLAIN)
    environment.tests["known"] = lambda number: number is not None and number == number  # neither None nor NaN
    keys = {name: [run.key for run in every_run(runs)] for name, runs in evidence.conditions.items()}
    first = every_run(evidence.runs)[0]
    trials, tuned = evidence.trials, evidence.other_conditions.get(learning_rates.TUNED, {})
    return environment.get_template("report.html").render(
        facts=facts,
        network=network(facts["model"]),
        activations=list(evidence.runs),
        seeds=[run.seed for run in next(iter(evidence.runs.values()))],
        configuration=yaml.safe_dump({name: facts[name] for name in ("recipe", "model")}, sort_keys=False),
        validation_split=first.metrics["validation_split"],
        validation=validation_label(first.metrics),
        diverged=[run.key for runs in evidence.conditions.values() for run in every_run(runs) if outcome(run) == DIVERGED],
        keys=keys,
        summary=[row | {"runs": run_count(row)} for row in tables.summary(evidence.runs).to_dict("records")],
        findings=findings,
        verdicts=Counter(finding["verdict"] for finding in findings),
        pairs={(row["first"], row["second"]): row for row in evidence.pairs.to_dict("records")},
        units=tables.unit_totals(tables.unit_states(evidence.runs)).to_dict("records"),
        at_edge=[] if trials is None else learning_rates.best(trials).query("at_edge")["activation"].tolist(),
        conditions={name: differences(evidence.runs, runs) for name, runs in evidence.other_conditions.items()},
        worse_when_tuned=tables.worse_when_tuned(evidence.runs, tuned),
        pairs_under=_pairs_under(evidence),
        sizes={name: (len(next(iter(runs.values()))), len(runs) * (len(runs) - 1) // 2) for name, runs in evidence.conditions.items()},
        drawings={drawing.name: drawing for drawing in drawings},
        environments=[", ".join(f"{name} {value}" for name, value in one["values"].items()) for one in facts["environments"]],
    )


def _pairs_under(evidence: Evidence) -> dict[tuple[str, str], dict[str, Mapping[str, Any]]]:
    """Pairs that every condition of several activations has: pair -> condition -> row of tables.pairs."""
    compared = {name: runs for name, runs in evidence.conditions.items() if len(runs) > 1}
    shared = [name for name in evidence.runs if all(name in runs for runs in compared.values())]
    if len(compared) < 2:
        return {}
    rows = evidence.pairs_under.to_dict("records")
    return {pair: {row["condition"]: row for row in rows if {row["first"], row["second"]} == {*pair}} for pair in itertools.combinations(shared, 2)}
