"""Taking work: what is due becomes pending, and the first of what is ready is claimed.

The deltas are the core's bulk steps.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, cast

from actors.core.job import NO_DETAILS, Details, JobRecord, JobSpec, Standing
from actors.core.lifecycle import PROMOTION, Bulk, bulk_claim
from actors.store.port import Claim
from actors.store.sqlite.rows import SPEC, load, one_json, to_json
from actors.store.sqlite.schema import PENDING, SCHEDULED
from actors.store.sqlite.tally import Tally

PROMOTED_AT_ONCE: Final = (
    10_000  # a commit of a million would hold everybody up; `next_due` then says that there is more
)

_DUE: Final = f"""SELECT json_group_array(json_array(seq, queue, priority)) FROM (
    SELECT seq, queue, priority FROM standing WHERE state = '{SCHEDULED}' AND run_at <= ?
    ORDER BY run_at, seq LIMIT ?)"""

_READY: Final = f"""FROM standing s INDEXED BY ready CROSS JOIN job j ON j.seq = s.seq
    WHERE s.state = '{PENDING}' AND s.queue = ?{{queue}} AND s.type IN (SELECT value FROM json_each(?1))
    AND NOT EXISTS (SELECT 1 FROM setting WHERE key = 'paused/' || ?{{queue}})
    ORDER BY s.priority DESC, s.front, s.run_at, s.seq LIMIT ?{{limit}}"""
_NAMES: Final = (*SPEC.replace("j.", "").split(", "), "seq", "version", "attempt", "runs", "crashes", "run_at")
QUEUE, PRIORITY, SEQ = (_NAMES.index(name) for name in ("queue", "priority", "seq"))
_COLUMNS: Final = f"{SPEC}, s.seq, s.version, s.attempt, s.runs, s.crashes, s.run_at".split(", ")
# whether the side tables may have something of it: it ran before, or died and was replayed
_SEASONED: Final = "s.runs > 0 OR EXISTS (SELECT 1 FROM attempt_error WHERE seq = s.seq)"


@lru_cache(maxsize=16)
def _take_sql(queues: int) -> str:
    chosen = ", ".join(f"{column} AS {name}" for column, name in zip(_COLUMNS, _NAMES, strict=True))
    parts = (
        f"SELECT * FROM (SELECT {chosen}, {_SEASONED} AS seasoned {_READY.format(queue=place, limit=place + 1)})"
        for place in range(2, 2 * queues + 1, 2)
    )
    return f"SELECT json_group_array(json_array({', '.join(_NAMES)}, seasoned)) FROM ({' UNION ALL '.join(parts)})"


@lru_cache(maxsize=16)
def _bulk_sql(names: tuple[str, ...], grown: tuple[tuple[str, int], ...]) -> str:
    changes = [f"{name} = ?" for name in names] + [f"{name} = {name} + {by}" for name, by in grown]
    return f"UPDATE standing SET {', '.join(changes)} WHERE seq IN (SELECT value FROM json_each(?))"


def _apply(connection: sqlite3.Connection, bulk: Bulk, seqs: Sequence[int]) -> None:
    sql = _bulk_sql(tuple(bulk.sets), tuple(bulk.adds.items()))
    connection.execute(sql, (*bulk.sets.values(), to_json(seqs)))


def promote(connection: sqlite3.Connection, now: int, tally: Tally) -> list[int]:
    """Make pending what is due at `now`, at most `PROMOTED_AT_ONCE` jobs, earliest first; their seqs."""
    due = one_json(connection, _DUE, (now, PROMOTED_AT_ONCE))
    if not due:
        return []
    seqs = [seq for seq, _, _ in due]
    _apply(connection, PROMOTION, seqs)
    for (queue, priority), jobs in Counter((queue, priority) for _, queue, priority in due).items():
        tally.leave(queue, priority, PROMOTION.source, jobs)
        tally.enter(queue, priority, PROMOTION.target, jobs)
    return seqs


def is_work(connection: sqlite3.Connection, claims: Sequence[Claim], types: frozenset[str]) -> bool:
    """Whether a claim would find something; reads only."""
    queues = {claim.queue for claim in claims if claim.limit > 0}
    return any(_ready(connection, {queue: 1}, types) for queue in queues)


def _ready(connection: sqlite3.Connection, limits: dict[str, int], types: frozenset[str]) -> list[list[Any]]:
    parameters: list[Any] = [to_json(list(types))]
    for queue, limit in limits.items():
        parameters += (queue, limit)
    rows: list[list[Any]] = one_json(connection, _take_sql(len(limits)), parameters)
    return rows


def take(
    connection: sqlite3.Connection, holder: str, now: int, claims: Sequence[Claim], types: frozenset[str], tally: Tally
) -> list[JobRecord]:
    """Claim the first pending jobs of each queue for `holder`, as they stand then; nothing from a paused queue."""
    bulk = bulk_claim(now, holder)
    claimed: list[JobRecord] = []
    limits: dict[str, int] = {}
    for claim in claims:
        if claim.queue in limits:  # a later claim of the same queue takes what the first one left
            claimed += _take(connection, bulk, limits, types, tally)
            limits = {}
        if claim.limit > 0:
            limits[claim.queue] = claim.limit
    return claimed + _take(connection, bulk, limits, types, tally)


def _take(
    connection: sqlite3.Connection, bulk: Bulk, limits: dict[str, int], types: frozenset[str], tally: Tally
) -> list[JobRecord]:
    rows = _ready(connection, limits, types) if limits else []
    if not rows:
        return []
    _apply(connection, bulk, [row[SEQ] for row in rows])
    sets, adds = cast("dict[str, Any]", bulk.sets), bulk.adds
    state, started_at, finished_at, taker = bulk.target, sets["started_at"], sets["finished_at"], sets["holder"]
    versions, attempts, runs, crashes = (adds.get(name, 0) for name in ("version", "attempt", "runs", "crashes"))
    claimed: list[JobRecord] = []
    seasoned: dict[int, int] = {}
    for row in rows:  # `make_spec` and a standing of its own would take the row apart twice: a third of this loop
        # fmt: off
        (
            id, type, payload, queue, priority, front, max_attempts, timeout, created_at, owner, details,
            seq, version, attempt, run, crash, run_at, old,
        ) = row
        # fmt: on
        if old:
            seasoned[seq] = len(claimed)
        claimed.append(
            JobRecord(
                JobSpec(
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
                ),
                Standing(
                    seq,
                    state,
                    version + versions,
                    attempt + attempts,
                    run + runs,
                    crash + crashes,
                    run_at,
                    started_at,
                    finished_at,
                    taker,
                ),
            )
        )
    if seasoned:
        for record in load(connection, seasoned):
            claimed[seasoned[record.standing.seq]] = record
    for (queue, priority), jobs in Counter([(row[QUEUE], row[PRIORITY]) for row in rows]).items():
        tally.leave(queue, priority, bulk.source, jobs)
        tally.enter(queue, priority, bulk.target, jobs)
    return claimed
