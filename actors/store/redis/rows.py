"""Jobs as the function library keeps them: msgpack rows, and members of sorted sets that sort as text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgpack

from actors.core.job import NO_DETAILS, AttemptError, Details, JobRecord, JobSpec, LogLine, Progress, Standing
from actors.store.port import IdempotencyKey, Kept, UniqueKey

STANDING: Final = (
    "seq",
    "state",
    "version",
    "attempt",
    "runs",
    "crashes",
    "run_at",
    "started_at",
    "finished_at",
    "holder",
    "kept",  # not of the standing: whether anything is kept beside the job, as the last byte of its row
)
SPEC: Final = (
    "id",
    "type",
    "payload",
    "queue",
    "priority",
    "front",
    "max_attempts",
    "timeout",
    "created_at",
    "owner",
    "details",
)
STANDING_COLUMN: Final = {name: column for column, name in enumerate(STANDING, start=1)}  # Lua counts from one
SPEC_COLUMN: Final = {name: column for column, name in enumerate(SPEC, start=1)}

STAMP: Final = 17  # digits of an instant
SEQ: Final = 12  # digits of a seq
_HEAD: Final = bytes([0x90 + len(STANDING)])  # how msgpack begins a row of a standing
_ZERO: Final = 10**16  # microseconds; added to instants, so that those before 1970 sort too

# the library reads no binary type; a packer that is made once takes a third of the time
pack: Callable[[object], bytes] = msgpack.Packer(use_bin_type=False).pack
unpack: Callable[[bytes], Any] = msgpack.unpackb


def stamp(at: int) -> str:
    """An instant that sorts as text."""
    return str(at + _ZERO).zfill(STAMP)


def instant_of(text: str) -> int:
    """The inverse of `stamp`."""
    return int(text) - _ZERO


def tail(seq: int, id: str) -> str:
    """What the member of a job ends with in every sorted set."""
    return f"{seq:012d}{id}"


def or_false(value: Any) -> Any:
    """None as the library keeps it: a hole would end a Lua array."""
    return False if value is None else value


def or_none(value: Any) -> Any:
    """The inverse of `or_false`, for what is never False."""
    return None if value is False else value


def pack_spec(spec: JobSpec, key: str | None = None) -> bytes:
    """The row of a spec; behind it the idempotency key with which the job came, if any: else no one finds it by job."""
    details = spec.details
    row = (
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
        None if details is NO_DETAILS else details.to_json(),
    )
    return pack(row if key is None else (*row, key))


def pack_standing(standing: Standing) -> bytes:
    """The row of a standing. Only a job that has run can have something beside it."""
    started_at, finished_at, holder = standing.started_at, standing.finished_at, standing.holder
    return pack(
        (
            standing.seq,
            standing.state,
            standing.version,
            standing.attempt,
            standing.runs,
            standing.crashes,
            standing.run_at,
            False if started_at is None else started_at,
            False if finished_at is None else finished_at,
            False if holder is None else holder,
            1 if standing.runs else 0,
        )
    )


def head_of(standing: Standing) -> bytes:
    """What the row of a standing begins with as long as it has this version: seq, state, version."""
    return _HEAD + pack((standing.seq, standing.state, standing.version))[1:]


def make_spec(row: Sequence[Any]) -> JobSpec:
    """A spec from its row."""
    id, type, payload, queue, priority, front, max_attempts, timeout, created_at, owner, details, *_ = row
    return JobSpec(
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
        NO_DETAILS if details is None else Details.from_json(details),
    )


def pack_progress(said: Progress) -> bytes:
    """The row of a progress."""
    return pack((said.done, said.total, said.message))


def pack_line(line: LogLine) -> bytes:
    """The row of a log line."""
    return pack((line.at, line.run, line.text))


def pack_key(key: IdempotencyKey) -> str:
    """An idempotency key as one text: with the length of its scope, so that no other split reads the same."""
    return f"{len(key.scope)}:{key.scope}{key.key}"


def make_kept(row: Sequence[Any]) -> Kept:
    """A job as the library exports it: its record, its unique key, and its idempotency key."""
    record, unique, idempotency = row
    job = make_record(record)
    given = None
    if idempotency is not None:
        digest, _, _, expires_at = idempotency
        length, _, rest = str(record[0][len(SPEC)]).partition(":")
        scope = rest[: int(length)]
        given = IdempotencyKey(scope=scope, key=rest[int(length) :], digest=digest, expires_at=expires_at)
    key = None
    if unique is not None:
        key = UniqueKey(key=unique[0], states=frozenset(), expires_at=or_none(unique[1]))
    return Kept(job=job, unique=key, idempotency=given)


def make_record(row: Sequence[Any]) -> JobRecord:
    """A record as the library sends it: spec and standing, and for those that have it what is kept beside."""
    seq, state, version, attempt, runs, crashes, run_at, started_at, finished_at, holder, _ = row[1]
    spec = make_spec(row[0])
    standing = Standing(
        seq,
        state,
        version,
        attempt,
        runs,
        crashes,
        run_at,
        None if started_at is False else started_at,
        None if finished_at is False else finished_at,
        None if holder is False else holder,
    )
    if len(row) == 2:
        return JobRecord(spec, standing)
    _, _, result, errors, progress, log, saved, stop = row
    return JobRecord(
        spec,
        standing,
        result,
        tuple(map(AttemptError.from_json, errors)),
        None if progress is None else Progress(done=progress[0], total=progress[1], message=progress[2]),
        tuple(LogLine(at=at, run=run, text=text) for at, run, text in log),
        saved,
        stop,
    )
