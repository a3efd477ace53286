"""One process: a live system before a witness, the bodies that it runs, and two listeners, one of them slow."""

from __future__ import annotations

import random
from typing import Any

import trio
import trio.testing

import actors
from tests.machines.ledger import BACK_OFF, LEASE, RETRY_AFTER, SNOOZE, Fact, Ledger, Said
from tests.machines.promise import promise
from tests.machines.witness import Witness

QUEUES = ("default", "other")
WORKERS = 1  # of each queue: the fewer, the more wait, and the more the order matters
ENDS = ("succeed", "fail", "snooze", "discard", "cancel", "retry after", "child")
SLOW_BUFFER = 2

Bodies = dict[tuple[str, int], trio.MemorySendChannel[str]]


def make_registry() -> actors.Registry:
    """One type of job, whose body does what the test tells it to."""
    jobs = actors.Registry()

    @jobs.job(retry=BACK_OFF)
    async def work(ctx: actors.JobContext, n: int) -> int:
        process = ctx.resource(Process)
        while True:
            match await process.order(ctx):
                case "speak":
                    ctx.progress(ctx.fence, 10, "so far")
                    ctx.log(f"run {ctx.fence}")
                    await ctx.save({"run": ctx.fence})
                case "fail":
                    raise ValueError(n)
                case "snooze":
                    raise actors.Snooze(SNOOZE)
                case "discard":
                    raise actors.Discard("enough")
                case "cancel":
                    raise actors.Cancel("stop")
                case "retry after":
                    raise actors.Retry(after=RETRY_AFTER)
                case "child":
                    ctx.enqueue(work(n + 1_000_000), queue="other")
                    return n
                case _:
                    return n

    jobs.work = work  # type: ignore[attr-defined]
    return jobs


class Process:
    """What the machine knows of it, and can do to it."""

    def __init__(self, number: int, jobs: actors.Registry, store: Any, ledger: Ledger, clock: actors.TrioClock) -> None:
        self.witness = Witness(store, ledger)
        self.system: actors.System
        self.bodies: Bodies = {}
        self.heard: list[actors.Event] = []  # by the listener that keeps up
        self.heard_late: list[actors.Event] = []  # by the slow one
        self.deaf_to = 0  # facts of the time before it listened
        self.ended_at: float | None = None
        self.obliging = False  # bodies succeed by themselves
        self._scope = trio.CancelScope()
        self._number = number
        self._jobs = jobs
        self._ledger = ledger
        self._clock = clock
        self._go_on, self._may_go_on = trio.open_memory_channel[None](1)

    @property
    def holder(self) -> str:
        """Its name in the store."""
        return self.witness.holder

    async def live(self, task_status: trio.TaskStatus[None]) -> None:
        """Until it is stopped or killed."""
        with self._scope:
            async with actors.open_system(
                self._jobs,
                store=self.witness,
                queues=dict.fromkeys(QUEUES, WORKERS),
                clock=self._clock,
                rng=random.Random(self._number),
                lease=LEASE,
                grace=0.0,
                resources=(self,),
            ) as self.system:
                events, slow = self.system.events(buffer=100_000), self.system.events(buffer=SLOW_BUFFER)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._listen, events)
                    nursery.start_soon(self._listen_slowly, slow)
                    task_status.started()
                    await self.system.until_stop()
                    nursery.cancel_scope.cancel()
            self.ended_at = trio.current_time()
            await self._listen(events)

    async def _listen(self, events: actors.Events) -> None:
        async for event in events:
            self.heard.append(event)

    async def _listen_slowly(self, events: actors.Events) -> None:
        async for event in events:
            self.heard_late.append(event)
            await self._may_go_on.receive()

    # Bodies

    async def order(self, ctx: actors.JobContext) -> str:
        """What this body is to do next."""
        key = ctx.job.id, ctx.fence
        if self.obliging:
            self._ledger.said[key] = Said("succeed", self._clock.now())
            return "succeed"
        promise(4, key not in self.bodies, f"run {key} has two bodies")
        self.bodies[key], receive = trio.open_memory_channel[str](1)
        try:
            return await receive.receive()
        finally:
            del self.bodies[key]

    async def tell(self, key: tuple[str, int], how: str) -> None:
        """Tell a body what to do."""
        if how != "speak":
            self._ledger.said[key] = Said(how, self._clock.now())
        self.bodies[key].send_nowait(how)

    async def oblige(self) -> None:
        """From now on every body succeeds at once."""
        self.obliging = True
        for key in list(self.bodies):
            await self.tell(key, "succeed")

    # Its life

    async def stop(self, grace: float) -> None:
        """In order."""
        self.system.grace = grace
        self.system.stop()

    async def die(self) -> None:
        """At once: nothing of it reaches the store any more."""
        self.witness.dead = True
        self._scope.cancel()

    async def let_the_slow_one_read(self) -> None:
        """The slow listener takes one more event, if there is one."""
        try:
            self._go_on.send_nowait(None)
        except trio.WouldBlock:
            pass

    # What its listeners heard

    def begin_to_listen(self) -> None:
        """Once it has opened and all is quiet: what went before was nobody's to hear."""
        self.deaf_to = len(self._ledger.facts) - len(_told(self.heard))

    def check_events(self, *, may_lose: bool) -> None:
        """The one that keeps up heard all that was committed, in order; the slow one the same, or how much it missed.

        `may_lose`: the wall clock was set so far ahead that the event log was taken for one that nobody reads.
        """
        facts, at = self._ledger.facts, self.deaf_to
        parts = _parts(self.heard)
        promise(17, len(parts) == 1 or may_lose, "a gap for who kept up")
        for number, part in enumerate(parts[:-1]):
            told = _told(part)
            last = len(facts) - len(told) if number else at  # behind a gap it goes on somewhere
            found = [begin for begin in range(at, last + 1) if facts[begin : begin + len(told)] == told]
            promise(17, found, f"heard {told[-5:]}, committed others")
            at = found[0] + len(told)
        told = _told(parts[-1])
        rest = facts[len(facts) - len(told) :] if len(parts) > 1 else facts[at:]
        promise(17, told == rest, f"heard {told[-5:]}, committed {rest[-5:]} ({len(told)}, {len(rest)})")
        self._check_slow([event for part in parts for event in part])

    def _check_slow(self, heard: list[actors.Event]) -> None:
        at = 0
        lost = False
        for event in self.heard_late:
            if event.name == "gap":
                lost = lost or event.data["missed"] is None
                at += event.data["missed"] or 0
                continue
            if lost:
                at, lost = (heard.index(event, at) if event in heard[at:] else len(heard)), False
            promise(17, at < len(heard) and event == heard[at], f"the slow one heard {event} at {at}")
            at += 1
        promise(17, at <= len(heard), "more was missed than there was")


def _told(events: list[actors.Event]) -> list[Fact]:
    return [
        Fact(event.job, event.version or 0, event.state or "", event.name)
        for event in events
        if event.job is not None and event.name.startswith("job:") and event.name != "job:progress"
    ]


def _parts(events: list[actors.Event]) -> list[list[actors.Event]]:
    """What was heard without a gap in it."""
    parts: list[list[actors.Event]] = [[]]
    for event in events:
        if event.name == "gap":
            parts.append([])
        else:
            parts[-1].append(event)
    return parts
