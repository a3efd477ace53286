"""Actors at their edges, one at a time: lists that cross a closing, threads that wake too late, askers that have left."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import actors
from actors import hub, queue
from actors.core.errors import Stopped
from actors.core.job import NO_DETAILS, JobRecord, JobSpec, Standing
from actors.crew import Crew
from actors.intake import Intake
from actors.run import Desk
from actors.store.memory import MemoryStore


def running(id: str) -> JobRecord:
    spec = JobSpec(id, "work", "{}", "default", 1, 0, 3, None, 0, None, NO_DETAILS)
    return JobRecord(spec, Standing(1, "running", 2, 0, 1, 0, 0, 10, None, "holder"))


async def test_a_list_that_is_passed_on_while_the_queue_closes_the_channel_is_given_back(clock, monkeypatch):
    """Who comes first, the worker that passes it on or the word that there is no more, is up to the task order: both are tried."""
    jobs, passed = actors.Registry(), set[bool]()

    @jobs.job()
    async def work() -> None:
        await trio.sleep_forever()

    pass_on = Crew.pass_on

    def seen(crew: Crew, rest: list[JobRecord]) -> bool:
        passed.add(done := pass_on(crew, rest))
        return done

    monkeypatch.setattr(Crew, "pass_on", seen)
    ids = ["a", "b", "c"]
    for _ in range(60):
        send, inbox = trio.open_memory_channel[Any](100)
        intake = Intake(jobs, clock, random.Random(1))
        desk = Desk(
            inbox=send, registry=jobs, intake=intake, clock=clock, resources=(), handle=lambda id, created: None
        )
        crew = Crew("default", 1, desk, trio.CapacityLimiter(1))
        with send, inbox:
            async with trio.open_nursery() as front:
                await front.start(crew.run)
                lane = inbox.receive_nowait().lane
                await wait_all_tasks_blocked()
                lane.idle.send_nowait([running(id) for id in ids])  # the idle worker has it, and has not looked at it
                lane.close()
                await wait_all_tasks_blocked()
                front.cancel_scope.cancel()
            ended = [one for report in iter_now(inbox) for one in report.take().ended]
        assert sorted(one.job.id for one in ended) == ids
        assert all(isinstance(one.error, Stopped) and one.error.reason == "shutdown" for one in ended)
    assert passed == {True, False}


def iter_now(inbox: trio.MemoryReceiveChannel[Any]) -> list[queue.Report]:
    """What lies in the inbox."""
    return [inbox.receive_nowait() for _ in range(inbox.statistics().current_buffer_used)]


@pytest.mark.parametrize("how", ["timeout", "cancel"])
async def test_a_thread_that_wakes_after_its_stop_does_not_begin(memory, autojump_clock, monkeypatch, how):
    jobs, ran, late = actors.Registry(), list[str](), list[Callable[[], Any]]()

    @jobs.job(timeout=5, max_attempts=1)
    def work() -> None:
        ran.append("it ran")

    async def dispatch(call: Callable[..., Any], *given: Any, **options: Any) -> Any:
        late.append(partial(call, *given))  # a thread has it, and the machine has not let it run yet
        await trio.sleep_forever()

    monkeypatch.setattr("trio.to_thread.run_sync", dispatch)
    async with memory(jobs) as system:
        handle = await system.enqueue(work())
        await trio.sleep(1)
        if how == "cancel":
            await handle.cancel()
        with pytest.raises(actors.JobCancelled if how == "cancel" else actors.JobFailed), trio.fail_after(6):
            await handle.result()  # nobody waits for a thread that will never begin
        for wake in late:
            wake()
    assert len(late) == 1
    assert ran == []


async def serve(listener: hub.Hub, work: Callable[[], Awaitable[None]], inbox: trio.MemorySendChannel[Any]) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(listener.run)
        await work()
        inbox.close()


@pytest.mark.parametrize("ids", [1, 5_000])
async def test_askers_that_have_left_do_not_pile_up(clock, ids):
    send, inbox = trio.open_memory_channel[Any](100_000)
    listener = hub.Hub(inbox, "one", MemoryStore(), clock)
    patient, told = trio.open_memory_channel[Any](1)

    async def ask() -> None:
        send.send_nowait(hub.Await("patient", patient))
        for number in range(10_000):
            reply, answer = trio.open_memory_channel[Any](1)
            send.send_nowait(hub.Await(f"job {number % ids}", reply))
            await wait_all_tasks_blocked() if number % 500 == 0 else None
            answer.close()
        await wait_all_tasks_blocked()
        waiting = sum(len(replies) for replies in listener._waiting.values())
        assert waiting <= 1_003, "those that have left are forgotten"

    await serve(listener, ask, send)
    assert told.receive_nowait() is None, "who stayed is told"
