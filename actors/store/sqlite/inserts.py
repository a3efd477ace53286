"""New jobs: numbered in order, and refused where an id, a key or a limit says so.

Ids that the core made need no look-up.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from actors.core.job import NO_DETAILS, JobRecord, State
from actors.store.port import Insert, Refusal
from actors.store.sqlite.rows import chunks, marks, members, one_json, to_json
from actors.store.sqlite.schema import PENDING, SCHEDULED
from actors.store.sqlite.tally import Tally
from actors.store.sqlite.writes import keep_pasts

_JOB_WIDTH: Final = 12
_STANDING_WIDTH: Final = 16
_WAITING: Final[tuple[State, ...]] = (SCHEDULED, PENDING)

_ALL_JOBS: Final = "INSERT INTO job VALUES {}"
# LIMIT cuts off the padding
_JOBS: Final = "INSERT INTO job SELECT * FROM (VALUES {}) LIMIT ?"
_ALL_STANDINGS: Final = "INSERT INTO standing VALUES {}"
_STANDINGS: Final = "INSERT INTO standing SELECT * FROM (VALUES {}) LIMIT ?"
# a third of the price, for jobs that all start alike: the copied columns need not pass through Python again
_ALIKE: Final = """INSERT INTO standing SELECT seq, ?, queue, type, priority, front, created_at + ?,
    ?, ?, ?, ?, ?, ?, ?, NULL, NULL FROM job WHERE seq BETWEEN ? AND ?"""

_BY_ID: Final = """SELECT json_group_array(json_array(j.id, j.seq, j.owner, j.type, j.payload, s.state))
    FROM job j JOIN standing s USING (seq) WHERE j.id IN (SELECT value FROM json_each(?))"""
_BY_UNIQUE: Final = """SELECT json_group_array(json_array(key, id, state, expires_at)) FROM (
    SELECT u.key, j.id, s.state, u.expires_at FROM unique_key u JOIN job j USING (seq) JOIN standing s USING (seq)
    WHERE u.key IN (SELECT value FROM json_each(?)) ORDER BY u.key, u.seq)"""
_BY_IDEMPOTENCY: Final = """SELECT json_group_array(json_array(k.scope, k.key, k.digest, j.id, s.state, k.expires_at))
    FROM json_each(?) e CROSS JOIN idempotency_key k
    ON k.scope = json_extract(e.value, '$[0]') AND k.key = json_extract(e.value, '$[1]')
    JOIN job j USING (seq) JOIN standing s USING (seq)"""
_WAITING_NOW: Final = f"""SELECT json_group_object(queue, n) FROM (SELECT queue, sum(now) AS n FROM counter
    WHERE state IN {_WAITING} AND queue IN (SELECT value FROM json_each(?)) GROUP BY queue)"""


class Lookups:
    """What is known of the ids, keys and queues that a batch's inserts name; kept up with the inserts that are made."""

    def __init__(self, connection: sqlite3.Connection, inserts: Sequence[Insert], now: int, *, all_ids: bool) -> None:
        self._now = now
        ids = [insert.spec.id for insert in inserts if insert.own_id or all_ids]
        unique = list({insert.unique.key for insert in inserts if insert.unique is not None})
        idempotency = list(
            {(insert.idempotency.scope, insert.idempotency.key) for insert in inserts if insert.idempotency is not None}
        )
        limited = list({insert.spec.queue for insert in inserts if insert.limit is not None})
        self._ids: dict[str, tuple[tuple[str | None, str, str], State]] = {}
        self._unique: dict[str, list[tuple[str, State, int | None]]] = {}
        self._idempotency: dict[tuple[str, str], tuple[str, str, State, int]] = {}
        self._waiting: dict[str, int] = one_json(connection, _WAITING_NOW, (to_json(limited),)) if limited else {}
        if ids:
            for id, _, owner, type, payload, state in one_json(connection, _BY_ID, (to_json(ids),)):
                self._ids[id] = ((owner, type, payload), state)
        if unique:
            for key, id, state, expires_at in one_json(connection, _BY_UNIQUE, (to_json(unique),)):
                self._unique.setdefault(key, []).append((id, state, expires_at))
        if idempotency:
            for scope, key, digest, id, state, expires_at in one_json(
                connection, _BY_IDEMPOTENCY, (to_json(idempotency),)
            ):
                self._idempotency[scope, key] = (digest, id, state, expires_at)

    def refusal(self, insert: Insert, tally: Tally) -> Refusal | None:
        """Why `insert` can't be made, in the order that the port gives; None when it can."""
        spec = insert.spec
        if (given := insert.idempotency) is not None:
            taken = self._idempotency.get((given.scope, given.key))
            if taken is not None and self._now < taken[3]:
                return Refusal("existing" if taken[0] == given.digest else "conflict", taken[1], taken[2])
        if (other := self._ids.get(spec.id)) is not None:
            equal = other[0] == (spec.owner, spec.type, spec.payload)
            return Refusal("existing" if equal else "conflict", spec.id, other[1])
        if insert.unique is not None:
            for id, state, expires_at in self._unique.get(insert.unique.key, ()):
                if state in insert.unique.states and (expires_at is None or self._now < expires_at):
                    return Refusal("unique", id, state)
        if (
            insert.limit is not None
            and self._waiting.get(spec.queue, 0) + tally.gained(spec.queue, _WAITING) >= insert.limit
        ):
            return Refusal("full")
        return None

    def made(self, insert: Insert) -> None:
        """`insert` is among the jobs now."""
        spec, state = insert.spec, insert.standing.state
        self._ids[spec.id] = ((spec.owner, spec.type, spec.payload), state)
        if insert.unique is not None:
            self._unique.setdefault(insert.unique.key, []).append((spec.id, state, insert.unique.expires_at))
        if (given := insert.idempotency) is not None:
            self._idempotency[given.scope, given.key] = (given.digest, spec.id, state, given.expires_at)


def add_jobs(
    connection: sqlite3.Connection,
    inserts: Sequence[Insert],
    now: int,
    accepted: int,
    lost_groups: set[int],
    tally: Tally,
    *,
    all_ids: bool,
) -> dict[int, Refusal]:
    """Insert the jobs that nothing speaks against, numbered from `accepted + 1`; why the others were refused, by index.

    `all_ids` looks up also the ids that the core made. Writes, and their deltas in `tally`, must be there already:
    limits count them.
    """
    checked = all_ids or any(
        insert.own_id or insert.unique is not None or insert.idempotency is not None or insert.limit is not None
        for insert in inserts
    )
    refused: dict[int, Refusal] = {}
    made: Sequence[Insert] = inserts
    if checked or lost_groups:
        made = []
        lookups = Lookups(connection, inserts, now, all_ids=all_ids) if checked else None
        for index, insert in enumerate(inserts):
            why = Refusal("lost") if insert.group and insert.group in lost_groups else None
            if why is None and lookups is not None and (why := lookups.refusal(insert, tally)) is None:
                lookups.made(insert)
            if why is not None:
                refused[index] = why
                continue
            tally.enter(insert.spec.queue, insert.spec.priority, insert.standing.state)  # limits count it
            made.append(insert)
    else:
        tally.enter_all([(insert.spec.queue, insert.spec.priority, insert.standing.state) for insert in inserts])
    if made:
        tally.accepted += len(made)
        _add_rows(connection, made, accepted + 1)
        _add_rest(connection, made, accepted + 1)
    return refused


def _add_rows(connection: sqlite3.Connection, made: Sequence[Insert], first: int) -> None:
    jobs: list[Any] = []
    start, created_at = made[0].standing, made[0].spec.created_at
    alike, all_alike = _start(made[0]), True
    for seq, insert in enumerate(made, first):
        spec, standing = insert.spec, insert.standing
        details, timeout = spec.details, spec.timeout
        jobs += (
            seq,
            spec.id,
            spec.type,
            spec.payload,
            spec.queue,
            spec.priority,
            spec.front,
            spec.max_attempts,
            None if timeout is None else repr(timeout),
            spec.created_at,
            spec.owner,
            None if details is NO_DETAILS else details.to_json(),
        )
        if standing is not start or spec.created_at != created_at:  # jobs of a bulk share theirs
            all_alike = all_alike and _start(insert) == alike
        if insert.past is not None:
            all_alike = False
    for rows, size, values in chunks(jobs, _JOB_WIDTH):
        if rows == size:
            connection.execute(_ALL_JOBS.format(marks(_JOB_WIDTH, size)), values)
        else:
            connection.execute(_JOBS.format(marks(_JOB_WIDTH, size)), [*values, rows])
    if all_alike and len(made) > 1:
        connection.execute(_ALIKE, (*alike, first, first + len(made) - 1))
    else:
        _add_standings(connection, made, first)


def _start(insert: Insert) -> tuple[Any, ...]:
    """What `_ALIKE` does not copy from the job."""
    standing = insert.standing
    return (
        standing.state,
        standing.run_at - insert.spec.created_at,
        standing.version,
        standing.attempt,
        standing.runs,
        standing.crashes,
        standing.started_at,
        standing.finished_at,
        standing.holder,
    )


def _add_standings(connection: sqlite3.Connection, made: Sequence[Insert], first: int) -> None:
    flat: list[Any] = []
    for seq, insert in enumerate(made, first):
        spec, start = insert.spec, insert.standing
        flat += (seq, start.state, spec.queue, spec.type, spec.priority, spec.front, start.run_at, start.version)
        flat += (
            start.attempt,
            start.runs,
            start.crashes,
            start.started_at,
            start.finished_at,
            start.holder,
            None if insert.past is None else insert.past.stop,
            None if insert.past is None else insert.past.result_json,
        )
    for rows, size, values in chunks(flat, _STANDING_WIDTH):
        if rows == size:
            connection.execute(_ALL_STANDINGS.format(marks(_STANDING_WIDTH, size)), values)
        else:
            connection.execute(_STANDINGS.format(marks(_STANDING_WIDTH, size)), [*values, rows])


def _add_rest(connection: sqlite3.Connection, made: Sequence[Insert], first: int) -> None:
    tags, unique, idempotency = [], [], []
    pasts: list[tuple[int, JobRecord]] = []
    for seq, insert in enumerate(made, first):
        if insert.past is not None:
            pasts.append((seq, insert.past))
        if insert.spec.details is not NO_DETAILS:
            tags += [(tag, seq) for tag in insert.spec.details.tags]
        if (key := insert.unique) is not None:
            unique.append((key.key, seq, key.expires_at))
        if (given := insert.idempotency) is not None:
            idempotency.append((given.scope, given.key, given.digest, seq, given.expires_at))
    if tags:
        connection.execute(f"INSERT OR IGNORE INTO tag SELECT {members(2)} FROM json_each(?)", (to_json(tags),))
    if unique:
        connection.execute(f"INSERT INTO unique_key SELECT {members(3)} FROM json_each(?)", (to_json(unique),))
    if idempotency:
        connection.execute(
            f"REPLACE INTO idempotency_key SELECT {members(5)} FROM json_each(?)",
            (to_json(idempotency),),
        )
    if pasts:
        keep_pasts(connection, pasts)
