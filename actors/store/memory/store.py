"""`MemoryStore`: the port in dicts and heaps. A commit never yields to other tasks, so it is whole, and can't
be cancelled half way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import islice
from math import inf
from typing import Final

import trio

from actors.core.errors import StoreError
from actors.core.events import Cursor
from actors.core.job import JobRecord, Standing, State
from actors.core.lifecycle import bulk_claim
from actors.store.event_log import Row, rows_of, step_row
from actors.store.memory import pages
from actors.store.memory.delta import Delta
from actors.store.memory.jobs import Jobs, same
from actors.store.memory.log import Log
from actors.store.memory.rows import PRIORITY, QUEUE, STATE, record
from actors.store.memory.timetable import Timetable
from actors.store.port import (
    FIRST_LEASE,
    Batch,
    Counts,
    Kept,
    LogPage,
    Outcome,
    Page,
    Query,
    Recount,
    ScheduleRecord,
    SlotRecord,
)

BEATS_PER_LEASE: Final = 3  # one may be late and one lost


class _Holder:
    """What is kept for one open holder."""

    __slots__ = ("deadline", "log_receive", "log_send", "outcome", "receive", "send", "tick")

    def __init__(self, now: int) -> None:
        self.tick: int | None = None  # the last one, and its outcome
        self.outcome = Outcome()
        self.deadline: float = now + FIRST_LEASE * 1e6  # microseconds
        self.send, self.receive = trio.open_memory_channel[None](1)
        self.log_send, self.log_receive = trio.open_memory_channel[None](1)


class MemoryStore:
    """A `Store` whose data lives as long as the object: closing the last holder keeps it, so it can be opened
    again.

    For one trio run at a time. `commit` and the reads have no checkpoint.
    """

    def __init__(self) -> None:
        self._jobs = Jobs()
        self._timetable = Timetable()
        self._settings: dict[str, str] = {}
        self._holders: dict[str, _Holder] = {}
        self._log = Log()

    # Holders

    async def open(self, holder: str, now: int) -> None:
        """Start serving `holder`; opening it again changes nothing."""
        if holder not in self._holders:
            self._holders[holder] = _Holder(now)
            self._wake(holder)

    async def close(self, holder: str) -> None:
        """Stop serving `holder`; whoever waits in its `wakeup` returns. Wakes the others if it leaves running
        jobs.
        """
        served = self._holders.pop(holder, None)
        if served is not None:
            served.send.close()
            served.log_send.close()
            if holder in self._jobs.held:
                self._wake(holder)

    async def beat(self, holder: str, now: int, lease: float) -> float:
        """`holder` is alive until `lease` seconds after `now`."""
        self._serving(holder).deadline = now + lease * 1e6
        alone = len(self._holders) == 1 and not self._jobs.held.keys() - {holder}
        return inf if alone else lease / BEATS_PER_LEASE

    async def vanished(self, holder: str, now: int) -> list[str]:
        """Other holders with running jobs that are not open, or whose lease has passed."""
        gone = []
        for other in self._jobs.held:
            served = self._holders.get(other)
            if other != holder and (served is None or served.deadline < now):
                gone.append(other)
        return gone

    async def others(self, holder: str, now: int) -> list[str]:
        """Other holders that are open and whose lease has not passed."""
        return [other for other, served in self._holders.items() if other != holder and served.deadline >= now]

    async def wakeup(self, holder: str) -> bool:
        """Return when another holder's doings may concern this one, or this one is closed."""
        try:
            await self._serving(holder).receive.receive()
        except trio.EndOfChannel:
            pass
        return False

    async def logged(self, holder: str) -> None:
        """Return when another holder has added something to the event log, or this one is closed."""
        try:
            await self._serving(holder).log_receive.receive()
        except trio.EndOfChannel:
            return

    def _serving(self, holder: str) -> _Holder:
        served = self._holders.get(holder)
        if served is None:
            raise StoreError(f"holder {holder!r} is not open here: expected open() first")
        return served

    def _wake(self, holder: str) -> None:
        for other, served in self._holders.items():
            if other != holder:
                _ring(served.send)

    # Commits

    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        """Apply `batch` in one go."""
        served = self._serving(holder)
        if served.tick != tick:
            served.outcome, news = self._apply(holder, batch)
            served.tick = tick
            if news and len(self._holders) > 1:
                self._wake(holder)
        return served.outcome

    def _apply(self, holder: str, batch: Batch) -> tuple[Outcome, bool]:
        """The outcome, and whether it may concern other holders."""
        outcome, jobs, timetable = Outcome(), self._jobs, self._timetable
        news = bool(batch.settings or batch.schedules or batch.forget_schedules or batch.schedule_moves or batch.stops)
        for key, text in batch.settings.items():
            if text is None:
                self._settings.pop(key, None)
            else:
                self._settings[key] = text
        for schedule in batch.schedules:
            timetable.put(schedule)
        for name in batch.forget_schedules:
            timetable.forget(name)
        lost_groups = self._lost_groups(batch)
        for index, move in enumerate(batch.schedule_moves):
            if move.group in lost_groups or not timetable.move(move):
                outcome.lost_moves.add(index)
        for failed in batch.schedule_errors:
            timetable.fail(failed)
        noted: list[Row] | None = None  # the first rows of the log; None: it is closed
        if self._log.is_open or batch.listen:
            noted = self._begin_to_log(batch, outcome)
        for note in batch.notes:
            job = jobs.note(note)
            if noted is not None and job is not None and note.progress is not None:
                noted.append(step_row("note", job.spec, job.standing, progress=note.progress))
        if batch.writes and jobs.write(batch.writes, lost_groups, outcome):
            news = True
        if batch.inserts and jobs.insert(batch.inserts, batch.now, lost_groups, outcome):
            news = True
        for index, stop in enumerate(batch.stops):
            if not jobs.stop(stop):
                outcome.unstopped.add(index)
        for index, read in enumerate(batch.deletes):
            if not jobs.delete(read):
                outcome.undeleted.add(index)
        promoted: list[JobRecord] | None = outcome.promoted if batch.list_promoted else None
        if promoted is None and noted is not None:
            promoted = []
        outcome.next_due = jobs.promote(batch.now, promoted)
        if batch.claims:
            delta = Delta(bulk_claim(batch.now, holder))
            for claim in batch.claims:
                if f"paused/{claim.queue}" not in self._settings:
                    jobs.claim(claim, batch.types, delta, outcome.claimed)
        for id, reason in jobs.stopping.items():
            if jobs.shelf[id].standing.holder in (holder, None):
                outcome.stops.append((id, reason))
        if noted is not None and (rows := noted + rows_of(batch, outcome, promoted or ())):
            self._log.append(batch.now, holder, rows)
            for other, served in self._holders.items():
                if other != holder:
                    _ring(served.log_send)
        return outcome, news

    def _begin_to_log(self, batch: Batch, outcome: Outcome) -> list[Row] | None:
        log = self._log
        if log.is_over(batch.now):
            log.close()
            if not batch.listen:
                return None
        if batch.listen:
            outcome.log = log.listen(batch.now)
        return []

    def _lost_groups(self, batch: Batch) -> set[int]:
        """The groups of which an item will lose, found before anything is applied."""
        lost: set[int] = set()
        if any(move.group for move in batch.schedule_moves) or any(write.group for write in batch.writes):
            # a lost group takes its other items back, which may let others win: so from the start again
            while (group := self._losing_group(batch, lost)) is not None:
                lost.add(group)
        return lost

    def _losing_group(self, batch: Batch, lost: set[int]) -> int | None:
        cursors: dict[str, int] = {}
        for move in batch.schedule_moves:
            if move.group not in lost:
                if cursors.get(move.name, self._timetable.cursor(move.name)) == move.expect:
                    cursors[move.name] = move.cursor
                elif move.group:
                    return move.group
        standings: dict[str, Standing] = {}
        for write in batch.writes:
            if write.group not in lost:
                id = write.job.spec.id
                record = self._jobs.shelf.get(id)
                if record is not None and same(standings.get(id, record.standing), write.job.standing):
                    standings[id] = write.after
                elif write.group:
                    return write.group
        return None

    # Reads

    async def get(self, ids: Sequence[str]) -> dict[str, JobRecord]:
        """The jobs with these ids; unknown ids are absent."""
        shelf = self._jobs.shelf
        return {id: shelf[id] for id in ids if id in shelf}

    async def find(self, query: Query) -> Page:
        """One page of the jobs that match; always full unless it is the last."""
        return pages.find(self._jobs, query)

    async def export(self, after: int, limit: int) -> list[Kept]:
        """The next jobs above `after`, with their keys; looks at all keys for every page."""
        jobs = self._jobs
        return jobs.keys.of([record(row) for row in islice(jobs.shelf.oldest(after), limit)])

    async def counts(self) -> Counts:
        """All counters, kept by what each commit changed."""
        jobs = self._jobs
        return Counts(
            now={key: count for key, count in jobs.now.items() if count},
            ended=dict(jobs.ended),
            accepted=jobs.accepted,
            deleted=jobs.deleted,
        )

    async def recount(self) -> Recount:
        """All counters, and all jobs counted one by one."""
        there: Counter[tuple[str, int, State]] = Counter()
        for row in self._jobs.shelf.oldest(0):
            there[row[QUEUE], row[PRIORITY], row[STATE]] += 1
        return Recount(counts=await self.counts(), jobs=there)

    async def settings(self) -> dict[str, str]:
        """All settings."""
        return dict(self._settings)

    async def schedules(self) -> list[ScheduleRecord]:
        """All stored schedules, by name."""
        return self._timetable.schedules()

    async def slots(self, name: str, limit: int = 100) -> list[SlotRecord]:
        """What became of the newest slots of schedule `name`, newest first."""
        return self._timetable.slots(name, limit)

    async def sweep(self, now: int) -> None:
        """Drop idempotency keys and unique keys that have expired or whose jobs are gone, and the event log's old
        part.
        """
        self._jobs.keys.sweep(now, self._jobs.shelf)
        self._log.sweep(now)

    # The event log

    async def events(self, now: int, after: Cursor | None = None) -> LogPage:
        """What was committed after this cursor; None: nothing, but the cursor of now."""
        log = self._log
        if log.is_over(now):
            log.close()
        log.listen(now)
        return log.page(after)


def _ring(bell: trio.MemorySendChannel[None]) -> None:
    try:
        bell.send_nowait(None)
    except trio.WouldBlock:
        pass  # the last one was not heard yet
