"""Growth: jobs/s, and how soon a critical job starts, while a backlog is kept at its size, a thousand to a million.

Each measurement is a process of its own: as many jobs are enqueued as are run, and beside them one critical job at a
time comes into the full queue. Flat lines are what is wanted.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import attrs
import trio

from actors import Registry, Store, System, open_system
from actors.store import store_from_url
from actors.store.memory import MemoryStore
from actors.store.sqlite import SQLiteStore
from benchmarks.child import in_child
from benchmarks.figure import Figure, Goal, Point, Taken, ratios
from benchmarks.latency import percentiles
from benchmarks.rounds import Measure
from benchmarks.settings import Settings, StoreName
from benchmarks.stores import empty
from benchmarks.waiting import database, fill

# flat: ratios under 1.3 are equal on a noisy machine
PACE: Final = Goal(">=", 0.77)
WAIT: Final = Goal("<=", 1.3)
AT_ONCE: Final = 500  # jobs enqueued together, once as many have been run
ENOUGH: Final = 20  # waits, or there is no percentile of them
REST: Final = 0.002  # seconds between the start of a critical job and the next


class Steady:
    """A backlog that is kept at its size."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs  # to be enqueued meanwhile
        self.done = self.fed = 0
        self.waits: list[float] = []  # ms
        self.registry = Registry()
        self._needed = trio.Event()
        self._started = trio.Event()

        @self.registry.job(type="no-op-normal")
        async def job() -> None:
            self.done += 1
            if self.done - self.fed >= AT_ONCE:
                self._needed.set()

        @self.registry.job(type="first", priority="critical")
        async def first() -> None:
            self._started.set()

        self._job, self._first = job, first

    async def run(self, store: Store, workers: int) -> dict[str, float]:
        """Jobs/s (run and enqueued), and the waits of critical jobs."""
        async with open_system(self.registry, store=store, queues={"default": 0}) as system:
            began = time.perf_counter()
            system.queues["default"].set_workers(workers)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._sample, system)
                while self.fed < self.jobs or len(self.waits) < ENOUGH:
                    await self._needed.wait()
                    self._needed = trio.Event()
                    await system.enqueue_many([self._job() for _ in range(AT_ONCE)])
                    self.fed += AT_ONCE
                    if self.done - self.fed >= AT_ONCE:
                        self._needed.set()
                seconds = time.perf_counter() - began
                nursery.cancel_scope.cancel()
        return {"rate": (self.done + self.fed) / 2 / seconds, **percentiles(self.waits, "wait")}

    async def _sample(self, system: System) -> None:
        while True:
            self._started = trio.Event()
            called = time.perf_counter()
            await system.enqueue(self._first())
            await self._started.wait()
            self.waits.append((time.perf_counter() - called) * 1e3)
            await trio.sleep(REST)


@attrs.frozen
class Growth:
    """The part."""

    settings: Settings

    def measures(self) -> Sequence[Measure]:
        """Every size on every store."""
        return [self._measure(store, size) for size in self.settings.growth for store in self.settings.stores]

    def _measure(self, store: StoreName, size: int) -> Measure:
        settings = self.settings

        def take() -> dict[str, float]:
            where: object = ""
            match store:
                case "sqlite":
                    where = database(settings.scratch, "plain", size)
                case "redis":
                    assert settings.redis is not None
                    empty(settings.redis)
                    where = settings.redis
            child = in_child("benchmarks.growth", store, where, size, settings.steady, settings.workers)
            return {f"{store}/{size}/{key}": given for key, given in child.items()}

        return Measure(f"{size:,} kept waiting on {store}", take)

    def figures(self, taken: Taken) -> Sequence[Figure]:
        """The largest against the smallest, then each."""
        settings = self.settings
        least, most = min(settings.growth), max(settings.growth)
        found: list[Figure] = []
        for store in settings.stores:
            against = partial(Figure, store=store, jobs=settings.steady, workers=settings.workers)
            small, large = f"{store}/{least}", f"{store}/{most}"
            name = f"{most:,} waiting / {least:,}"
            found += [
                against(f"jobs/s, {name}", "ratio", ratios(taken, f"{large}/rate", f"{small}/rate"), goal=PACE),
                against(
                    f"p99 of a critical job, {name}",
                    "ratio",
                    ratios(taken, f"{large}/wait/p99", f"{small}/wait/p99"),
                    goal=WAIT,
                ),
            ]
        for store in settings.stores:
            for size in settings.growth:
                of = partial(Figure, store=store, jobs=settings.steady, workers=settings.workers)
                key, here = f"{store}/{size}", f"{size:,} waiting"
                found.append(of(here, "jobs/s", taken[f"{key}/rate"], point=Point("backlog", store, size)))
                for cut in ("p50", "p99"):
                    point = Point("backlog", f"{store}, {cut}", size)
                    name = f"critical job to its first line, {cut}, {here}"
                    found.append(of(name, "ms", taken[f"{key}/wait/{cut}"], point=point))
        return found


def _print(name: str, where: str, size: int, jobs: int, workers: int) -> None:
    """In a process of its own: JSON."""
    match name:
        case "memory":
            store: Store = MemoryStore()
        case "sqlite":
            store = SQLiteStore(Path(where))
        case _:
            store = store_from_url(where)

    async def run() -> dict[str, float]:
        if name != "sqlite":
            await fill(store, "plain", size)
        return await Steady(jobs).run(store, workers)

    print(json.dumps(trio.run(run)))


if __name__ == "__main__":
    _print(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
