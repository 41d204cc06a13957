"""The claim that an alarm of a published rule predicts a failing training."""

from actgrad.analysis.alarms import totals, trainings
from actgrad.analysis.claims.registry import CONFIRMED, INCONCLUSIVE, NOT_MEASURED, REFUTED, Finding, claim
from actgrad.analysis.evidence import Evidence


@claim(
    "alarms-tell-of-failure",
    "Published alarms tell you that training will fail.",
    figure="alarms",
    title="Published alarms tell of failure",
    changes=[
        "A rule that several sources publish counts once; it counted once for each of them.",
        "A training that two conditions share counts once; it counted once for each of them.",
        "A rule about units of some activations is judged only by the runs that have them; it counted as silent in all others.",
    ],
)
def alarms_tell_of_failure(evidence: Evidence) -> Finding:
    """Each different rule of diagnosis.rules, over all trainings of all conditions: whether it fires within three epochs, against whether the run
    fails. A rule about units of some activations is judged only by the runs that have them, if some failed and some learned. A rule tells of failure
    if it fires in more than half of the failed runs, and more often there than in those that learned. It does not if it fires in fewer than half of
    the failed runs, or in more than half of those that learned. All this by exact 95 % intervals. Confirmed if at least half of the judged rules
    tell of failure, refuted if at least half do not."""
    failed, learned = totals(evidence.alarms)
    if len(evidence.conditions) < 2 or not (failed and learned):
        return Finding(NOT_MEASURED, "It needs several conditions, runs that fail, and runs that learn.")
    tell, do_not, undecided, no_run = (int((evidence.alarms["verdict"] == word).sum()) for word in (CONFIRMED, REFUTED, INCONCLUSIVE, NOT_MEASURED))
    judged = tell + do_not + undecided
    found = CONFIRMED if 2 * tell >= judged else REFUTED if 2 * do_not >= judged else INCONCLUSIVE
    sentence = f"Of {judged} rules, {tell} tell of failure, {do_not} do not, and {undecided} {'is' if undecided == 1 else 'are'} undecided"
    sentence += f"; {no_run} are about activations of which no run failed" if no_run else ""
    sentence += f". {failed} runs failed, {learned} learned."
    keys = tuple(run.key for run in trainings(evidence.conditions))
    return Finding(found, sentence, tell / judged, "of the rules", keys=keys)
