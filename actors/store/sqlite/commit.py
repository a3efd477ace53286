"""One tick in one transaction: the parts of a batch in the port's order, then the tick and its outcome."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, Final

import attrs
import orjson

from actors.core.errors import StoreError
from actors.core.events import Cursor
from actors.core.job import JobRecord, Standing
from actors.store.event_log import Row, rows_of
from actors.store.port import Batch, Outcome, Refusal
from actors.store.sqlite import claims, event_log, schedules, writes
from actors.store.sqlite.inserts import add_jobs
from actors.store.sqlite.rows import load, to_json
from actors.store.sqlite.schema import SCHEDULED
from actors.store.sqlite.tally import Tally

_NEXT_DUE: Final = f"(SELECT run_at FROM standing WHERE state = '{SCHEDULED}' ORDER BY run_at LIMIT 1)"
_STOPS: Final = """(SELECT json_group_array(json_array(j.id, s.stop))
    FROM standing s INDEXED BY stopping JOIN job j USING (seq)
    WHERE s.stop IS NOT NULL AND (s.holder = :holder OR s.holder IS NULL))"""
_OTHERS: Final = "(SELECT json_group_array(name) FROM holder WHERE name <> :holder)"

_LOOK: Final = f"""SELECT h.tick, CASE WHEN h.tick = :tick THEN h.outcome END, accepted, {_NEXT_DUE}, log, last, until
    FROM tally CROSS JOIN listening LEFT JOIN holder h ON h.name = :holder"""
_LISTEN: Final = f"SELECT {_NEXT_DUE}, {_STOPS}, {_OTHERS}"
_FINISH: Final = f"""UPDATE holder SET tick = :tick, outcome = :outcome WHERE name = :holder
    RETURNING {_NEXT_DUE}, {_STOPS}, {_OTHERS}"""
# both at once, for what is expected to change nothing of it; no row for a tick that is repeated, or nobody's, nor while
# somebody listens
_LOOK_AND_FINISH: Final = f"""UPDATE holder SET tick = :tick, outcome = :outcome WHERE name = :holder AND tick <> :tick
    AND (SELECT until FROM listening) IS NULL
    RETURNING {_NEXT_DUE}, {_STOPS}, {_OTHERS}, (SELECT accepted FROM tally)"""


@attrs.frozen
class Done:
    """What a commit did, and whom to tell."""

    outcome: Outcome
    others: list[str]  # the other holders that are open, in this process or another
    news: bool  # whether they may want to look
    logged: bool = False  # whether those that listen may want to


def commit(connection: sqlite3.Connection, begin: Callable[[], object], holder: str, tick: int, batch: Batch) -> Done:
    """Apply `batch`, or answer as the last time when `tick` is the holder's last one. `begin` opens the transaction.

    On any error the transaction is rolled back and the connection usable. What finds nothing to do writes nothing.
    """
    if (nothing := look(connection, holder, tick, batch)) is not None:
        return nothing
    for careful in (False, True):
        begin()
        try:
            done = _apply(connection, holder, tick, batch, careful=careful)
            connection.execute("COMMIT")
            return done
        except (writes.Mismatch, sqlite3.IntegrityError):
            if careful:
                raise
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
    raise AssertionError("the careful pass returns or raises")


def look(connection: sqlite3.Connection, holder: str, tick: int, batch: Batch) -> Done | None:
    """What a commit of `batch` would answer that finds nothing to do; None when there is something. Only reads."""
    if _asks_only(batch) and _finds_nothing(connection, holder, tick, batch):
        return _listen(connection, holder, Outcome())
    return None


def _asks_only(batch: Batch) -> bool:
    return not batch.inserts and _touches_nothing(batch)


def _inserts_only(batch: Batch) -> bool:
    """Whether it only adds jobs that begin here: nothing can lose, and nobody has to stop because of it."""
    return (
        bool(batch.inserts)
        and not batch.claims
        and _touches_nothing(batch)
        and not any(insert.past is not None for insert in batch.inserts)
    )


def _touches_nothing(batch: Batch) -> bool:
    """Whether it changes nothing that is there already, by its own parts."""
    return not (
        batch.settings
        or batch.schedules
        or batch.forget_schedules
        or batch.schedule_moves
        or batch.schedule_errors
        or batch.notes
        or batch.writes
        or batch.stops
        or batch.deletes
        or batch.listen
    )


def _finds_nothing(connection: sqlite3.Connection, holder: str, tick: int, batch: Batch) -> bool:
    """Whether there is nothing to promote or to claim, nor a first outcome to be repeated."""
    ((last_tick, remembered, _, next_due, *_),) = connection.execute(_LOOK, {"holder": holder, "tick": tick}).fetchall()
    if last_tick is None or remembered is not None or (next_due is not None and next_due <= batch.now):
        return False
    return not (batch.claims and batch.types and claims.is_work(connection, batch.claims, batch.types))


def _apply(connection: sqlite3.Connection, holder: str, tick: int, batch: Batch, *, careful: bool) -> Done:
    names = {"holder": holder, "tick": tick}
    if not careful and _inserts_only(batch):
        first = connection.execute(_LOOK_AND_FINISH, {**names, "outcome": _NOTHING}).fetchall()
        if first:
            return _insert(connection, names, batch, *first[0])
    ((last_tick, remembered, accepted, next_due, log, last, until),) = connection.execute(_LOOK, names).fetchall()
    if last_tick is None:
        raise StoreError(f"holder {holder!r} is not open: expected open() first")
    if remembered is not None:
        return _listen(connection, holder, _recall(connection, remembered))
    outcome, tally = Outcome(), Tally()
    open_log: Cursor | None = None
    noted: list[Row] = []
    if until is not None or batch.listen:
        open_log = event_log.begin(connection, batch.now, Cursor(log, last), until, listen=batch.listen)
        outcome.log = open_log if batch.listen else None
    news = bool(batch.settings or batch.schedules or batch.forget_schedules or batch.schedule_moves or batch.stops)
    if batch.settings:
        schedules.change_settings(connection, batch.settings)
    if batch.schedules:
        schedules.put_schedules(connection, batch.schedules)
    if batch.forget_schedules:
        schedules.forget_schedules(connection, batch.forget_schedules)
    lost_groups = (
        writes.losing_groups(connection, batch)
        if careful or any(move.group for move in batch.schedule_moves)
        else set[int]()
    )
    if batch.schedule_moves:
        outcome.lost_moves = schedules.move_schedules(connection, batch.schedule_moves, lost_groups)
    if batch.schedule_errors:
        schedules.count_errors(connection, batch.schedule_errors)
    if batch.notes:
        if open_log is not None:
            noted = event_log.noted(connection, batch.notes)
        writes.keep_notes(connection, batch.notes)
    if batch.writes:
        if careful or lost_groups:
            outcome.lost, waiting = writes.write_some(connection, batch.writes, lost_groups, tally)
        else:
            waiting = writes.write_all(connection, batch.writes, tally)
        news = news or waiting
    if batch.inserts:
        outcome.refused = add_jobs(connection, batch.inserts, batch.now, accepted, lost_groups, tally, all_ids=careful)
        news = news or tally.accepted > 0
    if batch.stops:
        outcome.unstopped = writes.ask_to_stop(connection, batch.stops)
    if batch.deletes:
        outcome.undeleted = writes.delete_all(connection, batch.deletes, tally)
    moved: list[JobRecord] = []
    if (next_due is not None and next_due <= batch.now) or tally.entered(SCHEDULED):
        moved = _promote(connection, batch, outcome, tally, listed=batch.list_promoted or open_log is not None)
    if batch.claims and batch.types:
        outcome.claimed = claims.take(connection, holder, batch.now, batch.claims, batch.types, tally)
    tally.write(connection)
    rows = noted + rows_of(batch, outcome, moved) if open_log is not None else None
    if rows and open_log is not None:
        event_log.append(connection, open_log, batch.now, holder, rows)
    return _finish(connection, names, outcome, news=news, logged=bool(rows))


def _insert(
    connection: sqlite3.Connection,
    names: dict[str, Any],
    batch: Batch,
    next_due: int | None,
    stops: str,
    others: str,
    accepted: int,
) -> Done:
    """`_apply` of a batch of inserts only, whose tick is finished already as one that left nothing to remember."""
    outcome, tally = Outcome(), Tally()
    outcome.refused = add_jobs(connection, batch.inserts, batch.now, accepted, set(), tally, all_ids=False)
    stale = bool(outcome.refused)
    if (next_due is not None and next_due <= batch.now) or tally.entered(SCHEDULED):
        _promote(connection, batch, outcome, tally, listed=batch.list_promoted)
        stale = True
    tally.write(connection)
    news = tally.accepted > 0
    if stale:
        return _finish(connection, names, outcome, news=news)
    return _done(outcome, next_due, stops, others, news=news)


def _promote(
    connection: sqlite3.Connection, batch: Batch, outcome: Outcome, tally: Tally, *, listed: bool
) -> list[JobRecord]:
    """Make pending what is due; those jobs, if they are to be `listed`."""
    promoted = claims.promote(connection, batch.now, tally)
    if not promoted or not listed:
        return []
    moved = [JobRecord(record.spec, record.standing, None, record.errors) for record in load(connection, promoted)]
    if batch.list_promoted:
        outcome.promoted = moved
    return moved


def _finish(
    connection: sqlite3.Connection, names: dict[str, Any], outcome: Outcome, *, news: bool, logged: bool = False
) -> Done:
    remembered = _NOTHING if outcome == _NO_OUTCOME else _remember(outcome)
    ((next_due, stops, others),) = connection.execute(_FINISH, {**names, "outcome": remembered}).fetchall()
    return _done(outcome, next_due, stops, others, news=news, logged=logged)


def _remember(outcome: Outcome) -> str:
    """The inverse of `_recall`."""
    return to_json(
        {
            "refused": [
                (index, refusal.verdict, refusal.id, refusal.state) for index, refusal in outcome.refused.items()
            ],
            "lost": list(outcome.lost),
            "lost_moves": list(outcome.lost_moves),
            "undeleted": list(outcome.undeleted),
            "unstopped": list(outcome.unstopped),
            "claimed": [record.standing.seq for record in outcome.claimed],
            "promoted": [attrs.astuple(record.standing) for record in outcome.promoted],
            "log": None if outcome.log is None else (outcome.log.log, outcome.log.number),
        }
    )


def _listen(connection: sqlite3.Connection, holder: str, outcome: Outcome) -> Done:
    ((next_due, stops, others),) = connection.execute(_LISTEN, {"holder": holder}).fetchall()
    return _done(outcome, next_due, stops, others, news=False)


def _done(outcome: Outcome, next_due: int | None, stops: str, others: str, *, news: bool, logged: bool = False) -> Done:
    outcome.next_due = next_due
    outcome.stops = [(id, reason) for id, reason in orjson.loads(stops)]
    return Done(outcome, orjson.loads(others), news, logged)


def _recall(connection: sqlite3.Connection, remembered: str) -> Outcome:
    """The outcome of the holder's last tick; its claimed jobs as they stand now."""
    kept = orjson.loads(remembered)
    stood = {standing[0]: Standing(*standing) for standing in kept["promoted"]}
    return Outcome(
        refused={index: Refusal(verdict, id, state) for index, verdict, id, state in kept["refused"]},
        lost=set(kept["lost"]),
        lost_moves=set(kept["lost_moves"]),
        undeleted=set(kept["undeleted"]),
        unstopped=set(kept["unstopped"]),
        claimed=load(connection, kept["claimed"]) if kept["claimed"] else [],
        promoted=[
            JobRecord(record.spec, stood[record.standing.seq], None, record.errors)
            for record in (load(connection, stood) if stood else [])
        ],
        log=Cursor(*log) if (log := kept.get("log")) is not None else None,
    )


_NO_OUTCOME: Final = Outcome()
_NOTHING: Final = _remember(_NO_OUTCOME)  # what most ticks that only insert leave behind
