"""A job at rest: one flat tuple of texts and numbers, which the garbage collector lets alone once it has met it.

A job that is kept as a record is three objects that every full collection looks at again: the more jobs there are, the
longer each collection stops the loop. A row is smaller, too.
"""

from __future__ import annotations

from typing import Any, Final

from actors.core.job import NO_DETAILS, JobRecord, JobSpec, Standing

Row = tuple[Any, ...]
"""The fields of the spec (no details are None), those of the standing, the rest of the record's."""

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
    # fmt: off
    (
        id, type, payload, queue, priority, front, max_attempts, timeout, created_at, owner, details,
        _, _, _, _, _, _, _, _, _, _,
        result, errors, progress, log, saved, stop,
    ) = row  # taken apart at once: slices cost twice as much
    return (
        id, type, payload, queue, priority, front, max_attempts, timeout, created_at, owner, details,
        at.seq, at.state, at.version, at.attempt, at.runs, at.crashes, at.run_at, at.started_at, at.finished_at,
        at.holder,
        result, errors, progress, log, saved, stop,
    )
    # fmt: on


def record(row: Row) -> JobRecord:
    """The row as a record."""
    # fmt: off
    (
        id, type, payload, queue, priority, front, max_attempts, timeout, created_at, owner, details,
        seq, state, version, attempt, runs, crashes, run_at, started_at, finished_at, holder,
        result, errors, progress, log, saved, stop,
    ) = row
    return JobRecord(
        JobSpec(
            id, type, payload, queue, priority, front, max_attempts, timeout, created_at, owner,
            NO_DETAILS if details is None else details,
        ),
        Standing(seq, state, version, attempt, runs, crashes, run_at, started_at, finished_at, holder),
        result, errors, progress, log, saved, stop,
    )
    # fmt: on
