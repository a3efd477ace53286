"""The naive model of a store: dicts and lists that are copied, scanned and sorted at every commit, so that it
is plainly right.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import attrs

from actors.core.events import Cursor
from actors.core.job import FINAL, JobRecord, State
from actors.core.lifecycle import advance
from actors.store.port import (
    Batch,
    Claim,
    Counts,
    IdempotencyKey,
    Insert,
    Kept,
    LoggedStep,
    Note,
    Outcome,
    Refusal,
    ScheduleMove,
    ScheduleRecord,
    SlotRecord,
    Stop,
    UniqueKey,
    Write,
)
from actors.testing.conformance.claims import place
from actors.testing.conformance.log import logged
from actors.testing.conformance.tallies import recount

WAITING: Final[frozenset[State]] = frozenset({"scheduled", "pending"})


class Model:
    """Everything that a store keeps, as it must be after the commits so far."""

    def __init__(self) -> None:
        self.jobs: dict[str, JobRecord] = {}  # in the order of their numbers
        self.last_seq = 0
        self.unique: list[tuple[str, str, int, int | None]] = []  # key, id, seq, expiry
        self.idempotency: dict[tuple[str, str], tuple[str, str, int, int]] = {}  # digest, id, seq, expiry
        self.settings: dict[str, str] = {}
        self.schedules: dict[str, ScheduleRecord] = {}
        self.slots: dict[str, list[SlotRecord]] = {}
        self.ended: Counter[tuple[str, int, State]] = Counter()
        self.accepted = 0
        self.deleted = 0
        self.opened: int | None = None  # the event log
        self.log: list[tuple[int, str, LoggedStep]] = []  # instant, holder, step

    def copy(self) -> Model:
        """The same, to be tried on."""
        new = Model()
        new.jobs = dict(self.jobs)
        new.last_seq = self.last_seq
        new.unique = list(self.unique)
        new.idempotency = dict(self.idempotency)
        new.settings = dict(self.settings)
        new.schedules = dict(self.schedules)
        new.slots = {name: list(slots) for name, slots in self.slots.items()}
        new.ended = Counter(self.ended)
        new.accepted, new.deleted = self.accepted, self.deleted
        new.opened, new.log = self.opened, list(self.log)
        return new

    def counts(self) -> Counts:
        """A recount."""
        return Counts(
            now=recount(list(self.jobs.values())),
            ended=dict(self.ended),
            accepted=self.accepted,
            deleted=self.deleted,
        )

    def adopt(self, numbers: dict[str, int]) -> None:
        """Take over the numbers that the store gave to the newest jobs, in place of the model's own."""
        for id, seq in numbers.items():
            job = self.jobs[id]
            old = job.standing.seq
            self.jobs[id] = attrs.evolve(job, standing=attrs.evolve(job.standing, seq=seq))
            self.unique = [(k, i, seq if (i, s) == (id, old) else s, e) for k, i, s, e in self.unique]
            for key, (digest, i, s, expiry) in self.idempotency.items():
                if (i, s) == (id, old):
                    self.idempotency[key] = (digest, i, seq, expiry)
        self.last_seq = max([self.last_seq, *numbers.values()])

    def _change(self, job: JobRecord) -> None:
        self.jobs[job.id] = job
        if job.state in FINAL:
            self.ended[job.queue, job.spec.priority, job.state] += 1

    def still(self, read: JobRecord) -> bool:
        """Whether the job is there at the version that was read."""
        job = self.jobs.get(read.id)
        return job is not None and (job.version, job.standing.seq) == (read.version, read.standing.seq)

    def move(self, move: ScheduleMove) -> bool:
        """Whether the schedule was where the move expects it; then it has moved."""
        old = self.schedules.get(move.name)
        if old is None or old.cursor != move.expect:
            return False
        new = attrs.evolve(old, cursor=move.cursor)
        for slot in move.slots:
            if slot.job is not None:
                new = attrs.evolve(new, fired=new.fired + 1, last_run=move.fired_at, last_job=slot.job)
        self.schedules[move.name] = new
        self.slots[move.name] = [*self.slots.get(move.name, []), *move.slots]
        return True

    def note(self, note: Note) -> bool:
        """Keep what a running body said; whether it is running."""
        job = self.jobs.get(note.id)
        if job is not None and job.state == "running" and job.runs == note.run:
            if note.progress is not None:
                job = attrs.evolve(job, progress=note.progress)
            if note.saved is not None:
                job = attrs.evolve(job, saved_json=note.saved)
            self.jobs[note.id] = attrs.evolve(job, log=job.log + note.log)
            return True
        return False

    def write(self, write: Write) -> bool:
        """Whether the step applied."""
        if not self.still(write.job):
            return False
        old = self.jobs[write.job.id]
        job = attrs.evolve(old, standing=write.after, stop=None if write.after.state in FINAL else old.stop)
        if write.step == "replay":
            job = attrs.evolve(job, result_json=None, progress=None, saved_json=None)
        if write.result is not None:
            job = attrs.evolve(job, result_json=write.result)
        if write.error is not None:
            job = attrs.evolve(job, errors=(*job.errors, write.error))
        self._change(job)
        return True

    def insert(self, insert: Insert, now: int) -> Refusal | None:
        """Insert, or say why not."""
        spec, key = insert.spec, insert.idempotency
        if key is not None and (key.scope, key.key) in self.idempotency:
            digest, id, seq, expiry = self.idempotency[key.scope, key.key]
            if now < expiry and (state := self._state(id, seq)) is not None:
                return Refusal("existing" if digest == key.digest else "conflict", id, state)
        if insert.own_id and spec.id in self.jobs:
            other = self.jobs[spec.id]
            equal = (other.owner, other.type, other.spec.payload) == (spec.owner, spec.type, spec.payload)
            return Refusal("existing" if equal else "conflict", spec.id, other.state)
        if insert.unique is not None:
            for name, id, seq, until in self.unique:
                if name == insert.unique.key and (until is None or now < until):
                    state = self._state(id, seq)
                    if state in insert.unique.states:
                        return Refusal("unique", id, state)
        waiting = sum(job.queue == spec.queue and job.state in WAITING for job in self.jobs.values())
        if insert.limit is not None and waiting >= insert.limit:
            return Refusal("full")
        self.last_seq += 1
        past = insert.past or JobRecord(spec, insert.standing)
        self._change(attrs.evolve(past, spec=spec, standing=attrs.evolve(insert.standing, seq=self.last_seq)))
        self.accepted += 1
        if insert.unique is not None:
            self.unique.append((insert.unique.key, spec.id, self.last_seq, insert.unique.expires_at))
        if key is not None:
            self.idempotency[key.scope, key.key] = (key.digest, spec.id, self.last_seq, key.expires_at)
        return None

    def _state(self, id: str, seq: int) -> State | None:
        job = self.jobs.get(id)
        return job.state if job is not None and job.standing.seq == seq else None

    def stop(self, stop: Stop) -> bool:
        """Whether the job is running; then the first reason is kept."""
        job = self.jobs.get(stop.id)
        if job is None or job.state != "running":
            return False
        if job.stop is None:
            self.jobs[stop.id] = attrs.evolve(job, stop=stop.reason)
        return True

    def kept(self, now: int) -> list[Kept]:
        """All jobs by number, with the keys of theirs that have not expired."""
        unique = {
            (id, seq): UniqueKey(key=key, states=frozenset(), expires_at=until)
            for key, id, seq, until in self.unique
            if until is None or now < until
        }
        idempotency = {
            (id, seq): IdempotencyKey(scope=scope, key=key, digest=digest, expires_at=expiry)
            for (scope, key), (digest, id, seq, expiry) in self.idempotency.items()
            if now < expiry
        }
        found = []
        for job in sorted(self.jobs.values(), key=lambda job: job.standing.seq):
            place = (job.id, job.standing.seq)
            found.append(Kept(job=job, unique=unique.get(place), idempotency=idempotency.get(place)))
        return found

    def delete(self, read: JobRecord) -> bool:
        """Whether the job was there at that version; then it is gone."""
        if not self.still(read):
            return False
        del self.jobs[read.id]
        self.deleted += 1
        return True

    def promote(self, now: int) -> list[JobRecord]:
        """Make pending what is due."""
        due = [job for job in self.jobs.values() if job.state == "scheduled" and job.standing.run_at <= now]
        promoted = [attrs.evolve(job, standing=advance(job, "promote", now)) for job in due]
        self.jobs.update({job.id: job for job in promoted})
        return promoted

    def claim(self, claim: Claim, types: frozenset[str], now: int, holder: str) -> list[JobRecord]:
        """Take the first in order."""
        if f"paused/{claim.queue}" in self.settings:
            return []
        ready = [
            job
            for job in self.jobs.values()
            if job.state == "pending" and job.queue == claim.queue and job.type in types
        ]
        first = sorted(ready, key=place)[: claim.limit]
        claimed = [attrs.evolve(job, standing=advance(job, "claim", now, holder=holder)) for job in first]
        self.jobs.update({job.id: job for job in claimed})
        return claimed


def commit(model: Model, holder: str, batch: Batch) -> tuple[Model, Outcome]:
    """The model after the batch, and its outcome. Tried again and again with the groups left out that turned
    out to lose.
    """
    lost_groups: set[int] = set()
    while True:
        trial = model.copy()
        outcome = _try(trial, holder, batch, lost_groups)
        losing = {batch.writes[n].group for n in outcome.lost} | {
            batch.schedule_moves[n].group for n in outcome.lost_moves
        }
        losing.discard(0)
        if losing <= lost_groups:
            return trial, outcome
        lost_groups |= losing


def _try(model: Model, holder: str, batch: Batch, lost_groups: set[int]) -> Outcome:
    outcome = Outcome()
    if batch.listen:
        model.opened = batch.now if model.opened is None else model.opened
        outcome.log = Cursor(model.opened, len(model.log))
    steps: list[LoggedStep] = []
    for key, text in batch.settings.items():
        model.settings.pop(key, None)
        if text is not None:
            model.settings[key] = text
    for schedule in batch.schedules:
        old = model.schedules.get(schedule.name, schedule)
        model.schedules[schedule.name] = attrs.evolve(old, definition=schedule.definition, paused=schedule.paused)
    for name in batch.forget_schedules:
        model.schedules.pop(name, None)
        model.slots.pop(name, None)
    for index, move in enumerate(batch.schedule_moves):
        if move.group in lost_groups or not model.move(move):
            outcome.lost_moves.add(index)
    for failed in batch.schedule_errors:
        if failed.name in model.schedules:
            old = model.schedules[failed.name]
            model.schedules[failed.name] = attrs.evolve(old, errors=old.errors + 1, last_error=failed.error)
    for note in batch.notes:
        if model.note(note) and note.progress is not None:
            job = model.jobs[note.id]
            steps.append(logged("note", job.spec, job.standing, progress=note.progress))
    for index, write in enumerate(batch.writes):
        if write.group in lost_groups or not model.write(write):
            outcome.lost.add(index)
        else:
            error = None if write.error is None else (write.error.type, write.error.message)
            steps.append(logged(write.step, write.job.spec, write.after, error=error))
    for index, insert in enumerate(batch.inserts):
        refusal = Refusal("lost") if insert.group in lost_groups else model.insert(insert, batch.now)
        if refusal is not None:
            outcome.refused[index] = refusal
        else:
            steps.append(logged("insert", insert.spec, insert.standing))
    for index, stop in enumerate(batch.stops):
        if not model.stop(stop):
            outcome.unstopped.add(index)
    for index, read in enumerate(batch.deletes):
        if not model.delete(read):
            outcome.undeleted.add(index)
    promoted = model.promote(batch.now)
    if batch.list_promoted:
        outcome.promoted = promoted
    for claim in batch.claims:
        outcome.claimed += model.claim(claim, batch.types, batch.now, holder)
    if model.opened is not None:
        steps += [logged("promote", job.spec, job.standing) for job in promoted]
        steps += [logged("claim", job.spec, job.standing) for job in outcome.claimed]
        model.log += [(batch.now, holder, step) for step in steps]
    jobs = model.jobs.values()
    heard = (holder, None)
    outcome.stops = [(job.id, job.stop) for job in jobs if job.stop is not None and job.standing.holder in heard]
    outcome.next_due = min((job.standing.run_at for job in jobs if job.state == "scheduled"), default=None)
    return outcome
