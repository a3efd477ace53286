"""Queues while the system runs: pause, resume, drain, clear, more and fewer workers; promote; what the counters say."""

from __future__ import annotations

import attrs
import pytest
import trio

import actors
from actors.store.memory import MemoryStore
from actors.store.port import Page, Query


@pytest.fixture
def jobs() -> actors.Registry:
    made = actors.Registry()

    @made.job()
    async def work(seconds: float = 0.0) -> None:
        await trio.sleep(seconds)

    @made.job(max_attempts=1)
    async def bad() -> None:
        raise ValueError

    made.work, made.bad = work, bad
    return made


async def test_a_paused_queue_starts_nothing_until_it_is_resumed(opened, autojump_clock, jobs):
    async with opened(jobs, queues={"default": 2, "other": 1}) as system:
        running = await system.enqueue(jobs.work(50))
        await trio.sleep(1)
        await system.queues["default"].pause()
        waiting = await system.enqueue(jobs.work())
        later = await system.enqueue(jobs.work(), delay=10)
        other = await system.enqueue(jobs.work(), queue="other")
        await trio.sleep(100)
        states = [(await handle.record()).state for handle in (running, waiting, later, other)]
        assert states == ["completed", "pending", "pending", "completed"]
        info = await system.queues["default"].info()
        assert (info.name, info.paused, info.workers, info.active, info.stats.pending, info.stats.completed) == (
            "default",
            True,
            2,
            0,
            2,
            1,
        )
        await system.queues["default"].resume()
        with trio.fail_after(1):
            await waiting.result()
            await later.result()
        assert not (await system.queues["default"].info()).paused


async def test_a_pause_holds_over_a_restart_and_in_every_process(opened, autojump_clock, jobs):
    async with opened(jobs) as system:
        await system.queues["default"].pause()
    async with opened(jobs) as one, opened(jobs) as two:
        handle = await two.enqueue(jobs.work())
        await trio.sleep(10)
        assert (await handle.record()).state == "pending"
        await one.queues["default"].resume()
        await trio.sleep(10)
        assert (await handle.record()).state == "completed"


async def test_drain_waits_for_all_but_what_is_scheduled(opened, autojump_clock, jobs):
    async with opened(jobs, queues={"default": 2}) as system:
        began = trio.current_time()
        await system.enqueue_many([jobs.work(10)] * 4)
        late = await system.enqueue(jobs.work(), delay=1000)
        await system.queues["default"].drain()
        assert trio.current_time() - began == pytest.approx(20, abs=0.2)
        assert (await late.record()).state == "scheduled"
        await system.queues["unheard-of"].drain()


async def test_clear_cancels_all_that_waits(opened, autojump_clock, jobs):
    async with opened(jobs, queues={"default": 1, "other": 0}) as system:
        running = await system.enqueue(jobs.work(10))
        await trio.sleep(1)
        await system.enqueue_many([jobs.work()] * 600)
        await system.enqueue(jobs.work(), delay=100)
        kept = await system.enqueue(jobs.work(), queue="other")
        assert await system.queues["default"].clear() == 601
        assert await system.queues["default"].clear() == 0
        await running.result()
        stats = await system.stats()
        assert (stats.cancelled, stats.completed, stats.pending) == (601, 1, 1)
        assert (await kept.record()).state == "pending"


async def test_the_number_of_workers_changes_while_it_runs(memory, autojump_clock):
    jobs = actors.Registry()
    running, most = 0, 0

    @jobs.job()
    async def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await trio.sleep(10)
        running -= 1

    async with memory(jobs, queues={"default": 2}) as system:
        queue = system.queues["default"]
        await system.enqueue_many([work() for _ in range(200)])
        for number in (2, 6, 1, 0, 5):
            queue.set_workers(number)
            await trio.sleep(12)  # what ran with more workers ends its job first
            most = running
            await trio.sleep(25)
            assert most == number
            assert len(system.workers()) == number == (await queue.info()).workers
        for wrong in (-1, True, 1.5, "3", 10**9):
            with pytest.raises(actors.BadOption, match="workers"):
                queue.set_workers(wrong)
        with pytest.raises(actors.NotFound):
            system.queues["elsewhere"].set_workers(1)
        await queue.drain()


async def test_workers_tell_what_they_do(memory, autojump_clock, jobs):
    async with memory(jobs, queues={"default": 2}) as system:
        handle = await system.enqueue(jobs.work(10))
        await trio.sleep(1)
        workers = system.workers()
        assert [worker.id for worker in workers] == ["default/0", "default/1"]
        assert sorted((worker.job or "", worker.processed) for worker in workers) == [("", 0), (handle.id, 0)]
        assert (await system.queues["default"].info()).active == 1
        await handle.result()
        assert sorted((worker.job or "", worker.processed) for worker in system.workers()) == [("", 0), ("", 1)]


async def test_promote_makes_a_scheduled_job_ready_now(opened, autojump_clock, jobs):
    async with opened(jobs) as system:
        handle = await system.enqueue(jobs.work(), delay=1000)
        assert (await system.promote(handle.id)).state == "pending"
        with trio.fail_after(1):
            await handle.result()
        with pytest.raises(actors.WrongState, match="is completed: it cannot be promoted"):
            await system.promote(handle.id)


async def test_retry_replays_what_was_cancelled(opened, autojump_clock, jobs):
    async with opened(jobs) as system:
        handle = await system.enqueue(jobs.work(), delay=1000)
        await handle.cancel()
        assert (await system.retry(handle.id)).state == "pending"
        with trio.fail_after(1):
            assert await handle.result() is None
        with pytest.raises(actors.WrongState, match="cannot be replayed"):
            await system.retry(handle.id)


async def test_stats_add_up_per_queue_and_priority(opened, autojump_clock, jobs):
    async with opened(jobs, queues={"default": 1, "other": 1, "idle": 1}) as system:
        await system.enqueue_many([jobs.work()] * 3, priority="high")
        await system.enqueue(jobs.bad(), queue="other")
        await system.queues["default"].drain()
        await system.queues["other"].drain()
        await system.enqueue(jobs.work(100))
        await trio.sleep(1)
        await system.enqueue(jobs.work())
        await system.enqueue(jobs.work(), delay=1000, priority="low")
        cancelled = await system.enqueue(jobs.work(), delay=1000)
        await cancelled.cancel()
        stats = await system.stats()
        six = ("pending", "scheduled", "running", "completed", "dead", "cancelled")
        assert tuple(getattr(stats, name) for name in six) == (1, 1, 1, 3, 1, 1)
        assert (stats.enqueued, stats.deleted) == (8, 0)
        for name in six:
            assert sum(getattr(tally, name) for tally in stats.queues.values()) == getattr(stats, name)
            assert sum(getattr(tally, name) for tally in stats.priorities.values()) == getattr(stats, name)
        assert set(stats.priorities) == {"low", "normal", "high", "critical"}
        assert stats.priorities["high"].completed == 3 and stats.queues["other"].dead == 1
        infos = {info.name: info for info in await system.queues.list()}
        assert set(infos) == {"default", "other", "idle"} and infos["default"].stats == stats.queues["default"]


async def test_a_queue_name_that_can_not_be_is_refused(memory, autojump_clock, jobs):
    async with memory(jobs) as system:
        for name in ("", "a b", "\ud800", None, 5):
            with pytest.raises(actors.BadOption):
                system.queues[name]


async def test_a_store_that_gives_short_pages_is_asked_until_the_page_is_full(clock, autojump_clock):
    """On Redis a page looks at a bounded number of jobs, and may be empty though there is more."""

    class Short(MemoryStore):
        async def find(self, query: Query) -> Page:
            page = await super().find(attrs.evolve(query, limit=1))
            return Page([job for job in page.jobs if job.standing.seq % 3 == 0], page.after)

    jobs = actors.Registry()

    @jobs.job()
    async def work() -> None: ...

    async with actors.open_system(jobs, store=Short(), clock=clock, queues={}) as system:
        await system.enqueue_many([work() for _ in range(20)])
        assert len((await system.find(limit=4)).jobs) == 4
        assert len((await system.find(limit=50)).jobs) == 6
        assert await system.queues["default"].clear() == 6
