"""The runs of a condition: their values, whether they can be compared, and which of them failed."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import yaml

from actgrad.errors import UserError
from actgrad.results.run import RunResult
from actgrad.training.names import TEST_ACCURACY

T = TypeVar("T")
Runs = Mapping[str, Sequence[RunResult]]
"""The runs of one condition, by activation."""

DIVERGED, FAILED, LEARNED = "diverged", "failed", "learned"


def every_run(runs: Runs) -> list[RunResult]:
    return [run for of_activation in runs.values() for run in of_activation]


def configuration(run: RunResult) -> dict[str, Any]:
    """The values of a run's config.yaml."""
    return _parsed(run.config)


def once_a_run(function: Callable[[RunResult], T]) -> Callable[[RunResult], T]:
    """Decorator: what the function returns for a run is kept in the run, because claims, sentences and figures ask for it again. Neither the run
    nor what was returned may be changed afterwards.
    """

    @functools.wraps(function)
    def kept(run: RunResult) -> T:
        values = run.__dict__.setdefault("_kept", {})
        if function not in values:
            values[function] = function(run)
        return values[function]

    return kept


def once_a_condition(function: Callable[[Runs], T]) -> Callable[[Runs], T]:
    """Decorator: the same for what the function returns for the runs of a condition. It is kept in the first of them."""

    @functools.wraps(function)
    def kept(runs: Runs) -> T:
        members = {(name, id(run)): run for name, of_activation in runs.items() for run in of_activation}
        if not members:
            return function(runs)
        values = next(iter(members.values())).__dict__.setdefault("_kept", {})
        if function not in values or [*values[function][0]] != [*members]:
            values[function] = members, function(runs)  # the runs themselves are kept, so that no other run gets their ids
        return values[function][1]

    return kept


@functools.cache
def _parsed(config: str) -> dict[str, Any]:
    return yaml.load(config, yaml.CSafeLoader)  # ten times as fast as the pure Python loader


def probed(run: RunResult, epoch: int, layer: str, name: str) -> float:
    """One value of a run's probe."""
    epochs, layers, values = (run.probe[column].to_numpy() for column in ("epoch", "layer", name))  # a mask in pandas takes ten times as long
    return float(values[(epochs == epoch) & (layers == layer)][0])


# --- which runs failed


def threshold(run: RunResult) -> float:
    """The test accuracy below which a run has failed: twice the share of the largest class in the test split, or halfway from that share
    to 1 if that is less."""
    return _threshold(run.metrics["largest_class"])


def _threshold(share: float) -> float:
    return min(2 * share, (1 + share) / 2)


def outcome(run: RunResult) -> str:
    """DIVERGED, FAILED or LEARNED. A diverged run has failed too, but is counted separately."""
    return outcome_of(run.metrics)


def outcome_of(metrics: Mapping[str, Any]) -> str:
    """The outcome of a run from its metrics.json."""
    if metrics["status"] == "diverged":
        return DIVERGED
    accuracy = metrics["last"].get(TEST_ACCURACY)
    return FAILED if accuracy is not None and accuracy < _threshold(metrics["largest_class"]) else LEARNED


def learned(runs: Sequence[RunResult]) -> list[RunResult]:
    """The runs for a mean accuracy: those that neither failed nor diverged. Failed runs are counted separately."""
    return [run for run in runs if outcome(run) == LEARNED]


def test_accuracy(run: RunResult) -> float | None:
    """Test accuracy after the last epoch; None for a diverged run."""
    return run.metrics["last"].get(TEST_ACCURACY)


def accuracies(runs: Sequence[RunResult]) -> dict[int, float | None]:
    """Seed -> test accuracy after the last epoch; None for a run that failed or diverged."""
    return {run.seed: test_accuracy(run) if outcome(run) == LEARNED else None for run in runs}


# --- which runs can be compared


def belong_together(conditions: Mapping[str, Runs]) -> None:
    """Raise UserError unless all runs have the same data and core, and all runs of a condition the same recipe and model.

    Learning rates may differ between activations: the condition `standardized_tuned` has one for each.
    """
    first = next(every_run(runs)[0] for runs in conditions.values())
    for runs in conditions.values():
        of_condition = every_run(runs)[0]
        for of_activation in runs.values():
            for run in of_activation:
                pairs = ((first, _sources), (of_condition, _shared_settings), (of_activation[0], settings))
                for other, values_of in pairs:
                    if differing := _differing(values_of(run), values_of(other)):
                        raise UserError(
                            "runs-differ",
                            f"{run.key} and {other.key} cannot be compared: they differ in {', '.join(differing)}; train them alike with dvc repro",
                        )


def differences(runs: Runs, others: Runs) -> dict[str, str]:
    """The settings in which the runs of another condition (`others`) differ from `runs`: dotted key -> value, in words. Settings of an
    activation are compared if both conditions have it.

    A number that differs between activations is given as a range.
    """
    ours = settings(every_run(runs)[0])
    theirs = [settings(run) for run in every_run(others)]
    found = {key: _in_words([one[key] for one in theirs]) for key in theirs[0] if any(one[key] != ours.get(key) for one in theirs)}
    for name in (name for name in others if name in runs):
        here, there = (_of_activation(of_condition[name][0]) for of_condition in (runs, others))
        found |= {key: _in_words([value]) for key, value in there.items() if value != here.get(key)}
    return found


def _of_activation(run: RunResult) -> dict[str, object]:
    return {f"activation.config.{key}": value for key, value in configuration(run)["activation"]["config"].items()}


def _sources(run: RunResult) -> dict[str, object]:
    return {"data": run.metrics["data_sha256"], "the code that trained them": run.metrics["core_sha256"]}


def settings(run: RunResult) -> dict[str, Any]:
    """Recipe and model of a run, as dotted keys."""
    values = configuration(run)
    groups = {"recipe": values["recipe"], "model": {"build": values["model"]["build"]}, "model.config": values["model"]["config"]}
    return {f"{group}.{key}": value for group, of_group in groups.items() for key, value in of_group.items()}


def _shared_settings(run: RunResult) -> dict[str, object]:
    """The settings that all activations of a condition share."""
    return settings(run) | {"recipe.learning_rate": None}


def _differing(values: Mapping[str, object], others: Mapping[str, object]) -> list[str]:
    return [key for key in dict.fromkeys((*values, *others)) if values.get(key) != others.get(key)]


def _in_words(values: Sequence[Any]) -> str:
    distinct = list({str(value): value for value in values}.values())
    if len(distinct) > 1 and all(isinstance(value, int | float) for value in distinct):
        return f"{min(distinct)} to {max(distinct)}"
    return ", ".join(map(str, distinct))
