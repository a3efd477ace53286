"""The counters, kept up by each commit's deltas: counting by scan would cost more than the jobs."""

from __future__ import annotations

import sqlite3
from collections import Counter
from typing import Any, Final

from actors.core.job import FINAL, State
from actors.store.port import Counts, Recount
from actors.store.sqlite.rows import members, one_json, to_json

_ADD: Final = f"""INSERT INTO counter SELECT {members(5)} FROM json_each(?) WHERE true
    ON CONFLICT (queue, priority, state) DO UPDATE SET now = now + excluded.now, ended = ended + excluded.ended"""
_ADD_ONE: Final = """INSERT INTO counter VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (queue, priority, state) DO UPDATE SET now = now + excluded.now, ended = ended + excluded.ended"""
_ALL: Final = """SELECT json_array((SELECT accepted FROM tally), (SELECT deleted FROM tally),
    (SELECT json_group_array(json_array(queue, priority, state, now, ended)) FROM counter))"""
# half a job (one of its two rows) is in no state
_RECOUNT: Final = f"""SELECT json_array(json(({_ALL})), (SELECT json_group_array(json_array(queue, priority, state, n))
    FROM (SELECT coalesce(s.queue, j.queue) AS queue, coalesce(s.priority, j.priority) AS priority,
        iif(j.seq IS NULL OR s.seq IS NULL, 'half', s.state) AS state, count(*) AS n
    FROM (SELECT seq FROM standing UNION SELECT seq FROM job) a
        LEFT JOIN standing s ON s.seq = a.seq LEFT JOIN job j ON j.seq = a.seq GROUP BY 1, 2, 3)))"""


class Tally:
    """The deltas of one commit, by (queue, priority rank, state)."""

    def __init__(self) -> None:
        self._now: dict[tuple[str, int, State], int] = {}
        self._ended: dict[tuple[str, int, State], int] = {}
        self.accepted = 0
        self.deleted = 0

    def enter(self, queue: str, priority: int, state: State, jobs: int = 1) -> None:
        """`jobs` jobs have reached `state`."""
        key = (queue, priority, state)
        self._now[key] = self._now.get(key, 0) + jobs
        if state in FINAL:
            self._ended[key] = self._ended.get(key, 0) + jobs

    def leave(self, queue: str, priority: int, state: State, jobs: int = 1) -> None:
        """`jobs` jobs are no longer in `state`."""
        key = (queue, priority, state)
        self._now[key] = self._now.get(key, 0) - jobs

    def enter_all(self, keys: list[tuple[str, int, State]]) -> None:
        """A job per (queue, priority rank, state) has reached that state."""
        for key, jobs in Counter(keys).items():
            self.enter(*key, jobs)

    def gained(self, queue: str, states: tuple[State, ...]) -> int:
        """How many more jobs of `queue` this commit has in `states` so far."""
        return sum(count for (name, _, state), count in self._now.items() if name == queue and state in states)

    def entered(self, state: State) -> bool:
        """Whether more jobs came to `state` than left it, in some queue."""
        return any(count > 0 for (_, _, other), count in self._now.items() if other == state)

    def write(self, connection: sqlite3.Connection) -> None:
        """Add the deltas to the counters, inside the commit's transaction."""
        rows = [
            (*key, count, self._ended.get(key, 0)) for key, count in self._now.items() if count or key in self._ended
        ]
        if len(rows) == 1:
            connection.execute(_ADD_ONE, rows[0])
        elif rows:
            connection.execute(_ADD, (to_json(rows),))
        if self.accepted or self.deleted:
            connection.execute(
                "UPDATE tally SET accepted = accepted + ?, deleted = deleted + ?", (self.accepted, self.deleted)
            )


def read_counts(connection: sqlite3.Connection) -> Counts:
    """All counters."""
    return _counts(*one_json(connection, _ALL))


def recount(connection: sqlite3.Connection) -> Recount:
    """All counters, and all jobs counted one by one: one statement, so both see the same commits."""
    counters, rows = one_json(connection, _RECOUNT)
    return Recount(
        counts=_counts(*counters), jobs={(queue, priority, state): there for queue, priority, state, there in rows}
    )


def _counts(accepted: int, deleted: int, rows: list[Any]) -> Counts:
    return Counts(
        now={(queue, priority, state): now for queue, priority, state, now, _ in rows if now},
        ended={(queue, priority, state): ended for queue, priority, state, _, ended in rows if ended},
        accepted=accepted,
        deleted=deleted,
    )
