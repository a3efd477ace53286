"""`System`: everything a program can ask of a running job system. Thin: it checks, sends a message, and waits for the
answer; reads go to the store.
"""

from __future__ import annotations

from collections.abc import (
    Awaitable,
    Callable,
    Iterable,
    Sequence,
)
from datetime import datetime
from typing import Any, Final, Literal, TypeVar, Unpack, cast

import attrs
import trio

from actors import dead_letters, hub, queue, scheduler
from actors.audit import Audit, audit
from actors.core.context import Job, JobHandle
from actors.core.definition import JobType
from actors.core.errors import (
    ActorsError,
    BadOption,
    NotFound,
    ShuttingDown,
)
from actors.core.events import Cursor, Event
from actors.core.job import STATES, JobRecord, State, moment
from actors.core.options import Options, check_count
from actors.core.registry import Registry
from actors.core.schedule import At, CatchUp, CronExpression, Every, Overlap, timing
from actors.crew import Crew
from actors.handles import (
    DeadLetters,
    Events,
    Handle,
    Queues,
    ScheduleHandle,
    Schedules,
    check_schedule_name,
)
from actors.health import Health
from actors.intake import Intake, Order
from actors.links import Links, check_asked_id, check_limit, check_words
from actors.mailbox import Reply, ask, command, tell
from actors.stats import Stats, stats
from actors.store.port import Page, Query
from actors.worker import WorkerInfo

R = TypeVar("R")

MOST_LOOKS: Final = 100  # pages of a store that gives short ones where matches are rare, for one of ours
AT_ONCE: Final = 1_000  # jobs per transaction of enqueue_many
ANSWER_WITHIN: Final = 3.0  # seconds in which every actor answers, or the process is not well


@attrs.frozen(kw_only=True)
class ShutdownReport:
    """What became of the jobs that were held when the shutdown began. `stuck`: ids of bodies that ignored being
    stopped.
    """

    finished: int = 0
    given_back: int = 0
    cancelled: int = 0
    stuck: tuple[str, ...] = ()


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
        self._vitals: Callable[[], Health]

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
        """Accept many jobs with the same options, 1 000 per transaction. A bad job is found before the first of them;
        another error is raised when it comes, and the transactions before it stand.
        """
        for name in ("id", "idempotency_key"):
            if name in options:
                raise BadOption(name, options.get(name), "nothing: it names one job, these are many")
        orders: list[Order] = []
        now = self._links.clock.now()
        for job in jobs:
            orders.append(self._intake.order(job, options, now=now))
            if len(orders) % AT_ONCE == 0:
                await trio.lowlevel.checkpoint()  # a hundred thousand of them take half a second
                now = self._links.clock.now()
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
        page = await self._links.store.find(query)
        looks = 1
        while page.after is not None and len(page.jobs) < limit and looks < MOST_LOOKS:
            rest = attrs.evolve(query, limit=limit - len(page.jobs), after=page.after)
            more = await self._links.store.find(rest)
            page, looks = Page([*page.jobs, *more.jobs], more.after), looks + 1
        return page

    async def stats(self) -> Stats:
        """All counters, in all, per queue and per priority; without scanning jobs."""
        return stats(await self._links.store.counts())

    def workers(self) -> list[WorkerInfo]:
        """This process's workers."""
        return [info for crew in self._crews.values() for info in crew.info()]

    def events(self, *, after: str | None = None, buffer: int = 1_000) -> Events:
        """Subscribe to what happens to the jobs of all processes, from now on, or after an event that was seen before:
        `after` is its `cursor`. The log goes back ten minutes, and only while somebody listens.

        At most `buffer` events wait; a slow reader gets a `gap` for those it missed, one that resumes too late a `gap`
        before the first one.
        """
        at = None if after is None else Cursor.parse(after)
        send, receive = trio.open_memory_channel[Event](check_count("buffer", buffer, 1, 1_000_000))
        begun: Reply[None] = Reply()
        tell(self._links.hub, hub.Subscribe(send, at))
        tell(self._links.queue, queue.Listen(begun))
        return Events(receive, begun)

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

    @property
    def late_reports(self) -> int:
        """How many reports of this process came too late and were refused: their jobs had been given to others."""
        return self._vitals().late_reports

    async def health(self) -> Health:
        """How well this process is: every actor is asked to answer, unless the store fails, for which some wait."""
        late = False
        if self._vitals().store_works:
            with trio.move_on_after(ANSWER_WITHIN) as patience:
                await self.ping()
            late = patience.cancelled_caught
        found = self._vitals()
        return attrs.evolve(found, status="unresponsive") if late and found.store_works else found

    async def audit(
        self, *, every_job: bool = False, progress: Callable[[int, int], None] = lambda done, total: None
    ) -> Audit:
        """Count all jobs again, and see whether that adds up; with `every_job` look at each job, too.

        Walks all jobs beside the commits, at the store's reading side. `progress` is told (jobs looked at, of how
        many).
        """
        return await audit(self._links.store, every_job=every_job, progress=progress)

    async def check_store(self) -> None:
        """Read from the store and commit to it; raises `StoreError`."""
        await self._links.store.settings()
        await command(self._links.queue, queue.Ping)
