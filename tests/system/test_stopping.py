"""Bodies that are stopped: timeouts, cancels at every state and from every process, bodies that ignore it; the reason decides."""

from __future__ import annotations

import functools

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import actors


async def test_a_timeout_is_a_failed_attempt(opened, autojump_clock):
    jobs = actors.Registry()
    because: list[object] = []

    @jobs.job(timeout=5, max_attempts=2, retry=actors.Fixed(1))
    async def slow(ctx: actors.JobContext) -> None:
        try:
            await trio.sleep(60)
        finally:
            because.append(ctx.cancelled_because)

    async with opened(jobs) as system:
        began = trio.current_time()
        handle = await system.enqueue(slow())
        with pytest.raises(actors.JobFailed, match="timeout of 5 s"):
            await handle.result()
        record = await handle.record()
    assert trio.current_time() - began == pytest.approx(11, abs=0.01)
    assert because == ["timeout", "timeout"]
    assert (record.state, record.attempt, [error.type for error in record.errors]) == ("dead", 2, ["JobTimeout"] * 2)


async def test_a_timeout_leaves_the_worker_alive(memory, autojump_clock):
    jobs = actors.Registry()

    @jobs.job(timeout=1, max_attempts=1)
    async def slow(n: int) -> int:
        await trio.sleep(n)
        return n

    async with memory(jobs, queues={"default": 1}) as system:
        handles = await system.enqueue_many([slow(n) for n in (10, 0, 10, 0, 0)])
        ends = []
        for handle in handles:
            try:
                ends.append(await handle.result())
            except actors.JobFailed as failed:
                ends.append(failed.errors[-1].type)
    assert ends == ["JobTimeout", 0, "JobTimeout", 0, 0]


async def test_a_body_that_ends_in_time_is_not_hit_by_its_old_deadline(memory, autojump_clock):
    jobs = actors.Registry()

    @jobs.job(timeout=10)
    async def short() -> None:
        await trio.sleep(9)

    @jobs.job()
    async def unlimited() -> str:
        await trio.sleep(1000)
        return "whole"

    async with memory(jobs, queues={"default": 1}) as system:
        await system.enqueue(short())
        assert await (await system.enqueue(unlimited())).result() == "whole"


async def test_an_error_raised_while_being_timed_out_keeps_the_attempt_count(memory, autojump_clock):
    jobs = actors.Registry()

    @jobs.job(timeout=1, max_attempts=1)
    async def clumsy() -> None:
        try:
            await trio.sleep(10)
        finally:
            raise ValueError("in the clean-up")

    async with memory(jobs) as system:
        handle = await system.enqueue(clumsy())
        with pytest.raises(actors.JobFailed):
            await handle.result()
        record = await handle.record()
        assert (record.state, record.attempt) == ("dead", 1)


@pytest.mark.parametrize("state", ["scheduled", "pending", "running", "retrying"])
async def test_a_job_can_be_cancelled_at_every_state(opened, autojump_clock, state):
    jobs = actors.Registry()
    because: list[object] = []

    @jobs.job(retry=actors.Fixed(100))
    async def work(ctx: actors.JobContext) -> None:
        if state == "retrying":
            raise ValueError
        try:
            await trio.sleep(1000)
        finally:
            because.append(ctx.cancelled_because)

    async with opened(jobs, queues={"default": 0 if state == "pending" else 1}) as system:
        handle = await system.enqueue(work(), delay=50 if state == "scheduled" else 0)
        await trio.sleep(1)
        assert (await handle.record()).state == ("scheduled" if state == "retrying" else state)
        answered = await system.cancel(handle.id)
        if state == "running":
            assert (answered.state, answered.stop) == ("running", "user")
        else:
            assert answered.state == "cancelled"
        with pytest.raises(actors.JobCancelled):
            await handle.result()
        await trio.sleep(2000)
        record = await handle.record()
        assert (record.state, record.standing.holder, record.stop) == ("cancelled", None, None)
        assert record.finished_at is not None
        assert because == (["user"] if state == "running" else [])
        assert record.runs == {"scheduled": 0, "pending": 0, "running": 1, "retrying": 1}[state]


@pytest.mark.parametrize("ending", ["completed", "dead", "cancelled"])
async def test_what_has_ended_can_not_be_cancelled(opened, autojump_clock, ending):
    jobs = actors.Registry()

    @jobs.job()
    async def work() -> None:
        if ending != "completed":
            raise actors.Discard() if ending == "dead" else actors.Cancel()

    async with opened(jobs) as system:
        handle = await system.enqueue(work())
        await system.queues["default"].drain()
        with pytest.raises(actors.WrongState, match=rf"job {handle.id} is {ending}: it cannot be cancelled"):
            await system.cancel(handle.id)
        assert (await handle.record()).state == ending
        for ask in (
            system.cancel,
            system.retry,
            system.promote,
            system.get,
            system.dead_letters.retry,
            system.dead_letters.delete,
        ):
            with pytest.raises(actors.NotFound, match="not found"):
                await ask("no-such-job")


async def test_a_cancel_that_comes_twice_changes_nothing_more(opened, autojump_clock):
    jobs = actors.Registry()

    @jobs.job()
    async def work() -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(0.5)

    async with opened(jobs) as system:
        handle = await system.enqueue(work())
        await wait_all_tasks_blocked()
        await system.cancel(handle.id)
        assert (await system.cancel(handle.id)).stop == "user"
        assert await handle.result() is None  # it finished in spite of it: its real result
        assert (await handle.record()).state == "completed"


async def test_a_cancelled_body_may_still_clean_up_and_ends_cancelled_whatever_it_raises(memory, autojump_clock):
    jobs = actors.Registry()

    @jobs.job()
    async def work() -> None:
        try:
            await trio.sleep(1000)
        except trio.Cancelled:
            raise OSError("in the clean-up") from None

    async with memory(jobs) as system:
        handle = await system.enqueue(work())
        await wait_all_tasks_blocked()
        await handle.cancel()
        with pytest.raises(actors.JobCancelled):
            await handle.result()


async def test_a_running_job_can_be_cancelled_from_another_system_on_the_same_store(opened, autojump_clock):
    jobs = actors.Registry()

    @jobs.job()
    async def work() -> None:
        await trio.sleep(1000)

    async with opened(jobs) as one, opened(jobs, queues={}) as two:
        handle = await one.enqueue(work())
        await trio.sleep(1)
        assert (await two.cancel(handle.id)).state == "running"
        await trio.sleep(3)
        assert (await two.get(handle.id)).state == "cancelled"
        with pytest.raises(actors.JobCancelled):
            await handle.result()


async def test_the_end_of_a_job_is_heard_of_in_another_system_on_the_same_store(opened, autojump_clock):
    jobs = actors.Registry()

    @jobs.job()
    async def work() -> int:
        await trio.sleep(10)
        return 5

    async with opened(jobs) as _, opened(jobs, queues={}) as two:
        handle = await two.enqueue(work())
        with trio.fail_after(60):
            assert await handle.result() == 5


async def test_a_cancel_that_crosses_a_failure_is_not_forgotten(memory, autojump_clock):
    """The body fails while the cancel is being committed: it ends cancelled, it is not retried."""
    from actors.store.memory import MemoryStore

    class Slow(MemoryStore):
        async def commit(self, holder, tick, batch):
            outcome = await super().commit(holder, tick, batch)
            if batch.stops:
                fail.set()
                await trio.sleep(0.1)  # the body fails meanwhile, and its report waits in the inbox
            return outcome

    jobs = actors.Registry()
    fail = trio.Event()

    @jobs.job(retry=actors.Fixed(1))
    async def work() -> None:
        await fail.wait()
        raise ValueError

    async with memory(jobs, store=Slow()) as system:
        handle = await system.enqueue(work())
        await wait_all_tasks_blocked()
        await system.cancel(handle.id)
        await trio.sleep(100)
        record = await handle.record()
        assert (record.state, record.runs) == ("cancelled", 1)


async def test_a_body_that_ignores_its_timeout_is_marked_and_its_place_filled(opened, autojump_clock):
    jobs = actors.Registry()

    @jobs.job(timeout=1, max_attempts=2, retry=actors.Fixed(1))
    async def deaf(ctx: actors.JobContext) -> None:
        if ctx.fence == 1:
            with trio.CancelScope(shield=True):
                await trio.sleep(30)

    @jobs.job()
    async def quick() -> float:
        return trio.current_time()

    async with opened(jobs, queues={"default": 1}) as system:
        began = trio.current_time()
        stuck = await system.enqueue(deaf())
        waiting = await system.enqueue(quick())
        assert await waiting.result() - began < 3.0  # SPEC: the slot is free within a second of the mark
        assert (await stuck.record()).state == "running"  # its retry waits until it has ended
        assert await stuck.result() is None
        record = await stuck.record()
        assert (record.attempt, record.runs, [error.type for error in record.errors]) == (1, 2, ["JobTimeout"])
        assert record.finished_at is not None and record.finished_at.timestamp() - record.created_at.timestamp() >= 31
        await trio.sleep(10)
        assert len(system.workers()) == 1
        assert await (await system.enqueue(quick())).result()


async def test_many_stuck_bodies_leave_the_number_of_workers_as_it_was(memory, autojump_clock):
    jobs = actors.Registry()
    running, most = 0, 0

    @jobs.job(timeout=1, max_attempts=1)
    async def deaf() -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(30)

    @jobs.job()
    async def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await trio.sleep(1)
        running -= 1

    async with memory(jobs, queues={"default": 3}) as system:
        await system.enqueue_many([deaf() for _ in range(6)])
        await system.enqueue_many([work() for _ in range(30)])
        await system.queues["default"].drain()
        await system.enqueue_many([work() for _ in range(30)])
        await system.queues["default"].drain()
        assert most == 3
        assert len(system.workers()) == 3
        stats = await system.stats()
        assert (stats.completed, stats.dead) == (60, 6)


async def test_a_stuck_body_can_be_cancelled_and_ends_so(memory, autojump_clock):
    jobs = actors.Registry()

    @jobs.job()
    async def deaf() -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(30)
        await trio.sleep(0)

    async with memory(jobs) as system:
        handle = await system.enqueue(deaf())
        await wait_all_tasks_blocked()
        await handle.cancel()
        with pytest.raises(actors.JobCancelled):
            await handle.result()


@pytest.mark.parametrize("many", [1, 40])
async def test_jobs_that_are_cancelled_before_a_worker_starts_them_never_start(memory, autojump_clock, many):
    jobs = actors.Registry()
    started: list[int] = []

    @jobs.job()
    async def work(n: int) -> None:
        started.append(n)
        await trio.sleep(5)

    async with memory(jobs, queues={"default": 1}) as system:
        handles = await system.enqueue_many([work(n) for n in range(many + 1)])
        async with trio.open_nursery() as nursery:
            for handle in handles[1:]:
                nursery.start_soon(handle.cancel)
        await trio.sleep(100)
        assert started == [0]
        states = [(await handle.record()).state for handle in handles]
        assert states == ["completed", *["cancelled"] * many]


async def test_cancelling_who_waits_does_not_touch_the_job(memory, autojump_clock):
    jobs = actors.Registry()

    @jobs.job()
    async def work() -> int:
        await trio.sleep(10)
        return 1

    async with memory(jobs) as system:
        handle = await system.enqueue(work())
        with trio.move_on_after(1) as scope:
            await handle.result()
        assert scope.cancelled_caught
        assert await handle.result() == 1


async def test_a_cancelled_call_leaves_the_system_whole(opened, autojump_clock):
    jobs = actors.Registry()

    @jobs.job()
    async def work() -> int:
        return 1

    async with opened(jobs) as system:
        for call in (
            functools.partial(system.enqueue, work()),
            functools.partial(system.cancel, "x"),
            system.stats,
            system.ping,
        ):
            with trio.CancelScope() as scope:
                scope.cancel()
                await call()
        await trio.sleep(1)
        assert await (await system.enqueue(work())).result() == 1
        assert (await system.stats()).running == 0
