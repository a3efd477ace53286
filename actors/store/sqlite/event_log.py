"""The event log: one row per commit, while somebody listens. A log that nobody reads is emptied by whoever finds it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

import orjson

from actors.core.events import Cursor
from actors.store.event_log import PAGE_STEPS, RENEWED, Row, page, start
from actors.store.port import LOG_KEPT, LOG_STEPS, LogPage, Note
from actors.store.sqlite.rows import one_json, to_json
from actors.store.sqlite.schema import RUNNING

_KEPT: Final = round(LOG_KEPT * 1e6)
_TRIMMED: Final = LOG_STEPS // 10  # steps after which a commit looks whether there are too many

# progress of runs that are under way, as rows of the log
_NOTED: Final = f"""SELECT json_group_array(json_array('note', job.id, job.type, job.queue, job.owner, s.state,
    s.version, s.attempt, s.run_at, NULL, json(json_extract(value, '$[2]'))))
    FROM json_each(?) CROSS JOIN job ON job.id = json_extract(value, '$[0]') CROSS JOIN standing AS s USING (seq)
    WHERE s.state = '{RUNNING}' AND s.runs = json_extract(value, '$[1]')"""
_APPEND: Final = "INSERT INTO event_log VALUES (?, ?, ?, ?, ?)"
_PAGE: Final = """SELECT json_group_array(json_array(n, at, holder, body)) FROM (
    SELECT n, at, holder, body FROM event_log WHERE n > :begin AND n <= max(
    :begin + :most, (SELECT n FROM event_log WHERE n > :begin ORDER BY n LIMIT 1)) ORDER BY n)"""
_OLD: Final = """n <= :last - :most
    OR n < coalesce((SELECT n FROM event_log WHERE at >= :since ORDER BY n LIMIT 1), :last + 1)"""


def begin(connection: sqlite3.Connection, now: int, log: Cursor, until: int | None, *, listen: bool) -> Cursor | None:
    """Where the log stands to which this commit is to be written; None: it is closed, or closed by this.

    `until` is the instant until which the log is open (None: it is closed).
    """
    if until is not None and until < now:
        close(connection)
        until = None
    if not listen:
        return None if until is None else log
    if until is None:
        log = Cursor(now, 0)
    connection.execute(
        "UPDATE listening SET until = ?, log = ?, last = ?", (_kept_from(now, until), log.log, log.number)
    )
    return log


def noted(connection: sqlite3.Connection, notes: Sequence[Note]) -> list[Row]:
    """The rows of these notes' progress, before they are kept."""
    said = [
        (note.id, note.run, (note.progress.done, note.progress.total, note.progress.message))
        for note in notes
        if note.progress is not None
    ]
    rows: list[Row] = one_json(connection, _NOTED, (to_json(said),)) if said else []
    return rows


def append(connection: sqlite3.Connection, log: Cursor, now: int, holder: str, rows: Sequence[Row]) -> None:
    """Write one commit behind `log`."""
    last = log.number + len(rows)
    connection.execute(_APPEND, (last, len(rows), now, holder, to_json(rows)))
    connection.execute("UPDATE listening SET last = ?", (last,))
    if last // _TRIMMED != log.number // _TRIMMED:
        _trim(connection, last, now)


def close(connection: sqlite3.Connection) -> None:
    """Nobody listens any more."""
    connection.execute("DELETE FROM event_log")
    connection.execute("UPDATE listening SET until = NULL")


def listen(connection: sqlite3.Connection, now: int) -> None:
    """Keep the log open from now on, opening it where it is closed; drop what is too old."""
    log, until = _state(connection)
    if begin(connection, now, log, until, listen=True) == log:
        _trim(connection, log.number, now)


def is_stale(connection: sqlite3.Connection, now: int) -> bool:
    """Whether a sweep would find something."""
    _, until = _state(connection)
    oldest = connection.execute("SELECT at FROM event_log ORDER BY n LIMIT 1").fetchall()
    return (until is not None and until < now) or (bool(oldest) and oldest[0][0] < now - _KEPT)


def sweep(connection: sqlite3.Connection, now: int) -> None:
    """Drop what is too old, or all when nobody listens."""
    log, until = _state(connection)
    if until is not None and until < now:
        close(connection)
    else:
        _trim(connection, log.number, now)


def read(connection: sqlite3.Connection, now: int, after: Cursor | None) -> tuple[LogPage, bool] | None:
    """The page after this cursor, and whether the lease is to be renewed; None: the log is closed, or to be closed."""
    log, until = _state(connection)
    if until is None or until < now:
        return None
    commits: list[tuple[int, int, str, list[Row]]] = []
    begin = start(log.log, log.number, after)
    if begin != log.number:
        found = one_json(connection, _PAGE, {"begin": begin, "most": PAGE_STEPS})
        commits = [(number, at, holder, orjson.loads(body)) for number, at, holder, body in found]
    return page(log.log, log.number, after, commits), until < now + round(_KEPT * RENEWED)


def _state(connection: sqlite3.Connection) -> tuple[Cursor, int | None]:
    ((until, log, last),) = connection.execute("SELECT until, log, last FROM listening").fetchall()
    return Cursor(log, last), until


def _kept_from(now: int, until: int | None) -> int:
    return now + _KEPT if until is None else max(until, now + _KEPT)


def _trim(connection: sqlite3.Connection, last: int, now: int) -> None:
    connection.execute(f"DELETE FROM event_log WHERE {_OLD}", {"last": last, "most": LOG_STEPS, "since": now - _KEPT})
