"""The jobs in memory with every index and counter of them. One method a part of a batch; nobody else changes
a job.

A job is kept as its current row, a tuple that is replaced and never changed. Indexes hold rows (or their keys), and an
entry counts only while it is still the job's current one: nothing has to be searched for in order to be taken out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import Any, Final

from actors.core.job import FINAL, PRIORITIES, JobRecord, Reason, Standing, State
from actors.core.lifecycle import PROMOTION, bulk_claim
from actors.store.memory.delta import PROMOTE, Delta
from actors.store.memory.history import ByAge, ByEnd
from actors.store.memory.keys import Keys, same_id
from actors.store.memory.lanes import SLACK, Ready
from actors.store.memory.rows import (
    BEHIND,
    HOLDER,
    ID,
    PRIORITY,
    QUEUE,
    RUN_AT,
    SEQ,
    STATE,
    STOP,
    VERSION,
    Row,
    Shelf,
    moved,
    new_row,
    packed,
    record,
)
from actors.store.port import MOST_LINES, Claim, Insert, Note, Outcome, Refusal, Stop, Write

LATER: Final = PROMOTION.source
READY: Final = PROMOTION.target
BUSY: Final = bulk_claim(0, "").target
_RANKS: Final = range(len(PRIORITIES))

Tally = defaultdict[tuple[str, int, State], int]


class Jobs:
    """All jobs: `rows` by id, `current` the same as records; `by_age` and `by_end` for pages; the counters."""

    def __init__(self) -> None:
        self.current = Shelf()
        self.rows = self.current.rows
        self.keys = Keys()
        self.by_age = ByAge()
        self.by_end = ByEnd()
        self.stopping: dict[str, Reason] = {}  # the unfinished jobs that were asked to stop
        self.held: dict[str, dict[str, None]] = {}  # holder -> its running jobs
        self.now: Tally = defaultdict(int)
        self.ended: Tally = defaultdict(int)
        self.accepted = 0
        self.deleted = 0
        self._seq = 0
        self._ready: dict[str, Ready] = {}
        self._later: list[tuple[int, int, int, Row]] = []  # a heap of (run_at, seq, version, row)
        self._later_stale = 0

    def running(self) -> Iterator[JobRecord]:
        """The running jobs of all holders."""
        return (self.current[id] for held in self.held.values() for id in held)

    # The parts of a batch, in its order

    def note(self, note: Note) -> JobRecord | None:
        """Keep what a body said, if that run is under way; the job that it is of."""
        old = self.current.get(note.id)
        if old is None or old.standing.state != BUSY or old.standing.runs != note.run:
            return None
        new = self.current[note.id] = JobRecord(
            old.spec,
            old.standing,
            old.result_json,
            old.errors,
            old.progress if note.progress is None else note.progress,
            (*old.log, *note.log)[-MOST_LINES:] if note.log else old.log,
            old.saved_json if note.saved is None else note.saved,
            old.stop,
        )
        return new

    def write(self, writes: list[Write], lost_groups: set[int], outcome: Outcome) -> bool:
        """Apply steps; whether a job waits now that did not before."""
        rows, now, waiting = self.rows, self.now, False
        for index, write in enumerate(writes):
            id, read, after = write.job.spec.id, write.job.standing, write.after
            old = rows.get(id)
            if old is None or not _stands(old, read) or write.group in lost_groups:
                outcome.lost.add(index)
                continue
            final = after.state in FINAL
            new = moved(old, after)
            if write.result is not None or write.error is not None or write.step == "replay" or old[STOP] is not None:
                new = _changed_beside(new, write, final)
            rows[id] = new
            self._leave(old)
            now[old[QUEUE], old[PRIORITY], after.state] += 1
            if final:
                self._end(new)
                if old[STOP] is not None:
                    del self.stopping[id]
            else:
                self._enter(new)
                waiting = True
        return waiting

    def insert(self, inserts: list[Insert], at: int, lost_groups: set[int], outcome: Outcome) -> bool:
        """Make new jobs; whether there are any."""
        rows, now, by_age, ready = self.rows, self.now, self.by_age, self._ready
        before = seq = self._seq
        for index, insert in enumerate(inserts):
            spec, new = insert.spec, insert.standing
            keyed = insert.unique is not None or insert.idempotency is not None
            if keyed or spec.id in rows or insert.limit is not None or insert.group:
                refusal = self._refusal(insert, at, lost_groups)
                if refusal is not None:
                    outcome.refused[index] = refusal
                    continue
            seq += 1
            row = new_row(spec, new, seq)
            if (past := insert.past) is not None:
                row = (*row[:BEHIND], *packed(past)[BEHIND:])
                if past.stop is not None:
                    self.stopping[spec.id] = past.stop
            rows[spec.id] = row
            by_age.add(seq, spec.id)
            now[spec.queue, spec.priority, new.state] += 1
            if new.state == READY:
                lanes = ready.get(spec.queue)
                if lanes is None:
                    lanes = ready[spec.queue] = Ready()
                lanes.push(row)
            elif new.state in FINAL:
                self._end(row)
            else:
                self._enter(row)
            if keyed:
                self.keys.take(insert, seq)
        self._seq = seq
        self.accepted += seq - before
        return seq > before

    def _refusal(self, insert: Insert, at: int, lost_groups: set[int]) -> Refusal | None:
        if insert.group in lost_groups:
            return Refusal("lost")
        refusal = None
        if insert.idempotency is not None:
            refusal = self.keys.repeated(insert.idempotency, at, self.rows)
        if refusal is None and insert.spec.id in self.current:
            refusal = same_id(insert.spec, self.current[insert.spec.id])
        if refusal is None and insert.unique is not None:
            refusal = self.keys.held(insert.unique, at, self.rows)
        if refusal is None and insert.limit is not None and self._waiting(insert.spec.queue) >= insert.limit:
            refusal = Refusal("full")
        return refusal

    def _waiting(self, queue: str) -> int:
        return sum(self.now.get((queue, rank, state), 0) for rank in _RANKS for state in (READY, LATER))

    def stop(self, stop: Stop) -> bool:
        """Keep the first reason; whether the job is running."""
        old = self.current.get(stop.id)
        if old is None or old.standing.state != BUSY:
            return False
        if old.stop is None:
            self.current[stop.id] = JobRecord(
                old.spec,
                old.standing,
                old.result_json,
                old.errors,
                old.progress,
                old.log,
                old.saved_json,
                stop.reason,
            )
            self.stopping[stop.id] = stop.reason
        return True

    def delete(self, read: JobRecord) -> bool:
        """Whether the job was there at the version that was read; then it is gone."""
        id = read.spec.id
        old = self.rows.get(id)
        if old is None or not _stands(old, read.standing):
            return False
        del self.rows[id]
        self._leave(old)
        if old[STOP] is not None:
            del self.stopping[id]
        self.by_age.leave(self.rows)
        self.deleted += 1
        return True

    def promote(self, at: int, promoted: list[JobRecord] | None) -> int | None:
        """Make ready what is due, adding it to `promoted`; when the next one will be due."""
        later, rows, now = self._later, self.rows, self.now
        while later:
            run_at, _, _, old = later[0]
            if rows.get(old[ID]) is not old:
                self._later_stale -= 1
            elif run_at > at:
                return run_at
            else:
                standing = PROMOTE.apply(old)
                new = rows[old[ID]] = moved(old, standing)
                now[old[QUEUE], old[PRIORITY], PROMOTE.source] -= 1
                now[old[QUEUE], old[PRIORITY], PROMOTE.target] += 1
                self._enter(new)
                if promoted is not None:
                    promoted.append(record(new, standing))
            heappop(later)
        return None

    def claim(self, claim: Claim, types: frozenset[str], delta: Delta, claimed: list[JobRecord]) -> None:
        """Take the first ready jobs of a queue, adding them to `claimed`."""
        ready = self._ready.get(claim.queue)
        if ready is None or claim.limit <= 0:
            return
        rows, now = self.rows, self.now
        for taken in ready.take(claim.limit, types, rows):
            held: dict[str, None] | None = None
            for old in taken:
                standing = delta.apply(old)
                rows[old[ID]] = moved(old, standing)
                if held is None:
                    held = self.held.setdefault(standing.holder or "", {})
                held[old[ID]] = None
                claimed.append(record(old, standing))
            rank = taken[0][PRIORITY]
            now[claim.queue, rank, delta.source] -= len(taken)
            now[claim.queue, rank, delta.target] += len(taken)

    # The indexes

    def _enter(self, row: Row) -> None:
        """Index a job that has got to a state that is not final."""
        state, queue = row[STATE], row[QUEUE]
        if state == LATER:
            heappush(self._later, (row[RUN_AT], row[SEQ], row[VERSION], row))
        elif state == READY:
            ready = self._ready.get(queue)
            if ready is None:
                ready = self._ready[queue] = Ready()
            ready.push(row)
        else:
            self.held.setdefault(row[HOLDER] or "", {})[row[ID]] = None

    def _end(self, row: Row) -> None:
        """Index a job that has got to a final state, and count it for good."""
        self.by_end.add(row)
        self.ended[row[QUEUE], row[PRIORITY], row[STATE]] += 1

    def _leave(self, old: Row) -> None:
        """The job has left this state; the rows know already what became of it."""
        state = old[STATE]
        self.now[old[QUEUE], old[PRIORITY], state] -= 1
        if state == BUSY:
            _drop(self.held, old[HOLDER] or "", old[ID])
        elif state == READY:
            self._ready[old[QUEUE]].leave(old, self.rows)
        elif state == LATER:
            self._later_stale += 1
            if self._later_stale > SLACK and self._later_stale * 2 > len(self._later):
                self._later = [entry for entry in self._later if self.rows.get(entry[3][ID]) is entry[3]]
                heapify(self._later)
                self._later_stale = 0
        else:
            self.by_end.leave(self.rows)


def _stands(row: Row, read: Standing) -> bool:
    """Whether a job stands as it was read. `seq` tells a deleted job from one that was given its id."""
    return row[VERSION] == read.version and row[SEQ] == read.seq  # type: ignore[no-any-return]


def _changed_beside(row: Row, write: Write, final: bool) -> Row:
    """What a write changes beside the standing."""
    job = record(row)
    errors = job.errors if write.error is None else (*job.errors, write.error)
    if write.step == "replay":
        return packed(JobRecord(job.spec, job.standing, write.result, errors, None, job.log))
    result = job.result_json if write.result is None else write.result
    stop = None if final else job.stop
    return packed(JobRecord(job.spec, job.standing, result, errors, job.progress, job.log, job.saved_json, stop))


def same(stored: Standing, read: Standing) -> bool:
    """Whether two standings are the same one of a job: `_stands` of records."""
    return stored is read or (stored.version == read.version and stored.seq == read.seq)


def _drop(index: dict[str, dict[str, Any]], holder: str, id: str) -> None:
    held = index[holder]
    del held[id]
    if not held:
        del index[holder]
