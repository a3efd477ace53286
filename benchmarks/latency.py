"""Latency: from the call of `enqueue` to the first line of the job, on an idle system."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs
import trio

from actors.testing.speed import IDLE_WORKERS, cuts, latencies
from benchmarks.figure import Figure, Goal, Taken
from benchmarks.rounds import Measure
from benchmarks.settings import Settings, StoreName
from benchmarks.stores import new_store

GOALS: Final[dict[tuple[StoreName, str], Goal]] = {  # ms
    ("memory", "p50"): Goal("<=", 0.2),
    ("memory", "p99"): Goal("<=", 0.5),
    ("sqlite", "p50"): Goal("<=", 1.0),
    ("sqlite", "p99"): Goal("<=", 2.5),
    ("redis", "p50"): Goal("<=", 1.4),
    ("redis", "p99"): Goal("<=", 2.5),
}


def percentiles(given: Sequence[float], key: str) -> dict[str, float]:
    """The median and the 99th percentile, as `key/p50` and `key/p99`."""
    return dict(zip((f"{key}/p50", f"{key}/p99"), cuts(given), strict=True))


@attrs.frozen
class Latency:
    """The part."""

    settings: Settings

    def measures(self) -> Sequence[Measure]:
        """Each store."""
        return [self._measure(store) for store in self.settings.stores]

    def _measure(self, store: StoreName) -> Measure:
        def take() -> dict[str, float]:
            with new_store(store, self.settings) as fresh:
                return percentiles(trio.run(latencies, fresh, self.settings.samples), store)

        return Measure(f"latency on {store}", take)

    def figures(self, taken: Taken) -> Sequence[Figure]:
        """p50 and p99 of each store."""
        found: list[Figure] = []
        for store in self.settings.stores:
            for cut in ("p50", "p99"):
                goal = GOALS.get((store, cut))
                runs = taken[f"{store}/{cut}"]
                jobs, name = self.settings.samples, f"enqueue to first line, {cut}"
                found.append(Figure(name, "ms", runs, store=store, jobs=jobs, workers=IDLE_WORKERS, goal=goal))
        return found
