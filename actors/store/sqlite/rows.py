"""Job records from rows, and many rows in one statement.

`sqlite3` lets go of the interpreter lock at every step of a statement, and against a busy loop each return costs a
switch. So rows go in by one many-row VALUES and come out as one row that holds a JSON array.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

import orjson

from actors.core.job import NO_DETAILS, AttemptError, Details, JobRecord, JobSpec, LogLine, Progress, Standing

MOST_ROWS: Final = 512  # of one VALUES: 512 x 12 parameters stay far below SQLite's limit of 32 766

SPEC: Final = (
    "j.id, j.type, j.payload, j.queue, j.priority, j.front, j.max_attempts, j.timeout, j.created_at, j.owner, j.details"
)
STANDING: Final = (
    "s.seq, s.state, s.version, s.attempt, s.runs, s.crashes, s.run_at, s.started_at, s.finished_at, s.holder"
)

# the members of JobRecord behind spec and standing
_ERRORS: Final = "(SELECT json_group_array(body) FROM (SELECT body FROM attempt_error WHERE seq = s.seq ORDER BY n))"
_LOG: Final = """(SELECT json_group_array(json_array(at, run, text))
    FROM (SELECT at, run, text FROM log_line WHERE seq = s.seq ORDER BY n))"""
_LOAD: Final = f"""SELECT json_group_array(json_array(
    {SPEC}, {STANDING}, s.result, {_ERRORS}, note.progress, {_LOG}, note.saved, s.stop))
    FROM json_each(?) e CROSS JOIN standing s ON s.seq = e.value CROSS JOIN job j ON j.seq = s.seq
    LEFT JOIN note ON note.seq = s.seq"""


def to_json(values: Any) -> str:
    """`values` as JSON text, for `json_each(?)`."""
    return orjson.dumps(values).decode()


def one_json(connection: sqlite3.Connection, sql: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> Any:
    """The JSON value that is the only column of the only row of `sql`."""
    rows = connection.execute(sql, parameters).fetchall()
    return orjson.loads(rows[0][0])


def members(count: int) -> str:
    """The members of the JSON array `value` as columns. (`->>` would be shorter, but came with SQLite 3.38.)."""
    return ", ".join(f"json_extract(value, '$[{index}]')" for index in range(count))


@lru_cache(maxsize=64)
def marks(width: int, rows: int) -> str:
    """The question marks of a VALUES of `rows` rows."""
    return ",".join(["(" + ",".join("?" * width) + ")"] * rows)


def chunks(flat: list[Any], width: int) -> Iterator[tuple[int, int, list[Any]]]:
    """`flat`, rows of `width` values one after the other, in parts: (rows, rows with padding, values with padding).

    Parts are padded with NULL to a power of two rows, so that ten prepared statements do for every number.
    """
    most = MOST_ROWS * width
    for begin in range(0, len(flat), most):
        part = flat[begin : begin + most] if len(flat) > most else flat
        rows = len(part) // width
        size = 1 << (rows - 1).bit_length()
        if size > rows:
            part.extend([None] * ((size - rows) * width))
        yield rows, size, part


def make_spec(row: Sequence[Any]) -> JobSpec:
    """A spec from the columns `SPEC`."""
    id, type, payload, queue, priority, front, max_attempts, timeout, created_at, owner, details = row
    return JobSpec(
        id,
        type,
        payload,
        queue,
        priority,
        front,
        max_attempts,
        None if timeout is None else float(timeout),
        created_at,
        owner,
        NO_DETAILS if details is None else Details.from_json(details),
    )


def load(connection: sqlite3.Connection, seqs: Iterable[int]) -> list[JobRecord]:
    """The whole records of the jobs with these numbers, in that order; those that are gone are left out."""
    rows = one_json(connection, _LOAD, (to_json(list(seqs)),))
    return [_record(row) for row in rows]


def _record(row: list[Any]) -> JobRecord:
    result, errors, progress, log, saved, stop = row[21:]
    return JobRecord(
        make_spec(row[:11]),
        Standing(*row[11:21]),
        result,
        tuple(map(AttemptError.from_json, errors)),
        None if progress is None else Progress(**orjson.loads(progress)),
        tuple(LogLine(at=at, run=run, text=text) for at, run, text in log),
        saved,
        stop,
    )
