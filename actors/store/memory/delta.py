"""A bulk step of the core, made ready to be applied to many standings. The states are the core's; nothing is
decided here.
"""

from __future__ import annotations

from typing import Final, cast

from actors.core.job import Standing, State
from actors.core.lifecycle import PROMOTION, Bulk

_KEEP: Final = object()


class Delta:
    """What a `Bulk` does to a standing."""

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
        self._run_at = sets.get("run_at", _KEEP)
        self._started = sets.get("started_at", _KEEP)
        self._finished = sets.get("finished_at", _KEEP)
        self._holder = sets.get("holder", _KEEP)

    def apply(self, old: Standing) -> Standing:
        """The standing after the step."""
        run_at, started, finished, holder = self._run_at, self._started, self._finished, self._holder
        return Standing(
            old.seq,
            self.target,
            old.version + self._version,
            old.attempt + self._attempt,
            old.runs + self._runs,
            old.crashes + self._crashes,
            old.run_at if run_at is _KEEP else cast(int, run_at),
            old.started_at if started is _KEEP else cast("int | None", started),
            old.finished_at if finished is _KEEP else cast("int | None", finished),
            old.holder if holder is _KEEP else cast("str | None", holder),
        )


PROMOTE: Final = Delta(PROMOTION)
