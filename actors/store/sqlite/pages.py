"""Pages of jobs: a query becomes one walk over the index that fits it, and the page's records are loaded by number."""

from __future__ import annotations

import re
import sqlite3
from typing import Any, Final

from actors.core.errors import BadOption
from actors.core.job import FINAL, STATES, JobRecord
from actors.store.port import IdempotencyKey, Kept, Page, Query, UniqueKey
from actors.store.sqlite.rows import load, one_json, to_json
from actors.store.sqlite.schema import CANDIDATES
from actors.store.sqlite.tally import read_counts

_LAST_ERROR: Final = "(SELECT body FROM attempt_error WHERE seq = s.seq ORDER BY n DESC LIMIT 1)"
_MENTIONS: Final = f"""(instr(j.id, :text) OR instr(j.type, :text)
    OR instr(json_extract({_LAST_ERROR}, '$.type'), :text) OR instr(json_extract({_LAST_ERROR}, '$.message'), :text))"""
_BY_ID: Final = "SELECT json_group_array(seq) FROM job WHERE id IN (SELECT value FROM json_each(?))"

_NEXT: Final = """SELECT json_group_array(seq) FROM (
    SELECT s.seq AS seq FROM standing s CROSS JOIN job j ON j.seq = s.seq WHERE s.seq > ? ORDER BY s.seq LIMIT ?)"""
_UNIQUE_OF: Final = """SELECT json_group_array(json_array(k.seq, k.key, k.expires_at))
    FROM json_each(?) e CROSS JOIN unique_key k ON k.seq = e.value"""
_IDEMPOTENCY_OF: Final = """SELECT json_group_array(json_array(k.seq, k.scope, k.key, k.digest, k.expires_at))
    FROM json_each(?) e CROSS JOIN idempotency_key k ON k.seq = e.value"""


def get(connection: sqlite3.Connection, ids: list[str]) -> dict[str, JobRecord]:
    """The jobs with these ids; unknown ids are absent."""
    seqs = one_json(connection, _BY_ID, (to_json(ids),))
    return {record.spec.id: record for record in load(connection, seqs)} if seqs else {}


def export(connection: sqlite3.Connection, after: int, limit: int) -> list[Kept]:
    """The next jobs by number, with their keys."""
    jobs = load(connection, one_json(connection, _NEXT, (after, limit)))
    asked = (to_json([job.standing.seq for job in jobs]),)
    unique = {
        seq: UniqueKey(key=key, states=frozenset(), expires_at=expires_at)
        for seq, key, expires_at in one_json(connection, _UNIQUE_OF, asked)
    }
    idempotency = {
        seq: IdempotencyKey(scope=scope, key=key, digest=digest, expires_at=expires_at)
        for seq, scope, key, digest, expires_at in one_json(connection, _IDEMPOTENCY_OF, asked)
    }
    return [
        Kept(job=job, unique=unique.get(job.standing.seq), idempotency=idempotency.get(job.standing.seq))
        for job in jobs
    ]


def find(connection: sqlite3.Connection, query: Query) -> Page:
    """One page of the jobs that match.

    A rare match among many jobs costs a scan, unless an owner, a tag, a holder or rare states find it.
    """
    after = None if query.after is None else _read_cursor(query.after, query.order)
    sql, parameters = _page_sql(connection, query, after)
    seqs: list[int] = one_json(connection, sql, parameters)
    jobs = load(connection, seqs[: query.limit]) if query.limit else []
    if len(seqs) <= query.limit:
        return Page(jobs, None)
    return Page(jobs, _cursor(jobs[-1], query.order) if jobs else query.after)


def _page_sql(
    connection: sqlite3.Connection, query: Query, after: tuple[int, int] | None
) -> tuple[str, dict[str, Any]]:
    """The statement that gives the numbers of one page and one more, as a JSON array, and its parameters."""
    finished = query.order == "finished"
    states = query.states if query.states is not None else frozenset(STATES)
    wanted = sorted(states & FINAL if finished else states)
    tests = ["s.state IN (SELECT value FROM json_each(:states))"]
    if not wanted:
        return "SELECT '[]'", {}
    parameters: dict[str, Any] = {"states": to_json(wanted), "limit": query.limit + 1}
    for name, column in (("type", "j.type"), ("queue", "j.queue"), ("owner", "j.owner"), ("holder", "s.holder")):
        if (given := getattr(query, name)) is not None:
            tests.append(f"{column} = :{name}")
            parameters[name] = given
    if query.text is not None:
        tests.append(_MENTIONS)
        parameters["text"] = query.text
    if after is not None:
        tests.append("(s.finished_at, s.seq) < (:at, :below)" if finished else "s.seq < :below")
        parameters |= {"at": after[0], "below": after[1]}
    order = "s.finished_at DESC, s.seq DESC" if finished else "s.seq DESC"
    if query.tag is not None:
        parameters["tag"] = query.tag
        walk = "tag t CROSS JOIN job j ON j.seq = t.seq CROSS JOIN standing s ON s.seq = t.seq"
        tests.append("t.tag = :tag")
        order = order if finished else "t.seq DESC"
    elif query.owner is not None:
        walk = "job j INDEXED BY job_owner CROSS JOIN standing s ON s.seq = j.seq"
        order = order if finished else "j.seq DESC"
    elif query.holder is not None:
        walk = "standing s INDEXED BY held CROSS JOIN job j ON j.seq = s.seq"
    elif finished:
        return _merge(wanted, tests, order), parameters
    elif query.states is not None and _are_rare(connection, wanted):
        few = " UNION ALL ".join(f"SELECT seq FROM standing WHERE {CANDIDATES[state]}" for state in wanted)
        walk = f"({few}) c CROSS JOIN standing s ON s.seq = c.seq CROSS JOIN job j ON j.seq = c.seq"
    else:
        walk = "standing s NOT INDEXED CROSS JOIN job j ON j.seq = s.seq"
    chosen = f"SELECT s.seq AS seq FROM {walk} WHERE {' AND '.join(tests)} ORDER BY {order} LIMIT :limit"
    return f"SELECT json_group_array(seq) FROM ({chosen})", parameters


def _merge(states: list[Any], tests: list[str], order: str) -> str:
    """A walk down the index of each final state, and the first of them all."""
    parts = (
        f"""SELECT * FROM (SELECT s.seq AS seq, s.finished_at AS finished_at
            FROM standing s INDEXED BY ended CROSS JOIN job j ON j.seq = s.seq
            WHERE s.{CANDIDATES[state]} AND {" AND ".join(tests)} ORDER BY {order} LIMIT :limit)"""
        for state in states
    )
    first = f"SELECT seq FROM ({' UNION ALL '.join(parts)}) ORDER BY finished_at DESC, seq DESC LIMIT :limit"
    return f"SELECT json_group_array(seq) FROM ({first})"


def _are_rare(connection: sqlite3.Connection, states: list[Any]) -> bool:
    """Whether to sort the jobs of these states is better than to walk all jobs, the newest of which may not match."""
    now = read_counts(connection).now
    total = sum(now.values())
    matching = sum(count for (_, _, state), count in now.items() if state in states)
    return matching * 4 < total


def _cursor(last: JobRecord, order: str) -> str:
    return f"{order[0]}{last.standing.finished_at or 0}.{last.standing.seq}"


def _read_cursor(given: str, order: str) -> tuple[int, int]:
    read = re.fullmatch(r"([nf])([0-9]{1,18})\.([0-9]{1,18})", given, re.ASCII)
    if read is None or read[1] != order[0]:
        raise BadOption("after", given, f"the cursor of a page of the order {order}")
    return int(read[2]), int(read[3])
