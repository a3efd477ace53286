"""`RedisStore`: the `Store` on a Redis (7 or later) or Valkey server, on trio without threads but for one that beats.

A commit is one call of one function, whatever is in it: all of it happens or nothing.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from typing import Any, Final

import attrs
import trio

from actors.core.errors import LeaseLost, StoreBusy, StoreError, StoreFull, StoreSilent
from actors.core.events import Cursor
from actors.core.job import JobRecord
from actors.store.event_log import PAGE_STEPS, page
from actors.store.port import (
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
from actors.store.redis.batch import SCHEDULE, encode, pack_types
from actors.store.redis.bell import LOOK_SECONDS, Bell
from actors.store.redis.durability import doubts, read_info, why_no_fsync
from actors.store.redis.heart import BEATS, Heart
from actors.store.redis.library import SCHEMA
from actors.store.redis.line import Line
from actors.store.redis.outcome import decode
from actors.store.redis.pages import decode_page, encode_query
from actors.store.redis.places import read_counter
from actors.store.redis.rows import SEQ, make_kept, make_record, or_none, pack, unpack
from actors.store.redis.server import Endpoint
from actors.store.redis.url import Options, read_url

log = logging.getLogger("actors")

FIRST_LEASE: Final = 30.0  # seconds that a holder has before its first beat
SHIELDED_SECONDS: Final = 1.0  # of a commit: a server that hangs must not hold the exit
REMEMBERED_SECONDS: Final = 3_600  # of a goodbye: no call is as late as that
GOODBYE_SECONDS: Final = 1.0  # for the last call
NO_TIME: Final = 0.001  # seconds: what is left of a lease when nothing is left of it
MARGIN: Final = 1 / 6  # of a lease, before its end: time to stop what runs
FORGET_AFTER: Final = 86_400.0  # seconds for which the last outcome of a silent holder is kept
SWEPT_AT_ONCE: Final = 1_000
COUNTED_AT_ONCE: Final = 1_000  # jobs of one step of an audit: some milliseconds
AUDIT_PATIENCE: Final = 60.0  # seconds between two steps, after which an audit is given up
HALF: Final[Any] = "half"  # the state of what is no whole job


@attrs.define
class _Holder:
    """What is kept for one open holder."""

    opening: str = attrs.Factory(lambda: uuid.uuid4().hex)  # a late copy of its enrolment must not undo its goodbye
    bell: Bell = attrs.Factory(Bell)
    answered: tuple[int, Outcome] | None = None  # the last tick
    logged: trio.Event = attrs.Factory(trio.Event)  # whether another one has added something to the event log
    forgot: bool = False  # the server has lost commits, and `vanished` has not told yet
    look: bool = False  # ... and `wakeup` neither
    doubts: bool = False  # it once did: a version may be another's than the one that was read

    def forgets(self) -> None:
        """The server has lost commits of this holder that it had answered: have it looked at soon."""
        self.forgot = self.look = self.doubts = True
        self.bell.ring(0)


class RedisStore:
    """A `Store` on the server that `url` names (`actors.store.redis.url` has all spellings), for many processes.

    It may also be given an `Endpoint`: a server that is connected to in a way of its own. With `inline=True` nothing
    runs in a thread and leases are by trio's clock, for simulated time.

    `prefix` names the system: its keys begin with it, and several systems share a server under different names.

    What an answered commit survives is the server's: with `appendonly yes` and `appendfsync everysec` (its default) a
    killed server process loses nothing while its disk keeps up, and up to two seconds when it was behind
    (`aof_delayed_fsync` in its INFO); a machine that loses power up to two seconds. With `appendfsync always`, or here
    `fsync=True`, nothing; without an append-only file all since the last snapshot. A failover loses what the replica
    did not have yet: nothing with `replicas=1` or more, which acknowledges a commit only when so many have it. A
    server that keeps no append-only file, or throws keys away when full, is warned of when the store is opened, and
    refused with `strict=True`.

    A server that comes back without its last moments is noticed (it has a lower tick of a holder than it had
    answered). What was inserted in them is lost, as are cancels and settings; a job whose end was lost is given back
    and runs again, one whose claim was lost may run twice, and so may a schedule's slot. Nothing is stranded.

    The server may be away at any time, also at the start: calls raise `StoreBusy` until it is back.
    """

    def __init__(
        self,
        url: str | Endpoint,
        *,
        prefix: str | None = None,
        timeout: float | None = None,
        replicas: int | None = None,
        fsync: bool | None = None,
        strict: bool | None = None,
        inline: bool = False,
    ) -> None:
        self._server: Endpoint
        self._server, from_url = read_url(url) if isinstance(url, str) else (url, {})
        given = {"prefix": prefix, "timeout": timeout, "replicas": replicas, "fsync": fsync, "strict": strict}
        self._options = Options(**{**from_url, **{name: text for name, text in given.items() if text is not None}})
        self._line: Line | None = None
        self._inline = inline
        self._heart = Heart(self._server, self._options.prefix, inline=inline)
        self._holders: dict[str, _Holder] = {}
        self._opening = trio.Lock()
        self._examined = False
        self._types: tuple[frozenset[str], bytes] = (frozenset(), pack_types(()))

    def __repr__(self) -> str:
        return f"RedisStore({str(self._server)!r}, prefix={self._options.prefix!r})"

    # Opening and closing

    async def open(self, holder: str, now: int) -> None:
        """Start serving `holder`; opening it again changes nothing. Not torn by cancellation.

        A server that is out of reach is no error: it may come, and until then calls raise `StoreBusy`. One that
        refuses the credentials or shows a certificate that is not its own, that holds the data of a newer release, that
        can't wait for its disk as `fsync` asks, or with `strict` that may lose jobs, is.
        """
        with trio.CancelScope(shield=True):
            async with self._opening:
                if holder in self._holders:
                    return
                if self._line is None:
                    self._line = Line(self._server, self._options, self._hear)
                    await self._line.start()
                self._holders[holder] = _Holder()
                try:
                    await self._examine()
                    await self._enroll(holder)
                except (StoreBusy, StoreFull) as error:
                    log.warning("the store is not there yet, going on without: %s", error)
                except BaseException:
                    del self._holders[holder]
                    await self._free()
                    raise

    async def _examine(self) -> None:
        if self._examined:
            return
        info = read_info((await self._call("describe")).decode())
        if self._options.fsync and (why := why_no_fsync(info)) is not None:
            raise StoreError(f"{self._server}: {why}")
        for doubt in doubts(info):
            if self._options.strict:
                raise StoreError(f"{self._server} may lose accepted jobs: {doubt}")
            log.warning("%s may lose accepted jobs: %s", self._server, doubt)
        self._examined = True

    async def _enroll(self, holder: str) -> None:
        served = self._holders[holder]
        reply = await self._call("enroll", holder, round(FIRST_LEASE * 1_000), SCHEMA, served.opening)
        if reply.startswith(b"!schema"):
            raise StoreError(
                f"{self._server} holds the data of a newer release ({reply.decode()[1:]}): expected at most {SCHEMA}"
            )
        served.bell.seen = unpack(reply)

    async def close(self, holder: str) -> None:
        """Stop serving `holder`; the last closing frees the connections. Closing what is not open changes nothing.

        A server that is out of reach learns of it by the end of the lease.
        """
        with trio.CancelScope(shield=True):
            async with self._opening:
                served = self._holders.pop(holder, None)
                if served is None:
                    return
                served.bell.close()
                served.logged.set()
                self._heart.drop(holder)
                try:
                    with trio.fail_after(GOODBYE_SECONDS):
                        await self._call("dismiss", holder, served.opening, REMEMBERED_SECONDS)
                except (StoreError, trio.TooSlowError) as error:
                    log.warning("the store could not be told that this process is leaving: %r", error)
                finally:
                    await self._free()

    async def _free(self) -> None:
        if self._holders or self._line is None:
            return
        line, heart = self._line, self._heart
        self._line, self._heart = None, Heart(self._server, self._options.prefix, inline=self._inline)
        await heart.stop()
        await line.stop()

    def _serving(self, holder: str) -> _Holder:
        served = self._holders.get(holder)
        if served is None:
            raise StoreError(f"holder {holder!r} is not open in {self!r}: expected open() first")
        return served

    async def _call(self, function: str, *arguments: str | bytes | int, **options: Any) -> bytes:
        if self._line is None:
            raise StoreError(f"{self!r} is not open: expected open() first")
        return await self._line.call(function, *arguments, **options)

    # Commits

    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        """Apply `batch` in one call. Waits for its answer also when cancelled, but not for long if there is none: then
        it may have happened or not, and a repeat of the tick tells.
        """
        served = self._serving(holder)
        if served.answered is not None and served.answered[0] == tick:
            await trio.lowlevel.checkpoint()
            return served.answered[1]
        outcome = Outcome()
        with trio.CancelScope(shield=True, deadline=trio.current_time() + SHIELDED_SECONDS) as shield:
            outcome = await self._commit(served, holder, tick, batch)
        if shield.cancelled_caught:
            await trio.lowlevel.checkpoint_if_cancelled()
            try:
                outcome = await self._commit(served, holder, tick, batch)
            except (StoreBusy, StoreFull) as error:  # which is so of this try, and the one before may have happened
                raise StoreSilent(str(error)) from error
        served.answered = (tick, outcome)
        return outcome

    async def _commit(self, served: _Holder, holder: str, tick: int, batch: Batch) -> Outcome:
        if batch.types is not self._types[0]:
            self._types = (batch.types, pack_types(batch.types))
        function = "commit" if batch.inserts else "report"
        known = 0 if served.answered is None else served.answered[0]
        sent = (holder, tick, encode(holder, batch, doubt=served.doubts), self._types[1], known)
        reply = await self._call(function, *sent, confirm=True)
        if reply == b"!closed":  # the server was away when it opened, or has lost or dropped it
            await self._examine()
            await self._enroll(holder)
            reply = await self._call(function, *sent, confirm=True)
        if reply.startswith(b"!"):
            raise StoreError(
                f"tick {tick} of holder {holder!r} is {reply.decode()[1:]}: expected its last or a new one"
            )
        done = decode(reply)
        served.bell.made(done.before, done.after)
        if done.forgot:
            log.warning("%s has lost commits that it had answered", self._server, extra={"tick": tick})
            served.forgets()
        return done.outcome

    # Reads

    async def get(self, ids: Sequence[str]) -> dict[str, JobRecord]:
        """The jobs with these ids; unknown ids are absent."""
        rows = unpack(await self._call("get", pack(list(dict.fromkeys(ids)))))
        return {record.spec.id: record for record in map(make_record, rows)}

    async def find(self, query: Query) -> Page:
        """One page of the jobs that match. Where matches are rare it may be short, or empty, with a cursor to go on."""
        asked = encode_query(query)
        if asked is None:
            await trio.lowlevel.checkpoint()
            return Page([], None)
        return decode_page(await self._call("find", asked), query)

    async def export(self, after: int, limit: int) -> list[Kept]:
        """The next jobs above `after`, with their keys."""
        return [make_kept(row) for row in unpack(await self._call("export", f"{after:0{SEQ}d}", limit))]

    async def counts(self) -> Counts:
        """All counters, kept by the changes of each commit."""
        return _counts(*unpack(await self._call("counts")))

    async def recount(self) -> Recount:
        """All counters, and all jobs counted one by one: in many short calls, so that nobody is held up, and both of
        the instant of the last one.
        """
        token, first = uuid.uuid4().hex, 1
        while True:
            reply = await self._call("audit", token, first, COUNTED_AT_ONCE, round(AUDIT_PATIENCE * 1_000))
            if reply == b"!lost":  # the server was away for long, or lost what was counted
                token, first = uuid.uuid4().hex, 1
            elif reply:
                break
            else:
                first = 0
        counters, there = unpack(reply)
        jobs = {("", 0, name) if name == HALF else read_counter(name): jobs for name, jobs in there if jobs}
        return Recount(counts=_counts(*counters), jobs=jobs)

    async def settings(self) -> dict[str, str]:
        """All settings."""
        flat = unpack(await self._call("hash", "settings"))
        return dict(zip(flat[::2], flat[1::2], strict=True))

    async def schedules(self) -> list[ScheduleRecord]:
        """All stored schedules, by name."""
        flat = unpack(await self._call("rows", "schedules"))
        return [
            ScheduleRecord(
                name=name, **{column: _plain(column, value) for column, value in zip(SCHEDULE, row, strict=True)}
            )
            for name, row in sorted(flat)
        ]

    async def slots(self, name: str, limit: int = 100) -> list[SlotRecord]:
        """What became of the newest slots of schedule `name`, newest first."""
        if limit < 1:
            await trio.lowlevel.checkpoint()
            return []
        kept = unpack(await self._call("slots", name, limit))
        return [SlotRecord(slot=slot, job=job, reason=reason) for slot, job, reason in reversed(kept)]

    async def sweep(self, now: int) -> None:
        """Drop expired keys, the event log's old part, and what is left of holders that are long gone."""
        await self._call("sweep", now, SWEPT_AT_ONCE, round(FORGET_AFTER * 1_000))

    # Liveness

    async def beat(self, holder: str, now: int, lease: float) -> float:
        """`holder` is alive by the server's clock, and a thread goes on saying so; answers when to ask again.

        Raises `LeaseLost` when the server could not be told in time.
        """
        self._serving(holder)
        heart = self._heart
        if heart.tends(holder, lease):
            await trio.lowlevel.checkpoint()
        else:
            sent = heart.now()
            await self._call("beat", holder, round(lease * 1_000))
            heart.tend(holder, lease, sent)
        left = heart.left(holder) - lease * MARGIN
        if left < NO_TIME:
            raise LeaseLost(f"{self._server} could not be told for {lease:g} s that this process lives")
        return min(lease / BEATS, left)

    async def vanished(self, holder: str, now: int) -> list[str]:
        """Other holders with running jobs that are closed, or silent for longer than their lease; and `holder`, once,
        when the server has lost commits that it had answered.
        """
        served = self._serving(holder)
        gone: list[str] = unpack(await self._call("vanished", holder))
        if served.forgot:
            served.forgot = False
            gone.append(holder)
        return gone

    async def others(self, holder: str, now: int) -> list[str]:
        """Other holders that are open and have not been silent for longer than their lease, by the server's clock."""
        found: list[str] = unpack(await self._call("others", holder))
        return found

    async def wakeup(self, holder: str) -> bool:
        """Return when another holder has news: told by a message, or seen within a second. True when the server has
        lost commits.
        """
        served = self._serving(holder)
        await served.bell.heard(self._news)
        look, served.look = served.look, False
        return look

    async def _news(self) -> int:
        number: int = unpack(await self._call("news"))
        return number

    def _hear(self, message: bytes | None) -> None:
        """Ring whoever it may concern; all after a gap in which messages may have been lost."""
        news, _, sender = (b"" if message is None else message).decode().partition(" ")
        for holder, served in self._holders.items():
            if holder != sender:
                served.logged.set()
                if news != "0":  # else it is in the event log, and no more
                    served.bell.ring(int(news or 0))

    # The event log

    async def events(self, now: int, after: Cursor | None = None) -> LogPage:
        """What was committed after this cursor; None: nothing, but the cursor of now."""
        at = ("", "") if after is None else (str(after.log), str(after.number))
        opened, last, commits = unpack(await self._call("events", now, *at, PAGE_STEPS))
        return page(opened, last, after, commits)

    async def logged(self, holder: str) -> None:
        """Return when another holder has added something to the event log, or after a second for nothing."""
        served = self._serving(holder)
        with trio.move_on_after(LOOK_SECONDS):
            await served.logged.wait()
        if holder in self._holders:
            served.logged = trio.Event()


def _counts(now: list[Any], past: list[Any], tally: list[Any]) -> Counts:
    told = dict(tally)
    return Counts(
        now={read_counter(name): jobs for name, jobs in now if jobs},
        ended={read_counter(name): jobs for name, jobs in past if jobs},
        accepted=told.get("accepted", 0),
        deleted=told.get("deleted", 0),
    )


def _plain(column: str, value: Any) -> Any:
    return value if column == "paused" else or_none(value)
