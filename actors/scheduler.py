"""The scheduler: sleeps until the next slot, and fires it. A stored slot fires once for all processes, without a
leader.

The cursor of a stored schedule moves in the same commit that inserts the slot's job, only if it still stands where it
was read: of many processes that find a slot due, one wins, the others look again.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, Literal, assert_never

import attrs
import trio

from actors.callables import Callables
from actors.clock import Clock
from actors.core.errors import (
    ActorsError,
    AlreadyRunning,
    CallerError,
    Conflict,
    NotFound,
    StoreError,
)
from actors.core.events import Event
from actors.core.job import UNFINISHED, JobRecord
from actors.core.options import Options
from actors.core.registry import Registry
from actors.core.schedule import Due, Timing, keep_anchor
from actors.core.value import value
from actors.hub import Message as HubMessage
from actors.hub import Tell
from actors.intake import Intake
from actors.mailbox import Reply, answer, ask, command, decline, refuse, refusing_the_rest, tell
from actors.queue import Act, Fire, Firing, Keep
from actors.queue import Message as QueueMessage
from actors.slots import Slots, move_on, past_no_slot
from actors.store.port import ScheduleMove, ScheduleRecord, SlotRecord, Store
from actors.timetable import ScheduleInfo, Stored, definition

log = logging.getLogger("actors")

LOOK_AGAIN: Final = 1.0  # seconds until a slot that waits for the run before it is looked at again
FIRED_AT_ONCE: Final = 1_000  # slots of one commit, so that a downtime that is caught up does not hold up the others


@value(kw_only=True)
class DeclareJob:
    """Keep a schedule whose slots become jobs; one of that name keeps its cursor and counts."""

    name: str
    timing: Timing
    type: str
    payload: dict[str, Any]
    options: Options
    reply: Reply[None]


@value(kw_only=True)
class DeclareCallable:
    """Run a callable of this process on a schedule."""

    name: str
    timing: Timing
    call: Callable[[], Awaitable[object]]
    reply: Reply[None]


@value
class Control:
    """Pause, resume, run now or remove the schedule of this name."""

    name: str
    verb: Literal["pause", "resume", "run", "remove"]
    reply: Reply[None]


@value
class Change:
    """Give a schedule another timing: `change` makes the new one of the old."""

    name: str
    change: Callable[[Timing], Timing]
    reply: Reply[None]


@value
class Describe:
    """Tell of one schedule, or of all when `name` is None."""

    name: str | None
    reply: Reply[list[ScheduleInfo]]


@value
class Wake:
    """Another process may have changed a schedule."""


@value
class Ping:
    """Answered at once."""

    reply: Reply[None]


Message = DeclareJob | DeclareCallable | Control | Change | Describe | Wake | Ping


class Scheduler:
    """The actor. With `fires` off it only keeps and tells."""

    def __init__(
        self,
        *,
        store: Store,
        registry: Registry,
        intake: Intake,
        clock: Clock,
        fires: bool,
        queue: trio.MemorySendChannel[QueueMessage],
        hub: trio.MemorySendChannel[HubMessage],
        inbox: trio.MemoryReceiveChannel[Message],
    ) -> None:
        self._store = store
        self._registry = registry
        self._intake = intake
        self._clock = clock
        self._fires = fires
        self._queue = queue
        self._hub = hub
        self._inbox = inbox
        self._callables = Callables(clock)
        self._slots = Slots(registry, intake)
        self._read: dict[str, Stored] = {}  # what was decoded, by name
        self._unreadable: dict[str, str] = {}  # definitions that this program can't decode, by name

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled, which also stops the callables that are running."""
        with self._inbox, refusing_the_rest(self._inbox):
            async with trio.open_nursery() as self._callables.nursery:
                task_status.started()
                while True:
                    pause = await self._pass()
                    first: Message | None = None
                    with trio.move_on_after(pause):
                        first = await self._inbox.receive()
                    if first is not None:
                        await self._serve(first)
                    await self._serve_waiting()

    # Firing

    async def _pass(self) -> float:
        """Fire what is due; seconds until the next slot, but no longer than a step of the clock may go unnoticed."""
        if not self._fires:
            return math.inf
        pause = self._clock.patience
        try:
            after: str | None = ""
            while after is not None:
                after, coming = await self._fire_some(after)
                pause = min(pause, coming)
                if after is not None and await self._serve_waiting():
                    pause = 0.0  # what was changed may be due
        except StoreError as error:
            log.warning("the scheduler waits for the store: %s", error)
            pause = min(pause, LOOK_AGAIN)
        return min([pause, *self._callables.fire_all()])

    async def _fire_some(self, after: str) -> tuple[str | None, float]:
        """Fire what is due of the schedules whose names come after `after`; the last name that was looked at (None: all
        were), and seconds until the next slot of these.

        However many are due, the store is asked for the schedules, for their last jobs, and to commit.
        """
        now = self._clock.now()
        pause, name = math.inf, None
        found: list[tuple[Stored, Due]] = []
        slots = 0
        for stored in await self._all():
            if stored.name <= after:
                continue
            if slots >= FIRED_AT_ONCE:
                break
            name = stored.name
            coming = self._slots.look(stored, now)
            if isinstance(coming, Due):
                found.append((stored, coming))
                slots += len(coming.fire) + len(coming.missed)
            else:
                pause = min(pause, coming)
        else:
            name = None
        unfinished = await self._unfinished(stored.record.last_job for stored, coming in found if coming.fire)
        replaced: list[str] = []
        firings: list[Firing] = []
        for stored, coming in found:
            last = stored.record.last_job
            firing = self._slots.fire(stored, coming, last if last in unfinished else None, replaced, now)
            if firing is None:
                pause = min(pause, LOOK_AGAIN)
            else:
                firings.append(firing)
                pause = 0.0  # look again: the cursor has moved, by this process or by another
        await self._cancel(replaced)
        await self._fire(firings, now)
        return name, pause

    async def _fire(self, firings: list[Firing], now: int) -> list[bool]:
        """Fire in one commit; False for a schedule of which another process was faster."""
        if not firings:
            return []

        def request(reply: Reply[list[bool]]) -> QueueMessage:
            return Fire(firings, reply)

        won = await ask(self._queue, request)
        for firing in itertools.compress(firings, won):
            for slot in firing.move.slots:
                name = "schedule:fired" if slot.job is not None else "schedule:skipped"
                data = {"schedule": firing.move.name, "slot": slot.slot, "reason": slot.reason}
                tell(self._hub, Tell(Event(name=name, at=now, job=slot.job, data=data)))
        return won

    async def _unfinished(self, ids: Iterable[str | None]) -> set[str]:
        """Which of these jobs have not ended."""
        asked = [id for id in ids if id is not None]
        found = await self._store.get(asked) if asked else {}
        return {id for id, job in found.items() if job.state in UNFINISHED}

    async def _cancel(self, ids: list[str]) -> None:
        if ids:

            def request(reply: Reply[list[JobRecord | ActorsError]]) -> QueueMessage:
                return Act("cancel", ids, reply)

            await ask(self._queue, request)  # a run that has ended meanwhile is no error

    # Keeping and telling

    async def _all(self) -> list[Stored]:
        found: dict[str, Stored] = {}
        for record in await self._store.schedules():
            known = self._read.get(record.name)
            if known is not None and known.record.definition == record.definition:
                known.record = record
                found[record.name] = known
            elif self._unreadable.get(record.name) != record.definition:
                try:
                    found[record.name] = Stored.read(record)
                except Exception as error:  # of a newer program, perhaps: left for others
                    self._unreadable[record.name] = record.definition
                    log.error("schedule %s can't be read by this program: %r", record.name, error)
        self._read = found
        return list(found.values())

    async def _find(self, name: str) -> Stored | None:
        return next((stored for stored in await self._all() if stored.record.name == name), None)

    async def _serve_waiting(self) -> bool:
        """Serve what is in the inbox; whether there was anything."""
        served = False
        while True:
            try:
                message = self._inbox.receive_nowait()
            except (trio.WouldBlock, trio.EndOfChannel):
                return served
            await self._serve(message)
            served = True

    async def _serve(self, message: Message) -> None:
        try:
            match message:
                case DeclareJob():
                    await self._declare_job(message)
                    answer(message.reply, None)
                case DeclareCallable():
                    await self._declare_callable(message)
                    answer(message.reply, None)
                case Control():
                    await self._control(message)
                    answer(message.reply, None)
                case Change():
                    await self._change(message)
                    answer(message.reply, None)
                case Describe():
                    answer(message.reply, await self._describe(message.name))
                case Ping():
                    answer(message.reply, None)
                case Wake():
                    pass
                case _:
                    assert_never(message)
        except trio.Cancelled:
            refuse(message)
            raise
        except (ActorsError, ValueError, TypeError) as error:
            if isinstance(message, Wake):
                raise
            decline(message.reply, error if isinstance(error, ActorsError) else _as_caller_error(error))

    async def _declare_job(self, message: DeclareJob) -> None:
        if message.name in self._callables:
            raise Conflict(f"schedule {message.name!r} runs a callable: expected another name for a job")
        now = self._clock.now()
        stored = await self._find(message.name)
        timing = message.timing if stored is None else keep_anchor(message.timing, stored.timing)
        text = definition(timing, message.type, message.payload, message.options)
        if stored is None:
            await self._keep([ScheduleRecord(name=message.name, definition=text, cursor=now)])
        elif stored.record.definition != text:
            await self._redefine(attrs.evolve(stored.record, definition=text), timing, timing != stored.timing)

    async def _declare_callable(self, message: DeclareCallable) -> None:
        if await self._find(message.name) is not None:
            raise Conflict(f"schedule {message.name!r} is stored with a job: expected another name for a callable")
        self._callables.declare(message.name, message.timing, message.call)

    async def _control(self, message: Control) -> None:
        if message.name in self._callables:
            self._callables.control(message.name, message.verb)
            return
        stored = await self._find(message.name)
        if stored is None:
            raise NotFound("schedule", message.name)
        record = stored.record
        match message.verb:
            case "pause":
                await self._recast(attrs.evolve(record, paused=True), stored.timing, record.cursor)
            case "resume" if record.paused:
                # what was missed in the pause is not caught up: that is what the pause was for
                now = self._clock.now()
                slots = (SlotRecord(slot=now, reason="paused until now"),)
                move = ScheduleMove(name=record.name, expect=record.cursor, cursor=max(now, record.cursor), slots=slots)
                await self._keep([attrs.evolve(record, paused=False)], move)
            case "resume":
                pass
            case "remove":
                await self._ask_keep(lambda reply: Keep(reply=reply, forget_schedules=[record.name]))
            case "run":
                await self._run_now(stored)
            case _:
                assert_never(message.verb)

    async def _run_now(self, stored: Stored) -> None:
        """A run by hand: a job now, whatever the timing says.

        The cursor goes on by a microsecond, past no slot: of two processes that do this at once, or of one whose slot
        has just come, the second must look again.
        """
        while True:
            record = stored.record
            if stored.timing.overlap == "skip" and await self._unfinished([record.last_job]):
                raise AlreadyRunning(record.name)
            now = self._clock.now()
            order = self._intake.order(stored.job(self._registry), stored.options, schedule=record.name, slot=now)
            slots = [SlotRecord(slot=now, job=order.insert.spec.id)]
            cursor = past_no_slot(stored.timing, record.cursor)
            (won,) = await self._fire([move_on(record, cursor, slots, [order], now)], now)
            if won:
                return
            again = await self._find(record.name)
            if again is None:
                raise NotFound("schedule", record.name)
            stored = again

    async def _change(self, message: Change) -> None:
        if message.name in self._callables:
            self._callables.change(message.name, message.change)
            return
        stored = await self._find(message.name)
        if stored is None:
            raise NotFound("schedule", message.name)
        timing = message.change(stored.timing)
        await self._redefine(stored.redefined(timing), timing, timing != stored.timing)

    async def _redefine(self, record: ScheduleRecord, timing: Timing, retimed: bool) -> None:
        """Another definition for a name that is known. A new timing starts now: it has no past to catch up."""
        if retimed:
            await self._recast(record, timing, self._clock.now())
        else:
            await self._keep([record])

    async def _recast(self, record: ScheduleRecord, timing: Timing, since: int) -> None:
        """Keep a schedule in another form from `since` on.

        The cursor moves in any case: a slot of the form before, which another process is just firing, must lose. When
        instead it was faster, the next one of the same process might be under way, so the cursor is moved once more.
        """
        while True:
            cursor = max(since, past_no_slot(timing, record.cursor))
            await self._keep([record], ScheduleMove(name=record.name, expect=record.cursor, cursor=cursor))
            again = await self._find(record.name)
            if again is None or again.record.cursor == cursor:
                return
            if (again.record.definition, again.record.paused) != (record.definition, record.paused):
                return  # somebody has changed it since
            record = attrs.evolve(record, cursor=again.record.cursor)

    async def _describe(self, name: str | None) -> list[ScheduleInfo]:
        now = self._clock.now()
        stored = [one for one in await self._all() if name is None or one.record.name == name]
        unfinished = await self._unfinished(one.record.last_job for one in stored)
        found = [one.info(now, one.record.last_job in unfinished) for one in stored]
        found.extend(info for info in self._callables.infos(now) if name in (None, info.name))
        return sorted(found, key=lambda info: info.name)

    async def _keep(self, records: list[ScheduleRecord], move: ScheduleMove | None = None) -> None:
        moves = [] if move is None else [move]
        await self._ask_keep(lambda reply: Keep(reply=reply, schedules=records, moves=moves))

    async def _ask_keep(self, make: Callable[[Reply[None]], QueueMessage]) -> None:
        await command(self._queue, make)


def _as_caller_error(error: Exception) -> ActorsError:
    made = CallerError(str(error))
    made.__cause__ = error
    return made
