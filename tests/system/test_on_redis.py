"""Whole systems on a real Redis server, in real time: several on one server are one system.

The child that is killed is this file, run as a program: `python test_on_redis.py URL PREFIX`.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from functools import partial
from pathlib import Path

import pytest
import trio

import actors
from actors.store.redis import RedisStore
from actors.testing.redis import RedisServer, free_port

PATIENCE = 60.0  # seconds that a loaded machine may take for anything
LEASE = 1.0
ROOT = Path(__file__).parents[2]


class Process:
    """Where a body runs."""

    def __init__(self, name: str) -> None:
        self.name = name


class Bodies:
    """What ran, and where."""

    def __init__(self) -> None:
        self.ran: list[tuple[str, str]] = []  # process, name
        self.stopped: list[tuple[str, str]] = []  # name, reason
        self.started = trio.Event()
        jobs = self.jobs = actors.Registry()

        @jobs.job(max_attempts=3, retry=actors.Fixed(0.05))
        async def fails_twice(ctx: actors.JobContext) -> int:
            if ctx.job.attempt < 2:
                raise ValueError("not yet")
            return ctx.job.attempt

        @jobs.job()
        async def quick(ctx: actors.JobContext, name: str) -> None:
            self.ran.append((ctx.resource(Process).name, name))

        @jobs.job()
        async def rests(ctx: actors.JobContext, seconds: float) -> None:
            self.ran.append((ctx.resource(Process).name, ctx.job.id))
            self.started.set()
            try:
                await trio.sleep(seconds)
            except trio.Cancelled:
                self.stopped.append((ctx.job.id, str(ctx.cancelled_because)))
                raise

        @jobs.job()
        async def blocks(ctx: actors.JobContext, seconds: float) -> None:
            self.ran.append((ctx.resource(Process).name, "blocks"))
            time.sleep(seconds)


class Machines:
    """Opens systems with stores of their own on one prefix, as if each were on another machine."""

    def __init__(self, url: str) -> None:
        self.bodies = Bodies()
        self.prefix = uuid.uuid4().hex
        self.url = url
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Machines:
        return self

    async def __aexit__(self, *raised) -> None:
        await self._stack.__aexit__(*raised)

    async def open(self, name: str, **options) -> actors.System:
        return await self._stack.enter_async_context(self.system(name, **options))

    def system(self, name: str, **options):
        store = RedisStore(self.url, prefix=self.prefix)
        given = {"queues": {"default": 4}, "lease": LEASE, "grace": 5.0, "resources": [Process(name)], **options}
        return actors.open_system(self.bodies.jobs, store=store, **given)

    def job(self, type: str, **fields):
        return self.bodies.jobs.from_json(type, fields)


@pytest.fixture
def machines(redis_url: str) -> Machines:
    return Machines(redis_url)


async def _until(true: Callable[[], Awaitable[bool]]) -> None:
    """Look until it is so: what is waited for happens in another process, or in the server."""
    with trio.fail_after(PATIENCE):
        while not await true():
            await trio.sleep(0.01)


async def test_a_job_is_retried_and_gives_its_result(machines: Machines) -> None:
    async with machines:
        system = await machines.open("a")
        handle = await system.enqueue(machines.job("fails_twice"))
        with trio.fail_after(PATIENCE):
            assert await handle.result() == 2
        record = await handle.record()
        assert [error.message for error in record.errors] == ["not yet", "not yet"]
        stats = await system.stats()
        assert (stats.completed, stats.pending, stats.running) == (1, 0, 0)


async def test_many_jobs_run_once_each_on_two_machines(machines: Machines) -> None:
    async with machines:
        one, two = await machines.open("a"), await machines.open("b")
        names = [str(number) for number in range(600)]
        for system, part in ((one, names[:300]), (two, names[300:])):
            await system.enqueue_many([machines.job("quick", name=name) for name in part])

        async def over() -> bool:
            return (await one.stats()).completed == 600

        await _until(over)
        assert Counter(name for _, name in machines.bodies.ran) == Counter(names)
        audit = await recounted(machines)
        assert audit == {("default", 1, "completed"): 600}


async def recounted(machines: Machines) -> dict[tuple[str, int, str], int]:
    store = RedisStore(machines.url, prefix=machines.prefix)
    await store.open("auditor", 0)
    try:
        recount = await store.recount()
        assert dict(recount.jobs) == dict(recount.counts.now)
        return dict(recount.jobs)
    finally:
        await store.close("auditor")


async def test_what_is_enqueued_here_starts_there_within_milliseconds(machines: Machines) -> None:
    async with machines:
        here = await machines.open("here", queues={})
        await machines.open("there")
        waits = []
        for number in range(11):
            await trio.sleep(0.02)
            began = time.perf_counter()
            handle = await here.enqueue(machines.job("quick", name=str(number)))
            with trio.fail_after(PATIENCE):
                await handle.result()
            waits.append(time.perf_counter() - began)
        assert {process for process, _ in machines.bodies.ran} == {"there"}
        assert sorted(waits)[5] < 0.5, f"a message takes milliseconds, the look for lost ones a second: {waits}"


async def test_a_schedule_fires_once_for_all_machines(machines: Machines) -> None:
    async with machines:
        systems = [await machines.open(name) for name in ("a", "b", "c")]
        for system in systems:
            await system.schedule("often", actors.Every(0.2), machines.job("quick", name="tick"))

        async def fired() -> bool:
            return (
                systems[0].schedules["often"] is not None
                and (await systems[0].schedules["often"].info()).run_count >= 6
            )

        await _until(fired)
        for system in systems:
            await system.schedules["often"].pause()
        page = await systems[0].find(limit=1_000)
        slots = [job.spec.details.slot for job in page.jobs]
        assert len(slots) >= 6
        assert len(set(slots)) == len(slots), "each slot became one job"


async def test_a_job_is_cancelled_from_another_machine(machines: Machines) -> None:
    async with machines:
        one = await machines.open("one")
        other = await machines.open("other", queues={})
        handle = await one.enqueue(machines.job("rests", seconds=600.0))
        with trio.fail_after(PATIENCE):
            await machines.bodies.started.wait()
            await other.cancel(handle.id)
            with pytest.raises(actors.JobCancelled):
                await handle.result()
        assert machines.bodies.stopped == [(handle.id, "user")]


async def test_a_pause_holds_on_every_machine(machines: Machines) -> None:
    async with machines:
        one, two = await machines.open("a"), await machines.open("b")
        await one.queues["default"].pause()
        for number in range(20):
            await two.enqueue(machines.job("quick", name=str(number)))
        assert (await two.stats()).pending == 20
        await trio.sleep(0.3)  # nothing would be heard of a job that starts after all
        assert machines.bodies.ran == []
        await two.queues["default"].resume()

        async def over() -> bool:
            return (await one.stats()).completed == 20

        await _until(over)


async def test_the_jobs_of_a_killed_process_come_back_after_its_lease(redis_url: str, machines: Machines) -> None:
    async with machines:
        command = [sys.executable, __file__, redis_url, machines.prefix]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "running\n"
            system = await machines.open("survivor")
            assert (await system.stats()).running == 2
            child.send_signal(signal.SIGKILL)
            child.wait()
        killed = time.monotonic()

        async def over() -> bool:
            return (await system.stats()).completed == 2

        await _until(over)
        assert time.monotonic() - killed > LEASE / 2, "not before its lease was over"
        page = await system.find(limit=10)
        assert [(job.runs, job.attempt, job.crashes) for job in page.jobs] == [(2, 0, 1), (2, 0, 1)]


async def test_a_job_that_blocks_its_loop_is_not_taken_for_dead(machines: Machines) -> None:
    async with machines:

        def elsewhere() -> None:
            async def main() -> None:
                async with machines.system("elsewhere") as system:
                    handle = await system.enqueue(machines.job("blocks", seconds=2.5 * LEASE))
                    await handle.result()

            trio.run(main)

        watcher = await machines.open("watcher", queues={"other": 1})  # it would give the job back, and not run it
        with trio.fail_after(PATIENCE):
            await trio.to_thread.run_sync(elsewhere)
        assert machines.bodies.ran == [("elsewhere", "blocks")]
        (job,) = (await watcher.find(limit=10)).jobs
        assert (job.state, job.runs) == ("completed", 1)


async def test_a_server_that_hangs_for_longer_than_a_lease_loses_nothing() -> None:
    with RedisServer() as server:
        async with Machines(server.url) as machines:
            system = await machines.open("a", lease=1.5)
            handle = await system.enqueue(machines.job("rests", seconds=2.0))
            with trio.fail_after(PATIENCE):
                await machines.bodies.started.wait()
                server.pause()
                paused = time.monotonic()
                while not machines.bodies.stopped:
                    await trio.sleep(0.01)
                stopped = time.monotonic() - paused
                await trio.sleep(0.5)  # beyond the end of the lease
                server.resume()
                await handle.result()
            assert machines.bodies.stopped == [(handle.id, "lease lost")]
            assert stopped < 1.5, "before the lease was over"
            record = await handle.record()
            assert (record.state, record.attempt, record.crashes) == ("completed", 0, 0)


async def test_a_system_starts_without_its_server_and_works_once_it_is_there() -> None:
    server = RedisServer(port=free_port())
    with ExitStack() as later:
        async with Machines(server.url) as machines:
            system = await machines.open("a")
            with trio.fail_after(PATIENCE):
                assert (await system.health()).status == "degraded"
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(system.enqueue, machines.job("quick", name="early"))
                    await trio.sleep(0.2)
                    later.enter_context(server)
                while machines.bodies.ran != [("a", "early")]:
                    await trio.sleep(0.01)
                schedule = await system.schedule("often", actors.Every(3600), machines.job("quick", name="tick"))
                await schedule.run()
                while ("a", "tick") not in machines.bodies.ran:
                    await trio.sleep(0.01)
                assert (await system.health()).status == "ok"


async def test_a_hanging_server_does_not_hold_the_exit() -> None:
    with RedisServer() as server:
        async with Machines(server.url) as machines:
            await machines.open("a", grace=0.5)
            server.pause()
            began = time.monotonic()
        assert time.monotonic() - began < 5.0, "below the timeout of a call: the last ones have a second each"
        server.resume()


async def test_a_server_that_dies_twice_loses_nothing() -> None:
    """As it writes each commit to its disk before the answer. (`everysec` may lose what a slow disk has postponed.)"""
    with RedisServer({"appendfsync": "always"}) as server:
        async with Machines(server.url) as machines:
            one, _ = await machines.open("a", lease=10.0), await machines.open("b", lease=10.0)
            accepted = 0
            with trio.fail_after(PATIENCE):
                async with trio.open_nursery() as nursery:

                    async def enqueue(first: int) -> None:
                        nonlocal accepted
                        for number in range(100):
                            await one.enqueue(machines.job("quick", name=str(first + number)))
                            accepted += 1

                    for caller in range(4):
                        nursery.start_soon(partial(enqueue, caller * 100))
                    for killed_at in (80, 200):
                        while accepted < killed_at:
                            await trio.sleep(0.005)
                        server.kill()
                        await trio.sleep(0.3)
                        server.start()

            async def over() -> bool:
                return (await one.stats()).completed == 400

            await _until(over)
            assert await recounted(machines) == {("default", 1, "completed"): 400}
            names = Counter(name for _, name in machines.bodies.ran)
            assert len(names) == 400 and sum(names.values()) <= 408, "at most what was running at the kills ran twice"


# The child


async def holds(url: str, prefix: str) -> None:
    jobs = actors.Registry()
    began = 0

    @jobs.job()
    async def rests(ctx: actors.JobContext, seconds: float) -> None:
        nonlocal began
        began += 1
        if began == 2:
            print("running", flush=True)
        await trio.sleep_forever()

    store = RedisStore(url, prefix=prefix)
    async with actors.open_system(jobs, store=store, lease=LEASE) as system:
        await system.enqueue_many([jobs.from_json("rests", {"seconds": 0.0}) for _ in range(2)])
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(holds, *sys.argv[1:])
