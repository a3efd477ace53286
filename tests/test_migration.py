"""Migration: everything that can be read in a store can be read in the other one afterwards, once, whatever interrupts
it; and the other one goes on with it.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

import actors
from actors import migration
from actors.audit import audit
from actors.core.errors import BadOption, StoreBusy, StoreError
from actors.core.job import NO_DETAILS, JobRecord, JobSpec, Standing
from actors.core.lifecycle import MAX_CRASHES, advance
from actors.core.retry import decide_lost
from actors.store.memory import MemoryStore
from actors.store.port import Batch, IdempotencyKey, Insert, Kept, Outcome, ScheduleRecord, Write
from actors.store.redis import RedisStore
from actors.store.sqlite import SQLiteStore
from actors.testing.conformance.rig import START, Rig
from actors.testing.conformance.walk import Walker, _holding

STEPS = 60
Make = Callable[[], actors.Store]


@attrs.define
class Still:
    """A clock that stands: so nothing falls due on the way."""

    at: int = START
    patience = 1.0

    def now(self) -> int:
        return self.at

    def steady(self) -> int:
        return self.at


class Failing(MemoryStore):
    """Fails at one of its commits, before it or after it; which it was can't be seen."""

    def __init__(self) -> None:
        super().__init__()
        self.left = -1
        self.after = False

    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        self.left -= 1
        if self.left == 0 and not self.after:
            raise StoreError("broken before the commit")
        outcome = await super().commit(holder, tick, batch)
        if self.left == 0:
            raise StoreError("broken after the commit")
        return outcome


@pytest.fixture
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], actors.Store]:
    """A store of a kind, with nothing in it."""
    numbers = count()

    def made(kind: str) -> actors.Store:
        match kind:
            case "memory":
                return MemoryStore()
            case "sqlite":
                return SQLiteStore(tmp_path / f"{next(numbers)}.db")
            case _:
                return RedisStore(request.getfixturevalue("redis_url"), prefix=uuid.uuid4().hex)

    return made


@pytest.fixture
def short_pages(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Many pages, and several commits of some of them."""
    for name, given in (("FIRST_PAGE", 2), ("MOST", 5), ("BYTES", 2_000), ("SLOTS", 1_000)):
        monkeypatch.setattr(migration, name, given)
    return


async def walked(store: actors.Store, seed: int) -> Still:
    """Fill a store with the doings of two holders, who then leave what they hold; the instant afterwards."""
    rig = Rig(lambda: store, None)
    await rig.open("one")
    await rig.open("two")
    walker = Walker(rig, random.Random(seed))
    for _ in range(STEPS):
        await walker.step()
    await rig.close_all()
    return Still(rig.now)


async def content(store: actors.Store, now: int, *, lost: bool = False) -> dict[str, Any]:
    """All that can be read, without the numbers of jobs, keys that are over, and the marks of migrations; with `lost`,
    as it is once the processes of the running jobs are known to be dead.
    """
    await store.open("reader", now)
    kept: list[Kept] = []
    while page := await store.export(kept[-1].job.standing.seq if kept else 0, 1_000):
        kept += page
    jobs = [_holding(one, now) for one in kept]
    schedules = await store.schedules()
    read = {
        "jobs": [
            (attrs.evolve(job, standing=attrs.evolve(job.standing, seq=0)), one.unique, one.idempotency)
            for one in jobs
            for job in [_lost(one.job, now) if lost and one.job.state == "running" else one.job]
        ],
        "schedules": schedules,
        "slots": {schedule.name: await store.slots(schedule.name, 1_000) for schedule in schedules},
        "settings": {key: text for key, text in (await store.settings()).items() if not key.startswith("migration/")},
    }
    checked = await audit(store, every_job=True)
    assert checked.ok, checked.problems
    await store.close("reader")
    return read


def _lost(job: JobRecord, now: int) -> JobRecord:
    step, error = decide_lost(job, now)
    errors = job.errors if error is None else (*job.errors, error)
    after = advance(job, step, now)
    return attrs.evolve(job, standing=after, errors=errors, stop=job.stop if after.finished_at is None else None)


def insert(id: str, *, state: Any = "pending", past: JobRecord | None = None, **given: Any) -> Insert:
    spec = JobSpec(id, "work", given.pop("payload", "{}"), "q", 1, 0, 3, None, START, None, NO_DETAILS)
    return Insert(
        spec=spec, standing=Standing(0, state, 0, 0, 0, 0, START, None, None, None), own_id=True, past=past, **given
    )


async def put(store: actors.Store, **parts: Any) -> Outcome:
    """One commit of a holder that opens for it."""
    await store.open("writer", START)
    outcome = await store.commit("writer", 1, Batch(now=START, **parts))
    await store.close("writer")
    return outcome


async def get(store: actors.Store, id: str) -> JobRecord | None:
    await store.open("reader", START)
    found = (await store.get([id])).get(id)
    await store.close("reader")
    return found


@pytest.mark.parametrize(
    ("kind", "to"),
    [("sqlite", "redis"), ("redis", "sqlite"), ("memory", "sqlite"), ("sqlite", "memory"), ("redis", "redis")],
)
@pytest.mark.parametrize("seed", [1, 2])
async def test_everything_is_there_afterwards(
    make: Callable[[str], actors.Store], kind: str, to: str, seed: int, short_pages: None
) -> None:
    source, destination = make(kind), make(to)
    clock = await walked(source, seed)
    before = await content(source, clock.at)
    told: list[tuple[int, int]] = []
    done = await migration.migrate(source, destination, clock=clock, progress=lambda *given: told.append(given))
    assert done.ok and done.carried == len(before["jobs"])
    assert told[-1] == (len(before["jobs"]), len(before["jobs"])) and told == sorted(told)
    assert await content(destination, clock.at) == await content(source, clock.at, lost=True)
    assert await content(source, clock.at) == before, "the source stays as it is"
    again = await migration.migrate(source, destination, clock=clock)
    assert (again.ok, again.carried, again.schedules, again.settings) == (True, 0, 0, 0)
    assert again.there == done.carried
    assert await content(destination, clock.at) == await content(source, clock.at, lost=True)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_it_may_be_interrupted_at_any_commit(after: bool, short_pages: None) -> None:
    source = MemoryStore()
    clock = await walked(source, 3)
    want = await content(source, clock.at, lost=True)
    for n in count(1):
        destination = Failing()
        destination.left, destination.after = n, after
        try:
            await migration.migrate(source, destination, clock=clock)
        except StoreError:
            await migration.migrate(source, destination, clock=clock)
        else:
            break
        assert await content(destination, clock.at) == want, f"interrupted at commit {n}"
        counts = destination._jobs
        assert (counts.accepted, counts.deleted) == (len(want["jobs"]), 0), "nothing came twice"
    assert n > 10, "it was interrupted in the middle, too"


async def test_what_was_deleted_or_changed_there_meanwhile_does_not_come_back(short_pages: None) -> None:
    source, destination = MemoryStore(), Failing()
    await put(
        source,
        inserts=[insert(f"job-{n}") for n in range(20)],
        settings={"paused/q": "1", "paused/r": "1"},
        schedules=[ScheduleRecord(name=name, definition="{}", cursor=1) for name in "abc"],
    )
    destination.left = 4
    with pytest.raises(StoreError):
        await migration.migrate(source, destination, clock=Still())
    first, second = await get(destination, "job-0"), await get(destination, "job-1")
    assert first is not None and second is not None
    cancelled = Write(job=second, after=advance(second, "cancel", START), step="cancel")
    await put(destination, deletes=[first], writes=[cancelled], settings={"paused/q": None})
    for again in (1, 2):
        done = await migration.migrate(source, destination, clock=Still())
        assert (done.ok, done.gone, done.there + done.carried) == (True, 1, 19), again
        assert await get(destination, "job-0") is None
        assert (await get(destination, "job-1")).state == "cancelled"  # type: ignore[union-attr]
        assert "paused/q" not in await destination.settings()
        names = [schedule.name for schedule in await destination.schedules()]
        assert names == (["a", "b", "c"] if again == 1 else ["b", "c"])
        await put(destination, forget_schedules=["a"])


async def test_what_is_there_already_is_marked_too() -> None:
    """Back where it came from, and again after a job was deleted there."""
    old, new = MemoryStore(), MemoryStore()
    await put(old, inserts=[insert(f"job-{n}") for n in range(3)])
    await migration.migrate(old, new, clock=Still())
    assert (await migration.migrate(new, old, clock=Still())).there == 3
    job = await get(old, "job-1")
    assert job is not None
    await put(old, deletes=[job])
    done = await migration.migrate(new, old, clock=Still())
    assert (done.there, done.gone, done.carried) == (2, 1, 0)


async def test_others_stay_and_conflicts_are_told() -> None:
    source, destination = MemoryStore(), MemoryStore()
    key = {"scope": "s", "key": "k", "digest": "d", "expires_at": START + 1}
    taken = {"scope": "s", "key": "t", "digest": "d", "expires_at": START + 1}
    await put(
        source,
        inserts=[
            insert("same", payload='{"a": 1}'),
            insert("keyed", idempotency=IdempotencyKey(**key)),
            insert("taken", idempotency=IdempotencyKey(**taken)),
            insert("over", idempotency=IdempotencyKey(**{**key, "key": "o", "expires_at": START})),
        ],
        settings={"x": "1", "y": "1", "z": "1"},
        schedules=[ScheduleRecord(name=name, definition='{"a": 1}', cursor=1) for name in "ab"],
    )
    await put(
        destination,
        inserts=[
            insert("same"),
            insert("other", idempotency=IdempotencyKey(**taken)),
            insert("newer", idempotency=IdempotencyKey(**{**key, "key": "o", "expires_at": START + 9})),
        ],
        settings={"x": "1", "y": "2"},
        schedules=[ScheduleRecord(name="a", definition='{"a": 2}', cursor=5)],
    )
    for again in (False, True):
        done = await migration.migrate(source, destination, clock=Still())
        assert not done.ok and done.found == 3
        assert done.conflicts == (
            "setting y: the destination has another value, which stays",
            "job same: the destination has another job of this id, which stays",
            "schedule a: the destination has another one, which stays",
        )
        if not again:
            assert (done.carried, done.keys_left, done.schedules, done.settings) == (3, 1, 1, 1)
    assert (await destination.settings())["y"] == "2"
    assert [schedule.cursor for schedule in await destination.schedules()] == [5, 1]
    refused = await put(
        destination,
        inserts=[
            insert(f"new-{n}", idempotency=IdempotencyKey(**{**key, "key": k, "expires_at": START + 9}))
            for n, k in enumerate("kto")
        ],
    )
    assert {index: refusal.id for index, refusal in refused.refused.items()} == {0: "keyed", 1: "other", 2: "newer"}


async def test_a_source_that_was_served_since_is_a_conflict() -> None:
    source, destination = MemoryStore(), MemoryStore()
    await put(source, inserts=[insert("job"), insert("still")])
    await migration.migrate(source, destination, clock=Still())
    job = await get(source, "job")
    assert job is not None
    await put(source, writes=[Write(job=job, after=advance(job, "cancel", START), step="cancel")])
    done = await migration.migrate(source, destination, clock=Still())
    assert (done.ok, done.there, done.found) == (False, 1, 1)
    assert done.conflicts[0].startswith("job job has moved on since it came (version 1, there 0)")
    assert (await get(destination, "job")).state == "pending"  # type: ignore[union-attr]


@pytest.mark.parametrize("crashes", [0, MAX_CRASHES - 1])
async def test_a_job_of_a_dead_process_comes_as_a_restart_would_have_found_it(crashes: int) -> None:
    source, destination = MemoryStore(), MemoryStore()
    was = Standing(0, "running", 5, 1, 2, crashes, START, START, None, "dead")
    made = insert("job")
    past = JobRecord(made.spec, was, errors=(), saved_json="7")
    await put(source, inserts=[attrs.evolve(made, standing=was, past=past)])
    done = await migration.migrate(source, destination, clock=Still())
    job = await get(destination, "job")
    assert job is not None and (done.lost, done.carried) == (1, 1)
    assert (job.state, job.version, job.attempt, job.crashes) == ("dead" if crashes else "pending", 6, 1, crashes + 1)
    assert (job.saved_json, job.error.type) == ("7", "worker_died")  # type: ignore[union-attr]
    again = await migration.migrate(source, destination, clock=Still(START + 1))
    assert (again.ok, again.there, again.lost) == (True, 1, 0)


async def test_a_source_in_use_is_refused(make: Callable[[str], actors.Store]) -> None:
    for kind in ("memory", "sqlite", "redis"):
        source, destination = make(kind), MemoryStore()
        clock = actors.SystemClock()
        await source.open("worker-1", clock.steady())
        await source.commit("worker-1", 1, Batch(now=START, inserts=[insert("job")]))
        with pytest.raises(StoreBusy, match="the source is used by process worker-1: expected no one"):
            await migration.migrate(source, destination)
        assert not destination._jobs.shelf
        await source.close("worker-1")
        assert (await migration.migrate(source, destination)).carried == 1


async def test_who_comes_into_the_source_on_the_way_stops_it(short_pages: None) -> None:
    source = MemoryStore()
    await put(source, inserts=[insert(f"job-{n}") for n in range(20)])

    class Visited(MemoryStore):
        commits = 0

        async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
            self.commits += 1
            if self.commits == 2:
                await source.open("late", START)
            return await super().commit(holder, tick, batch)

    destination = Visited()
    with pytest.raises(StoreBusy, match="process late"):
        await migration.migrate(source, destination, clock=Still())
    came = len(destination._jobs.shelf)
    assert 0 < came < 20
    await source.close("late")
    assert (await migration.migrate(source, destination, clock=Still())).carried == 20 - came


async def test_a_killed_migration_is_waited_for(autojump_clock: MockClock) -> None:
    source, clock = MemoryStore(), actors.TrioClock()
    await source.open("migration-killed", clock.steady())
    await source.beat("migration-killed", clock.steady(), migration.LEASE)
    assert (await migration.migrate(source, MemoryStore(), clock=clock)).ok
    assert clock.steady() >= migration.LEASE * 1e6


async def test_a_store_is_not_carried_to_itself(tmp_path: Path, redis_url: str) -> None:
    for url in (f"sqlite:///{tmp_path}/jobs.db", f"{redis_url}/0?prefix={uuid.uuid4().hex}"):
        with pytest.raises(BadOption, match="another store than the source"):
            await migration.migrate(url, url)


async def test_a_store_that_is_away_for_a_while_is_waited_for(autojump_clock: MockClock, short_pages: None) -> None:
    class Away(MemoryStore):
        calls = 0

        async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
            self.calls += 1
            if self.calls % 3:
                raise StoreBusy("away")
            return await super().commit(holder, tick, batch)

    source, destination = MemoryStore(), Away()
    await put(source, inserts=[insert(f"job-{n}") for n in range(20)])
    assert (await migration.migrate(source, destination, clock=Still())).carried == 20
    assert len(destination._jobs.shelf) == 20


async def test_the_destination_goes_on(tmp_path: Path, autojump_clock: MockClock) -> None:
    """It runs what waits, in order, fires the next slot of a schedule and no old one, and honours the keys."""
    jobs, ran = actors.Registry(), list[Any]()

    @jobs.job(unique=actors.Unique(key="once", within=10_000))
    async def once() -> None:
        ran.append("once")

    @jobs.job()
    async def work(n: int) -> int:
        ran.append(n)
        return n

    @jobs.job()
    async def hourly() -> None:
        ran.append("slot")

    clock, seeds = actors.TrioClock(), count(7)
    source, destination = MemoryStore(), SQLiteStore(tmp_path / "jobs.db", inline=True)

    def system(store: actors.Store, workers: int) -> Any:
        queues = {"default": actors.Queue(workers)} if workers else {}
        return actors.open_system(jobs, store=store, queues=queues, clock=clock, rng=random.Random(next(seeds)))

    async with system(source, 1) as old:
        await old.schedule("hourly", actors.Every(3_600), hourly())
        await trio.sleep(2 * 3_600 + 60)
    assert ran == ["slot", "slot"]
    async with system(source, 0) as old:
        given = await old.enqueue(once())
        keyed = await old.enqueue(work(1), idempotency_key="k")
        await old.enqueue(work(2))
        await old.enqueue(work(3), priority="high")
        await old.enqueue(work(4), delay=60)
        slots = await source.slots("hourly")
    ran.clear()
    done = await migration.migrate(source, destination, clock=clock)
    assert (done.ok, done.carried, done.schedules) == (True, 7, 1)
    async with system(destination, 1) as new:
        assert (await new.enqueue(once())).id == given.id
        assert (await new.enqueue(work(1), idempotency_key="k")).id == keyed.id
        with pytest.raises(actors.Conflict):
            await new.enqueue(work(5), idempotency_key="k")
        await trio.sleep(600)
        assert ran == [3, "once", 1, 2, 4]
        await trio.sleep(3_000)
        assert ran[5:] == ["slot"]
        fired = await destination.slots("hourly")
        assert fired[1:] == slots and fired[0].slot == slots[0].slot + 3_600_000_000
        assert (await new.schedules.list())[0].run_count == 3
        assert (await new.audit(every_job=True)).ok
