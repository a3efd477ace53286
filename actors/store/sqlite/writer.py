"""The one writing connection: how a transaction begins in turn with others, and what is written besides commits."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from actors.core.errors import StoreFull
from actors.store.port import Batch
from actors.store.sqlite import event_log
from actors.store.sqlite.commit import Done, commit, look
from actors.store.sqlite.faults import is_busy, is_full, store_errors
from actors.store.sqlite.presence import Presence
from actors.store.sqlite.reserve import SIZE, Reserve
from actors.store.sqlite.rows import one_json, to_json
from actors.store.sqlite.schema import BUSY_SECONDS, connect_writer
from actors.store.sqlite.turnstile import PAUSE, Turnstile

_EXPIRED_IDEMPOTENCY: Final = "expires_at <= :now OR NOT EXISTS (SELECT 1 FROM job WHERE job.seq = idempotency_key.seq)"
_EXPIRED_UNIQUE: Final = "expires_at <= :now OR NOT EXISTS (SELECT 1 FROM job WHERE job.seq = unique_key.seq)"
_IDLE_HOLDERS: Final = """SELECT json_group_array(name) FROM holder
    WHERE NOT EXISTS (SELECT 1 FROM standing s INDEXED BY held WHERE s.holder = holder.name)"""
_OTHERS: Final = "SELECT json_group_array(name) FROM holder WHERE name <> ?"
_ALONE: Final = """SELECT NOT EXISTS (SELECT 1 FROM holder WHERE name <> ?1)
    AND NOT EXISTS (SELECT 1 FROM standing INDEXED BY held WHERE holder < ?1)
    AND NOT EXISTS (SELECT 1 FROM standing INDEXED BY held WHERE holder > ?1)"""
_HOLDING: Final = """SELECT json_group_array(json_array(holder, alive_until, name IS NOT NULL)) FROM (
    SELECT DISTINCT holder FROM standing INDEXED BY held WHERE holder IS NOT NULL) 
    LEFT JOIN holder ON holder.name = holder"""

_OPEN: Final = "SELECT json_group_array(json_array(name, alive_until)) FROM holder WHERE name <> ?"
_KEYS_OF: Final = {
    f"{table}_of": f"CREATE INDEX IF NOT EXISTS {table}_of ON {table} (seq)"
    for table in ("unique_key", "idempotency_key")
}

CHECKPOINT_PAGES: Final = 1_000  # of the log, after which it is moved into the database: SQLite's own number


class WouldWait(Exception):
    """Somebody else holds the database, and the caller can't wait."""


class Writer:
    """The writing connection to the database at `path`; used by one thread at a time.

    `presence` is None where liveness is by lease.
    """

    def __init__(self, path: Path, presence: Presence | None) -> None:
        self._path = path
        self._presence = presence
        self._connection = connect_writer(path)
        self._reserve = Reserve(path) if presence is not None else None
        if self._reserve is not None:
            self._reserve.fill()
        self._turnstile: Turnstile | None = None
        self._sparing = False  # whether the log is left where it is
        self._foreign = False  # whether holders of other processes were open at the last commit

    def commit(self, holder: str, tick: int, batch: Batch, *, wait: bool = True) -> Done:
        """One commit. With `wait` false: `WouldWait`, and nothing done, when another process is in the way."""
        if not wait and self._foreign:
            raise WouldWait
        if _needs_room(batch) and not self._has_room():
            raise StoreFull(f"no room on the disk under {self._path} but what is kept for reports")
        with store_errors(str(self._path)):
            if not self._foreign:  # nobody else to take turns with: a lone commit is spared the turnstile's layers
                return self._commit(holder, tick, batch, time.monotonic() + BUSY_SECONDS, wait=wait)
            if (nothing := look(self._connection, holder, tick, batch)) is not None:
                self._look_around(nothing.others)
                return nothing  # a look needs no turn
            with self._turn() as deadline:
                return self._commit(holder, tick, batch, deadline, wait=wait)

    def _commit(self, holder: str, tick: int, batch: Batch, deadline: float, *, wait: bool) -> Done:
        begin = partial(self._begin, deadline if wait else 0.0)
        try:
            done = commit(self._connection, begin, holder, tick, batch)
        except sqlite3.Error as error:
            if not wait and is_busy(error):
                raise WouldWait from None
            if _needs_room(batch) or not is_full(error):
                raise
            done = self._in_need(partial(commit, self._connection, begin, holder, tick, batch))
        self._look_around(done.others)
        return done

    def _in_need(self, commit: Callable[[], Done]) -> Done:
        """Make a commit that found the disk full: the log has room once it is moved, else it gets the reserve."""
        self._checkpoint()
        try:
            return commit()
        except sqlite3.Error as error:
            if not is_full(error) or self._reserve is None or not self._reserve.spend():
                raise
        if self._growth() > SIZE // 2:
            self._spare_room(True)
        else:
            self._checkpoint()
        return commit()

    def _growth(self) -> int:
        """Bytes by which the database has to grow to take in the log."""
        ((size,),) = self._connection.execute("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
        return int(size) - self._path.stat().st_size

    def _has_room(self) -> bool:
        """Whether there is more room than what is kept for reports, once they have taken it (in whichever process)."""
        if self._reserve is None:
            return True
        if not self._reserve.fill():
            return False
        if self._sparing:
            self._spare_room(False)
        return True

    def _spare_room(self, sparing: bool) -> None:
        """Leave the log where it is: to move it into a database that has to grow takes the room that reports need."""
        self._sparing = sparing
        self._connection.execute(f"PRAGMA wal_autocheckpoint = {0 if sparing else CHECKPOINT_PAGES}")

    @contextmanager
    def _turn(self) -> Generator[float]:
        """A turn at the database; gives the time until which to wait for it."""
        deadline = time.monotonic() + BUSY_SECONDS
        if self._turnstile is None or not self._foreign:
            yield deadline
            return
        try:
            self._turnstile.enter(deadline)  # who does not get a turn finds the database locked, and says so
            yield deadline
        finally:
            self._turnstile.leave()

    def _look_around(self, others: list[str]) -> None:
        presence = self._presence
        if presence is None:
            return
        self._foreign = any(not presence.is_here(other) for other in others)
        if self._foreign and self._turnstile is None:
            self._turnstile = Turnstile(presence.directory)

    def _begin(self, deadline: float) -> None:
        pause = PAUSE
        while True:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if not is_busy(error) or time.monotonic() > deadline:
                    raise
            time.sleep(pause)
            pause = min(0.01, pause * 1.5)

    @contextmanager
    def _transaction(self) -> Generator[sqlite3.Connection]:
        with store_errors(str(self._path)), self._turn() as deadline:
            self._begin(deadline)
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def add_holder(self, holder: str, until: int) -> list[str]:
        """Enter `holder` in the table, and answer who else is there.

        The row of one that is in it stays, with its last tick.
        """
        with self._transaction() as connection:
            connection.execute("INSERT INTO holder VALUES (?, 0, NULL, ?) ON CONFLICT DO NOTHING", (holder, until))
            others: list[str] = one_json(connection, _OTHERS, (holder,))
        self._look_around(others)
        return others

    def remove_holder(self, holder: str) -> None:
        """Forget `holder`."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM holder WHERE name = ?", (holder,))

    def beat(self, holder: str, until: int) -> None:
        """`holder` is alive until that instant (microseconds)."""
        with self._transaction() as connection:
            connection.execute("UPDATE holder SET alive_until = ? WHERE name = ?", (until, holder))

    def listen(self, now: int) -> None:
        """Keep the event log open from now on."""
        with self._transaction() as connection:
            event_log.listen(connection, now)

    def sweep(self, now: int) -> None:
        """Drop keys that have expired or whose jobs are gone, the event log's old part, and holders that are dead and
        hold nothing.

        Writes only if there are any.
        """
        with store_errors(str(self._path)):
            idle: list[str] = one_json(self._connection, _IDLE_HOLDERS)
            presence = self._presence
            dead = [holder for holder in idle if not presence.lives(holder)] if presence is not None else []
            some = f"""SELECT EXISTS (SELECT 1 FROM idempotency_key WHERE {_EXPIRED_IDEMPOTENCY})
                OR EXISTS (SELECT 1 FROM unique_key WHERE {_EXPIRED_UNIQUE})"""
            ((expired,),) = self._connection.execute(some, {"now": now}).fetchall()
            expired = expired or event_log.is_stale(self._connection, now)
        if expired or dead:
            with self._transaction() as connection:
                connection.execute(f"DELETE FROM idempotency_key WHERE {_EXPIRED_IDEMPOTENCY}", {"now": now})
                connection.execute(f"DELETE FROM unique_key WHERE {_EXPIRED_UNIQUE}", {"now": now})
                event_log.sweep(connection, now)
                connection.execute(
                    "DELETE FROM holder WHERE name IN (SELECT value FROM json_each(?))", (to_json(dead),)
                )
            for holder in dead:
                if presence is not None:
                    presence.clear(holder)
        self._has_room()

    def index_keys(self) -> None:
        """Make the indexes by which the keys of a job are found, where they are not there yet."""
        missing: list[str] = []
        with store_errors(str(self._path)):
            there = set(one_json(self._connection, "SELECT json_group_array(name) FROM sqlite_schema"))
            missing = [sql for name, sql in _KEYS_OF.items() if name not in there]
        if missing:
            with self._transaction() as connection:
                for sql in missing:
                    connection.execute(sql)

    def data_version(self) -> int:
        """A number that changes when another connection has committed."""
        with store_errors(str(self._path)):
            ((version,),) = self._connection.execute("PRAGMA data_version").fetchall()
            return int(version)

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection, for reads of a store without threads."""
        return self._connection

    def close(self) -> None:
        """Move the log into the database and close the connection. A database in use elsewhere keeps its log."""
        self._checkpoint()
        self._connection.close()
        if self._turnstile is not None:
            self._turnstile.close()

    def _checkpoint(self) -> None:
        try:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error:
            pass  # what could not be moved stays in the log, and is read there


def _needs_room(batch: Batch) -> bool:
    """Whether it begins anything. Inserts of a group belong to a report, or to a schedule, and are kept with it."""
    return bool(batch.claims) or any(not insert.group for insert in batch.inserts)


def is_alone(connection: sqlite3.Connection, holder: str) -> bool:
    """Whether there is no other holder, and no job of one that is gone."""
    ((alone,),) = connection.execute(_ALONE, (holder,)).fetchall()
    return bool(alone)


def vanished(connection: sqlite3.Connection, presence: Presence | None, holder: str, now: int) -> list[str]:
    """Other holders with running jobs that are gone: closed, their lock free, or without locks their lease over."""
    gone: list[str] = []
    for other, alive_until, is_open in one_json(connection, _HOLDING):
        if other != holder and not (is_open and _lives(presence, other, alive_until, now)):
            gone.append(other)
    return gone


def others(connection: sqlite3.Connection, presence: Presence | None, holder: str, now: int) -> list[str]:
    """Other holders that are open and live."""
    there: list[tuple[str, int | None]] = one_json(connection, _OPEN, (holder,))
    return [other for other, alive_until in there if _lives(presence, other, alive_until, now)]


def _lives(presence: Presence | None, holder: str, alive_until: int | None, now: int) -> bool:
    """Whether a holder's lock is held; without locks, whether its lease goes on."""
    if presence is not None:
        return presence.lives(holder)
    return alive_until is None or alive_until >= now
