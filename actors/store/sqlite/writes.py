"""Steps of jobs, by compare-and-swap on the version; and notes, stops and deletions."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, Final

from actors.core.job import JobRecord, Progress, State
from actors.store.port import MOST_LINES, Batch, Note, Stop, Write
from actors.store.sqlite import schedules
from actors.store.sqlite.rows import chunks, marks, members, one_json, to_json
from actors.store.sqlite.schema import RUNNING
from actors.store.sqlite.tally import Tally

_WIDTH: Final = 12
_APPLY: Final = """UPDATE standing SET state = w.column3, version = w.column4, attempt = w.column5, runs = w.column6,
    crashes = w.column7, run_at = w.column8, started_at = w.column9, finished_at = w.column10,
    holder = w.column11, stop = CASE WHEN w.column10 IS NULL THEN stop END, result = coalesce(w.column12, result)
    FROM (VALUES {}) AS w WHERE standing.seq = w.column1 AND standing.version = w.column2"""
# the same step of many jobs costs a third: the version tells that what is not named here is as it was read
_APPLY_ALIKE: Final = """UPDATE standing SET state = ?, version = ?, attempt = ?, runs = ?, crashes = ?, 
    finished_at = w.value, holder = ?, stop = CASE WHEN w.value IS NULL THEN stop END, result = coalesce(?, result)
    FROM json_each(?) AS w WHERE standing.seq = CAST(w.key AS INTEGER) AND version = ?"""
_ALIKE: Final = 8  # fewer than so many go with the others
_ERRORS: Final = f"INSERT INTO attempt_error (seq, body) SELECT {members(2)} FROM json_each(?)"
_FRESH: Final = """UPDATE standing SET result = w.result
    FROM (SELECT json_extract(value, '$[0]') AS seq, json_extract(value, '$[1]') AS result FROM json_each(?)) AS w
    WHERE standing.seq = w.seq"""
_VERSIONS: Final = (
    "SELECT json_group_array(json_array(seq, version)) FROM standing WHERE seq IN (SELECT value FROM json_each(?))"
)

_RUNNING_OF: Final = f"""FROM json_each(?) CROSS JOIN job ON job.id = json_extract(value, '$[0]') 
    CROSS JOIN standing USING (seq) WHERE standing.state = '{RUNNING}'"""
_NOTES: Final = f"""INSERT INTO note SELECT seq, json_extract(value, '$[2]'), json_extract(value, '$[3]') {_RUNNING_OF}
    AND standing.runs = json_extract(value, '$[1]')
    ON CONFLICT (seq) DO UPDATE SET progress = coalesce(excluded.progress, progress),
    saved = coalesce(excluded.saved, saved)"""
_LINES: Final = f"""INSERT INTO log_line (seq, at, run, text)
    SELECT seq, json_extract(value, '$[2]'), json_extract(value, '$[3]'), json_extract(value, '$[4]') {_RUNNING_OF}
    AND standing.runs = json_extract(value, '$[1]')"""
_TOO_MANY: Final = f"""DELETE FROM log_line WHERE n IN (
    SELECT old.n FROM (SELECT DISTINCT seq {_RUNNING_OF}) AS said CROSS JOIN log_line AS old ON old.seq = said.seq
    AND old.n <= (SELECT n FROM log_line WHERE seq = said.seq ORDER BY n DESC LIMIT 1 OFFSET {MOST_LINES}))"""
_STOPS: Final = f"""UPDATE standing SET stop = w.reason
    FROM (SELECT seq, json_extract(value, '$[1]') AS reason {_RUNNING_OF}) AS w
    WHERE standing.seq = w.seq AND standing.stop IS NULL"""


class Mismatch(Exception):
    """A write did not apply: the commit has to be made again, looking up everything first."""


def losing_groups(connection: sqlite3.Connection, batch: Batch) -> set[int]:
    """The groups of which a write or a schedule move will lose, found on an overlay before anything is applied."""
    kept = versions(connection, [write.job for write in batch.writes if write.group])
    moved = schedules.cursors(connection, [move.name for move in batch.schedule_moves])
    lost: set[int] = set()
    while True:
        # a lost group takes its other items back, and what was built on those in this batch loses with them
        before = len(lost)
        cursors, current = dict(moved), dict(kept)
        for move in batch.schedule_moves:
            if move.group not in lost:
                if cursors.get(move.name) == move.expect:
                    cursors[move.name] = move.cursor
                elif move.group:
                    lost.add(move.group)
        for write in batch.writes:
            if write.group not in lost:
                was = write.job.standing
                if current.get(was.seq) == was.version:
                    current[was.seq] = write.after.version
                elif write.group:
                    lost.add(write.group)
        if len(lost) == before:
            return lost


def versions(connection: sqlite3.Connection, jobs: Sequence[JobRecord]) -> dict[int, int]:
    """The stored versions of these jobs by seq; what is gone is absent."""
    rows = one_json(connection, _VERSIONS, (to_json([job.standing.seq for job in jobs]),))
    return dict(rows)


def write_all(connection: sqlite3.Connection, writes: Sequence[Write], tally: Tally) -> bool:
    """Apply the writes, all of which must apply (else `Mismatch`); whether a job has not ended because of them."""
    if len({write.job.standing.seq for write in writes}) != len(writes):
        raise Mismatch  # the second step of a job must find the first one made
    alike: dict[tuple[Any, ...], dict[str, int | None]] = {}
    others: list[Write] = []
    moves: dict[tuple[str, int, State, State], int] = {}
    errors: list[tuple[int, str]] = []
    fresh: list[tuple[int, str | None]] = []
    waiting = False
    for write in writes:
        spec, was, after = write.job.spec, write.job.standing, write.after
        seq, finished_at = was.seq, after.finished_at
        if after.run_at == was.run_at and after.started_at == was.started_at:
            change = (
                after.state,
                after.version,
                after.attempt,
                after.runs,
                after.crashes,
                after.holder,
                write.result,
                was.version,
            )
            seqs = alike.get(change)
            if seqs is None:
                alike[change] = {str(seq): finished_at}
            else:
                seqs[str(seq)] = finished_at
        else:
            others.append(write)
        move = (spec.queue, spec.priority, was.state, after.state)
        moves[move] = moves.get(move, 0) + 1
        if write.error is not None:
            errors.append((seq, write.error.to_json()))
        if write.step == "replay":
            fresh.append((seq, write.result))
        if finished_at is None:
            waiting = True
    for (queue, priority, left, entered), jobs in moves.items():
        tally.leave(queue, priority, left, jobs)
        tally.enter(queue, priority, entered, jobs)
    for change, seqs in alike.items():
        if len(seqs) >= _ALIKE and connection.execute(
            _APPLY_ALIKE, (*change[:-1], to_json(seqs), change[-1])
        ).rowcount != len(seqs):
            raise Mismatch
    few = {int(seq) for seqs in alike.values() if len(seqs) < _ALIKE for seq in seqs}
    _apply_each(connection, [*others, *(write for write in writes if write.job.standing.seq in few)] if few else others)
    if errors:
        connection.execute(_ERRORS, (to_json(errors),))
    if fresh:
        connection.execute(_FRESH, (to_json(fresh),))
        connection.execute(
            "DELETE FROM note WHERE seq IN (SELECT value FROM json_each(?))", (to_json([seq for seq, _ in fresh]),)
        )
    return waiting


def _apply_each(connection: sqlite3.Connection, writes: list[Write]) -> None:
    flat: list[Any] = []
    for write in writes:
        was, after = write.job.standing, write.after
        flat += (was.seq, was.version, after.state, after.version, after.attempt, after.runs, after.crashes)
        flat += (after.run_at, after.started_at, after.finished_at, after.holder, write.result)
    for rows, size, values in chunks(flat, _WIDTH):
        if connection.execute(_APPLY.format(marks(_WIDTH, size)), values).rowcount != rows:
            raise Mismatch


def write_some(
    connection: sqlite3.Connection, writes: Sequence[Write], lost_groups: set[int], tally: Tally
) -> tuple[set[int], bool]:
    """Apply the writes whose versions match and whose groups have not lost; the others' indexes, and as `write_all`."""
    current = versions(connection, [write.job for write in writes])
    lost: set[int] = set()
    winners: list[Write] = []
    for index, write in enumerate(writes):
        was = write.job.standing
        if write.group in lost_groups or current.get(was.seq) != was.version:
            lost.add(index)
        else:
            current[was.seq] = write.after.version
            winners.append(write)
    waiting = False
    for round in _rounds(winners):
        waiting = write_all(connection, round, tally) or waiting
    return lost, waiting


def _rounds(writes: list[Write]) -> Iterator[list[Write]]:
    """The writes in order, no job twice in one part: a statement changes a row once."""
    seen: set[int] = set()
    part: list[Write] = []
    for write in writes:
        seq = write.job.standing.seq
        if seq in seen:
            yield part
            seen, part = set(), []
        seen.add(seq)
        part.append(write)
    if part:
        yield part


def keep_notes(connection: sqlite3.Connection, notes: Sequence[Note]) -> None:
    """Keep what running bodies said of themselves."""
    said = [
        (note.id, note.run, None if note.progress is None else _progress(note.progress), note.saved)
        for note in notes
        if note.progress is not None or note.saved is not None
    ]
    lines = [(note.id, note.run, line.at, line.run, line.text) for note in notes for line in note.log]
    if said:
        connection.execute(_NOTES, (to_json(said),))
    if lines:
        connection.execute(_LINES, (to_json(lines),))
        connection.execute(_TOO_MANY, (to_json([(note.id,) for note in notes if note.log]),))


def keep_pasts(connection: sqlite3.Connection, pasts: Sequence[tuple[int, JobRecord]]) -> None:
    """Keep what jobs bring along from another store, by their numbers here (but for what is in their standings)."""
    errors = [(seq, error.to_json()) for seq, past in pasts for error in past.errors]
    said = [
        (seq, None if past.progress is None else _progress(past.progress), past.saved_json)
        for seq, past in pasts
        if past.progress is not None or past.saved_json is not None
    ]
    lines = [(seq, line.at, line.run, line.text) for seq, past in pasts for line in past.log]
    if errors:
        connection.execute(_ERRORS, (to_json(errors),))
    if said:
        connection.execute(f"INSERT INTO note SELECT {members(3)} FROM json_each(?)", (to_json(said),))
    if lines:
        connection.execute(
            f"INSERT INTO log_line (seq, at, run, text) SELECT {members(4)} FROM json_each(?)", (to_json(lines),)
        )


def _progress(said: Progress) -> str:
    return to_json({"done": said.done, "total": said.total, "message": said.message})


def ask_to_stop(connection: sqlite3.Connection, stops: Sequence[Stop]) -> set[int]:
    """Write the reasons beside the running ones; the first reason of a job stays.

    The indexes of those whose job is not running.
    """
    first: dict[str, str] = {}
    for stop in stops:
        first.setdefault(stop.id, stop.reason)
    asked = (to_json(list(first.items())),)
    running = set(one_json(connection, f"SELECT json_group_array(job.id) {_RUNNING_OF}", asked))
    if running:
        connection.execute(_STOPS, asked)
    return {index for index, stop in enumerate(stops) if stop.id not in running}


def delete_all(connection: sqlite3.Connection, deletes: Sequence[JobRecord], tally: Tally) -> set[int]:
    """Delete the jobs that still have the version that was read, with all that is theirs; the others' indexes."""
    current = versions(connection, deletes)
    undeleted: set[int] = set()
    gone: list[int] = []
    tags: list[tuple[str, int]] = []
    for index, job in enumerate(deletes):
        spec, standing = job.spec, job.standing
        if current.pop(standing.seq, None) != standing.version:
            undeleted.add(index)
            continue
        gone.append(standing.seq)
        tags += [(tag, standing.seq) for tag in spec.details.tags]
        tally.leave(spec.queue, spec.priority, standing.state)
    tally.deleted += len(gone)
    if gone:
        seqs = (to_json(gone),)
        for table in ("standing", "job", "attempt_error", "note", "log_line"):
            connection.execute(f"DELETE FROM {table} WHERE seq IN (SELECT value FROM json_each(?))", seqs)
    if tags:
        connection.execute(
            f"DELETE FROM tag WHERE (tag, seq) IN (SELECT {members(2)} FROM json_each(?))", (to_json(tags),)
        )
    return undeleted
