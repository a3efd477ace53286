"""The house: opens the nursery of a system, and alone knows every actor. Leaving the nursery is the shutdown.

Three tiers, stopped front to back, each when nobody in front of it can send any more: the front (scheduler, workers),
the middle (reaper, dead letters), the back (queue, then hub, then the store).
"""

from __future__ import annotations

import math
import random
import uuid
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, suppress
from typing import Final, Literal, TypedDict, Unpack, cast

import attrs
import trio

from actors import dead_letters, hub, pulse, queue, reaper, scheduler
from actors.clock import Clock, SystemClock, TrioClock
from actors.core.errors import (
    BadOption,
    ShuttingDown,
    check_seconds,
)
from actors.core.events import LOOP_BLOCKED, Event
from actors.core.options import check_count, check_queue
from actors.core.registry import Registry
from actors.crew import Crew
from actors.handles import (
    Handle,
    Queues,
)
from actors.health import Health, health
from actors.intake import Intake
from actors.links import Links
from actors.mailbox import Reply, tell
from actors.run import Desk
from actors.store import Store, store_from_url
from actors.system import ShutdownReport, System
from actors.worker import job_on

DEFAULT_LEASE: Final = 30.0  # seconds a silent process keeps its jobs, where the store can't see that it died
SHORTEST_LEASE: Final = 0.1  # seconds; a third of it lies between two beats
DEFAULT_GRACE: Final = (
    25.0  # seconds that running jobs have at a shutdown: less than the 30 s after which supervisors kill
)
DEFAULT_THREADS: Final = 40  # bodies in threads at a time, as in trio
LAST_REPORTS: Final = 1.0  # seconds beyond the grace in which the last reports are committed
MOST_WORKERS: Final = 100_000


@attrs.frozen
class Queue:
    """A queue of this process: so many workers, and how many jobs may wait in it (None: any number).

    When `limit` jobs wait, an enqueue waits for room (`when_full="wait"`) or is refused with `QueueFull` (`"reject"`).
    """

    workers: int = 4
    limit: int | None = None
    when_full: Literal["wait", "reject"] = "wait"

    def __attrs_post_init__(self) -> None:
        check_count("workers", self.workers, 0, MOST_WORKERS)
        if self.limit is not None:
            check_count("limit", self.limit, 1, 10**12)
        if self.when_full not in ("wait", "reject"):
            raise BadOption("when_full", self.when_full, "wait or reject")


class SystemOptions(TypedDict, total=False):
    """The options of `open_system` and `run` but the store."""

    queues: Mapping[str, int | Queue]
    lease: float
    grace: float
    clock: Clock
    rng: random.Random
    resources: Sequence[object]
    threads: int


def _queues(given: Mapping[str, int | Queue]) -> dict[str, Queue]:
    return {check_queue(name): one if isinstance(one, Queue) else Queue(one) for name, one in given.items()}


@asynccontextmanager
async def open_system(
    registry: Registry,
    *,
    store: str | Store,
    queues: Mapping[str, int | Queue] = {"default": 4},
    lease: float = DEFAULT_LEASE,
    grace: float = DEFAULT_GRACE,
    clock: Clock | None = None,
    rng: random.Random | None = None,
    resources: Sequence[object] = (),
    threads: int = DEFAULT_THREADS,
) -> AsyncIterator[System]:
    """Run a job system for as long as the block lasts.

    `queues` maps names to numbers of workers (or `actors.Queue`); `{}` is a system that only enqueues and reads, and
    fires no schedules. Leaving the block stops it in order: nothing more is claimed, running jobs have `grace` seconds,
    what is cut short is given back. Cancelled from outside, or with an exception in the block, it gives everything back
    at once. What the block raises leaves it as itself.
    """
    for option, given, least in (("lease", lease, SHORTEST_LEASE), ("grace", grace, 0.0)):
        check_seconds(option, given)
        if given is None or given < least:  # a caller without a checker
            raise BadOption(option, given, f"at least {least:g} seconds")
    lanes = _queues(queues)
    check_count("threads", threads, 1, MOST_WORKERS)
    clock = SystemClock() if clock is None else clock
    rng = random.Random() if rng is None else rng
    opened = store_from_url(store) if isinstance(store, str) else store
    holder = uuid.UUID(int=rng.getrandbits(128), version=4).hex
    await opened.open(holder, clock.steady())
    try:
        house = _House(registry, holder, opened, lanes, lease, grace, clock, rng, tuple(resources), threads)
        async with house.running() as system:
            yield system
    finally:
        with trio.move_on_after(LAST_REPORTS, shield=True):  # a store that hangs can't hold the exit
            await opened.close(holder)


class _House:
    """The nurseries of one system, and who lives in them."""

    def __init__(
        self,
        registry: Registry,
        holder: str,
        store: Store,
        lanes: Mapping[str, Queue],
        lease: float,
        grace: float,
        clock: Clock,
        rng: random.Random,
        resources: tuple[object, ...],
        threads: int,
    ) -> None:
        to_queue, queue_inbox = trio.open_memory_channel[queue.Message](math.inf)
        to_hub, hub_inbox = trio.open_memory_channel[hub.Message](math.inf)
        to_scheduler, scheduler_inbox = trio.open_memory_channel[scheduler.Message](math.inf)
        to_letters, letters_inbox = trio.open_memory_channel[dead_letters.Message](math.inf)
        to_reaper, reaper_inbox = trio.open_memory_channel[Reply[None]](math.inf)
        links = Links(
            store=store, clock=clock, queue=to_queue, hub=to_hub, scheduler=to_scheduler, dead_letters=to_letters
        )
        intake = Intake(registry, clock, rng)
        limits = {name: (one.limit, one.when_full == "wait") for name, one in lanes.items() if one.limit is not None}
        desk = Desk(
            inbox=to_queue,
            registry=registry,
            intake=intake,
            clock=clock,
            resources=resources,
            handle=lambda id, created: Handle(id, created, links),
        )
        limiter = trio.CapacityLimiter(threads)
        self.links = links
        self.hub = hub.Hub(hub_inbox, holder, store, clock)
        self.queue = queue.Queue(
            holder=holder,
            store=store,
            registry=registry,
            clock=clock,
            rng=rng,
            limits=limits,
            inbox=queue_inbox,
            hub=cast("trio.MemorySendChannel[queue.Ticked]", to_hub.clone()),
        )
        self.letters = dead_letters.DeadLetters(store, to_queue, letters_inbox)
        self.reaper = reaper.Reaper(
            holder=holder,
            store=store,
            clock=clock,
            lease=lease,
            queue=to_queue,
            scheduler=to_scheduler,
            inbox=reaper_inbox,
            hold=self._hold_lease,
        )
        self.scheduler = scheduler.Scheduler(
            store=store,
            registry=registry,
            intake=intake,
            clock=clock,
            fires=bool(lanes),
            queue=to_queue,
            hub=to_hub,
            inbox=scheduler_inbox,
        )
        self.crews = {name: Crew(name, one.workers, desk, limiter) for name, one in lanes.items()}
        self.system = System(registry, holder, grace, links, intake)
        self.system.queues = Queues(links, self.crews, limits)
        self.system._crews = self.crews
        self.system._reaper = to_reaper
        self.system._vitals = self._vitals
        # on simulated time the loop's time is not the thread's
        self.pulse = None if isinstance(clock, TrioClock) else pulse.Pulse(job_on, self._blocked)
        self._block: tuple[pulse.Block, float] | None = None  # the last one, and when the loop went on, by trio's clock

    def _hold_lease(self, held: bool) -> None:
        for crew in self.crews.values():
            if held:
                crew.lease_renewed()
            else:
                crew.lease_lost()

    def _blocked(self, block: pulse.Block) -> None:
        self._block = (block, trio.current_time())
        job = block.job
        event = Event(
            name=LOOP_BLOCKED,
            at=self.links.clock.now(),
            job=None if job is None else job.id,
            type=None if job is None else job.type,
            queue=None if job is None else job.queue,
            owner=None if job is None else job.owner,
            data={"seconds": block.seconds, "stack": block.stack},
        )
        with suppress(ShuttingDown):
            tell(self.links.hub, hub.Tell(event))

    def _vitals(self) -> Health:
        block = self._block
        return health(
            store_error=self.queue.store_error,
            blocked=None if block is None else block[0].seconds,
            since_block=0.0 if block is None else trio.current_time() - block[1],
            late_reports=self.queue.late_reports,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[System]:
        """Start back to front, stop front to back."""
        failed: BaseException | None = None
        async with trio.open_nursery() as nursery:
            back, middle = _Tier(nursery), _Tier(nursery)
            try:
                await back.start(self.hub.run)
                await back.start(self.queue.run)
                await middle.start(self.letters.run)
                await middle.start(self.reaper.run)
                if self.pulse is not None:
                    await middle.start(self.pulse.run)
                async with trio.open_nursery() as front:
                    scheduling = trio.CancelScope()
                    await front.start(_within, scheduling, self.scheduler.run)
                    for crew in self.crews.values():
                        await front.start(crew.run)
                    try:
                        yield self.system
                    except trio.Cancelled:
                        self._begin_shutdown()
                        raise
                    except BaseException as error:
                        failed = error
                    self._begin_shutdown()
                    scheduling.cancel()
                    cut_at = trio.current_time() + (0.0 if failed else self.system.grace)
                    for crew in self.crews.values():
                        crew.cut_at = cut_at
                    front.cancel_scope.deadline = cut_at
            finally:
                await self._finish(back, middle)
        if failed is not None:
            raise failed

    def _begin_shutdown(self) -> None:
        self.system.stopping = True
        with suppress(ShuttingDown):
            tell(self.links.queue, queue.StopClaiming())

    async def _finish(self, back: _Tier, middle: _Tier) -> None:
        """Nobody in front sends any more: let the queue commit the last reports, then let the hub tell of them."""
        self._begin_shutdown()
        with trio.move_on_after(LAST_REPORTS, shield=True):
            middle.cancel()
            await middle.all_ended()
            with suppress(ShuttingDown):
                tell(self.links.queue, queue.Finish())
            await self.queue.ended.wait()
            self.links.hub.close()
            await back.all_ended()
        back.cancel()
        self.links.end()
        books = self.queue.books
        self.system.report = ShutdownReport(
            finished=books.finished,
            given_back=books.given_back,
            cancelled=books.cancelled,
            stuck=tuple(books.stuck),
        )


class _Tier:
    """Tasks that a cancellation from outside does not reach: they end when they are told to."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._scopes: list[trio.CancelScope] = []
        self._left = 0
        self._ended = trio.Event()

    async def start(self, run: Callable[..., Awaitable[None]]) -> None:
        """Start an actor and wait until it serves; until then it can be cancelled, whatever the store does."""
        self._left += 1
        scope = trio.CancelScope()
        self._scopes.append(scope)
        await self._nursery.start(self._hold, scope, run)
        scope.shield = True

    async def _hold(
        self, scope: trio.CancelScope, run: Callable[..., Awaitable[None]], task_status: trio.TaskStatus[None]
    ) -> None:
        try:
            with scope:
                await run(task_status=task_status)
        finally:
            self._left -= 1
            if not self._left:
                self._ended.set()

    def cancel(self) -> None:
        """End them now."""
        for scope in self._scopes:
            scope.cancel()

    async def all_ended(self) -> None:
        """Wait until none is left."""
        if self._left:
            await self._ended.wait()


async def _within(
    scope: trio.CancelScope, run: Callable[..., Awaitable[None]], task_status: trio.TaskStatus[None]
) -> None:
    with scope:
        await run(task_status=task_status)


async def run(
    registry: Registry,
    *,
    store: str | Store,
    task_status: trio.TaskStatus[System] = trio.TASK_STATUS_IGNORED,
    **options: Unpack[SystemOptions],
) -> None:
    """`open_system` for programs that own the nursery: `system = await nursery.start(partial(actors.run, jobs,
    store=...))`.

    Runs until `system.stop()`, which stops it in order, or until it is cancelled, which gives running jobs back at
    once.
    """
    async with open_system(registry, store=store, **options) as system:
        task_status.started(system)
        await system.until_stop()
