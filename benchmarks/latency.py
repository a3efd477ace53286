"""Latency: from the call of `enqueue` to the first line of the job, on an idle system."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import quantiles
from typing import Final

import attrs
import trio

from actors import Registry, Store, open_system
from benchmarks.figure import Figure, Goal, Taken
from benchmarks.rounds import Measure
from benchmarks.settings import Settings, StoreName
from benchmarks.stores import new_store

WORKERS: Final = 4
REST: Final = 0.002  # seconds between a job's end and the next enqueue: the system has gone back to sleep
GOALS: Final[dict[tuple[StoreName, str], Goal]] = {  # ms
    ("memory", "p50"): Goal("<=", 0.2),
    ("memory", "p99"): Goal("<=", 0.5),
    ("sqlite", "p50"): Goal("<=", 1.0),
    ("sqlite", "p99"): Goal("<=", 2.5),
    ("redis", "p50"): Goal("<=", 1.4),
    ("redis", "p99"): Goal("<=", 2.5),
}


async def latencies(store: Store, samples: int, workers: int = WORKERS) -> list[float]:
    """Milliseconds each, of jobs that come one at a time."""
    registry = Registry()
    started: list[float] = []

    @registry.job()
    async def job() -> None:
        started.append(time.perf_counter())

    called: list[float] = []
    async with open_system(registry, store=store, queues={"default": workers}) as system:
        for _ in range(samples):
            await trio.sleep(REST)
            called.append(time.perf_counter())
            handle = await system.enqueue(job())
            await handle.result()
    return [(start - call) * 1e3 for start, call in zip(started, called, strict=True)]


def cuts(given: Sequence[float], key: str) -> dict[str, float]:
    """The median and the 99th percentile, as `key/p50` and `key/p99`."""
    found = quantiles(given, n=100, method="inclusive")
    return {f"{key}/p50": found[49], f"{key}/p99": found[98]}


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
                return cuts(trio.run(latencies, fresh, self.settings.samples), store)

        return Measure(f"latency on {store}", take)

    def figures(self, taken: Taken) -> Sequence[Figure]:
        """p50 and p99 of each store."""
        found: list[Figure] = []
        for store in self.settings.stores:
            for cut in ("p50", "p99"):
                goal = GOALS.get((store, cut))
                runs = taken[f"{store}/{cut}"]
                jobs, name = self.settings.samples, f"enqueue to first line, {cut}"
                found.append(Figure(name, "ms", runs, store=store, jobs=jobs, workers=WORKERS, goal=goal))
        return found
