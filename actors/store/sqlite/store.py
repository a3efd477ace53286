"""`SQLiteStore`: the `Store` in one SQLite file.

Rule: the writing connection is used by one thread at a time. A small commit that finds it free runs on the caller's
thread while such commits are quick; everything else goes to the writing thread. Reads have a connection and a thread
of their own.
"""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import attrs
import trio

from actors.core.errors import StoreError
from actors.core.events import Cursor
from actors.core.job import JobRecord
from actors.store.port import (
    FIRST_LEASE,
    Batch,
    Counts,
    Kept,
    LogPage,
    Outcome,
    Page,
    Query,
    Recount,
    ScheduleRecord,
    SlotRecord,
)
from actors.store.sqlite import event_log, pages, schedules
from actors.store.sqlite.bell import Bell, EventBell, SocketBell
from actors.store.sqlite.commit import Done
from actors.store.sqlite.faults import store_errors
from actors.store.sqlite.presence import Presence
from actors.store.sqlite.schema import connect_reader
from actors.store.sqlite.tally import read_counts, recount
from actors.store.sqlite.thread import SqlThread
from actors.store.sqlite.writer import WouldWait, Writer, is_alone, others, vanished

LONE: Final = 8  # a batch of at most so many items may be committed on the caller's thread
QUICK: Final = 0.001_5  # seconds; ... while the running mean of such commits is below this: it holds up the loop
WEIGHT: Final = 0.1  # of the newest commit in the running mean
PROBE_SECONDS: Final = 1.0  # between two looks for dead processes; a look is a read and a lock tried per holder
BEATS: Final = 3  # within a lease, where there are leases
LOOK_SECONDS: Final = 1.0  # between two looks for the commits of processes whose wake-up was lost

T = TypeVar("T")


@attrs.define
class _Holder:
    """What is kept for one open holder."""

    bell: Bell
    seen: int = 0  # the database's version when it last looked
    log_bell: Bell | None = None  # once it listens
    answered: tuple[int, Outcome] | None = None  # the last tick

    def hang_up(self) -> None:
        """Close the bells, and wake who waits for them."""
        self.bell.close()
        if self.log_bell is not None:
            self.log_bell.close()


@attrs.define
class _Threads:
    """The two threads of an open store, and the connection that belongs to the second."""

    writing: SqlThread
    reading: SqlThread
    reader: sqlite3.Connection


class SQLiteStore:
    """A `Store` in the SQLite file at `path`, shared by the processes of one machine.

    Every answered commit is on the disk. The file is made when it is missing; its directory must exist, and gets a
    directory of lock files and a small file in reserve. `inline=True` uses no threads, sockets, locks or other files:
    every call runs on the caller's thread, and liveness is by `beat`; it is meant for simulated time, and must not
    share a file with a store that is not inline.
    """

    def __init__(self, path: str | Path, *, inline: bool = False) -> None:
        self._path = Path(path).absolute()
        self._inline = inline
        self._presence: Presence | None = None
        self._writer: Writer | None = None
        self._threads: _Threads | None = None
        self._holders: dict[str, _Holder] = {}
        self._opening = trio.Lock()
        self._mean = 0.0  # seconds that small commits take, as a running mean

    def __repr__(self) -> str:
        return f"SQLiteStore({str(self._path)!r}{', inline=True' if self._inline else ''})"

    # Opening and closing

    async def open(self, holder: str, now: int) -> None:
        """Start serving `holder`; opening it again changes nothing.

        Raises `StoreError` when the directory is missing, the file is not this package's or newer than this program,
        or another process is `holder`. Not torn by cancellation.
        """
        with trio.CancelScope() as scope:
            scope.shield = True
            async with self._opening:
                if holder in self._holders:
                    return
                try:
                    await self._open(holder, now)
                except BaseException:
                    if not self._holders:
                        await self._free()
                    raise

    async def _open(self, holder: str, now: int) -> None:
        if self._writer is None:
            await self._connect()
        writer, presence = self._serving(), self._presence
        if presence is not None:
            with store_errors(str(self._path)):
                presence.take(holder)
        try:
            bell = self._bell(holder)
            try:
                others = await self._write(partial(writer.add_holder, holder, now + round(FIRST_LEASE * 1e6)))
                self._holders[holder] = _Holder(bell, await self._write(writer.data_version))
                for other in others:
                    bell.ring(other)
            except BaseException:
                bell.close()
                raise
        except BaseException:
            if presence is not None:
                presence.release(holder)
            raise

    def _bell(self, name: str) -> Bell:
        with store_errors(str(self._path)):
            return EventBell(self._path, name) if self._inline else SocketBell(self._path, name)

    async def _connect(self) -> None:
        self._path = self._path.resolve()  # one name for the locks and bells of all who use the file
        if self._inline:
            self._writer = Writer(self._path, None)
            return
        self._presence = Presence(self._path)
        writing = SqlThread("actors-sqlite-write")
        try:
            self._writer = await writing.call(partial(Writer, self._path, self._presence))
            reader = connect_reader(self._path)
        except BaseException:
            writing.stop()
            raise
        self._threads = _Threads(writing, SqlThread("actors-sqlite-read"), reader)

    async def close(self, holder: str) -> None:
        """Stop serving `holder`; the last closing frees the threads and the files.

        Closing what is not open changes nothing.
        """
        with trio.CancelScope() as scope:
            scope.shield = True
            async with self._opening:
                served = self._holders.pop(holder, None)
                if served is None:
                    return
                try:
                    await self._write(partial(self._serving().remove_holder, holder))
                finally:
                    served.hang_up()
                    if self._presence is not None:
                        self._presence.release(holder)
                    if not self._holders:
                        await self._free()

    async def _free(self) -> None:
        writer, threads = self._writer, self._threads
        self._writer = self._threads = self._presence = None
        if threads is not None:
            threads.reading.stop()
            threads.reader.close()
        if writer is not None:
            if threads is not None:
                await threads.writing.call(writer.close)
                threads.writing.stop()
            else:
                writer.close()

    def _serving(self, holder: str | None = None) -> Writer:
        if self._writer is None or (holder is not None and holder not in self._holders):
            raise StoreError(f"holder {holder!r} is not open in {self._path}: expected open() first")
        return self._writer

    async def _write(self, function: Callable[[], T]) -> T:
        if self._threads is not None:
            return await self._threads.writing.call(function)
        await trio.lowlevel.cancel_shielded_checkpoint()
        return function()

    async def _read(self, function: Callable[[sqlite3.Connection], T]) -> T:
        writer, threads = self._serving(), self._threads

        def read() -> T:
            with store_errors(str(self._path)):
                return function(writer.connection if threads is None else threads.reader)

        if threads is None:
            await trio.lowlevel.checkpoint()
            return read()
        return await threads.reading.call(read)

    # The port

    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        """Apply `batch` in one transaction that is on the disk when this returns.

        Waits for its end also when cancelled. A small commit may be made at once, and is then no checkpoint.
        """
        writer = self._serving(holder)
        served = self._holders[holder]
        if served.answered is not None and served.answered[0] == tick:
            return served.answered[1]
        done = await self._commit(writer, holder, tick, batch)
        served.answered = (tick, done.outcome)
        return done.outcome

    async def _commit(self, writer: Writer, holder: str, tick: int, batch: Batch) -> Done:
        bell = self._holders[holder].bell
        threads = self._threads

        def run(*, wait: bool) -> Done:
            done = writer.commit(holder, tick, batch, wait=wait)
            if done.news:
                for other in done.others:
                    bell.ring(other)
            if done.logged:
                for other in done.others:
                    bell.ring(_listener(other))
            return done

        if threads is None:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return run(wait=True)
        if len(batch.inserts) + len(batch.writes) + len(batch.deletes) + len(batch.notes) > LONE:
            return await threads.writing.call(partial(run, wait=True))

        def timed(*, wait: bool) -> Done:
            began = time.perf_counter()
            done = run(wait=wait)
            self._mean += WEIGHT * (time.perf_counter() - began - self._mean)
            return done

        if threads.writing.idle and self._mean < QUICK:
            with suppress(WouldWait):
                return timed(wait=False)  # no checkpoint: the queue passes one with every message it waits for
        return await threads.writing.call(partial(timed, wait=True))

    async def get(self, ids: Sequence[str]) -> dict[str, JobRecord]:
        """The jobs with these ids; unknown ids are absent."""
        wanted = list(ids)
        return await self._read(lambda connection: pages.get(connection, wanted))

    async def find(self, query: Query) -> Page:
        """One page of the jobs that match."""
        return await self._read(lambda connection: pages.find(connection, query))

    async def export(self, after: int, limit: int) -> list[Kept]:
        """The next jobs above `after`, with their keys. The first page makes indexes of the keys by job: nothing else
        needs them.
        """
        if after == 0:
            await self._write(self._serving().index_keys)
        return await self._read(lambda connection: pages.export(connection, after, limit))

    async def counts(self) -> Counts:
        """All counters, kept by the changes of each commit."""
        return await self._read(read_counts)

    async def recount(self) -> Recount:
        """All counters, and all jobs counted one by one, on the reading thread."""
        return await self._read(recount)

    async def settings(self) -> dict[str, str]:
        """All settings."""
        return await self._read(schedules.read_settings)

    async def schedules(self) -> list[ScheduleRecord]:
        """All stored schedules, by name."""
        return await self._read(schedules.read_schedules)

    async def slots(self, name: str, limit: int = 100) -> list[SlotRecord]:
        """What became of the newest slots of schedule `name`, newest first."""
        return await self._read(lambda connection: schedules.read_slots(connection, name, limit))

    async def sweep(self, now: int) -> None:
        """Drop expired and orphaned keys, and what is left of holders that died."""
        await self._write(partial(self._serving().sweep, now))

    async def beat(self, holder: str, now: int, lease: float) -> float:
        """A kernel lock tells that this process lives; answers when to look for others again.

        Inline: `holder` is alive until then.
        """
        writer = self._serving(holder)
        if self._inline:
            await self._write(partial(writer.beat, holder, now + round(lease * 1e6)))
        alone = await self._read(lambda connection: is_alone(connection, holder))
        if alone:
            return math.inf
        return lease / BEATS if self._inline else min(PROBE_SECONDS, lease)

    async def vanished(self, holder: str, now: int) -> list[str]:
        """Other holders with running jobs whose lock is free: their process is dead, or has closed them.

        Inline: by lease.
        """
        presence = self._presence
        return await self._read(lambda connection: vanished(connection, presence, holder, now))

    async def others(self, holder: str, now: int) -> list[str]:
        """Other holders whose lock is held: their process lives. Inline: by lease."""
        presence = self._presence
        return await self._read(lambda connection: others(connection, presence, holder, now))

    async def wakeup(self, holder: str) -> bool:
        """Return when another holder has rung, or another process has committed (seen within a second)."""
        writer = self._serving(holder)
        served = self._holders[holder]
        if self._threads is None:
            await served.bell.heard()
            return False
        while holder in self._holders:
            with trio.move_on_after(LOOK_SECONDS) as waiting:
                await served.bell.heard()
            if not waiting.cancelled_caught or self._holders.get(holder) is not served:
                return False
            version = await self._write(writer.data_version)
            if version != served.seen:
                served.seen = version
                return False
        return False

    # The event log

    async def events(self, now: int, after: Cursor | None = None) -> LogPage:
        """What was committed after this cursor; None: nothing, but the cursor of now. Reads, and writes once a minute
        that somebody does.
        """
        while True:
            found = await self._read(lambda connection: event_log.read(connection, now, after))
            if found is None:
                await self._write(partial(self._serving().listen, now))
                continue
            page, is_stale = found
            if is_stale:
                with suppress(StoreError):  # there is time for many tries, and something to tell
                    await self._write(partial(self._serving().listen, now))
            return page

    async def logged(self, holder: str) -> None:
        """Return when another holder has rung because of the event log, or after a second for nothing."""
        self._serving(holder)
        served = self._holders[holder]
        if served.log_bell is None:
            served.log_bell = self._bell(_listener(holder))
        with trio.move_on_after(math.inf if self._threads is None else LOOK_SECONDS):
            await served.log_bell.heard()


def _listener(holder: str) -> str:
    """The name of the bell of a holder that listens."""
    return f"{holder} listens"
