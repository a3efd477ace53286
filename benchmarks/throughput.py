"""Throughput: the work of the bare limits through the whole system, each run beside its limit."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from functools import partial
from typing import Final

import attrs
import trio

from actors import Store, open_system
from benchmarks.figure import Figure, Goal, Taken, ratios
from benchmarks.limits import push_measure, tick_measure
from benchmarks.pace import Pace, Stopwatch
from benchmarks.rounds import Measure
from benchmarks.settings import Settings
from benchmarks.stores import StoreName, new_store
from benchmarks.work import KINDS, Countdown, Kind, registered

# issue 2 asks this of no-op jobs
SHARE_OF_PUSH: Final = Goal(">=", 0.25)
SHARE_OF_TICK: Final = Goal(">=", 0.30)


async def process(store: Store, kind: Kind, jobs: int, workers: int) -> Pace:
    """The pace of jobs enqueued before, from the start of the workers to the commit of the last completion."""
    countdown = Countdown(jobs)
    registry, job = registered(kind, countdown)
    async with open_system(registry, store=store, queues={}) as filling:
        await filling.enqueue_many([job() for _ in range(jobs)])
    async with open_system(registry, store=store, queues={"default": 0}) as system:
        gc.collect()
        watch = Stopwatch()
        system.queues["default"].set_workers(workers)
        await countdown.over.wait()
        while (await system.stats()).completed < jobs:  # the last tick at most
            await trio.sleep(0.001)
        return watch.pace(jobs)


@attrs.frozen
class Throughput:
    """The part."""

    settings: Settings

    def measures(self) -> Sequence[Measure]:
        """Limit, system, limit, system."""
        settings = self.settings
        found: list[Measure] = []
        for kind in KINDS:
            found += [push_measure(settings, kind, settings.workers), self._measure("memory", kind)]
            found += [tick_measure(settings, kind), self._measure("sqlite", kind)]
        return found

    def _measure(self, store: StoreName, kind: Kind) -> Measure:
        def take() -> dict[str, float]:
            with new_store(store, self.settings.scratch) as fresh:
                pace = trio.run(process, fresh, kind, self.settings.jobs, self.settings.workers)
            return pace.under(f"{store}/{kind}")

        return Measure(f"system on {store}, {kind}", take)

    def figures(self, taken: Taken) -> Sequence[Figure]:
        """The ratios, then what they are of: by the clock, and by the processor time that a job takes."""
        limits: dict[StoreName, tuple[str, str, Goal]] = {
            "memory": (f"push/{{}}/{self.settings.workers}", "bare queue that pushes", SHARE_OF_PUSH),
            "sqlite": ("tick/{}", "bare tick loop", SHARE_OF_TICK),
        }
        shares: list[Figure] = []
        paces: list[Figure] = []
        for store, (key, limit, goal) in limits.items():
            figure = partial(Figure, store=store, jobs=self.settings.jobs, workers=self.settings.workers)
            for kind in KINDS:
                bare, system = key.format(kind), f"{store}/{kind}"
                share, cpu = ratios(taken, system, bare), ratios(taken, f"{bare}/cpu", f"{system}/cpu")
                asked = goal if kind == "no-op" else None
                shares.append(figure(f"system / {limit}, {kind}", "ratio", share, goal=asked))
                shares.append(figure(f"CPU of the {limit} / system's, {kind}", "ratio", cpu))
                for name, of in (("system", system), (limit, bare)):
                    paces.append(figure(f"{name}, {kind}", "jobs/s", taken[of]))
                    paces.append(figure(f"CPU, {name}, {kind}", "µs/job", taken[f"{of}/cpu"]))
        return [*shares, *paces]
