"""Plain functions as jobs, each in a thread, on real time: what they return and raise, their context, timeouts and cancels."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import trio

import actors


@pytest.fixture
def jobs() -> actors.Registry:
    return actors.Registry()


async def test_a_plain_function_runs_in_a_thread_bounded_by_the_limiter(jobs):
    running, most = 0, 0
    lock = threading.Lock()

    @jobs.job()
    def work(n: int) -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with lock:
            running -= 1
        return f"{n} {threading.current_thread() is threading.main_thread()}"

    async with actors.open_system(jobs, store="memory:", queues={"default": 10}, threads=3) as system:
        handles = await system.enqueue_many([work(n) for n in range(12)])
        assert [await handle.result() for handle in handles] == [f"{n} False" for n in range(12)]
    assert most == 3


@pytest.mark.parametrize("clock", [actors.SystemClock(), actors.TrioClock()], ids=["system", "trio"])
async def test_the_whole_context_works_from_a_thread(jobs, clock, tmp_path: Path):
    seen: list[str] = []

    @jobs.job()
    def child(name: str) -> None:
        seen.append(name)

    @jobs.job()
    def work(ctx: actors.JobContext, n: int) -> int:
        ctx.log("a line")
        ctx.progress(1, 2, "half")
        trio.from_thread.run(ctx.save, {"n": n})
        assert ctx.state == {"n": n} and ctx.fence == 1 and ctx.cancelled_because is None
        assert ctx.resource(Path) is tmp_path
        ctx.enqueue(child("with the success"), delay=0.01)
        ctx.enqueue(child("now"), now=True, tags=["a"])
        return n

    async with actors.open_system(
        jobs, store=f"sqlite:///{tmp_path}/jobs.db", clock=clock, resources=[tmp_path]
    ) as system:
        handle = await system.enqueue(work(3), owner="ada")
        with trio.fail_after(10):
            assert await handle.result() == 3
            while len(seen) < 2:
                await trio.sleep(0.01)
        record = await handle.record()
        assert record.log[0].text == "a line" and record.progress is not None and record.progress.percent == 50
        assert record.saved_json == '{"n":3}'
        assert {job.owner for job in (await system.find(type="child")).jobs} == {"ada"}
        assert sorted(seen) == ["now", "with the success"]


async def test_ids_made_in_many_threads_at_once_are_all_different(jobs):
    @jobs.job()
    def child(n: int) -> None: ...

    @jobs.job()
    def work(ctx: actors.JobContext) -> list[str]:
        return [ctx.enqueue(child(n)).id for n in range(300)]

    async with actors.open_system(jobs, store="memory:", queues={"default": 8}) as system:
        handles = await system.enqueue_many([work() for _ in range(8)])
        ids = [id for handle in handles for id in await handle.result()]
        assert len(set(ids)) == len(ids) == 2_400
        await system.queues["default"].drain()
        assert (await system.stats()).completed == 2_408


@pytest.mark.parametrize(
    "error", [ValueError("no"), SystemExit(1), KeyboardInterrupt(), GeneratorExit(), StopIteration()]
)
async def test_whatever_a_thread_raises_fails_the_attempt(jobs, error):
    @jobs.job(max_attempts=1)
    def bad() -> None:
        raise error

    @jobs.job()
    def good() -> int:
        return 1

    async with actors.open_system(jobs, store="memory:", queues={"default": 1}) as system:
        handle = await system.enqueue(bad())
        with pytest.raises(actors.JobFailed), trio.fail_after(10):
            await handle.result()
        record = await handle.record()
        assert record.error is not None and record.error.type in (
            type(error).__name__,
            "RuntimeError",
        )  # Python's own, for StopIteration
        assert await (await system.enqueue(good())).result() == 1


async def test_a_thread_that_outlives_its_timeout_is_marked_and_its_place_filled(jobs):
    go = threading.Event()

    @jobs.job(timeout=0.05, max_attempts=1)
    def deaf() -> int:
        assert go.wait(30)
        return 1

    @jobs.job()
    def quick() -> int:
        return 2

    async with actors.open_system(jobs, store="memory:", queues={"default": 1}) as system:
        stuck = await system.enqueue(deaf())
        with trio.fail_after(3):
            assert await (await system.enqueue(quick())).result() == 2
        assert (await stuck.record()).state == "running"  # its retry must not run beside it
        go.set()
        with pytest.raises(actors.JobFailed, match="timeout of 0.05 s"), trio.fail_after(5):
            await stuck.result()
        assert await (await system.enqueue(quick())).result() == 2
        await trio.sleep(0.05)
        assert len(system.workers()) == 1


async def test_a_thread_notices_a_cancel_where_it_speaks(jobs):
    started = threading.Event()

    @jobs.job()
    def work(ctx: actors.JobContext) -> None:
        started.set()
        for n in range(1_000):
            time.sleep(0.005)
            ctx.progress(n)
        raise AssertionError("not stopped")

    async with actors.open_system(jobs, store="memory:") as system:
        handle = await system.enqueue(work())
        with trio.fail_after(5):
            while not started.is_set():
                await trio.sleep(0.005)
            await handle.cancel()
            with pytest.raises(actors.JobCancelled):
                await handle.result()


async def test_a_thread_that_is_cut_short_by_the_shutdown_is_given_back(jobs):
    go = threading.Event()

    @jobs.job()
    def deaf() -> None:
        go.wait(30)

    try:
        with trio.fail_after(5):
            async with actors.open_system(jobs, store="memory:", grace=0.05) as system:
                await system.enqueue(deaf())
                await trio.sleep(0.1)
    finally:
        go.set()
    report = system.report
    assert report is not None and (report.finished, report.given_back) == (0, 1)


async def test_a_queued_thread_can_be_cancelled_before_it_gets_one(jobs):
    go = threading.Event()
    ran: list[int] = []

    @jobs.job()
    def work(n: int) -> None:
        ran.append(n)
        go.wait(30)

    async with actors.open_system(jobs, store="memory:", queues={"default": 2}, threads=1) as system:
        first = await system.enqueue(work(1))
        with trio.fail_after(5):
            while not ran:
                await trio.sleep(0.005)
            second = await system.enqueue(work(2))
            while (await second.record()).state != "running":
                await trio.sleep(0.005)
            await second.cancel()
            with pytest.raises(actors.JobCancelled):
                await second.result()
            go.set()
            await first.result()
    assert ran == [1]


async def test_middleware_wraps_threads_too(jobs):
    @jobs.middleware
    async def wrap(ctx, run):
        return [await run(), threading.current_thread() is threading.main_thread()]

    @jobs.job()
    def work() -> int:
        return 1

    async with actors.open_system(jobs, store="memory:") as system:
        assert await (await system.enqueue(work())).result() == [1, True]


async def test_real_time_is_kept(jobs):
    started: list[float] = []

    @jobs.job(max_attempts=2, retry=actors.Fixed(0.05))
    async def work() -> None:
        started.append(time.monotonic())
        if len(started) == 1:
            raise ValueError

    async with actors.open_system(jobs, store="memory:") as system:
        began = time.monotonic()
        with trio.fail_after(10):
            await (await system.enqueue(work(), delay=0.05)).result()
    assert started[0] - began >= 0.05 and started[1] - started[0] >= 0.05
