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
from benchmarks.settings import Settings
from benchmarks.stores import STORES, StoreName, new_store

WORKERS: Final = 4
REST: Final = 0.002  # seconds between a job's end and the next enqueue: the system has gone back to sleep
SQLITE_START: Final = Goal("<", 1.5)  # ms, p50


async def latencies(store: Store, samples: int) -> list[float]:
    """Milliseconds each, of jobs that come one at a time."""
    registry = Registry()
    started: list[float] = []

    @registry.job()
    async def job() -> None:
        started.append(time.perf_counter())

    called: list[float] = []
    async with open_system(registry, store=store, queues={"default": WORKERS}) as system:
        for _ in range(samples):
            await trio.sleep(REST)
            called.append(time.perf_counter())
            handle = await system.enqueue(job())
            await handle.result()
    return [(start - call) * 1e3 for start, call in zip(started, called, strict=True)]


@attrs.frozen
class Latency:
    """The part."""

    settings: Settings

    def measures(self) -> Sequence[Measure]:
        """Memory, SQLite."""
        return [self._measure(store) for store in STORES]

    def _measure(self, store: StoreName) -> Measure:
        def take() -> dict[str, float]:
            with new_store(store, self.settings.scratch) as fresh:
                cuts = quantiles(trio.run(latencies, fresh, self.settings.samples), n=100, method="inclusive")
            return {f"{store}/p50": cuts[49], f"{store}/p99": cuts[98]}

        return Measure(f"latency on {store}", take)

    def figures(self, taken: Taken) -> Sequence[Figure]:
        """p50 and p99 of each store."""
        found: list[Figure] = []
        for store in STORES:
            for cut in ("p50", "p99"):
                goal = SQLITE_START if (store, cut) == ("sqlite", "p50") else None
                runs = taken[f"{store}/{cut}"]
                jobs, name = self.settings.samples, f"enqueue to first line, {cut}"
                found.append(Figure(name, "ms", runs, store=store, jobs=jobs, workers=WORKERS, goal=goal))
        return found
