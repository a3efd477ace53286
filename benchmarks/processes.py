"""Processes: how much faster two of them run the same jobs than one, on a store that they share.

`python -m benchmarks.processes STORE WHERE KIND WORKERS` is one of them: it says when its workers stand ready, and ends
when its input is closed.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import attrs
import trio
import trio.testing

from actors import Store, open_system
from actors.store import store_from_url
from actors.store.sqlite import SQLiteStore
from actors.testing.speed import KINDS, Countdown, Kind, registered
from benchmarks.child import ROOT
from benchmarks.figure import Figure, Goal, Taken, ratios
from benchmarks.rounds import Measure
from benchmarks.settings import Settings, StoreName
from benchmarks.stores import empty

TWO: Final[dict[StoreName, Goal]] = {"redis": Goal(">=", 1.6)}  # SQLite has one writer at a time, whoever it is
LOOK: Final = 0.005  # seconds between two looks at the counters


def _store(name: str, where: str) -> Store:
    return SQLiteStore(Path(where)) if name == "sqlite" else store_from_url(where)


async def _resume_and_wait(store: Store, jobs: int) -> float:
    """Jobs/s from the resuming of the queue until all are completed."""
    async with open_system(registered("no-op", Countdown(0))[0], store=store, queues={}) as system:
        began = time.perf_counter()
        await system.queues["default"].resume()
        while (await system.stats()).completed < jobs:
            await trio.sleep(LOOK)
        return jobs / (time.perf_counter() - began)


async def _fill(store: Store, kind: Kind, jobs: int) -> None:
    registry, job = registered(kind, Countdown(0))
    async with open_system(registry, store=store, queues={}) as system:
        await system.queues["default"].pause()
        await system.enqueue_many([job() for _ in range(jobs)])


@attrs.frozen
class Processes:
    """The part."""

    settings: Settings

    def _stores(self) -> list[StoreName]:
        return [store for store in self.settings.stores if store != "memory"]

    def measures(self) -> Sequence[Measure]:
        """One, two; of both kinds."""
        return [
            Measure(f"{number} processes on {store}, {kind}", partial(self._take, store, kind, number))
            for store in self._stores()
            for kind in KINDS
            for number in (1, 2)
        ]

    def _take(self, store: StoreName, kind: Kind, number: int) -> dict[str, float]:
        settings = self.settings
        with ExitStack() as stack:
            where = settings.redis or ""
            if store == "sqlite":
                directory = stack.enter_context(TemporaryDirectory(dir=settings.scratch))
                where = str(Path(directory) / "jobs.db")
            else:
                empty(where)
            trio.run(_fill, _store(store, where), kind, settings.jobs)
            command = [sys.executable, "-m", "benchmarks.processes", store, where, kind, str(settings.workers)]
            started = [
                subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                for _ in range(number)
            ]
            try:
                for process in started:
                    assert process.stdout is not None
                    process.stdout.readline()
                rate = trio.run(_resume_and_wait, _store(store, where), settings.jobs)
            finally:
                for process in started:
                    process.communicate()  # closes its input, and waits
        return {f"{store}/{kind}/{number}": rate}

    def figures(self, taken: Taken) -> Sequence[Figure]:
        """Two against one, then each."""
        settings = self.settings
        found: list[Figure] = []
        each: list[Figure] = []
        for store in self._stores():
            of = partial(Figure, store=store, jobs=settings.jobs, workers=settings.workers)
            for kind in KINDS:
                two, one = f"{store}/{kind}/2", f"{store}/{kind}/1"
                goal = TWO.get(store) if kind == "no-op" else None
                found.append(of(f"two processes / one, {kind}", "ratio", ratios(taken, two, one), goal=goal))
                each += [of(f"{name}, {kind}", "jobs/s", taken[key]) for name, key in (("two", two), ("one", one))]
        return [*found, *each]


async def _work(store: Store, kind: Kind, workers: int) -> None:
    registry, _ = registered(kind, Countdown(0))
    async with open_system(registry, store=store, queues={"default": workers}):
        await trio.testing.wait_all_tasks_blocked()
        print("ready", flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)


def _main(name: str, where: str, kind: Kind, workers: str) -> None:
    trio.run(_work, _store(name, where), kind, int(workers))


if __name__ == "__main__":
    _main(*sys.argv[1:])  # type: ignore[arg-type]  # words of the lists
