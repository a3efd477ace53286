"""A random walk: batches of everything at once, through the store and through the model, compared after every
commit.
"""

from __future__ import annotations

import random
from itertools import groupby
from typing import Any, Final

import attrs

from actors.core.events import Cursor
from actors.core.job import FINAL, STATES, UNFINISHED, Details, JobRecord, LogLine, Progress, Reason, Standing, State
from actors.core.lifecycle import TRANSITIONS, Step
from actors.store.port import (
    Batch,
    Claim,
    IdempotencyKey,
    Insert,
    Kept,
    LoggedStep,
    Note,
    Outcome,
    Query,
    ScheduleError,
    ScheduleMove,
    ScheduleRecord,
    SlotRecord,
    Stop,
    UniqueKey,
    Write,
)
from actors.testing.conformance.carrying import exported
from actors.testing.conformance.log import Told, read
from actors.testing.conformance.model import Model, commit
from actors.testing.conformance.pages import answer
from actors.testing.conformance.rig import TYPES, Rig, equal, expect, failure
from actors.testing.conformance.tallies import present

HOLDERS: Final = ("one", "two")
QUEUES: Final = ("q", "r")
SCHEDULES: Final = ("s", "t")
REASONS: Final[tuple[Reason, ...]] = ("timeout", "user", "shutdown", "lease lost", "superseded")
UNIQUE: Final[dict[str, frozenset[State]]] = {
    "unfinished": UNFINISHED,
    "any": frozenset(STATES),
    "waiting": frozenset({"scheduled", "pending"}),
}


async def walk(rig: Rig, *, seed: int, steps: int) -> None:
    """Whatever is committed, by whom and from how old a view: the store answers and keeps what a naive model
    of it does.
    """
    walker = Walker(rig, random.Random(seed))
    await rig.open("two")
    for step in range(steps):
        try:
            await walker.step()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, step {step}: {error}") from error


class Walker:
    """One walk: the model, and every view of a job that was ever read, to write from old ones too."""

    def __init__(self, rig: Rig, rng: random.Random) -> None:
        self._rig = rig
        self._rng = rng
        self._model = Model()
        self._views: list[JobRecord] = []
        self._ids: set[str] = set()
        self._slot = 0

    async def step(self) -> None:
        """One commit, perhaps repeated, and the comparison; now and then a sweep or a restart."""
        rig, rng = self._rig, self._rng
        rig.now += rng.choice([0, 0, 1, 2, 10])
        holder = rng.choice(HOLDERS)
        batch = self._batch()
        tick = rig.tick(holder)
        outcome = await rig.store.commit(holder, tick, batch)
        self._model, want = commit(self._model, holder, batch)
        await self._learn_numbers(batch, want)
        _compare(outcome, want, batch)
        if rng.random() < 0.2:
            equal(await rig.store.commit(holder, tick, batch), outcome, "the outcome of a repeated tick")
        if rng.random() < 0.1:
            await rig.store.sweep(rig.now)
        if rig.persists and rng.random() < 0.05:
            await rig.restart()
            await rig.open("two")
        await self._compare_contents()
        if self._model.opened is not None:
            await self._compare_log(self._model.opened)

    async def _compare_log(self, opened: int) -> None:
        want = [(number, *told) for number, told in enumerate(self._model.log, start=1)]
        whole, gap, end = await read(self._rig.store, self._rig.now, Cursor(opened, 0))
        equal((gap, end), (False, Cursor(opened, len(want))), "a gap in the log, and where it ends")
        equal([number for number, *_ in whole], list(range(1, len(want) + 1)), "the numbers in the log")
        equal(_in_any_order(whole), _in_any_order(want), "the event log")
        begin = self._rng.randrange(len(want) + 1)
        rest, gap, _ = await read(self._rig.store, self._rig.now, Cursor(opened, begin))
        equal((rest, gap), (whole[begin:], False), f"the event log after step {begin}")

    async def _learn_numbers(self, batch: Batch, want: Outcome) -> None:
        made = [insert.spec.id for index, insert in enumerate(batch.inserts) if index not in want.refused]
        self._ids.update(insert.spec.id for insert in batch.inserts)
        stored = await self._rig.store.get(made)
        expect(
            stored.keys() >= set(made) & self._model.jobs.keys(),
            "a job whose insert was not refused is not there",
        )
        numbers = {id: stored[id].standing.seq for id in made if id in self._model.jobs}
        before = max((job.standing.seq for id, job in self._model.jobs.items() if id not in numbers), default=0)
        rising = [before, *numbers.values()]
        expect(
            rising == sorted(set(rising)),
            f"the numbers of new jobs are {rising[1:]}: expected them to grow from {before}",
        )
        self._model.adopt(numbers)

    async def _compare_contents(self) -> None:
        rig, model = self._rig, self._model
        stored = await rig.store.get(sorted(self._ids))
        for id in sorted(self._ids):
            equal(stored.get(id), model.jobs.get(id), f"job {id}")
            if id in stored and stored[id] not in self._views[-200:]:
                self._views.append(stored[id])
        counts, want = await rig.store.counts(), model.counts()
        equal(present(counts.now), present(want.now), "counts.now")
        equal(present(counts.ended), present(want.ended), "counts.ended")
        equal((counts.accepted, counts.deleted), (want.accepted, want.deleted), "accepted and deleted")
        equal(await rig.store.settings(), model.settings, "the settings")
        equal(
            await rig.store.schedules(),
            [model.schedules[name] for name in sorted(model.schedules)],
            "the schedules",
        )
        for name in SCHEDULES:
            equal(await rig.store.slots(name, 1_000), model.slots.get(name, [])[::-1], f"the slots of {name}")
        if self._may(0.2):
            found = await exported(rig, self._rng.choice([7, 100]))
            equal([_holding(kept, rig.now) for kept in found], model.kept(rig.now), "the export")
        query = self._query()
        equal(await rig.every(query), answer(list(model.jobs.values()), query), f"what {query!r} finds")

    # What a batch may hold

    def _batch(self) -> Batch:
        rng = self._rng
        batch = self._rig.batch(types=rng.choice([TYPES, TYPES, TYPES - {"c"}]), list_promoted=rng.random() < 0.5)
        batch.listen = self._may(0.05)
        if self._may(0.1):
            batch.settings[rng.choice(["paused/q", "paused/r", "x"])] = rng.choice([None, "1", "2"])
        if self._may(0.1):
            cursor = rng.randrange(3)
            paused = rng.random() < 0.5
            batch.schedules.append(
                ScheduleRecord(name=rng.choice(SCHEDULES), definition="{}", cursor=cursor, paused=paused)
            )
        if self._may(0.03):
            batch.forget_schedules.append(rng.choice(SCHEDULES))
        if self._may(0.3):
            batch.schedule_moves.append(self._move())
        if self._may(0.1):
            batch.schedule_errors.append(ScheduleError(name=rng.choice(SCHEDULES), error=f"error {self._slot}"))
        if self._may(0.7):
            batch.inserts += [self._insert() for _ in range(rng.randrange(6))]
        if self._may(0.6):
            batch.claims += [Claim(queue=rng.choice(QUEUES), limit=rng.randrange(4)) for _ in range(2)]
        if self._views:
            batch.notes += [self._note(self._view()) for _ in range(rng.randrange(3))]
            read = {job.id: job for job in (self._view() for _ in range(rng.randrange(7)))}
            batch.writes += [write for job in read.values() if (write := self._write(job)) is not None]
            for _ in range(rng.choice([0, 0, 1, 3])):
                batch.stops.append(Stop(id=self._view().id, reason=rng.choice(REASONS)))
            if self._may(0.3):
                batch.deletes.append(self._view())
        return batch

    def _may(self, chance: float) -> bool:
        return self._rng.random() < chance

    def _group(self) -> int:
        return self._rng.choice([0, 0, 0, 1, 2])

    def _view(self) -> JobRecord:
        """A job as it was read once: mostly as it is now, sometimes as it was."""
        old = self._rng.choice(self._views)
        return old if self._may(0.2) else self._model.jobs.get(old.id, old)

    def _insert(self) -> Insert:
        rng, rig = self._rng, self._rig
        fields: dict[str, Any] = {
            "type": rng.choice(sorted(TYPES)),
            "queue": rng.choice(QUEUES),
            "priority": rng.choice([0, 1, 1, 1, 2, 3]),
            "front": rng.choice([0, 0, 0, -rig.now]),
            "owner": rng.choice([None, "ann"]),
            "details": Details(tags=rng.choice([(), ("x",), ("x", "y")])),
            "group": self._group(),
        }
        if self._may(0.3):
            fields |= {"id": f"own-{rng.randrange(8)}", "payload": rng.choice(["{}", "[]"])}
        if self._may(0.3):
            fields |= {"state": "scheduled", "run_at": rig.now + rng.choice([0, 1, 5, 20])}
        if self._may(0.2):
            name = rng.choice(sorted(UNIQUE))
            expires = rng.choice([None, None, rig.now + 15])
            fields["unique"] = UniqueKey(key=name, states=UNIQUE[name], expires_at=expires)
        if self._may(0.2):
            key, digest = rng.choice("kl"), rng.choice("de")
            fields["idempotency"] = IdempotencyKey(
                scope="s", key=key, digest=digest, expires_at=rig.now + rng.choice([5, 30])
            )
        if self._may(0.2):
            fields["limit"] = rng.randrange(12)
        insert = rig.job(**fields)
        return self._from_elsewhere(insert) if self._views and self._may(0.15) else insert

    def _from_elsewhere(self, insert: Insert) -> Insert:
        """The same job with a past: that of a job that ran here, in the state in which it was."""
        past = self._view()
        if not past.runs:
            return insert
        stop = None if past.state in FINAL else past.stop
        return attrs.evolve(insert, standing=attrs.evolve(past.standing, seq=0), past=attrs.evolve(past, stop=stop))

    def _write(self, job: JobRecord) -> Write | None:
        rng, rig = self._rng, self._rig
        steps: list[Step] = [step for step, moves in TRANSITIONS.items() if job.state in moves and step != "claim"]
        if not steps:
            return None
        step = rng.choice(steps)
        back = step in ("retry", "snooze")
        return rig.write(
            job,
            step,
            run_at=rig.now + rng.choice([0, 1, 5, 20]) if back else None,
            result=rng.choice([None, f'"{rig.now}"']) if step == "complete" else None,
            error=failure(job.attempt + 1) if step in ("retry", "bury", "discard") else None,
            group=self._group(),
        )

    def _note(self, job: JobRecord) -> Note:
        rng, rig = self._rng, self._rig
        run = max(0, job.runs + rng.choice([0, 0, 0, -1, 1]))
        line = LogLine(at=rig.now, run=run, text=f"line {rig.now}")
        return Note(
            id=job.id,
            run=run,
            progress=rng.choice([None, Progress(done=float(rig.now), total=2.0)]),
            saved=rng.choice([None, f"{rig.now}"]),
            log=rng.choice([(), (line,), (line, line)]),
        )

    def _move(self) -> ScheduleMove:
        rng, rig = self._rng, self._rig
        name = rng.choice(SCHEDULES)
        known = self._model.schedules.get(name)
        expect = known.cursor if known is not None and self._may(0.7) else rng.randrange(3)
        slots: list[SlotRecord] = []
        for _ in range(rng.randrange(3)):
            self._slot += 1
            slots.append(SlotRecord(slot=self._slot, job=rng.choice([None, f"job {self._slot}"])))
        return ScheduleMove(
            name=name,
            expect=expect,
            cursor=rng.randrange(5),
            slots=tuple(slots),
            fired_at=rig.now,
            group=self._group(),
        )

    def _query(self) -> Query:
        rng = self._rng
        filters: dict[str, Any] = {
            "states": frozenset(rng.sample(STATES, rng.randrange(1, 5))),
            "type": rng.choice(sorted(TYPES)),
            "queue": rng.choice(QUEUES),
            "tag": rng.choice("xy"),
            "owner": "ann",
            "holder": rng.choice(HOLDERS),
            "text": rng.choice(["own-", "ValueError", "a"]),
        }
        chosen = {name: filters[name] for name in filters if self._may(0.2)}
        return Query(**chosen, order=rng.choice(["newest", "finished"]), limit=rng.choice([3, 100]))


def _holding(kept: Kept, now: int) -> Kept:
    """Without the keys that have expired: a sweep may have been there or not."""
    unique, given = kept.unique, kept.idempotency
    if unique is not None and unique.expires_at is not None and unique.expires_at <= now:
        unique = None
    return Kept(job=kept.job, unique=unique, idempotency=None if given is None or given.expires_at <= now else given)


def _compare(got: Outcome, want: Outcome, batch: Batch) -> None:
    equal(got.refused, want.refused, f"the refusals of {batch.inserts!r}")
    equal(got.lost, want.lost, f"the lost writes of {batch.writes!r}")
    equal(got.lost_moves, want.lost_moves, f"the lost moves of {batch.schedule_moves!r}")
    equal(got.undeleted, want.undeleted, f"the refused deletes of {batch.deletes!r}")
    equal(got.unstopped, want.unstopped, f"the refused stops of {batch.stops!r}")
    equal([job.id for job in got.claimed], [job.id for job in want.claimed], f"what {batch.claims!r} claimed")
    for one, other in zip(got.claimed, want.claimed, strict=True):
        equal(
            (one.spec, _numberless(one), one.errors, one.saved_json),
            (other.spec, _numberless(other), other.errors, other.saved_json),
            "a claimed job",
        )
    promoted = {job.id: (job.spec, _numberless(job)) for job in got.promoted}
    equal(promoted, {job.id: (job.spec, _numberless(job)) for job in want.promoted}, "the promoted jobs")
    equal(len(promoted), len(got.promoted), "how many different jobs were promoted")
    equal(sorted(got.stops), sorted(want.stops), "the stops of this holder")
    equal(got.next_due, want.next_due, "next_due")
    equal(got.log, want.log, "where the event log stood")


def _in_any_order(told: list[Told]) -> list[tuple[int, str, LoggedStep]]:
    """Instant, holder and step; promotions at a time, which have no order, by id."""
    ordered: list[tuple[int, str, LoggedStep]] = []
    for (_, at, holder), run in groupby(told, key=lambda one: (one[3].word == "promote", one[1], one[2])):
        steps = [step for *_, step in run]
        if steps[0].word == "promote":
            steps.sort(key=lambda step: step.id)
        ordered += [(at, holder, step) for step in steps]
    return ordered


def _numberless(job: JobRecord) -> Standing:
    # a job of this very batch: the model learns its number afterwards
    return attrs.evolve(job.standing, seq=0)
