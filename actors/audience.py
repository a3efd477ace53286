"""The audience: whoever listens to events, and how far the store's event log has been read for them.

Every event of a job comes from the log, also those of this process: so the steps of a job come in their order whoever
made them, each once, and whoever was away can go on where it was. The log is read once for all who are up to date; one
that resumes reads by itself until it is, too.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

import attrs
import trio

from actors.clock import Clock
from actors.core.errors import StoreError
from actors.core.events import GAP, NAMES, PROGRESS, QUEUED, Cursor, Event
from actors.store.port import LoggedStep, LogPage, Store

log = logging.getLogger("actors")

AGAIN: Final = 0.5  # seconds between two tries while the store fails


@attrs.define(eq=False)
class Subscriber:
    """One listener, how far it has been told, and how many events it has missed since it last kept up."""

    channel: trio.MemorySendChannel[Event]
    after: Cursor | None = None  # where it goes on; None: from now on
    told: Cursor | None = None  # None: it is not up to date yet
    missed: int = 0
    lost: bool = False  # it has missed nobody knows how many

    @property
    def has_left(self) -> bool:
        """Whether nobody listens any more."""
        return self.channel.statistics().open_receive_channels == 0

    def send(self, event: Event) -> None:
        """Never waits: who is too slow is told so later. Nothing for one that has left."""
        try:
            self._say_what_is_missing(event.at)
            self.channel.send_nowait(event)
        except trio.WouldBlock:
            self.missed += 1
        except trio.BrokenResourceError:
            pass

    def lose(self, at: int) -> None:
        """The log has a gap here."""
        self.lost = True
        with suppress(trio.WouldBlock, trio.BrokenResourceError):
            self._say_what_is_missing(at)

    def _say_what_is_missing(self, at: int) -> None:
        if self.missed or self.lost:
            self.channel.send_nowait(_gap(at, None if self.lost else self.missed))
            self.missed, self.lost = 0, False


class Audience:
    """Belongs to the hub, and runs beside it."""

    def __init__(self, holder: str, store: Store, clock: Clock) -> None:
        self._holder = holder
        self._store = store
        self._clock = clock
        self._subscribers: list[Subscriber] = []
        self._waiting: list[Subscriber] = []  # for a commit of this process that finds the log open, or opens it
        self._read: Cursor | None = None  # how far; None: for nobody
        self._told: list[Event] = []  # what is not in the log: it is told after what had been committed before
        self._stir = trio.Event()
        self._came = trio.Event()
        self._ending = False
        self._said = ""  # of the store's trouble, so that it is said once
        self._nursery: trio.Nursery

    @property
    def is_there(self) -> bool:
        """Whether anybody listens."""
        return bool(self._subscribers)

    # What the hub says

    def join(self, channel: trio.MemorySendChannel[Event], after: Cursor | None) -> None:
        """One more; what it is told of the log begins at the next commit of this process that was to `listen`."""
        subscriber = Subscriber(channel, after)
        self._subscribers.append(subscriber)
        self._waiting.append(subscriber)
        self._came.set()

    def ticked(self, log: Cursor | None) -> None:
        """This process has committed; `log` is where the log stood before, if it was to `listen`."""
        if log is not None:
            waiting, self._waiting = self._waiting, []
            for subscriber in waiting:
                self._begin(subscriber, log)
        self._stir.set()

    def tell(self, event: Event) -> None:
        """Of something that is not in the log."""
        self._told.append(event)
        self._stir.set()

    def finish(self) -> None:
        """No more commits will come: read the log to its end, and end."""
        self._ending = True
        self._stir.set()

    def close(self) -> None:
        """All subscriptions end."""
        for subscriber in self._subscribers:
            subscriber.channel.close()

    def _begin(self, subscriber: Subscriber, now: Cursor) -> None:
        if self._read is None:
            self._read = now
        if subscriber.after is None and self._is_ahead(now):
            subscriber.told = now
        else:
            self._nursery.start_soon(self._catch_up, subscriber, subscriber.after or now)

    def _is_ahead(self, at: Cursor) -> bool:
        """Whether nothing behind this place has been read yet for those who are up to date."""
        read = self._read
        return read is None or at.log != read.log or at.number >= read.number

    # Reading

    async def run(self) -> None:
        """Until `finish`."""
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self._hear_of_others)
            ending = False
            while not ending:
                await self._stir.wait()
                self._stir = trio.Event()
                ending = self._ending
                told, self._told = self._told, []
                works = await self._read_on()
                for event in told:
                    for subscriber in self._subscribers:
                        subscriber.send(event)
                if not works and not ending:
                    await trio.sleep(AGAIN)
                    self._stir.set()
            self._nursery.cancel_scope.cancel()

    async def _hear_of_others(self) -> None:
        while True:
            await self._came.wait()
            try:
                await self._store.logged(self._holder)
            except StoreError:
                await trio.sleep(AGAIN)
            self._stir.set()

    async def _read_on(self) -> bool:
        """Tell all that is new; whether the store works."""
        while self._prune() and self._read is not None:
            try:
                page = await self._store.events(self._clock.now(), self._read)
            except StoreError as error:
                if str(error) != self._said:
                    self._said = str(error)
                    log.warning("the events wait for the store: %s", error)
                return False
            self._said = ""
            self._pass_on(page)
            if not page.more:
                break
        return True

    def _prune(self) -> bool:
        """Forget who has left; whether there is anybody."""
        for subscriber in self._subscribers:
            if subscriber.has_left:
                subscriber.channel.close()
        self._subscribers = [one for one in self._subscribers if not one.has_left]
        if not self._subscribers:
            self._read, self._came, self._waiting = None, trio.Event(), []
        return bool(self._subscribers)

    def _pass_on(self, page: LogPage) -> None:
        """To those who are up to date."""
        there: list[tuple[Subscriber, int]] = []  # and up to which number it has been told already
        for subscriber in self._subscribers:
            if (told := subscriber.told) is not None:
                if _is_behind_a_gap(told, page):
                    subscriber.lose(self._clock.now())
                    subscriber.told, number = page.cursor, 0
                else:  # it may be ahead: it has caught up by itself
                    subscriber.told, number = max(told, page.cursor, key=lambda at: at.number), told.number
                there.append((subscriber, number))
        for event, at in _events(page):
            for subscriber, number in there:
                if number < at.number:
                    subscriber.send(event)
        self._read = page.cursor

    async def _catch_up(self, subscriber: Subscriber, at: Cursor) -> None:
        """Tell one that goes on at `at`, at its own pace, until it is up to date."""
        channel = subscriber.channel
        try:
            while True:
                try:
                    page = await self._store.events(self._clock.now(), at)
                except StoreError:
                    await trio.sleep(AGAIN)
                    continue
                if page.gap:
                    await channel.send(_gap(self._clock.now(), None))
                for event, _ in _events(page):
                    await channel.send(event)
                at = page.cursor
                if not page.more and self._is_ahead(at):
                    subscriber.told = at
                    self._stir.set()
                    return
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # it has left, which may have been seen already


def _is_behind_a_gap(told: Cursor, page: LogPage) -> bool:
    """Whether there was something between what one was told last and what this page begins with."""
    if told.log != page.cursor.log:
        return True
    first = page.entries[0].first if page.entries else page.cursor.number + 1
    has_lost = page.gap and not page.more and told.number > page.cursor.number  # the store: what it had answered
    return told.number + 1 < first or has_lost


def _gap(at: int, missed: int | None) -> Event:
    return Event(name=GAP, at=at, data={"missed": missed})


def _events(page: LogPage) -> Iterator[tuple[Event, Cursor]]:
    log = page.cursor.log
    for entry in page.entries:
        for number, step in enumerate(entry.steps, start=entry.first):
            cursor = Cursor(log, number)
            yield _event(step, entry.at, cursor), cursor


def _event(step: LoggedStep, at: int, cursor: Cursor) -> Event:
    data: dict[str, Any] = {}
    match step.word:
        case "insert":
            name = QUEUED
        case "note":
            name = PROGRESS
            if (progress := step.progress) is not None:
                data["progress"] = progress.percent
                data |= {"done": progress.done, "total": progress.total, "message": progress.message}
        case "promote" | "claim":
            name = NAMES[step.word]
        case _:
            name = NAMES[step.word]
            data["attempt"] = step.attempt
            if step.error is not None:
                data["error"] = {"type": step.error[0], "message": step.error[1]}
            if step.word == "retry":
                data["runAt"] = step.run_at
    return Event(
        name=name,
        at=at,
        job=step.id,
        type=step.type,
        queue=step.queue,
        owner=step.owner,
        state=step.state,
        version=step.version,
        data=data,
        cursor=str(cursor),
    )
