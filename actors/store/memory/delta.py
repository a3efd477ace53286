"""A bulk step of the core, made ready to be applied to many rows. The states are the core's; nothing is
decided here.
"""

from __future__ import annotations

from typing import Any, Final

from actors.core.job import State
from actors.core.lifecycle import PROMOTION, Bulk
from actors.store.memory.rows import Row

_KEEP: Final = object()


class Delta:
    """What a `Bulk` does to a row."""

    __slots__ = (
        "_attempt",
        "_crashes",
        "_finished",
        "_holder",
        "_run_at",
        "_runs",
        "_started",
        "_version",
        "source",
        "target",
    )

    def __init__(self, bulk: Bulk) -> None:
        sets, adds = bulk.sets, bulk.adds
        self.source: State = bulk.source
        self.target: State = bulk.target
        self._version = adds.get("version", 0)
        self._attempt = adds.get("attempt", 0)
        self._runs = adds.get("runs", 0)
        self._crashes = adds.get("crashes", 0)
        self._run_at: Any = sets.get("run_at", _KEEP)
        self._started: Any = sets.get("started_at", _KEEP)
        self._finished: Any = sets.get("finished_at", _KEEP)
        self._holder: Any = sets.get("holder", _KEEP)

    def apply(self, row: Row) -> Row:
        """The row of this job after the step."""
        keep, run_at, started, finished, holder = _KEEP, self._run_at, self._started, self._finished, self._holder
        # fmt: off
        (
            id, type, payload, queue, priority, front, max_attempts, timeout, created_at, owner, details,
            seq, _, version, attempt, runs, crashes, was_run_at, was_started, was_finished, holder_was,
            result, errors, progress, log, saved, stop,
        ) = row
        return (
            id, type, payload, queue, priority, front, max_attempts, timeout, created_at, owner, details,
            seq, self.target, version + self._version, attempt + self._attempt, runs + self._runs,
            crashes + self._crashes,
            was_run_at if run_at is keep else run_at,
            was_started if started is keep else started,
            was_finished if finished is keep else finished,
            holder_was if holder is keep else holder,
            result, errors, progress, log, saved, stop,
        )
        # fmt: on


PROMOTE: Final = Delta(PROMOTION)
