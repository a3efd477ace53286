"""The ledger: what the store must hold after the commits so far, kept by a model of its own, and how each commit must
have been answered.
"""

from __future__ import annotations

from collections import Counter

import attrs

from actors.core.job import FINAL, JobRecord, JobSpec, Standing, State
from actors.core.lifecycle import TRANSITIONS
from actors.store.port import Batch, Claim, Insert, Note, ScheduleMove, ScheduleRecord, Stop, Write


@attrs.define(eq=False)
class Entry:
    """One job as it must stand."""

    spec: JobSpec
    standing: Standing
    errors: int = 0
    result: str | None = None
    saved: str | None = None
    stop: str | None = None
    claimed_at: float = 0.0  # by trio's clock
    asked: int | None = None  # the run in which its cancel was accepted
    told: list[tuple[int, str, State]] = attrs.Factory(list)  # version, step, state: all that ever became of it


class Ledger:
    """The model of a store. Whatever it does not expect is an `AssertionError`."""

    def __init__(self) -> None:
        self.jobs: dict[str, Entry] = {}
        self.accepted: set[str] = set()
        self.deleted = 0
        self.ended: Counter[tuple[str, int, State]] = Counter()
        self.settings: dict[str, str] = {}
        self.schedules: dict[str, ScheduleRecord] = {}
        self.fired: dict[tuple[str, int], str] = {}  # the job of each (schedule, slot)
        self.unique: list[tuple[str, Entry, int | None]] = []
        self.idempotency: dict[tuple[str, str], tuple[str, Entry, int]] = {}
        self._seq = 0

    # One commit

    def lost_groups(self, batch: Batch) -> set[int]:
        """The groups of which an item has lost."""
        lost: set[int] = set()
        if any(move.group for move in batch.schedule_moves) or any(write.group for write in batch.writes):
            while (group := self._losing(batch, lost)) is not None:
                lost.add(group)
        return lost

    def _losing(self, batch: Batch, lost: set[int]) -> int | None:
        cursors: dict[str, int | None] = {}
        for move in batch.schedule_moves:
            if move.group not in lost:
                stored = self.schedules.get(move.name)
                if cursors.get(move.name, stored and stored.cursor) == move.expect:
                    cursors[move.name] = move.cursor
                elif move.group:
                    return move.group
        versions: dict[str, int] = {}
        for write in batch.writes:
            if write.group not in lost:
                if self.still(write.job, versions.get(write.job.id)):
                    versions[write.job.id] = write.after.version
                elif write.group:
                    return write.group
        return None

    def still(self, read: JobRecord, version: int | None = None) -> bool:
        """Whether the job is there at the version that was read."""
        entry = self.jobs.get(read.id)
        if entry is None or entry.spec != read.spec:
            return False
        return (entry.standing.version if version is None else version) == read.version

    def settle(self, batch: Batch) -> None:
        """Settings and schedules."""
        for key, text in batch.settings.items():
            self.settings.pop(key, None)
            if text is not None:
                self.settings[key] = text
        for schedule in batch.schedules:
            old = self.schedules.get(schedule.name, schedule)
            self.schedules[schedule.name] = attrs.evolve(old, definition=schedule.definition, paused=schedule.paused)
        for name in batch.forget_schedules:
            self.schedules.pop(name, None)

    def move(self, move: ScheduleMove) -> bool:
        """Whether the schedule was where the move expects it; then it has moved."""
        old = self.schedules.get(move.name)
        if old is None or old.cursor != move.expect:
            return False
        jobs = [slot.job for slot in move.slots if slot.job is not None]
        self.schedules[move.name] = attrs.evolve(
            old,
            cursor=move.cursor,
            fired=old.fired + len(jobs),
            last_run=move.fired_at if jobs else old.last_run,
            last_job=jobs[-1] if jobs else old.last_job,
        )
        return True

    def note(self, note: Note) -> None:
        """Keep a saved state."""
        entry = self.jobs.get(note.id)
        if entry is not None and entry.standing.state == "running" and entry.standing.runs == note.run:
            entry.saved = entry.saved if note.saved is None else note.saved

    def write(self, write: Write) -> None:
        """A step that applied."""
        entry = self.jobs[write.job.id]
        entry.standing = attrs.evolve(write.after, seq=entry.standing.seq)
        if write.step == "replay":
            entry.result = entry.saved = entry.stop = entry.asked = None
        if write.result is not None:
            entry.result = write.result
        if write.error is not None:
            entry.errors += 1
        if write.after.state in FINAL:
            entry.stop = None
        self._tell(entry, write.step)

    def insert(self, insert: Insert, now: int) -> str | None:
        """Insert, or the verdict why not."""
        spec, key, unique = insert.spec, insert.idempotency, insert.unique
        if key is not None and (there := self.idempotency.get((key.scope, key.key))) is not None:
            digest, first, expires = there
            if now < expires and self.jobs.get(first.spec.id) is first:
                return "existing" if digest == key.digest else "conflict"
        if (other := self.jobs.get(spec.id)) is not None:
            same = (other.spec.owner, other.spec.type, other.spec.payload) == (spec.owner, spec.type, spec.payload)
            return "existing" if same else "conflict"
        if unique is not None and self._holder_of(unique.key, now, unique.states) is not None:
            return "unique"
        if insert.limit is not None and self.waiting(spec.queue) >= insert.limit:
            return "full"
        self._seq += 1
        entry = self.jobs[spec.id] = Entry(spec, attrs.evolve(insert.standing, seq=self._seq))
        self.accepted.add(spec.id)
        if unique is not None:
            self.unique.append((unique.key, entry, unique.expires_at))
        if key is not None:
            self.idempotency[key.scope, key.key] = (key.digest, entry, key.expires_at)
        self._tell(entry, "insert")
        return None

    def _holder_of(self, key: str, now: int, states: frozenset[State]) -> Entry | None:
        for name, entry, until in self.unique:
            if name == key and entry.standing.state in states and (until is None or now < until):
                if self.jobs.get(entry.spec.id) is entry:
                    return entry
        return None

    def waiting(self, queue: str) -> int:
        """How many jobs wait in a queue."""
        return sum(
            entry.spec.queue == queue and entry.standing.state in ("scheduled", "pending")
            for entry in self.jobs.values()
        )

    def stop(self, stop: Stop) -> bool:
        """Whether the job is running; then the first reason is kept."""
        entry = self.jobs.get(stop.id)
        if entry is None or entry.standing.state != "running":
            return False
        entry.stop = entry.stop or stop.reason
        if entry.asked is None:
            entry.asked = entry.standing.runs
        return True

    def delete(self, read: JobRecord) -> bool:
        """Whether the job was there at that version; then it is gone."""
        if not self.still(read):
            return False
        del self.jobs[read.id]
        self.deleted += 1
        return True

    def promote(self, now: int) -> list[Entry]:
        """Make pending what is due."""
        due = [
            entry
            for entry in self.jobs.values()
            if entry.standing.state == "scheduled" and entry.standing.run_at <= now
        ]
        for entry in due:
            old = entry.standing
            entry.standing = attrs.evolve(old, state="pending", version=old.version + 1)
            self._tell(entry, "promote")
        return due

    def claim(self, claim: Claim, batch: Batch, holder: str, at: float) -> list[Entry]:
        """Take the first in order."""
        if f"paused/{claim.queue}" in self.settings:
            return []
        ready = [
            entry
            for entry in self.jobs.values()
            if entry.standing.state == "pending" and entry.spec.queue == claim.queue and entry.spec.type in batch.types
        ]
        first = sorted(ready, key=place)[: claim.limit]
        for entry in first:
            old = entry.standing
            entry.standing = attrs.evolve(
                old,
                state="running",
                version=old.version + 1,
                runs=old.runs + 1,
                started_at=batch.now,
                finished_at=None,
                holder=holder,
            )
            entry.claimed_at = at
            self._tell(entry, "claim")
        return first

    def sweep(self, now: int) -> None:
        """What had expired is gone for good, also when the wall clock is set back afterwards."""
        self.unique = [kept for kept in self.unique if kept[2] is None or now < kept[2]]
        self.idempotency = {key: kept for key, kept in self.idempotency.items() if now < kept[2]}

    def _tell(self, entry: Entry, step: str) -> None:
        standing = entry.standing
        entry.told.append((standing.version, step, standing.state))
        if standing.state in FINAL:
            self.ended[entry.spec.queue, entry.spec.priority, standing.state] += 1

    # Looking

    def counters(self) -> tuple[int, int, int, int, int]:
        """Ever accepted, deleted, completed, dead and cancelled."""
        completed, dead, cancelled = (
            sum(number for key, number in self.ended.items() if key[2] == state)
            for state in ("completed", "dead", "cancelled")
        )
        return len(self.jobs) + self.deleted, self.deleted, completed, dead, cancelled

    def running(self, holder: str | None = None) -> list[Entry]:
        """The running jobs, of one holder or of all."""
        return [
            entry
            for entry in self.jobs.values()
            if entry.standing.state == "running" and holder in (None, entry.standing.holder)
        ]

    def unfinished(self) -> list[Entry]:
        """What has not ended."""
        return [entry for entry in self.jobs.values() if entry.standing.state not in FINAL]


def place(entry: Entry) -> tuple[int, int, int, int]:
    """The order of claims."""
    spec, standing = entry.spec, entry.standing
    return (-spec.priority, spec.front, standing.run_at, standing.seq)


def stands_as(entry: Entry, record: JobRecord) -> bool:
    """Whether a record says what the ledger says. (The numbers are the store's own.)"""
    return entry.spec == record.spec and entry.standing == attrs.evolve(record.standing, seq=entry.standing.seq)


def is_step(step: str, old: State, new: State) -> bool:
    """Whether the table knows this step."""
    return TRANSITIONS[step].get(old) == new  # type: ignore[index]


def expected_stops(ledger: Ledger, holder: str) -> list[tuple[str, str]]:
    """The unfinished jobs that somebody asked to stop, and that this holder or nobody holds."""
    return [
        (entry.spec.id, entry.stop)
        for entry in ledger.unfinished()
        if entry.stop is not None and entry.standing.holder in (holder, None)
    ]
