"""What a system hands out to be held: jobs, queues, schedules, dead letters and event subscriptions. Thin: they send
messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, Generic, Literal, Self, TypedDict, TypeVar, Unpack, cast

import attrs
import trio

from actors import dead_letters, hub, scheduler
from actors.core.errors import BadOption, JobCancelled, JobFailed, NotFound
from actors.core.events import Event
from actors.core.job import FINAL, JobRecord, State
from actors.core.options import check_queue
from actors.core.schedule import (
    At,
    CatchUp,
    CronExpression,
    Every,
    Overlap,
    Timing,
    parse_when,
    to_instant,
)
from actors.core.value import value
from actors.crew import Crew
from actors.links import Links, check_asked_id, dead_query
from actors.mailbox import Reply, ask, command, tell
from actors.stats import Tally, stats
from actors.store.port import Page, Query
from actors.timetable import ScheduleInfo

R_co = TypeVar("R_co", covariant=True)

WAITING: frozenset[State] = frozenset({"scheduled", "pending"})
NOT_DRAINED: frozenset[State] = frozenset({"pending", "running"})
DRAIN_LOOK = 0.05  # seconds between two looks while a queue drains
FIRST_LOOK = 0.02  # seconds between two looks at a job that another process may end; doubles up to LONGEST_LOOK ...
LONGEST_LOOK = 3600.0  # ... but nobody waits longer than the clock's patience
CLEARED_AT_ONCE = 500  # jobs per tick


class Handle(Generic[R_co]):
    """A job that was accepted (`JobHandle`)."""

    __slots__ = ("_created", "_id", "_links")

    def __init__(self, id: str, created: bool, links: Links) -> None:
        self._id = id
        self._created = created
        self._links = links

    @property
    def id(self) -> str:
        """The job's id."""
        return self._id

    @property
    def created(self) -> bool:
        """False when the enqueue answered with a job that was there before."""
        return self._created

    async def record(self) -> JobRecord:
        """The job as it stands now; `NotFound` once it has been deleted."""
        found = (await self._links.store.get([check_asked_id(self._id)])).get(self._id)
        if found is None:
            raise NotFound("job", self._id)
        return found

    async def result(self) -> R_co:
        """Wait for the end; the result as JSON values. Raises `JobFailed`, `JobCancelled` or `NotFound`."""
        record = await self._end()
        match record.state:
            case "completed":
                return cast("R_co", record.result)
            case "cancelled":
                raise JobCancelled(record)
            case _:
                raise JobFailed(record)

    async def _end(self) -> JobRecord:
        look = FIRST_LOOK
        while True:
            send, receive = trio.open_memory_channel[Any](1)
            with receive:
                with send:
                    tell(self._links.hub, hub.Await(self._id, send.clone()))
                record = await self.record()
                if record.state in FINAL:
                    return record
                # another process may end it, of which this one hears nothing: look again, less and less often
                with trio.move_on_after(min(look, self._links.clock.patience)), suppress(trio.EndOfChannel):
                    await receive.receive()
                look = min(look * 2, LONGEST_LOOK)

    async def cancel(self) -> None:
        """Cancel the job: one that waits never starts; a running one is asked to stop."""
        await self._links.act("cancel", self._id)

    def __repr__(self) -> str:
        return f"<job handle {self._id}>"


class Events:
    """A subscription: an async iterator of events, and a context manager that ends it.

    `with` it nothing is missed that this process does from then on. `async with` waits until that holds of every
    process.
    """

    def __init__(self, receive: trio.MemoryReceiveChannel[Event], begun: Reply[None]) -> None:
        self._receive = receive
        self._begun = begun

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        try:
            return await self._receive.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            raise StopAsyncIteration from None

    def close(self) -> None:
        """End the subscription."""
        self._receive.close()

    async def __aenter__(self) -> Self:
        await self._begun.wait()
        return self

    async def __aexit__(self, *error: object) -> None:
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()  # an iterator that was left by `break` needs no more


class DeadLetters:
    """Looking at, replaying and deleting what failed for good (`system.dead_letters`)."""

    def __init__(self, links: Links) -> None:
        self._links = links

    async def list(
        self,
        *,
        limit: int = 100,
        after: str | None = None,
        type: str | None = None,
        queue: str | None = None,
        owner: str | None = None,
        text: str | None = None,
    ) -> Page:
        """One page, the newest death first. `text` is searched in ids, types and last errors."""
        query = dead_query(type=type, queue=queue, owner=owner, text=text, limit=limit, after=after)
        return await ask(self._links.dead_letters, lambda reply: dead_letters.List(query, reply))

    async def retry(self, id: str) -> JobRecord:
        """Give a dead job its attempts back: they start again at 0, the history stays. `NotFound`, `WrongState`."""
        return await ask(self._links.dead_letters, lambda reply: dead_letters.Replay(check_asked_id(id), reply))

    async def retry_all(self, *, type: str | None = None, queue: str | None = None, owner: str | None = None) -> int:
        """Replay all that match and are dead now; how many."""
        query = dead_query(type=type, queue=queue, owner=owner)
        return await ask(self._links.dead_letters, lambda reply: dead_letters.ReplayAll(query, reply))

    async def delete(self, id: str) -> None:
        """Forget a dead job for good. `NotFound`, `WrongState`."""
        await command(self._links.dead_letters, lambda reply: dead_letters.Delete(check_asked_id(id), reply))


@value(kw_only=True)
class QueueInfo:
    """A queue as it can be looked at. `workers` and `active` are this process's; `limit` None: unbounded."""

    name: str
    workers: int
    active: int
    paused: bool
    limit: int | None
    stats: Tally


class QueueHandle:
    """One queue: pause it, resume it, empty it, give it more workers (`system.queues["default"]`)."""

    def __init__(self, name: str, links: Links, crew: Crew | None, limit: int | None) -> None:
        self.name = name
        self._links = links
        self._crew = crew
        self._limit = limit

    async def pause(self) -> None:
        """Nothing of it is claimed any more, in any process, from the commit on. What runs runs on."""
        await self._links.keep_settings({f"paused/{self.name}": "true"})
        self._tell("queue:paused")

    async def resume(self) -> None:
        """Claim again."""
        await self._links.keep_settings({f"paused/{self.name}": None})
        self._tell("queue:resumed")

    async def drain(self) -> None:
        """Wait until nothing of it is pending or running; what is scheduled for later does not count."""
        while True:
            counts = await self._links.store.counts()
            left = sum(n for (queue, _, state), n in counts.now.items() if queue == self.name and state in NOT_DRAINED)
            if not left:
                return
            await trio.sleep(DRAIN_LOOK)

    async def clear(self) -> int:
        """Cancel all that waits in it, scheduled jobs included; how many."""
        cleared = 0
        after: str | None = None
        while True:
            query = Query(queue=self.name, states=WAITING, limit=CLEARED_AT_ONCE, after=after)
            page = await self._links.store.find(query)
            given = await self._links.act_on_all("cancel", [job.id for job in page.jobs])
            cleared += sum(isinstance(one, JobRecord) and one.state == "cancelled" for one in given)
            if (after := page.after) is None:
                return cleared

    def set_workers(self, number: int) -> None:
        """How many workers this process has for it; those too many end their jobs first."""
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= 100_000:
            raise BadOption("workers", number, "an integer from 0 to 100000")
        if self._crew is None:
            raise NotFound("queue with workers in this process", self.name)
        self._crew.resize(number)

    async def info(self) -> QueueInfo:
        """How it stands."""
        return self.describe(stats(await self._links.store.counts()).queues, await self._links.store.settings())

    def describe(self, tallies: Mapping[str, Tally], settings: Mapping[str, str]) -> QueueInfo:
        """How it stands, from what was read."""
        crew = self._crew
        return QueueInfo(
            name=self.name,
            workers=0 if crew is None else crew.size,
            active=0 if crew is None else crew.active(),
            paused=f"paused/{self.name}" in settings,
            limit=self._limit,
            stats=tallies.get(self.name, Tally()),
        )

    def _tell(self, name: str) -> None:
        tell(self._links.hub, hub.Tell(Event(name=name, at=self._links.clock.now(), queue=self.name)))


class Queues:
    """The queues by name (`system.queues`)."""

    def __init__(self, links: Links, crews: Mapping[str, Crew], limits: Mapping[str, tuple[int, bool]]) -> None:
        self._links = links
        self._crews = crews
        self._limits = limits

    def __getitem__(self, name: str) -> QueueHandle:
        limit = self._limits.get(check_queue(name))
        return QueueHandle(name, self._links, self._crews.get(name), None if limit is None else limit[0])

    async def list(self) -> list[QueueInfo]:
        """All queues that have workers here or ever had a job."""
        tallies = stats(await self._links.store.counts()).queues
        settings = await self._links.store.settings()
        paused = {key.removeprefix("paused/") for key in settings if key.startswith("paused/")}
        return [self[name].describe(tallies, settings) for name in sorted({*tallies, *self._crews, *paused})]


class Retiming(TypedDict, total=False):
    """What can be changed of a schedule's timing."""

    when: str | CronExpression | Every | At
    tz: str
    overlap: Overlap
    catch_up: CatchUp
    jitter: float
    start: datetime | None
    end: datetime | None
    limit: int | None


class ScheduleHandle:
    """One schedule (`system.schedules["report"]`)."""

    def __init__(self, name: str, links: Links) -> None:
        self.name = name
        self._links = links

    async def info(self) -> ScheduleInfo:
        """How it stands; `NotFound`."""
        found: list[ScheduleInfo] = await ask(self._links.scheduler, lambda reply: scheduler.Describe(self.name, reply))
        if not found:
            raise NotFound("schedule", self.name)
        return found[0]

    async def pause(self) -> None:
        """No slot fires until it is resumed. Holds in every process when the schedule is stored."""
        await self._control("pause")

    async def resume(self) -> None:
        """Fire again, from now on: what was missed in the pause is recorded, not caught up."""
        await self._control("resume")

    async def run(self) -> None:
        """Fire once, now. `AlreadyRunning` while its last run has not ended and overlap is skip."""
        await self._control("run")

    async def remove(self) -> None:
        """Forget it; jobs that it made stay."""
        await self._control("remove")

    async def change(self, **timing: Unpack[Retiming]) -> None:
        """Give it another timing, from now on; what is not named stays."""
        fields: dict[str, Any] = dict(timing)
        for name in ("start", "end"):
            if fields.get(name) is not None:
                fields[name] = to_instant(fields[name], name)
        if "when" in fields:
            fields["when"] = parse_when(fields["when"])
            fields["anchor"] = self._links.clock.now()

        def change(old: Timing) -> Timing:
            return attrs.evolve(old, **fields)

        await command(self._links.scheduler, lambda reply: scheduler.Change(self.name, change, reply))

    async def _control(self, verb: Literal["pause", "resume", "run", "remove"]) -> None:
        await command(self._links.scheduler, lambda reply: scheduler.Control(self.name, verb, reply))


class Schedules:
    """The schedules by name (`system.schedules`): the stored ones of all processes, and this process's callables."""

    def __init__(self, links: Links) -> None:
        self._links = links

    def __getitem__(self, name: str) -> ScheduleHandle:
        return ScheduleHandle(name, self._links)

    async def list(self) -> list[ScheduleInfo]:
        """All of them, by name."""
        return await ask(self._links.scheduler, lambda reply: scheduler.Describe(None, reply))


def check_schedule_name(name: object) -> str:
    """A schedule's name, or `BadOption`."""
    if not isinstance(name, str) or not 0 < len(name) <= 100 or not name.isprintable() or "/" in name:
        raise BadOption("schedule name", name, "1 to 100 printable characters without /")
    return name
