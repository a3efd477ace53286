"""Events: the facts of each job in order, numbered by its version without gaps; a slow reader gets an explicit gap."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import actors


async def collect(events: actors.system.Events) -> list[actors.Event]:
    found: list[actors.Event] = []
    with trio.move_on_after(0.001):
        async for event in events:
            found.append(event)
    return found


async def test_the_events_of_a_job_are_its_path(opened, autojump_clock, path_of):
    jobs = actors.Registry()

    @jobs.job(max_attempts=2, retry=actors.Fixed(5))
    async def work(ctx: actors.JobContext, n: int) -> int:
        ctx.progress(1, 2, "half")
        await trio.sleep(1)
        if ctx.fence == 1:
            raise actors.Snooze(3)
        if ctx.fence == 2:
            raise ValueError("no")
        if n:
            raise actors.Discard("enough")
        return n

    async with opened(jobs) as system:
        with system.events() as events:
            good = await system.enqueue(work(0), delay=1, owner="ada")
            bad = await system.enqueue(work(1))
            with pytest.raises(actors.JobFailed):
                await bad.result()
            await good.result()
            await system.retry(bad.id)
            await trio.sleep(0.5)
            await system.cancel(bad.id)
            await trio.sleep(100)
            found = await collect(events)
    names = [event.name for event in found if event.job == good.id]
    assert names == [
        "job:queued", "job:ready", "job:started", "job:progress", "job:snoozed", "job:ready", "job:started", "job:progress",
        "job:failed", "job:ready", "job:started", "job:progress", "job:completed",
    ]  # fmt: skip
    path_of(found)
    failed = next(event for event in found if event.name == "job:failed")
    assert failed.data["error"] == {"type": "ValueError", "message": "no"} and failed.data["attempt"] == 1
    progress = next(event for event in found if event.name == "job:progress")
    assert (progress.data["progress"], progress.data["done"], progress.data["message"]) == (50.0, 1, "half")
    assert {(event.type, event.queue) for event in found if event.job} == {("work", "default")}
    assert {event.owner for event in found if event.job == good.id} == {"ada"}
    assert [event.name for event in found if event.job == bad.id][-1] == "job:cancelled"
    assert all(early.at <= late.at for early, late in zip(found, found[1:], strict=False))


async def test_every_step_by_hand_is_an_event(opened, autojump_clock, path_of):
    jobs = actors.Registry()

    @jobs.job(unique=actors.Unique(key="one", on_conflict="replace"))
    async def work() -> None: ...

    async with opened(jobs) as system:
        with system.events() as events:
            first = await system.enqueue(work(), delay=1000)
            second = await system.enqueue(work(), delay=1000)
            await system.promote(second.id)
            await second.result()
            await system.queues["default"].pause()
            await system.queues["default"].resume()
            found = await collect(events)
    path_of(found)
    assert [(event.name, event.job) for event in found] == [
        ("job:queued", first.id), ("job:cancelled", first.id), ("job:queued", second.id), ("job:ready", second.id), ("job:started", second.id),
        ("job:completed", second.id), ("queue:paused", None), ("queue:resumed", None),
    ]  # fmt: skip


async def test_many_jobs_keep_their_numbers(memory, autojump_clock, path_of):
    jobs = actors.Registry()

    @jobs.job(max_attempts=3, retry=actors.Exponential(1.0))
    async def work(n: int) -> None:
        await trio.sleep(n % 3)
        if n % 4 == 0:
            raise ValueError

    async with memory(jobs, queues={"default": 10}) as system:
        with system.events(buffer=100_000) as events:
            await system.enqueue_many([work(n) for n in range(300)])
            await trio.sleep(1000)
            found = await collect(events)
        stats = await system.stats()
    path_of(found)
    assert len({event.job for event in found}) == 300
    ends = [event.name for event in found if event.name in ("job:completed", "job:dead")]
    assert (ends.count("job:completed"), ends.count("job:dead")) == (stats.completed, stats.dead) == (225, 75)


async def test_a_slow_reader_gets_a_gap_and_holds_up_nobody(memory, autojump_clock):
    jobs = actors.Registry()

    @jobs.job()
    async def work() -> None: ...

    async with memory(jobs) as system:
        with system.events(buffer=10) as slow, system.events() as quick:
            for _ in range(50):
                await (await system.enqueue(work())).result()
            await wait_all_tasks_blocked()
            assert len(await collect(quick)) == 150
            first = [await anext(slow) for _ in range(10)]
            await (await system.enqueue(work())).result()
            await wait_all_tasks_blocked()
            rest = await collect(slow)
    assert [event.name for event in first[:3]] == ["job:queued", "job:started", "job:completed"]
    assert (rest[0].name, rest[0].data) == ("gap", {"missed": 140})
    assert [event.name for event in rest[1:]] == ["job:queued", "job:started", "job:completed"]


async def test_a_subscription_of_one_place_still_tells_of_its_gaps(memory, autojump_clock):
    jobs = actors.Registry()

    @jobs.job()
    async def work() -> None: ...

    async with memory(jobs) as system:
        with system.events(buffer=1) as events:
            for _ in range(3):
                await (await system.enqueue(work())).result()
            await wait_all_tasks_blocked()
            assert (await anext(events)).name == "job:queued"
            seen = 1
            for _ in range(20):
                await (await system.enqueue(work())).result()
                await wait_all_tasks_blocked()
                event = await anext(events)
                seen += event.data["missed"] if event.name == "gap" else 1
            assert seen > 9


async def test_a_closed_subscription_ends_and_the_system_lives_on(memory, autojump_clock):
    jobs = actors.Registry()

    @jobs.job()
    async def work() -> None: ...

    async with memory(jobs) as system:
        events = system.events()
        await (await system.enqueue(work())).result()
        events.close()
        assert [event async for event in events] == []
        await (await system.enqueue(work())).result()
        for wrong in (0, -1, True, 10**9, "5"):
            with pytest.raises(actors.BadOption, match="buffer"):
                system.events(buffer=wrong)


async def test_events_end_with_the_system_and_tell_of_the_last_reports(memory, autojump_clock):
    jobs = actors.Registry()

    @jobs.job()
    async def work() -> None:
        await trio.sleep(3)

    async with memory(jobs) as system:
        events = system.events()
        await system.enqueue(work())
        await trio.sleep(1)
    assert [event.name async for event in events] == ["job:queued", "job:started", "job:completed"]
    with pytest.raises(actors.ShuttingDown):
        system.events()
