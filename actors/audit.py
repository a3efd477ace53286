"""The audit of conservation: what the store has counted against what is there, and each job against the rules of rows.

Every accepted job is in exactly one state, or was deleted: accepted = sum over states + deleted, at every instant.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

import attrs

from actors.core.job import FINAL, STATES, JobRecord, State
from actors.store.port import Query, Recount, Store

PAGE: Final = 500  # jobs looked at between two words of progress
MOST_PROBLEMS: Final = 100  # told; the rest is counted


@attrs.frozen(kw_only=True)
class Audit:
    """What an audit found. `problems` is empty when everything adds up; at most `MOST_PROBLEMS` of `found` are told.

    `checked` is how many jobs were looked at one by one (0 when only the sums were compared).
    """

    accepted: int
    deleted: int
    states: Mapping[State, int]
    checked: int = 0
    found: int = 0
    problems: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether everything adds up."""
        return not self.found


async def audit(
    store: Store, *, every_job: bool = False, progress: Callable[[int, int], None] = lambda done, total: None
) -> Audit:
    """Compare the store's counters with a recount of the same instant; with `every_job` look at each job, too.

    Walks all jobs once (twice with `every_job`), on the store's reading side: commits go on meanwhile. `progress` is
    told (jobs looked at, jobs there when it began).
    """
    counted = await store.recount()
    problems = sum_problems(counted)
    states = Counter[State]()
    for (_, _, state), number in counted.jobs.items():
        states[state] += number
    found, checked = len(problems), 0
    after: str | None = None
    while every_job:
        page = await store.find(Query(limit=PAGE, after=after))
        checked += len(page.jobs)
        progress(checked, max(checked, states.total()))
        wrong = [f"job {job.id}: {problem}" for job in page.jobs for problem in job_problems(job)]
        found += len(wrong)
        problems += wrong[: max(0, MOST_PROBLEMS - len(problems))]
        if (after := page.after) is None:
            break
    return Audit(
        accepted=counted.counts.accepted,
        deleted=counted.counts.deleted,
        states={state: states[state] for state in STATES},
        checked=checked,
        found=found,
        problems=tuple(problems[:MOST_PROBLEMS]),
    )


def sum_problems(counted: Recount) -> list[str]:
    """What does not add up: one sentence each."""
    counts, there = counted.counts, sum(counted.jobs.values())
    problems: list[str] = []
    if counts.accepted != there + counts.deleted:
        problems.append(
            f"{counts.accepted} jobs were accepted: expected {there + counts.deleted}, "
            f"as {there} are there and {counts.deleted} were deleted"
        )
    for key in sorted({*counts.now, *counted.jobs}):
        (queue, rank, state), kept, found = key, counts.now.get(key, 0), counted.jobs.get(key, 0)
        if state not in STATES:
            problems.append(f"{found} jobs of queue {queue!r} are in no known state ({state!r})")
        elif kept != found:
            problems.append(f"queue {queue!r}, priority {rank}: {kept} {state} jobs are counted, {found} are there")
    for key, ended in sorted(counts.ended.items()):
        if (there := counts.now.get(key, 0)) > ended:
            problems.append(
                f"queue {key[0]!r}, priority {key[1]}: {there} jobs are {key[2]}, but only {ended} ever were"
            )
    return problems


def job_problems(job: JobRecord) -> list[str]:
    """The rules of rows that this job breaks: one sentence each."""
    standing = job.standing
    rules = (
        (0 <= standing.attempt <= job.max_attempts, f"attempt is {standing.attempt}: expected 0 to {job.max_attempts}"),
        ((job.state == "running") == (standing.holder is not None), f"{job.state}, held by {standing.holder}"),
        ((job.state in FINAL) == (standing.finished_at is not None), f"{job.state}, ended at {standing.finished_at}"),
        (job.state != "running" or standing.runs > 0, "running, but never claimed"),
        (standing.version >= standing.runs, f"version {standing.version} after {standing.runs} runs"),
        (job.stop is None or job.state not in FINAL, f"{job.state}, and still asked to stop"),
        (job.state != "completed" or job.standing.started_at is not None, "completed, but never started"),
    )
    return [said for holds, said in rules if not holds]
