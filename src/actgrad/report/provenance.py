"""Where the results of a report come from: data, recipe, code and machines of its runs."""

from typing import Any

from actgrad.analysis.evidence import Evidence
from actgrad.analysis.runs import Runs, every_run
from actgrad.analysis.runs import configuration as setting
from actgrad.config.schema import Data


def provenance(evidence: Evidence, data: Data) -> dict[str, Any]:
    """Facts as plain values, for the page and for provenance.json.

    Returns:
        dataset, source and licence; headline, the name of the condition that the report is about; recipe and model of its runs; data_sha256,
        core_sha256 and environments of all runs, each environment with the keys of its runs.
    """
    runs = [run for runs in evidence.conditions.values() for run in every_run(runs)]
    environments: dict[tuple, list[str]] = {}
    for run in runs:
        environments.setdefault(tuple(run.metrics["environment"].items()), []).append(run.key)
    return {
        "dataset": evidence.dataset,
        "source": data.source,
        "licence": data.licence,
        "headline": evidence.headline,
        "recipe": recipe(evidence.runs),
        "model": setting(runs[0])["model"],
        "data_sha256": sorted({run.metrics["data_sha256"] for run in runs}),
        "core_sha256": sorted({run.metrics["core_sha256"] for run in runs}),
        "environments": [{"values": dict(values), "runs": keys} for values, keys in environments.items()],
    }


def recipe(runs: Runs) -> dict[str, Any]:
    """The recipe of a condition. If learning rates differ, `learning_rate` maps each activation to its rate."""
    rates = {name: setting(of_activation[0])["recipe"]["learning_rate"] for name, of_activation in runs.items()}
    recipe = setting(every_run(runs)[0])["recipe"]
    return recipe if len({*rates.values()}) == 1 else recipe | {"learning_rate": rates}
