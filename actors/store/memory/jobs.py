"""The jobs in memory with every index and counter of them. One method a part of a batch; nobody else changes
a job.

A job is kept as its current row, a tuple that is replaced and never changed. Indexes hold numbers and versions, and an
entry counts only while the job still stands there: nothing has to be searched for in order to be taken out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import Any, Final

from actors.core.job import FINAL, PRIORITIES, JobRecord, Reason, Standing, State
from actors.core.lifecycle import PROMOTION, bulk_claim
from actors.store.memory.delta import PROMOTE, Delta
from actors.store.memory.history import ByEnd
from actors.store.memory.keys import Keys, same_id
from actors.store.memory.lanes import SLACK, Ready, stands
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
    moved,
    new_row,
    packed,
    record,
)
from actors.store.memory.shelf import BITS, Shelf
from actors.store.port import MOST_LINES, Claim, Insert, Note, Outcome, Refusal, Stop, Write

LATER: Final = PROMOTION.source
READY: Final = PROMOTION.target
BUSY: Final = bulk_claim(0, "").target
_RANKS: Final = range(len(PRIORITIES))

Tally = defaultdict[tuple[str, int, State], int]


class Jobs:
    """All jobs: the shelf, `by_end` for pages, the counters."""

    def __init__(self) -> None:
        self.shelf = Shelf()
        self.keys = Keys()
        self.by_end = ByEnd()
        self.stopping: dict[str, Reason] = {}  # the unfinished jobs that were asked to stop
        self.held: dict[str, dict[str, None]] = {}  # holder -> its running jobs
        self.now: Tally = defaultdict(int)
        self.ended: Tally = defaultdict(int)
        self.accepted = 0
        self.deleted = 0
        self._seq = 0
        self._ready: dict[str, Ready] = {}
        self._later: list[tuple[int, int, int]] = []  # a heap of (run_at, seq, version)
        self._later_stale = 0

    def running(self) -> Iterator[Row]:
        """The running jobs of all holders."""
        return (row for held in self.held.values() for id in held if (row := self.shelf.row(id)) is not None)

    # The parts of a batch, in its order

    def note(self, note: Note) -> JobRecord | None:
        """Keep what a body said, if that run is under way; the job that it is of."""
        old = self.shelf.get(note.id)
        if old is None or old.standing.state != BUSY or old.standing.runs != note.run:
            return None
        new = self.shelf[note.id] = JobRecord(
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
        shards, now, waiting = self.shelf.shards, self.now, False
        for index, write in enumerate(writes):
            read, after = write.job.standing, write.after
            seq = read.seq
            shard = shards[seq >> BITS] if 0 <= seq >> BITS < len(shards) else shards[0]
            old = shard.get(seq)
            if old is None or old[VERSION] != read.version or write.group in lost_groups:
                outcome.lost.add(index)
                continue
            final = after.state in FINAL
            new = moved(old, after)
            if write.result is not None or write.error is not None or write.step == "replay" or old[STOP] is not None:
                new = _changed_beside(new, write, final)
            shard[seq] = new
            self._leave(old)
            now[old[QUEUE], old[PRIORITY], after.state] += 1
            if final:
                self._end(new)
                if old[STOP] is not None:
                    del self.stopping[old[ID]]
            else:
                self._enter(new)
                waiting = True
        return waiting

    def insert(self, inserts: list[Insert], at: int, lost_groups: set[int], outcome: Outcome) -> bool:
        """Make new jobs; whether there are any."""
        numbers, shards, now, ready = self.shelf.numbers, self.shelf.shards, self.now, self._ready
        before = seq = self._seq
        for index, insert in enumerate(inserts):
            spec, new = insert.spec, insert.standing
            keyed = insert.unique is not None or insert.idempotency is not None
            if keyed or spec.id in numbers or insert.limit is not None or insert.group:
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
            if seq >> BITS == len(shards):
                shards.append({})
            shards[seq >> BITS][seq] = row
            numbers[spec.id] = seq
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
            refusal = self.keys.repeated(insert.idempotency, at, self.shelf)
        if refusal is None and insert.spec.id in self.shelf:
            refusal = same_id(insert.spec, self.shelf[insert.spec.id])
        if refusal is None and insert.unique is not None:
            refusal = self.keys.held(insert.unique, at, self.shelf)
        if refusal is None and insert.limit is not None and self._waiting(insert.spec.queue) >= insert.limit:
            refusal = Refusal("full")
        return refusal

    def _waiting(self, queue: str) -> int:
        return sum(self.now.get((queue, rank, state), 0) for rank in _RANKS for state in (READY, LATER))

    def stop(self, stop: Stop) -> bool:
        """Keep the first reason; whether the job is running."""
        old = self.shelf.get(stop.id)
        if old is None or old.standing.state != BUSY:
            return False
        if old.stop is None:
            self.shelf[stop.id] = JobRecord(
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
        old = self.shelf.numbered(read.standing.seq)
        if old is None or old[VERSION] != read.standing.version:
            return False
        del self.shelf[old[ID]]
        self._leave(old)
        if old[STOP] is not None:
            del self.stopping[old[ID]]
        self.deleted += 1
        return True

    def promote(self, at: int, promoted: list[JobRecord] | None) -> int | None:
        """Make ready what is due, adding it to `promoted`; when the next one will be due."""
        later, now = self._later, self.now
        while later:
            run_at, seq, version = later[0]
            old = self.shelf.numbered(seq)
            if old is None or old[VERSION] != version:
                self._later_stale -= 1
            elif run_at > at:
                return run_at
            else:
                new = PROMOTE.apply(old)
                self.shelf.put(new)
                now[old[QUEUE], old[PRIORITY], PROMOTE.source] -= 1
                now[old[QUEUE], old[PRIORITY], PROMOTE.target] += 1
                self._enter(new)
                if promoted is not None:
                    promoted.append(record(new))
            heappop(later)
        return None

    def claim(self, claim: Claim, types: frozenset[str], delta: Delta, claimed: list[JobRecord]) -> None:
        """Take the first ready jobs of a queue, adding them to `claimed`."""
        ready = self._ready.get(claim.queue)
        if ready is None or claim.limit <= 0:
            return
        shards, now = self.shelf.shards, self.now
        for taken in ready.take(claim.limit, types, self.shelf):
            held: dict[str, None] | None = None
            for old in taken:
                new = delta.apply(old)
                shards[new[SEQ] >> BITS][new[SEQ]] = new
                if held is None:
                    held = self.held.setdefault(new[HOLDER], {})
                held[new[ID]] = None
                claimed.append(record(new))
            rank = taken[0][PRIORITY]
            now[claim.queue, rank, delta.source] -= len(taken)
            now[claim.queue, rank, delta.target] += len(taken)

    # The indexes

    def _enter(self, row: Row) -> None:
        """Index a job that has got to a state that is not final."""
        state, queue = row[STATE], row[QUEUE]
        if state == LATER:
            heappush(self._later, (row[RUN_AT], row[SEQ], row[VERSION]))
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
        """The job has left this state; the shelf knows already what became of it."""
        state = old[STATE]
        self.now[old[QUEUE], old[PRIORITY], state] -= 1
        if state == BUSY:
            _drop(self.held, old[HOLDER] or "", old[ID])
        elif state == READY:
            self._ready[old[QUEUE]].leave(old, self.shelf)
        elif state == LATER:
            self._later_stale += 1
            if self._later_stale > SLACK and self._later_stale * 2 > len(self._later):
                self._later = [entry for entry in self._later if stands(self.shelf, *entry[1:])]
                heapify(self._later)
                self._later_stale = 0
        else:
            self.by_end.leave(self.shelf)


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
    """Whether two standings are the same one of a job. `seq` tells a deleted job from one that was given its id."""
    return stored is read or (stored.version == read.version and stored.seq == read.seq)


def _drop(index: dict[str, dict[str, Any]], holder: str, id: str) -> None:
    held = index[holder]
    del held[id]
    if not held:
        del index[holder]
