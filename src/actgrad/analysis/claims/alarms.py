"""The claim that an alarm of a published rule predicts a failing training."""

from actgrad.analysis.claims.registry import CONFIRMED, INCONCLUSIVE, NOT_MEASURED, REFUTED, Finding, claim
from actgrad.analysis.evidence import Evidence
from actgrad.analysis.runs import every_run


@claim(
    "alarms-tell-of-failure",
    "Published alarms tell you that training will fail.",
    figure="alarms",
    title="Published alarms tell of failure",
    changes=[
        "A rule that several sources publish counts once; it counted once for each of them.",
        "A training that two conditions share counts once; it counted once for each of them.",
    ],
)
def alarms_tell_of_failure(evidence: Evidence) -> Finding:
    """Each different rule of diagnosis.rules, over all trainings of all conditions: whether it fires within three epochs, against whether the run
    fails. A rule tells of failure if it fires in more than half of the failed runs, and more often there than in those that learned. It does not
    if it fires in fewer than half of the failed runs, or in more than half of those that learned. All this by exact 95 % intervals. Confirmed if
    at least half of the rules tell of failure, refuted if at least half do not."""
    if len(evidence.conditions) < 2 or not (evidence.alarms["failed"].iloc[0] and evidence.alarms["learned"].iloc[0]):
        return Finding(NOT_MEASURED, "It needs several conditions, runs that fail, and runs that learn.")
    table = evidence.alarms
    verdicts = table["verdict"].value_counts()
    tell, do_not, rules = int(verdicts.get(CONFIRMED, 0)), int(verdicts.get(REFUTED, 0)), len(table)
    found = CONFIRMED if 2 * tell >= rules else REFUTED if 2 * do_not >= rules else INCONCLUSIVE
    first = table.iloc[0]
    sentence = (
        f"Of {rules} rules, {tell} tell of failure, {do_not} do not, and {rules - tell - do_not} cannot be judged: "
        f"{first['failed']} runs failed, {first['learned']} learned."
    )
    keys = tuple(run.key for runs in evidence.conditions.values() for run in every_run(runs))
    return Finding(found, sentence, tell / rules, "of the rules", keys=keys)
