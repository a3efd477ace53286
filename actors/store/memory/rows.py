"""A job at rest: one flat tuple of texts and numbers, which the garbage collector lets alone once it has met it.

A job that is kept as a record is three objects that every full collection looks at again: the more jobs there are, the
longer each collection stops the loop. A row is smaller, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, Final

from actors.core.job import NO_DETAILS, JobRecord, JobSpec, Standing

Row = tuple[Any, ...]
"""The fields of the spec (no details are None), those of the standing, the rest of the record's."""

Rows = Mapping[str, Row]
"""The current row of every job, by id."""

ID, TYPE, QUEUE, PRIORITY, FRONT = 0, 1, 3, 4, 5
SEQ, STATE, VERSION, RUN_AT, FINISHED_AT, HOLDER = 11, 12, 13, 17, 19, 20
STOP: Final = 26
BEHIND: Final = 21  # where the standing ends


def packed(record: JobRecord) -> Row:
    """The row of this record."""
    return (
        *new_row(record.spec, record.standing, record.standing.seq)[:BEHIND],
        record.result_json,
        record.errors,
        record.progress,
        record.log,
        record.saved_json,
        record.stop,
    )


def new_row(spec: JobSpec, at: Standing, seq: int) -> Row:
    """The row of job number `seq` with nothing beside its spec and its standing."""
    details = spec.details
    return (
        spec.id,
        spec.type,
        spec.payload,
        spec.queue,
        spec.priority,
        spec.front,
        spec.max_attempts,
        spec.timeout,
        spec.created_at,
        spec.owner,
        None if details is NO_DETAILS else details,
        seq,
        at.state,
        at.version,
        at.attempt,
        at.runs,
        at.crashes,
        at.run_at,
        at.started_at,
        at.finished_at,
        at.holder,
        None,
        (),
        None,
        (),
        None,
        None,
    )


def moved(row: Row, at: Standing) -> Row:
    """The row with another standing."""
    return (
        *row[:SEQ],
        at.seq,
        at.state,
        at.version,
        at.attempt,
        at.runs,
        at.crashes,
        at.run_at,
        at.started_at,
        at.finished_at,
        at.holder,
        *row[BEHIND:],
    )


def standing(row: Row) -> Standing:
    """Where the job stands."""
    return Standing(*row[SEQ:BEHIND])


def record(row: Row, at: Standing | None = None) -> JobRecord:
    """The row as a record; `at`: its standing, if that is there already."""
    id, type, payload, queue, priority, front, max_attempts, timeout, created_at, owner, details = row[:SEQ]
    spec = JobSpec(
        id,
        type,
        payload,
        queue,
        priority,
        front,
        max_attempts,
        timeout,
        created_at,
        owner,
        NO_DETAILS if details is None else details,
    )
    return JobRecord(spec, Standing(*row[SEQ:BEHIND]) if at is None else at, *row[BEHIND:])


class Shelf(MutableMapping[str, JobRecord]):
    """All jobs by id: `rows` as they are kept, the mapping itself as records, each made when it is asked for."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}

    def __getitem__(self, id: str) -> JobRecord:
        return record(self.rows[id])

    def __setitem__(self, id: str, job: JobRecord) -> None:
        self.rows[id] = packed(job)

    def __delitem__(self, id: str) -> None:
        del self.rows[id]

    def __contains__(self, id: object) -> bool:
        return id in self.rows

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)
