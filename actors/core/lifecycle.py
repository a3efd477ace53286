"""THE transition table. A job's state changes through `advance` (or its bulk form) and nowhere else in the project.

`TRANSITIONS` is data: `step -> {from: to}`. What is absent is illegal and raises `WrongState`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, get_args

from actors.core.errors import WrongState
from actors.core.job import FINAL, JobRecord, Standing, State
from actors.core.value import value

Step = Literal[
    "promote",
    "claim",
    "complete",
    "retry",
    "snooze",
    "give_back",
    "lose",
    "bury",
    "discard",
    "quarantine",
    "cancel",
    "replay",
]

STEPS: Final[tuple[Step, ...]] = get_args(Step)

TRANSITIONS: Final[Mapping[Step, Mapping[State, State]]] = {
    "promote": {"scheduled": "pending"},  # its time has come
    "claim": {"pending": "running"},
    "complete": {"running": "completed"},
    "retry": {"running": "scheduled"},  # the attempt failed, more are left
    "snooze": {"running": "scheduled"},  # the body asked to come back later
    "give_back": {"running": "pending"},  # cut short by a shutdown, or never started
    "lose": {"running": "pending"},  # its process died
    "bury": {"running": "dead"},  # the last attempt failed
    "discard": {"running": "dead"},  # the body gave up, or the payload can't be decoded
    "quarantine": {"running": "dead"},  # its processes died once too often
    "cancel": {"scheduled": "cancelled", "pending": "cancelled", "running": "cancelled"},
    "replay": {"dead": "pending", "cancelled": "pending"},
}

VERBS: Final[Mapping[Step, str]] = {
    "promote": "be promoted",
    "claim": "be claimed",
    "complete": "complete",
    "retry": "be retried after a failure",
    "snooze": "snooze",
    "give_back": "be given back",
    "lose": "be lost",
    "bury": "fail for good",
    "discard": "be discarded",
    "quarantine": "be quarantined",
    "cancel": "be cancelled",
    "replay": "be replayed",
}

((_COMPLETED_FROM, _COMPLETED),) = TRANSITIONS["complete"].items()

FAILURES: Final[frozenset[Step]] = frozenset({"retry", "bury"})  # the steps that cost an attempt
CRASHES: Final[frozenset[Step]] = frozenset({"lose", "quarantine"})  # the steps that count a dead process

ALONE_FROM: Final = 2  # crashes: a job that took two processes with it runs alone, so that it takes no other job along
MAX_CRASHES: Final = ALONE_FROM + 2  # and after two that it took alone it is not given to another one


def advance(job: JobRecord, step: Step, now: int, *, run_at: int | None = None, holder: str | None = None) -> Standing:
    """The standing of `job` after `step` at the instant `now` (microseconds).

    `run_at` moves the time before which it may not run (retry, snooze); `holder` is who claims it (claim only).
    Raises `WrongState`, naming the job, its state and the step, when `TRANSITIONS` has no such step.
    """
    old = job.standing
    state = TRANSITIONS[step].get(old.state)
    if state is None:
        raise WrongState(job.spec.id, old.state, VERBS[step])
    if step == "claim":
        return Standing(
            old.seq, state, old.version + 1, old.attempt, old.runs + 1, old.crashes, old.run_at, now, None, holder
        )
    if step == "replay":
        return Standing(old.seq, state, old.version + 1, 0, old.runs, 0, now, None, None, None)
    return Standing(
        old.seq,
        state,
        old.version + 1,
        old.attempt + 1 if step in FAILURES else old.attempt,
        old.runs,
        old.crashes + 1 if step in CRASHES else old.crashes,
        old.run_at if run_at is None else run_at,
        old.started_at,
        now if state in FINAL else None,
        None,
    )


def complete(job: JobRecord, now: int) -> Standing:
    """`advance(job, "complete", now)`, equal to it field by field, without looking up a step that is known: nearly
    every job takes this one, and half the time of `advance` goes into what other steps need.
    """
    old = job.standing
    if old.state != _COMPLETED_FROM:
        raise WrongState(job.spec.id, old.state, VERBS["complete"])
    return Standing(
        old.seq,
        _COMPLETED,
        old.version + 1,
        old.attempt,
        old.runs,
        old.crashes,
        old.run_at,
        old.started_at,
        now,
        None,
    )


@value(kw_only=True)
class Bulk:
    """The same step for many jobs, as a store applies it to rows: where `state == source`, set `sets`, add `adds`."""

    step: Step
    source: State
    target: State
    sets: Mapping[str, str | int | None]
    adds: Mapping[str, int]


def bulk_claim(now: int, holder: str) -> Bulk:
    """`advance(job, "claim", now, holder=holder)` for any number of pending jobs; equal to it field by field."""
    sets: Mapping[str, str | int | None] = {
        "state": "running",
        "started_at": now,
        "finished_at": None,
        "holder": holder,
    }
    return Bulk(step="claim", source="pending", target="running", sets=sets, adds={"version": 1, "runs": 1})


PROMOTION: Final = Bulk(
    step="promote",
    source="scheduled",
    target="pending",
    sets={"state": "pending", "finished_at": None, "holder": None},
    adds={"version": 1},
)
"""`advance(job, "promote", now)` for any number of scheduled jobs whose `run_at` has come."""
