"""A process that can't say in time that it lives stops what it runs, before others may run it too."""

from __future__ import annotations

import logging

import trio
from trio.testing import MockClock

import actors
from actors.core.errors import LeaseLost
from actors.store.memory import MemoryStore


class Deaf(MemoryStore):
    """A store that can't be told that a process lives while `deaf`; and, while `hung`, does not answer a commit."""

    def __init__(self) -> None:
        super().__init__()
        self.deaf = False
        self.back = trio.Event()
        self.back.set()

    async def beat(self, holder, now, lease):
        if self.deaf:
            raise LeaseLost("the store is deaf")
        await super().beat(holder, now, lease)
        return lease / 3

    async def commit(self, holder, tick, batch):
        await self.back.wait()
        return await super().commit(holder, tick, batch)


def _registry(ran: list[tuple[str, int, str]]) -> actors.Registry:
    jobs = actors.Registry()

    @jobs.job()
    async def rests(ctx: actors.JobContext, name: str) -> None:
        ran.append((name, ctx.fence, "starts"))
        try:
            await trio.sleep(60)
        finally:
            ran.append((name, ctx.fence, str(ctx.cancelled_because)))

    return jobs


async def test_what_runs_is_stopped_when_the_lease_is_lost_and_runs_again(autojump_clock: MockClock, memory) -> None:
    ran: list[tuple[str, int, str]] = []
    store = Deaf()
    jobs = _registry(ran)
    async with memory(jobs, store=store, lease=3.0) as system:
        handle = await system.enqueue(jobs.from_json("rests", {"name": "a"}))
        await trio.sleep(2)
        store.deaf = True
        await trio.sleep(2)
        assert ran == [("a", 1, "starts"), ("a", 1, "lease lost"), ("a", 2, "starts")]
        store.deaf = False
        await handle.result()
        record = await handle.record()
        assert (record.state, record.runs, record.attempt, record.crashes) == ("completed", 2, 0, 0)


async def test_it_does_not_wait_for_a_store_that_hangs(autojump_clock: MockClock, memory, caplog) -> None:
    ran: list[tuple[str, int, str]] = []
    store = Deaf()
    jobs = _registry(ran)
    with caplog.at_level(logging.WARNING):
        async with memory(jobs, store=store, lease=3.0) as system:
            await system.enqueue(jobs.from_json("rests", {"name": "a"}))
            await trio.sleep(2)
            store.back = trio.Event()
            store.deaf = True
            async with trio.open_nursery() as nursery:
                nursery.start_soon(system.enqueue, jobs.from_json("rests", {"name": "b"}))
                await trio.sleep(2)
                assert ran == [("a", 1, "starts"), ("a", 1, "lease lost")], "while a tick is under way"
                await trio.sleep(10)
                store.deaf = False
                store.back.set()
            await trio.sleep(5)
            # what the hanging tick claimed, perhaps `b` already, did not start; then both ran
            assert sorted(name for name, _, what in ran[2:] if what == "starts") == ["a", "b"]
    said = [record.message for record in caplog.records if "lease is" in record.message]
    assert len(said) == 2, "once lost, once renewed"


async def test_what_was_claimed_before_the_loss_does_not_start_after_it(autojump_clock: MockClock, memory) -> None:
    ran: list[tuple[str, int, str]] = []
    store = Deaf()
    jobs = _registry(ran)
    async with memory(jobs, store=store, lease=3.0) as system:
        await trio.sleep(0.1)
        store.back = trio.Event()  # the tick that brings and claims it is under way ...
        async with trio.open_nursery() as nursery:
            nursery.start_soon(system.enqueue, jobs.from_json("rests", {"name": "a"}))
            await trio.sleep(0.1)
            store.deaf = True
            await trio.sleep(5)  # ... when the lease is lost
            store.back.set()
        await trio.sleep(0.1)
        assert ran == [("a", 2, "starts")], "its first run never started"
