"""A job that took two processes with it runs alone from then on: it takes no other job along, and no one waits for ever."""

from __future__ import annotations

from collections import Counter

import pytest
import trio

import actors
from actors.core.lifecycle import ALONE_FROM, MAX_CRASHES


class Crashing:
    """A registry whose `poison` kills the process it runs in; what runs at each start of it is kept."""

    def __init__(self) -> None:
        self.jobs = actors.Registry()
        self.running: Counter[str] = Counter()
        self.beside: list[int] = []
        self.most_beside = 0
        self.ended: list[int] = []
        self.kill = trio.Event()

        @self.jobs.job(max_attempts=9)
        async def poison() -> None:
            self.beside.append(self.running.total())
            self.kill.set()
            await trio.sleep_forever()

        @self.jobs.job(max_attempts=1)
        async def innocent(n: int, seconds: float = 2.0) -> None:
            self.running["innocent"] += 1
            try:
                await trio.sleep(seconds)
            finally:
                self.running["innocent"] -= 1
            self.ended.append(n)

        self.poison, self.innocent = poison, innocent


async def crash_and_restart(opened, store, mortal, made: Crashing, first) -> str:
    """Run process after process, each killed when the poison starts, until one lives; the poison's id."""
    poison = ""
    for _ in range(MAX_CRASHES + 1):
        dying = mortal(store)
        made.kill = trio.Event()
        made.running.clear()
        with trio.CancelScope() as scope:
            async with opened(made.jobs, store=dying, queues={"default": 4, "mail": 2}, lease=1.0, grace=0.0) as system:
                if not poison:
                    poison = await first(system)
                with trio.move_on_after(1_000):
                    await made.kill.wait()
                    await trio.sleep(0.1)
                    dying.dead = True
                    scope.cancel()
                    await trio.sleep_forever()
                assert (await system.get(poison)).state == "dead"
                return poison
        await trio.sleep(2)
    raise AssertionError(f"the poison started {len(made.beside)} times")


async def test_a_poison_job_starts_four_times_and_from_the_second_crash_on_alone(opened, store, autojump_clock, mortal):
    made = Crashing()

    async def first(system: actors.System) -> str:
        poison = await system.enqueue(made.poison())
        await system.enqueue_many([made.innocent(n) for n in range(6)])
        await system.enqueue_many([made.innocent(n) for n in range(6, 9)], queue="mail")
        return poison.id

    poison = await crash_and_restart(opened, store, mortal, made, first)
    assert len(made.beside) == MAX_CRASHES
    assert made.beside[ALONE_FROM:] == [0] * (MAX_CRASHES - ALONE_FROM), (
        "from the second crash on nothing runs beside it"
    )
    async with opened(made.jobs, queues={}) as system:
        record = await system.get(poison)
        assert (record.state, record.attempt, record.crashes) == ("dead", 0, MAX_CRASHES)
        assert record.error is not None and record.error.type == "worker_died"
        innocents = (await system.find(type="innocent", limit=100)).jobs
        assert {job.state for job in innocents} == {"completed"} and len(innocents) == 9
        assert all(job.crashes <= ALONE_FROM for job in innocents), "who runs beside it is lost twice at most"
        assert (await system.audit(every_job=True)).ok


@pytest.fixture
async def suspect(opened, store, autojump_clock, mortal):
    """A job that looks as if it had killed two processes, though it only waits; and the registry it belongs to."""
    jobs = actors.Registry()
    jobs.open = trio.Event()
    jobs.runs = []

    @jobs.job(max_attempts=1)
    async def suspect(seconds: float = 5.0) -> None:
        jobs.runs.append(trio.current_time())
        await trio.sleep(seconds)

    @jobs.job(max_attempts=1)
    async def other(seconds: float) -> None:
        await trio.sleep(seconds)

    jobs.suspect, jobs.other = suspect, other
    jobs.handle = None
    for _ in range(ALONE_FROM):
        dying = mortal(store)
        with trio.CancelScope() as scope:
            async with opened(jobs, store=dying, lease=1.0, grace=0.0) as system:
                if jobs.handle is None:
                    jobs.handle = await system.enqueue(suspect(), delay=1.0)
                await trio.sleep(3)
                dying.dead = True
                scope.cancel()
                await trio.sleep_forever()
        await trio.sleep(2)
    async with opened(jobs, queues={}) as system:
        await trio.sleep(2)
        record = await system.get(jobs.handle.id)
        assert (record.state, record.crashes) == ("pending", ALONE_FROM)
    jobs.runs.clear()
    return jobs


async def test_it_waits_until_what_runs_has_ended_and_the_rest_goes_on_after_it(opened, suspect, autojump_clock):
    async with opened(suspect, queues={"default": 0}) as system:
        began = trio.current_time()
        one, two, three = await system.enqueue_many([suspect.other(10), suspect.other(30), suspect.other(1)])
        system.queues["default"].set_workers(3)
        await system.handle(suspect.handle.id).result()
        assert [(await handle.record()).state for handle in (one, two)] == ["completed"] * 2
        assert suspect.runs == [began + 30]
        await three.result()
        assert trio.current_time() == began + 30 + 5 + 1, "nothing is claimed beside it"


async def test_who_waits_to_run_alone_is_given_back_at_the_shutdown(opened, suspect, autojump_clock):
    async with opened(suspect, grace=5.0, queues={"default": 0}) as system:
        await system.enqueue(suspect.other(100), priority="critical")
        system.queues["default"].set_workers(2)
        await trio.sleep(1)
        assert (await system.get(suspect.handle.id)).state == "running"  # claimed, and waiting
    assert system.report.given_back == 2
    async with opened(suspect, queues={}) as system:
        record = await system.get(suspect.handle.id)
        assert (record.state, record.crashes) == ("pending", ALONE_FROM)
    assert suspect.runs == []


async def test_who_waits_to_run_alone_can_be_cancelled(opened, suspect, autojump_clock):
    async with opened(suspect, queues={"default": 0}) as system:
        await system.enqueue(suspect.other(10), priority="critical")
        system.queues["default"].set_workers(2)
        await trio.sleep(1)
        assert (await system.cancel(suspect.handle.id)).state == "running"
        await trio.sleep(20)
        assert (await system.get(suspect.handle.id)).state == "cancelled"
    assert suspect.runs == []
