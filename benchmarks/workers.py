"""Workers: from one to ten thousand worker actors: how soon they stand ready, and what a job costs once they do."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Final

import attrs
import trio
import trio.testing

from actors import Store, open_system
from actors.testing.speed import KINDS, Countdown, latencies, process, registered
from benchmarks.figure import Figure, Goal, Point, Taken, ratios
from benchmarks.latency import percentiles
from benchmarks.rounds import Measure
from benchmarks.settings import Settings, StoreName
from benchmarks.stores import new_store

USUAL: Final = 100
PACE: Final = {1_000: Goal(">=", 0.75)}  # of what a hundred do, of jobs that suspend
COST: Final = {10_000: Goal("<=", 2.0)}  # of a job, against a hundred
START: Final = {10_000: Goal("<", 2.0)}  # s


async def start(store: Store, workers: int) -> float:
    """Seconds from opening a system on an empty store until every worker waits for a job."""
    registry, _ = registered("no-op", Countdown(0))
    began = time.perf_counter()
    async with open_system(registry, store=store, queues={"default": workers}):
        await trio.testing.wait_all_tasks_blocked()
        return time.perf_counter() - began


@attrs.frozen
class Workers:
    """The part."""

    settings: Settings

    def measures(self) -> Sequence[Measure]:
        """Every number of workers on every store."""
        return [self._measure(store, workers) for workers in self.settings.crowd for store in self.settings.stores]

    def _measure(self, store: StoreName, workers: int) -> Measure:
        settings = self.settings

        def take() -> dict[str, float]:
            key = f"{store}/{workers}"
            found: dict[str, float] = {}
            with new_store(store, settings) as fresh:
                found[f"{key}/start"] = trio.run(start, fresh, workers)
                found |= percentiles(trio.run(latencies, fresh, settings.samples, workers), key)
            for kind in KINDS:
                run = partial(process, kind=kind, jobs=settings.jobs, workers=workers, standing=True)
                with new_store(store, settings) as fresh:
                    found[f"{key}/{kind}"] = trio.run(run, fresh).rate
            return found

        return Measure(f"{workers:,} workers on {store}", take)

    def figures(self, taken: Taken) -> Sequence[Figure]:
        """Against a hundred, then each."""
        settings = self.settings
        against: list[Figure] = []
        each: list[Figure] = []
        for store in settings.stores:
            for workers in settings.crowd:
                key = f"{store}/{workers}"
                of = partial(Figure, store=store, workers=workers)
                for kind in KINDS:
                    line = f"{store}, {kind}"
                    if workers > USUAL and USUAL in settings.crowd:
                        usual = f"{store}/{USUAL}/{kind}"
                        pace, cost = ratios(taken, f"{key}/{kind}", usual), ratios(taken, usual, f"{key}/{kind}")
                        name = f"{workers:,} workers / {USUAL}, {kind}"
                        asked = PACE.get(workers) if kind == "suspends" else None
                        against.append(of(f"pace of {name}", "ratio", pace, jobs=settings.jobs, goal=asked))
                        against.append(
                            of(f"cost of a job, {name}", "ratio", cost, jobs=settings.jobs, goal=COST.get(workers))
                        )
                    point = Point("workers", line, workers)
                    each.append(of(kind, "jobs/s", taken[f"{key}/{kind}"], jobs=settings.jobs, point=point))
                each.append(of("start", "s", taken[f"{key}/start"], goal=START.get(workers)))
                for cut in ("p50", "p99"):
                    point = Point("workers", f"{store}, {cut}", workers)
                    name = f"enqueue to first line, {cut}"
                    each.append(of(name, "ms", taken[f"{key}/{cut}"], jobs=settings.samples, point=point))
        return [*against, *each]
