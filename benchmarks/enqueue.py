"""Enqueue: one caller, several callers and bulk, each answered only when it is durable, beside single-row commits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs
import trio

from actors.testing.speed import enqueue, enqueue_many
from benchmarks.figure import Figure, Goal, Taken, ratios
from benchmarks.limits import commit_measure
from benchmarks.rounds import Measure
from benchmarks.settings import Settings, StoreName
from benchmarks.stores import new_store

CALLERS: Final = (1, 10, 100)
LONE: Final = Goal(">=", 0.65)
GOALS: Final[dict[tuple[StoreName, int | None], Goal]] = {  # jobs/s
    ("sqlite", 100): Goal(">=", 30_000),
    ("sqlite", None): Goal(">=", 100_000),
}


@attrs.frozen
class Enqueue:
    """The part."""

    settings: Settings

    def measures(self) -> Sequence[Measure]:
        """Commits, then every number of callers on each store."""
        found = [commit_measure(self.settings)] if "sqlite" in self.settings.stores else []
        for store in self.settings.stores:
            found += [self._measure(store, callers) for callers in CALLERS]
            found.append(self._measure(store, None))
        return found

    def _jobs(self, callers: int | None) -> int:
        match callers:
            case None:
                return self.settings.bulk
            case 1:
                return self.settings.single
            case _:
                return self.settings.many

    def _measure(self, store: StoreName, callers: int | None) -> Measure:
        def take() -> dict[str, float]:
            with new_store(store, self.settings) as fresh:
                jobs = self._jobs(callers)
                if callers is None:
                    return {f"{store}/many": trio.run(enqueue_many, fresh, jobs)}
                return {f"{store}/{callers}": trio.run(enqueue, fresh, jobs, callers)}

        name = "enqueue_many" if callers is None else f"enqueue by {callers}"
        return Measure(f"{name} on {store}", take)

    def figures(self, taken: Taken) -> Sequence[Figure]:
        """One caller's share of the bare commits, then jobs/s each."""
        single = self.settings.single
        found: list[Figure] = []
        if "sqlite" in self.settings.stores:
            lone = ratios(taken, "sqlite/1", "commits")
            found.append(
                Figure("enqueue by 1 / single-row commits", "ratio", lone, store="sqlite", jobs=single, goal=LONE)
            )
        for store in reversed(self.settings.stores):
            for callers in (*CALLERS, None):
                name = "enqueue_many" if callers is None else f"enqueue by {callers}"
                runs = taken[f"{store}/{callers or 'many'}"]
                goal = GOALS.get((store, callers))
                found.append(Figure(name, "jobs/s", runs, store=store, jobs=self._jobs(callers), goal=goal))
        if "sqlite" in self.settings.stores:
            found.append(Figure("single-row commits", "/s", taken["commits"], store="sqlite", jobs=single))
        return found
