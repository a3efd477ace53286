"""Claims ahead, places and stops at the edges: nothing is stranded, nothing leaks from one job to the next."""

from __future__ import annotations

import contextvars
import time

import pytest
import trio

import actors
from actors.queue import Message, Queue
from actors.store.memory import MemoryStore
from actors.store.port import Batch, Outcome


async def finish(system: actors.System, *jobs: actors.Job[object]) -> None:
    for handle in await system.enqueue_many(jobs):
        await handle.result()


async def test_a_cancel_of_a_job_that_is_taken_back_unstarted_holds(memory, autojump_clock):
    jobs, ran = actors.Registry(), list[int]()

    @jobs.job()
    async def quick() -> None: ...

    @jobs.job()
    async def slow(number: int) -> None:
        ran.append(number)
        await trio.sleep(1)

    async with memory(jobs, queues={"default": 1}) as system:
        await finish(system, *[quick() for _ in range(60)])
        handles = await system.enqueue_many([slow(number) for number in range(10)])
        await trio.sleep(0.005)
        assert (await handles[5].record()).state == "running" and 5 not in ran  # claimed ahead
        await system.cancel(handles[5].id)
        with pytest.raises(actors.JobCancelled):
            await handles[5].result()
        assert 5 not in ran
        await handles[9].result()


async def test_long_jobs_are_not_claimed_ahead(memory, autojump_clock):
    jobs = actors.Registry()

    @jobs.job()
    async def half_a_second() -> None:
        await trio.sleep(0.5)

    async with memory(jobs, queues={"default": 4}) as system:
        with system.events() as events:
            await finish(system, *[half_a_second() for _ in range(40)])
            names: list[str] = []
            while names.count("job:completed") < 40:
                names.append((await anext(events)).name)
    assert names.count("job:started") == 40
    assert "job:interrupted" not in names


@pytest.mark.parametrize("many", [150, 1_200])
async def test_slow_jobs_after_a_bustle_of_quick_ones_all_start_at_once(memory, autojump_clock, many):
    jobs, started = actors.Registry(), list[float]()

    @jobs.job()
    async def quick() -> None:
        await trio.lowlevel.checkpoint()

    @jobs.job()
    async def slow() -> None:
        started.append(trio.current_time())
        await trio.sleep(10)

    async with memory(jobs, queues={"default": 1_500}) as system:
        for _ in range(4):
            await finish(system, *[quick() for _ in range(300)])
            came, number = trio.current_time(), len(started)
            await system.enqueue_many([slow() for _ in range(many)])
            await trio.sleep(5)
            assert len(started) == number + many
            assert max(started) - came <= 0.02
            await trio.sleep(10)


async def test_a_crowd_of_idle_workers_leaves_room_for_what_is_more_urgent(memory, autojump_clock):
    jobs, started = actors.Registry(), list[str]()

    @jobs.job()
    async def work(name: str) -> None:
        started.append(name)
        if len(started) == 1:
            ctx_enqueue()
        await trio.sleep(1)

    async with memory(jobs, queues={"default": 0}) as system, trio.open_nursery() as nursery:

        def ctx_enqueue() -> None:
            nursery.start_soon(lambda: system.enqueue(work("urgent"), priority="critical"))

        await system.enqueue_many([work("one of many") for _ in range(3_000)])
        system.queues["default"].set_workers(3_000)
        await trio.sleep(0.5)
        assert len(started) == 3_000
        assert started.index("urgent") <= 1_500


class FullOnce(MemoryStore):
    """There is no room for what the second claim would write."""

    claims = 0

    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        self.claims += bool(batch.claims)
        if batch.claims and self.claims == 2:
            raise actors.StoreFull("no room")
        return await super().commit(holder, tick, batch)


async def test_a_crowd_of_idle_workers_waits_for_room_and_does_not_turn_in_circles(memory, autojump_clock, monkeypatch):
    jobs, started, turns = actors.Registry(), list[int](), list[int]()

    @jobs.job()
    async def work(number: int) -> None:
        started.append(number)
        await trio.sleep(10)

    turn = Queue._turn

    async def counted(queue: Queue, messages: list[Message]) -> None:
        turns.append(len(messages))
        assert len(turns) < 1_000
        await turn(queue, messages)

    monkeypatch.setattr(Queue, "_turn", counted)
    async with memory(jobs, store=FullOnce(), queues={"default": 0}) as system:
        await system.enqueue_many([work(number) for number in range(2_000)])
        system.queues["default"].set_workers(2_000)
        await trio.sleep(0.5)
        assert len(started) == 500  # of the first claim
        await trio.sleep(5)
        assert len(started) == 2_000


async def test_a_thread_that_its_middleware_gives_up_on_frees_its_place(tmp_path):
    jobs = actors.Registry()

    @jobs.middleware
    async def limit(ctx, run):
        with trio.fail_after(0.05):
            return await run()

    @jobs.job(max_attempts=1)
    def slow() -> None:
        time.sleep(0.2)  # the body's own work, in its thread

    @jobs.job()
    async def fine() -> int:
        return 1

    async with actors.open_system(jobs, store="memory:", queues={"default": 2}, grace=1) as system:
        for _ in range(4):
            with pytest.raises(actors.JobFailed):
                await (await system.enqueue(slow())).result()
        with trio.fail_after(10):
            assert await (await system.enqueue(fine())).result() == 1


class SlowToCommit(MemoryStore):
    """A store whose answers take a while."""

    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        outcome = await super().commit(holder, tick, batch)
        await trio.sleep(0.05)
        return outcome


async def test_a_claim_that_crosses_the_dismissal_of_all_workers_is_given_back(memory, autojump_clock):
    jobs = actors.Registry()

    @jobs.job()
    async def work() -> None: ...

    async with memory(jobs, store=SlowToCommit(), queues={"default": 4}) as system:
        await trio.sleep(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(system.enqueue, work())
            await trio.sleep(0.02)
            system.queues["default"].set_workers(0)
        await trio.sleep(10)
        (job,) = (await system.find()).jobs
        assert job.state == "pending"


class Deaf(MemoryStore):
    """A store that can't be listened to."""

    async def wakeup(self, holder: str) -> bool:
        raise actors.StoreBusy("the database is locked")


async def test_a_store_that_can_not_be_listened_to_does_not_end_the_system(memory, autojump_clock):
    jobs = actors.Registry()

    @jobs.job()
    async def fine() -> int:
        return 1

    async with memory(jobs, store=Deaf()) as system:
        await trio.sleep(10)
        assert await (await system.enqueue(fine())).result() == 1
        await system.ping()


async def test_a_group_nested_without_measure_is_a_failed_attempt(memory, autojump_clock):
    jobs = actors.Registry()

    @jobs.job(max_attempts=1)
    async def deep() -> None:
        error: Exception = ValueError("at the bottom")
        for _ in range(2_000):
            error = ExceptionGroup("group", [error])
        raise error

    @jobs.job()
    async def fine() -> int:
        return 1

    async with memory(jobs) as system:
        with pytest.raises(actors.JobFailed):
            await (await system.enqueue(deep())).result()
        assert await (await system.enqueue(fine())).result() == 1


async def test_context_variables_do_not_leak_into_the_next_job(memory, autojump_clock):
    tenant: contextvars.ContextVar[str | None] = contextvars.ContextVar("tenant", default=None)
    jobs = actors.Registry()

    @jobs.job()
    async def be(name: str) -> str | None:
        tenant.set(name)
        await trio.sleep(1)
        return tenant.get()

    @jobs.job()
    async def who() -> str | None:
        return tenant.get()

    async with memory(jobs, queues={"default": 1}) as system:
        assert await (await system.enqueue(be("alice"))).result() == "alice"
        assert await (await system.enqueue(who())).result() is None


async def test_a_clock_set_back_hoards_no_jobs(memory, autojump_clock):
    jobs = actors.Registry()

    @jobs.job()
    async def quick() -> None: ...

    @jobs.job()
    async def slow() -> None:
        await trio.sleep(300)

    clock = actors.TrioClock(patience=1.0)
    async with memory(jobs, clock=clock, queues={"default": 1}, grace=0) as system:
        await finish(system, *[quick() for _ in range(60)])
        clock.step(-3600)
        await finish(system, *[quick() for _ in range(60)])
        await system.enqueue_many([slow() for _ in range(100)])
        await trio.sleep(250)
        assert (await system.stats()).running == 1


async def test_who_waits_for_room_is_let_in_though_others_are_busy(opened, store, autojump_clock):
    """Another process makes the room, of which this one hears nothing but by looking."""
    jobs = actors.Registry()

    @jobs.job()
    async def work() -> None: ...

    full = {"full": actors.Queue(0, limit=1), "other": 1}
    async with opened(jobs, queues=full) as system, opened(jobs, queues={}) as elsewhere:
        await system.enqueue(work(), queue="full")
        accepted = trio.Event()

        async def wait_for_room() -> None:
            await system.enqueue(work(), queue="full")
            accepted.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_for_room)
            await trio.sleep(1)
            await elsewhere.queues["full"].clear()
            with trio.fail_after(60):
                while not accepted.is_set():
                    await system.enqueue(work(), queue="other")
                    await trio.sleep(0.5)
