"""Events come from the store's log: a listener hears what all processes do, each step once and in order, or of a gap.

The child that is killed is this file, run as a program: `python test_event_log.py URL`.
"""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import uuid
from collections import defaultdict
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import actors
from actors.core.events import Cursor
from actors.store.memory import MemoryStore
from actors.store.port import LOG_KEPT
from actors.store.redis import RedisStore
from actors.testing.redis import RedisServer

PATIENCE = 60.0  # seconds that a loaded machine may take for anything
ROOT = Path(__file__).parents[2]


def make_jobs(pause: float = 0.01) -> actors.Registry:
    jobs = actors.Registry()

    @jobs.job(max_attempts=3, retry=actors.Fixed(pause))
    async def work(ctx: actors.JobContext, n: int) -> int:
        await trio.sleep(pause * (n % 3))
        if n % 3 == 0 and ctx.job.attempt < 1 + n % 2:
            raise ValueError("not yet")
        if n % 7 == 0:
            raise actors.Discard("enough")
        if n % 5 == 0:
            ctx.progress(1, 2, "half")
            await trio.sleep(pause)
        return n

    jobs.work = work  # type: ignore[attr-defined]
    return jobs


async def collect(events: actors.system.Events) -> list[actors.Event]:
    found: list[actors.Event] = []
    with trio.move_on_after(0.001):
        async for event in events:
            found.append(event)
    return found


def versions(heard: list[actors.Event]) -> dict[str, list[int]]:
    """The versions of each job, in the order in which they were heard."""
    found: dict[str, list[int]] = defaultdict(list)
    for event in heard:
        assert event.name != "gap", "a gap, though nothing was lost"
        if event.job is not None and event.version is not None and event.name != "job:progress":
            found[event.job].append(event.version)
    return found


async def whole_lives(events: actors.system.Events, system: actors.System, jobs: int) -> list[actors.Event]:
    """Listen until so many jobs have ended, and all was heard of them that the store knows."""
    heard: list[actors.Event] = []
    ended = 0
    with trio.fail_after(PATIENCE):
        while ended < jobs:
            event = await anext(events)
            heard.append(event)
            ended += event.state in ("completed", "dead", "cancelled")
    told = versions(heard)
    for id, numbers in told.items():
        record = await system.get(id)
        assert numbers == list(range(1, record.version + 1)), (record, numbers)
    assert len(told) == jobs
    return heard


# On simulated time, over memory and SQLite


async def test_a_listener_hears_the_whole_life_of_a_job_of_another_process(opened, autojump_clock, path_of):
    jobs = make_jobs(1.0)
    async with opened(jobs, queues={}) as one, opened(jobs) as two:
        async with one.events() as events:
            handle = await two.enqueue(jobs.work(15), owner="ada")
            await handle.result()
            await wait_all_tasks_blocked()
            found = await collect(events)
    assert [(event.name, event.version) for event in found] == [
        ("job:queued", 1), ("job:started", 2), ("job:failed", 3), ("job:ready", 4), ("job:started", 5), ("job:failed", 6),
        ("job:ready", 7), ("job:started", 8), ("job:progress", 8), ("job:completed", 9),
    ]  # fmt: skip
    assert {(event.job, event.type, event.queue, event.owner) for event in found} == {
        (handle.id, "work", "default", "ada")
    }
    assert found[2].data == {
        "attempt": 1,
        "error": {"type": "ValueError", "message": "not yet"},
        "runAt": found[2].at + 1_000_000,
    }
    assert found[8].data == {"progress": 50.0, "done": 1, "total": 2, "message": "half"}
    path_of(found)


async def test_all_listeners_hear_the_same_in_the_same_order(opened, autojump_clock, path_of):
    jobs = make_jobs(1.0)
    async with opened(jobs, queues={"default": 3}) as one, opened(jobs, queues={"default": 3}) as two:
        async with one.events(buffer=10_000) as first, two.events(buffer=10_000) as second:
            for n in range(0, 60, 6):
                await one.enqueue_many([jobs.work(n) for n in range(n, n + 3)])
                await two.enqueue_many([jobs.work(n) for n in range(n + 3, n + 6)])
                await trio.sleep(1)
            await trio.sleep(100)
            here, there = await collect(first), await collect(second)
        stats = await one.stats()
    assert here == there[-len(here) :]  # the second may have begun before
    path_of(here)
    assert {numbers[0] for numbers in versions(here).values()} == {1}
    ends = [event.name for event in here if event.state in ("completed", "dead")]
    assert (ends.count("job:completed"), ends.count("job:dead")) == (stats.completed, stats.dead)
    assert stats.dead and stats.completed + stats.dead == 60


async def test_who_resumes_hears_all_that_it_missed(opened, autojump_clock, path_of):
    jobs = make_jobs(1.0)
    async with opened(jobs, queues={}) as one, opened(jobs) as two:
        with one.events() as events:
            await one.enqueue(jobs.work(1))
            await trio.sleep(10)
            before = await collect(events)
        for again in range(3):  # many more than fit into its buffer
            await two.enqueue_many([jobs.work(n) for n in range(20)])
            await trio.sleep(20 * again)
        async with two.events(after=before[-1].cursor, buffer=1) as events, two.events(buffer=10_000) as live:
            rest: list[actors.Event] = []
            with trio.move_on_after(100):
                await two.enqueue_many([jobs.work(n) for n in range(20)])
                async for event in events:
                    rest.append(event)
                    if len(rest) % 50 == 0:
                        await trio.sleep(1)
            await wait_all_tasks_blocked()
            heard_live = await collect(live)
        path_of([*before, *rest])
        assert rest[-len(heard_live) :] == heard_live
        assert len(versions([*before, *rest])) == 81
        middle = rest[len(rest) // 2]
        async with one.events(after=middle.cursor) as events:  # in the middle of a commit, perhaps
            await wait_all_tasks_blocked()
            assert await collect(events) == rest[len(rest) // 2 + 1 :]


async def test_a_log_that_was_cut_is_an_explicit_gap(opened, store, autojump_clock):
    jobs = make_jobs()
    async with opened(jobs) as system:
        with system.events() as events:
            await (await system.enqueue(jobs.work(1))).result()
            await wait_all_tasks_blocked()
            first, *_ = await collect(events)
        await trio.sleep(LOG_KEPT + 1)
        await (await system.enqueue(jobs.work(2))).result()
        async with system.events(after=first.cursor) as events:
            handle = await system.enqueue(jobs.work(1))
            await handle.result()
            await wait_all_tasks_blocked()
            found = await collect(events)
        assert (found[0].name, found[0].data) == ("gap", {"missed": None})
        assert [event.job for event in found[1:]] == [handle.id] * 3
        for wrong in ("", "x", "1", "1.", ".1", "1.x", "-1.2", "1.2.3", "9" * 50, 5, "1.\u0665"):
            with pytest.raises(actors.BadOption, match="after is"):
                system.events(after=wrong)
        with system.events(after=f"{10**30}.{10**5}") as events:  # no cursor of ours, and harmless
            await trio.sleep(1)
            assert (await anext(events)).name == "gap"


def is_written(store: actors.Store) -> bool:
    """Whether the log has anything in it."""
    if isinstance(store, MemoryStore):
        return bool(store._log._commits)
    with sqlite3.connect(store._path) as connection:  # type: ignore[attr-defined]
        return bool(connection.execute("SELECT count(*) FROM event_log").fetchall()[0][0])


async def test_the_log_is_written_only_while_somebody_listens(opened, store, autojump_clock):
    jobs = make_jobs()
    async with opened(jobs) as system:
        await (await system.enqueue(jobs.work(1))).result()
        assert not is_written(store)
        with system.events():
            await (await system.enqueue(jobs.work(1))).result()
            assert is_written(store)
            await trio.sleep(2 * LOG_KEPT)
            await (await system.enqueue(jobs.work(1))).result()  # it is late, and hears of that
        await trio.sleep(LOG_KEPT - 10)
        await (await system.enqueue(jobs.work(1))).result()
        assert is_written(store)
        await trio.sleep(LOG_KEPT + 10)
        await (await system.enqueue(jobs.work(1))).result()
        assert not is_written(store)


async def test_who_listens_keeps_the_log_open(opened, store, autojump_clock):
    jobs = make_jobs()
    async with opened(jobs, queues={}) as one, opened(jobs) as two:
        async with one.events(buffer=10_000) as events:
            for _ in range(5):
                await trio.sleep(LOG_KEPT / 2)
                await (await two.enqueue(jobs.work(1))).result()
            await wait_all_tasks_blocked()
            found = await collect(events)
    assert len(versions(found)) == 5


async def test_old_steps_are_dropped_while_somebody_listens(opened, store, autojump_clock):
    jobs = make_jobs()
    async with opened(jobs) as system:
        async with system.events() as events:
            await (await system.enqueue(jobs.work(1))).result()
            first = await anext(events)
            for _ in range(10):
                await trio.sleep(LOG_KEPT / 4)
                await (await system.enqueue(jobs.work(1))).result()
            await wait_all_tasks_blocked()
        at = Cursor.parse(first.cursor)
        page = await store.events(actors.core.job.instant(system.now()), at)
    assert page.gap and page.cursor.log == at.log
    steps = sum(len(entry.steps) for entry in page.entries)
    assert 3 * 3 <= steps <= 6 * 3, "what is as old as the log goes back"


class Away:
    """A store whose log can't be read for a while."""

    def __init__(self, store: actors.Store) -> None:
        self.fails = 0
        self._store = store

    def __getattr__(self, name: str):
        return getattr(self._store, name)

    async def events(self, *given):
        if self.fails:
            self.fails -= 1
            raise actors.StoreBusy("planted: it is away")
        return await self._store.events(*given)


async def test_a_store_that_fails_delays_events_and_loses_none(opened, store, autojump_clock):
    jobs, away = make_jobs(), Away(store)
    async with opened(jobs, store=away) as system:
        with system.events() as events, system.events() as others:
            away.fails = 5
            await (await system.enqueue(jobs.work(1))).result()
            await system.queues["default"].pause()
            await trio.sleep(10)
            names = [event.name for event in await collect(events)]
            away.fails = 3
            queued = next(event for event in await collect(others) if event.name == "job:queued")
            resumed = system.events(after=queued.cursor)
            await trio.sleep(10)
            assert [event.name for event in await collect(resumed)] == ["job:started", "job:completed"]
    assert sorted(names) == ["job:completed", "job:queued", "job:started", "queue:paused"]


class Held:
    """A store of which one read of the log (after this cursor) takes until it is let go."""

    def __init__(self, store: actors.Store) -> None:
        self.let_go: trio.Event | None = None
        self.after: Cursor | None = None
        self._store = store

    def __getattr__(self, name: str):
        return getattr(self._store, name)

    async def events(self, *given):
        if self.let_go is not None and self.after in (None, given[1]):
            waits, self.let_go = self.let_go, None
            await waits.wait()
        return await self._store.events(*given)


async def test_who_caught_up_ahead_of_the_others_hears_nothing_twice(opened, store, autojump_clock):
    jobs, held = make_jobs(), Held(store)
    async with opened(jobs, store=held) as system:
        async with system.events() as events:
            await (await system.enqueue(jobs.work(1))).result()
            await wait_all_tasks_blocked()
            first = (await collect(events))[0]
            go = held.let_go = trio.Event()
            await (await system.enqueue(jobs.work(1))).result()  # the read for all waits
            async with system.events(after=first.cursor) as resumed:
                await wait_all_tasks_blocked()
                go.set()
                await (await system.enqueue(jobs.work(1))).result()
                await wait_all_tasks_blocked()
                heard, all_heard = await collect(resumed), await collect(events)
    steps = ["job:queued", "job:started", "job:completed"]
    assert [event.name for event in heard] == [*steps[1:], *steps, *steps]
    assert all_heard == heard[2:]


async def test_who_leaves_while_it_catches_up_harms_nobody(opened, store, autojump_clock):
    jobs, held = make_jobs(), Held(store)
    async with opened(jobs, store=held) as system:
        async with system.events() as events:
            await (await system.enqueue(jobs.work(1))).result()
            await wait_all_tasks_blocked()
            first = (await collect(events))[0]
            go, held.after = trio.Event(), Cursor.parse(first.cursor)
            held.let_go = go
            async with system.events(after=first.cursor):
                await wait_all_tasks_blocked()
                assert held.let_go is None, "it reads, and waits"
            await (await system.enqueue(jobs.work(1))).result()
            await wait_all_tasks_blocked()
            go.set()
            await (await system.enqueue(jobs.work(1))).result()
            await wait_all_tasks_blocked()
            assert len(await collect(events)) == 6


# In real time: threads, sockets, a server


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path, redis_url: str) -> str:
    """A store for several processes."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'jobs.db'}"
    return f"{redis_url}?prefix={uuid.uuid4().hex}"


async def test_a_listener_is_told_at_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("actors.store.sqlite.store.LOOK_SECONDS", "actors.store.redis.store.LOOK_SECONDS"):
        monkeypatch.setattr(place, 1e6)  # it is rung, and need not look
    jobs = make_jobs()
    async with (
        actors.open_system(jobs, store=url, queues={}) as one,
        actors.open_system(jobs, store=url) as two,
        one.events() as events,
    ):
        for n in (1, 3, 5):
            await two.enqueue(jobs.work(n))
            await whole_lives(events, one, 1)


async def test_both_work_with_retries_and_nothing_is_missed(url: str, path_of) -> None:
    jobs = make_jobs()
    rng = random.Random(7)
    async with (
        actors.open_system(jobs, store=url, queues={"default": 5}) as one,
        actors.open_system(jobs, store=url, queues={"default": 5}) as two,
        one.events(buffer=100_000) as events,
    ):
        for start in range(0, 200, 20):
            await rng.choice([one, two]).enqueue_many([jobs.work(n) for n in range(start, start + 20)])
        heard = await whole_lives(events, one, 200)
        path_of(heard)
        cut = heard[len(heard) // 3]
        async with two.events(after=cut.cursor, buffer=10) as events:
            with trio.fail_after(PATIENCE):
                again = [await anext(events) for _ in heard[len(heard) // 3 + 1 :]]
        assert again == heard[len(heard) // 3 + 1 :]


async def test_a_killed_process_takes_no_event_of_a_committed_step_with_it(url: str) -> None:
    jobs = make_jobs()
    async with (
        actors.open_system(jobs, store=url, queues={"default": 5}, lease=1.0) as system,
        system.events(buffer=100_000) as events,
    ):
        child = await trio.to_thread.run_sync(
            lambda: subprocess.Popen([sys.executable, __file__, url], cwd=ROOT, stdout=subprocess.DEVNULL)
        )
        try:
            heard: list[actors.Event] = []
            with trio.fail_after(PATIENCE):
                while sum(event.name == "job:completed" for event in heard) < 20:
                    heard.append(await anext(events))
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait()
        assert {event.state for event in heard} >= {"pending", "running", "completed"}
        with trio.fail_after(PATIENCE):
            while (stats := await system.stats()).pending + stats.running + stats.scheduled:
                await trio.sleep(0.02)  # what the dead one held is given back and run here
            while len(heard) < 1_000_000:
                told = versions(heard)
                records = [await system.get(id) for id in told]
                if len(told) == stats.enqueued and all(told[job.id][-1] == job.version for job in records):
                    break
                heard.append(await anext(events))
        for job in records:
            assert told[job.id] == list(range(1, job.version + 1)), job


async def test_on_redis_too_nobody_pays_when_nobody_listens() -> None:
    jobs = make_jobs()
    with RedisServer() as server:
        store = RedisStore(server.url, prefix="p")
        async with actors.open_system(jobs, store=store) as system:
            await (await system.enqueue(jobs.work(1))).result()
            assert server.ask("EXISTS", "{p}:log") == b":0\r\n"
            async with system.events() as events:
                await (await system.enqueue(jobs.work(1))).result()
                with trio.fail_after(PATIENCE):
                    first = await anext(events)
            assert server.ask("EXISTS", "{p}:log") == b":1\r\n"
            server.ask("HSET", "{p}:tally", "listened", "1")  # long ago, by the clock of the server
            await (await system.enqueue(jobs.work(1))).result()
            assert server.ask("EXISTS", "{p}:log") == b":0\r\n"
            assert server.ask("HEXISTS", "{p}:tally", "listened") == b":0\r\n"
            async with system.events(after=first.cursor) as events:
                with trio.fail_after(PATIENCE):
                    assert (await anext(events)).name == "gap"


async def work_for_ever(url: str) -> None:
    """The child: jobs in and done, as fast as it can, until it is killed."""
    jobs = make_jobs(0.0)
    async with actors.open_system(jobs, store=url, queues={"default": 5}, lease=1.0) as system:
        for n in range(1, 1_000_000):
            await system.enqueue(jobs.work(n))
            await trio.sleep(0.002)


if __name__ == "__main__":
    trio.run(work_for_ever, sys.argv[1])
