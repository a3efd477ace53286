"""Systems that break one promise each: what the simulation must find."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast
from unittest import mock

import attrs
import trio

from actors.core import lifecycle
from actors.core.events import NAMES, PROGRESS
from actors.core.job import JobRecord
from actors.core.retry import Decision, decide
from actors.house import _Tier
from actors.queue import endings, floor
from actors.queue.actor import Queue
from actors.store.event_log import step_row
from actors.store.memory import MemoryStore
from actors.store.port import Batch, Outcome
from actors.testing.conformance.claims import place


class NoVersionCheck(MemoryStore):
    """A write applies whatever has become of the job."""

    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        current = self._jobs.shelf
        writes = [attrs.evolve(write, job=current.get(write.job.id, write.job)) for write in batch.writes]
        return await super().commit(holder, tick, attrs.evolve(batch, writes=writes))


class ClaimNotAtomic(MemoryStore):
    """What is ready is read first, and taken a moment later, though another may have taken it meanwhile."""

    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        if self._serving(holder).tick == tick:
            return await super().commit(holder, tick, batch)
        jobs = self._jobs
        seen = {job.id for job in jobs.shelf.values() if job.state == "pending"}
        await trio.lowlevel.cancel_shielded_checkpoint()
        outcome = await super().commit(holder, tick, attrs.evolve(batch, claims=[]))
        step = lifecycle.bulk_claim(batch.now, holder)
        for claim in batch.claims:
            if f"paused/{claim.queue}" in self._settings:
                continue
            ready = [
                job
                for job in jobs.shelf.values()
                if job.queue == claim.queue and (job.state == "pending" or (job.id in seen and job.state == "running"))
            ]
            for old in sorted(ready, key=place)[: claim.limit]:
                adds = {name: getattr(old.standing, name) + number for name, number in step.adds.items()}
                fields: dict[str, Any] = {**step.sets, **adds}
                was = jobs.shelf.row(old.id)
                new = jobs.shelf[old.id] = attrs.evolve(old, standing=attrs.evolve(old.standing, **fields))
                jobs._leave(was)
                jobs.now[new.queue, new.spec.priority, new.state] += 1
                jobs._enter(jobs.shelf.row(new.id))
                outcome.claimed.append(new)
        if self._log.is_open and outcome.claimed:
            self._log.append(batch.now, holder, [step_row("claim", job.spec, job.standing) for job in outcome.claimed])
        return outcome


class ReaperWithoutLease(MemoryStore):
    """Everybody else has vanished."""

    async def vanished(self, holder: str, now: int) -> list[str]:
        return [other for other in self._jobs.held if other != holder]


class SlotWithoutKey(MemoryStore):
    """A schedule's cursor is moved from wherever it stands."""

    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        moves = [
            attrs.evolve(move, expect=cursor) if (cursor := self._timetable.cursor(move.name)) is not None else move
            for move in batch.schedule_moves
        ]
        return await super().commit(holder, tick, attrs.evolve(batch, schedule_moves=moves))


class RepeatedTickHappensAgain(MemoryStore):
    """A commit whose answer was lost is made again."""

    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        self._serving(holder).tick = None
        return await super().commit(holder, tick, batch)


class StopForgotten(MemoryStore):
    """A job that comes back is not stopped any more."""

    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        for write in batch.writes:
            if (job := self._jobs.shelf.get(write.job.id)) is not None and job.stop is not None:
                self._jobs.shelf[job.id] = attrs.evolve(job, stop=None)
                self._jobs.stopping.pop(job.id, None)
        return await super().commit(holder, tick, batch)


class PauseIgnored(MemoryStore):
    """A paused queue gives its jobs."""

    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        kept, self._settings = self._settings, {}
        try:
            return await super().commit(holder, tick, batch)
        finally:
            self._settings = {key: text for key, text in {**kept, **batch.settings}.items() if text is not None}


class CountsLeftBehind(MemoryStore):
    """A delete does not lower what is counted."""

    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        outcome = await super().commit(holder, tick, batch)
        for index, job in enumerate(batch.deletes):
            if index not in outcome.undeleted:
                self._jobs.now[job.queue, job.spec.priority, job.state] += 1
        return outcome


def _store(mutant: Callable[[], MemoryStore]) -> Any:
    return mock.patch("tests.sim.run.MemoryStore", mutant)


def _at_once(job: JobRecord, error: BaseException, policy: Any, draw: float, now: int, **given: Any) -> Decision:
    decision = decide(job, error, policy, draw, now, **given)
    return Decision("retry", now) if decision.step == "retry" else decision


async def _start_in_the_open(tier: Any, run: Any) -> None:
    """`_Tier.start`, whose shield forgets the queue."""
    tier._left += 1
    scope = trio.CancelScope()
    tier._scopes.append(scope)
    await tier._nursery.start(tier._hold, scope, run)
    scope.shield = not isinstance(run.__self__, Queue)


MUTANTS: dict[str, Callable[[], Any]] = {
    "no version check": lambda: _store(NoVersionCheck),
    # every report costs an attempt, whatever it says: a snooze, a success and a job given back too
    "attempt counted at the report": lambda: mock.patch.object(
        lifecycle,
        "FAILURES",
        frozenset({"complete", "retry", "snooze", "give_back", "bury", "discard"}),
    ),
    "claim not atomic": lambda: _store(ClaimNotAtomic),
    "reaper without lease test": lambda: _store(ReaperWithoutLease),
    "give-back without shield": lambda: mock.patch.object(_Tier, "start", _start_in_the_open),
    "retry at once": lambda: mock.patch.object(endings, "decide", _at_once),
    "slot without unique key": lambda: _store(SlotWithoutKey),
    # and some that nobody asked for
    "repeated tick happens again": lambda: _store(RepeatedTickHappensAgain),
    "stop forgotten": lambda: _store(StopForgotten),
    "pause ignored": lambda: _store(PauseIgnored),
    "counts left behind": lambda: _store(CountsLeftBehind),
    "nothing runs alone": lambda: mock.patch.object(floor, "ALONE_FROM", 99),
    "claims not told": lambda: mock.patch.dict(cast(dict[str, str], NAMES), {"claim": PROGRESS}),
}
"""By name: a context in which the system is broken so."""

BREAKS: dict[str, str] = {
    "no version check": r": applied True, though",
    "attempt counted at the report": r": attempt \d to \d",
    "claim not atomic": r"claimed .* which stood as .*running",
    "reaper without lease test": r"lose of .*, which holds it, lives",
    "give-back without shield": r"has left \(cancel\): it still holds|ShuttingDown",  # or its actors miss the queue
    "retry at once": r"retry of .*: waits 0\.0 s, expected",
    "slot without unique key": r"move of .*: won True",
    "repeated tick happens again": r"a repeat was answered otherwise",
    "stop forgotten": r"stops \[.*\], expected \[",
    "pause ignored": r"claimed .* expected \[",
    "counts left behind": r"jobs are counted, \d+ are there",
    "nothing runs alone": r"is to run alone",
    "claims not told": r"tells .*: .* were not told",
}
"""What the truth must say of each."""

FIRST: dict[str, int] = {"counts left behind": 310}
"""From which seed to look: where few histories find it, they are too many to look through each time."""
