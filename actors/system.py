"""The system: opens the nursery, and alone knows every actor. Leaving the nursery is the shutdown.

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
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Any, Final, Literal, TypedDict, TypeVar, Unpack, cast

import attrs
import trio

from actors import dead_letters, hub, queue, reaper, scheduler
from actors.clock import Clock, SystemClock
from actors.core.context import Job, JobHandle
from actors.core.errors import (
    ActorsError,
    BadOption,
    NotFound,
    ShuttingDown,
    check_seconds,
)
from actors.core.events import Event
from actors.core.job import STATES, JobRecord, State, moment
from actors.core.options import Options, check_queue
from actors.core.registry import JobType, Registry
from actors.core.schedule import At, CatchUp, CronExpression, Every, Overlap, timing
from actors.handles import (
    DeadLetters,
    Events,
    Handle,
    Queues,
    ScheduleHandle,
    Schedules,
    check_schedule_name,
)
from actors.intake import Intake, Order
from actors.links import Links, check_asked_id, check_limit, check_words
from actors.mailbox import Reply, ask, command, tell
from actors.run import Desk
from actors.stats import Stats, stats
from actors.store import Store, store_from_url
from actors.store.port import Page, Query
from actors.worker import Crew, WorkerInfo

R = TypeVar("R")

DEFAULT_LEASE: Final = 30.0  # seconds a silent process keeps its jobs, where the store can't see that it died
SHORTEST_LEASE: Final = 0.1  # seconds; a third of it lies between two beats
DEFAULT_GRACE: Final = (
    25.0  # seconds that running jobs have at a shutdown: less than the 30 s after which supervisors kill
)
DEFAULT_THREADS: Final = 40  # bodies in threads at a time, as in trio
LAST_REPORTS: Final = 1.0  # seconds beyond the grace in which the last reports are committed
AT_ONCE: Final = 1_000  # jobs per transaction of enqueue_many
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
        _check_count("workers", self.workers, 0, MOST_WORKERS)
        if self.limit is not None:
            _check_count("limit", self.limit, 1, 10**12)
        if self.when_full not in ("wait", "reject"):
            raise BadOption("when_full", self.when_full, "wait or reject")


@attrs.frozen(kw_only=True)
class ShutdownReport:
    """What became of the jobs that were held when the shutdown began. `stuck`: ids of bodies that ignored being
    stopped.
    """

    finished: int = 0
    given_back: int = 0
    cancelled: int = 0
    stuck: tuple[str, ...] = ()


class SystemOptions(TypedDict, total=False):
    """The options of `open_system` and `run` but the store."""

    queues: Mapping[str, int | Queue]
    lease: float
    grace: float
    clock: Clock
    rng: random.Random
    resources: Sequence[object]
    threads: int


class System:
    """A running job system. Every call may be cancelled; one that writes may then have happened: give an id to repeat
    it safely.
    """

    def __init__(self, registry: Registry, holder: str, grace: float, links: Links, intake: Intake) -> None:
        self.registry = registry
        self.holder = holder
        self.grace = grace
        self.report: ShutdownReport | None = None
        self.stopping = False
        self.queues: Queues
        self.schedules = Schedules(links)
        self.dead_letters = DeadLetters(links)
        self._links = links
        self._intake = intake
        self._crews: dict[str, Crew] = {}
        self._stop = trio.Event()
        self._reaper: trio.MemorySendChannel[Reply[None]]

    def now(self) -> datetime:
        """The time by the system's clock, aware, UTC."""
        return moment(self._links.clock.now())

    def stop(self) -> None:
        """End `actors.run`, in order. (A system opened with `open_system` ends when its block is left.)"""
        self._stop.set()

    async def until_stop(self) -> None:
        """Wait for `stop`."""
        await self._stop.wait()

    # Enqueuing

    async def enqueue(self, job: Job[R], /, **options: Unpack[Options]) -> JobHandle[R]:
        """Accept one job; returns once it is durable.

        Raises `TypeError` (a type that was not called, an unknown option), `UnknownType`, `BadPayload`, `BadOption`,
        `Refused`, `Conflict`,
        `QueueFull`, `ShuttingDown`; nothing was enqueued then. A cancelled enqueue may have happened.
        """
        order = self._intake.order(job, options)
        (given,) = await self._insert([order])
        if isinstance(given, ActorsError):
            raise given
        return Handle(given.id, given.created, self._links)

    async def enqueue_many(self, jobs: Iterable[Job[R]], /, **options: Unpack[Options]) -> list[JobHandle[R]]:
        """Accept many jobs with the same options, 1 000 per transaction. The first error is raised; the transactions
        before it stand.
        """
        for name in ("id", "idempotency_key"):
            if name in options:
                raise BadOption(name, options.get(name), "nothing: it names one job, these are many")
        orders = [self._intake.order(job, options) for job in jobs]
        handles: list[JobHandle[R]] = []
        for start in range(0, len(orders), AT_ONCE):
            for given in await self._insert(orders[start : start + AT_ONCE]):
                if isinstance(given, ActorsError):
                    raise given
                handles.append(Handle(given.id, given.created, self._links))
        return handles

    async def enqueue_batch(self, items: Sequence[tuple[Job[Any], Options]]) -> list[JobHandle[Any] | ActorsError]:
        """Accept jobs with options of their own: good ones in one transaction, each bad one as its error, in order."""
        given: list[Any] = []
        for job, options in items:
            try:
                given.append(self._intake.order(job, options))
            except ActorsError as error:
                given.append(error)
        answers = iter(await self._insert([one for one in given if isinstance(one, Order)]))
        for index, one in enumerate(given):
            if isinstance(one, Order):
                answer = next(answers)
                given[index] = (
                    answer if isinstance(answer, ActorsError) else Handle(answer.id, answer.created, self._links)
                )
        return given

    async def _insert(self, orders: Sequence[Order]) -> list[queue.Accepted | ActorsError]:
        if self.stopping:
            raise ShuttingDown("the system is stopping: it takes no more calls")

        def request(reply: Reply[list[queue.Accepted | ActorsError]]) -> queue.Message:
            return queue.Enqueue(orders=orders, reply=reply)

        return await ask(self._links.queue, request)

    # Looking

    def handle(self, id: str) -> JobHandle[Any]:
        """A handle for a job that is known by its id."""
        return Handle(check_asked_id(id), False, self._links)

    async def get(self, id: str) -> JobRecord:
        """The job as it stands now; `NotFound`."""
        found = (await self._links.store.get([check_asked_id(id)])).get(id)
        if found is None:
            raise NotFound("job", id)
        return found

    async def find(
        self,
        *,
        states: Iterable[State] | None = None,
        type: str | None = None,
        queue: str | None = None,
        tag: str | None = None,
        owner: str | None = None,
        text: str | None = None,
        order: Literal["newest", "finished"] = "newest",
        limit: int = 100,
        after: str | None = None,
    ) -> Page:
        """One page of the jobs that match all that is given, and the cursor of the next. `order="finished"`: those that
        have ended.
        """
        wanted = None if states is None else frozenset(states)
        for state in wanted or ():
            if state not in STATES:
                raise BadOption("states", state, f"some of {', '.join(STATES)}")
        if order not in ("newest", "finished"):
            raise BadOption("order", order, "newest or finished")
        check_words(type=type, queue=queue, tag=tag, owner=owner, text=text, after=after)
        query = Query(
            states=wanted,
            type=type,
            queue=queue,
            tag=tag,
            owner=owner,
            text=text,
            order=order,
            limit=check_limit(limit),
            after=after,
        )
        return await self._links.store.find(query)

    async def stats(self) -> Stats:
        """All counters, in all, per queue and per priority; without scanning jobs."""
        return stats(await self._links.store.counts())

    def workers(self) -> list[WorkerInfo]:
        """This process's workers."""
        return [info for crew in self._crews.values() for info in crew.info()]

    def events(self, *, buffer: int = 1_000) -> Events:
        """Subscribe to what this process does, from now on. At most `buffer` events wait; a slow reader gets a `gap`
        for those it missed.
        """
        send, receive = trio.open_memory_channel[Event](_check_count("buffer", buffer, 1, 1_000_000))
        tell(self._links.hub, hub.Subscribe(send))
        return Events(receive)

    # Acting

    async def cancel(self, id: str) -> JobRecord:
        """Cancel a job, whichever process holds it: one that waits never starts; a running one is asked to stop, and
        stays `running`, with its
        `stop` reason, until its worker reports. `NotFound`, `WrongState`.
        """
        return await self._links.act("cancel", id)

    async def retry(self, id: str) -> JobRecord:
        """Run a dead or cancelled job again: its attempts start at 0, its history stays. `NotFound`, `WrongState`."""
        return await self._links.act("replay", id)

    async def promote(self, id: str) -> JobRecord:
        """Make a scheduled job ready now. `NotFound`, `WrongState`."""
        return await self._links.act("promote", id)

    async def schedule(
        self,
        name: str,
        when: str | CronExpression | Every | At,
        job: Job[Any] | Callable[[], Awaitable[object]],
        /,
        *,
        tz: str = "UTC",
        overlap: Overlap = "skip",
        catch_up: CatchUp = "latest",
        jitter: float = 0.0,
        start: datetime | None = None,
        end: datetime | None = None,
        limit: int | None = None,
        **options: Unpack[Options],
    ) -> ScheduleHandle:
        """Declare a schedule. A job is stored, and enqueued once per slot for all processes; a plain async callable
        runs in this one.

        Declaring a name again updates it and keeps its cursor and counts. Raises `ValueError` for a bad expression,
        zone or bound.
        """
        check_schedule_name(name)
        given = timing(
            when,
            tz=tz,
            overlap=overlap,
            catch_up=catch_up,
            jitter=jitter,
            start=start,
            end=end,
            limit=limit,
            anchor=self._links.clock.now(),
        )
        if not isinstance(job, (JobType, type)) and not hasattr(job, "execute"):
            if options:
                raise TypeError(f"a plain callable has no job options: {', '.join(options)}")
            if not callable(job):
                raise TypeError(f"expected a job or an async callable, not {job!r}")
            call = job
            await command(
                self._links.scheduler,
                lambda reply: scheduler.DeclareCallable(name=name, timing=given, call=call, reply=reply),
            )
            return ScheduleHandle(name, self._links)
        order = self._intake.order(
            cast("Job[Any]", job), options
        )  # a dry run: what would be wrong at a slot is wrong now
        payload = JobRecord(order.insert.spec, order.insert.standing).payload
        await command(
            self._links.scheduler,
            lambda reply: scheduler.DeclareJob(
                name=name, timing=given, type=order.insert.spec.type, payload=payload, options=options, reply=reply
            ),
        )
        return ScheduleHandle(name, self._links)

    # Keeping small things, and health

    async def settings(self) -> dict[str, str]:
        """All settings that are kept in the store."""
        return await self._links.store.settings()

    async def set_setting(self, key: str, text: str | None) -> None:
        """Keep `text` under `key` for all processes, or (None) forget it; returns once committed."""
        await self._links.keep_settings({key: text})

    async def ping(self) -> None:
        """Round-trip a message through every actor but the busy workers."""
        await command(self._links.scheduler, scheduler.Ping)
        await command(self._links.dead_letters, dead_letters.Ping)
        await command(self._reaper, lambda reply: reply)
        await command(self._links.queue, queue.Ping)
        await command(self._links.hub, hub.Ping)

    async def check_store(self) -> None:
        """Read from the store and commit to it; raises `StoreError`."""
        await self._links.store.settings()
        await command(self._links.queue, queue.Ping)


def _check_count(option: str, given: object, least: int, most: int) -> int:
    if not isinstance(given, int) or isinstance(given, bool) or not least <= given <= most:
        raise BadOption(option, given, f"an integer from {least} to {most}")
    return given


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
    _check_count("threads", threads, 1, MOST_WORKERS)
    clock = SystemClock() if clock is None else clock
    rng = random.Random() if rng is None else rng
    opened = store_from_url(store) if isinstance(store, str) else store
    holder = uuid.UUID(int=rng.getrandbits(128), version=4).hex
    await opened.open(holder, clock.now())
    try:
        house = _House(registry, holder, opened, lanes, lease, grace, clock, rng, tuple(resources), threads)
        async with house.running() as system:
            yield system
    finally:
        with trio.CancelScope(shield=True):
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
        self.hub = hub.Hub(hub_inbox, clock)
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
        """Start an actor and wait until it serves."""
        self._left += 1
        await self._nursery.start(self._hold, run)

    async def _hold(self, run: Callable[..., Awaitable[None]], task_status: trio.TaskStatus[None]) -> None:
        scope = trio.CancelScope(shield=True)
        self._scopes.append(scope)
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
