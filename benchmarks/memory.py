"""Memory: what a job that waits takes in the memory store; and what a million of them take of a process on SQLite."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Sequence
from functools import partial
from typing import Final

import attrs

from benchmarks.child import in_child
from benchmarks.figure import Figure, Goal, Taken, ratios
from benchmarks.rounds import Measure
from benchmarks.settings import Settings
from benchmarks.waiting import database

PER_JOB: Final = Goal("<=", 700)  # bytes beyond the payload
IN_RAM: Final = Goal("<=", 1.25)  # with a million waiting / with ten thousand: noise, not a million of anything
AT_ONCE: Final = 1_000  # small, so that what an enqueue takes meanwhile does not count
TEXT: Final = "a payload of sixty bytes, more or less like those of others"


@attrs.frozen
class Memory:
    """The part."""

    settings: Settings

    def measures(self) -> Sequence[Measure]:
        """The memory store, then SQLite with few and with many."""
        found: list[Measure] = []
        if "memory" in self.settings.stores:
            found.append(Measure("waiting jobs in memory", lambda: in_child("benchmarks.memory", self.settings.kept)))
        if "sqlite" in self.settings.stores:
            sizes = (self.settings.small_backlog, self.settings.backlog)
            found += [self._sqlite(size) for size in sizes]
        return found

    def _sqlite(self, size: int) -> Measure:
        def take() -> dict[str, float]:
            path = database(self.settings.scratch, "plain", size)
            child = in_child("benchmarks.waiting", path, self.settings.first, self.settings.workers)
            return {f"{size}/{key}": child[key] for key in ("rss", "most")}

        return Measure(f"RSS with {size:,} waiting in SQLite", take)

    def figures(self, taken: Taken) -> Sequence[Figure]:
        """Bytes per job, then MB."""
        found: list[Figure] = []
        if "memory" in self.settings.stores:
            of = partial(Figure, unit="bytes", store="memory", jobs=self.settings.kept)
            found.append(of("beyond its payload, a waiting job", runs=taken["job"], goal=PER_JOB))
            found.append(of("its payload", runs=taken["payload"]))
        if "sqlite" not in self.settings.stores:
            return found
        few, many = self.settings.small_backlog, self.settings.backlog
        grown = ratios(taken, f"{many}/most", f"{few}/most")
        found.append(Figure(f"RSS at most, {many:,} waiting / {few:,}", "ratio", grown, store="sqlite", goal=IN_RAM))
        for size in (few, many):
            for key, name in (("rss", "RSS"), ("most", "RSS at most")):
                found.append(Figure(name, "MB", taken[f"{size}/{key}"], store="sqlite", jobs=size))
        return found


def _print(jobs: int) -> None:
    """In a fresh process: fill a memory store and weigh the process before and after; JSON."""
    import trio

    from actors import Registry, open_system
    from actors.store.memory import MemoryStore
    from benchmarks.machine import rss

    registry = Registry()

    @registry.job()
    async def job(text: str) -> None: ...

    async def fill(store: MemoryStore, number: int) -> None:
        async with open_system(registry, store=store, queues={}) as system:
            for start in range(0, number, AT_ONCE):
                await system.enqueue_many([job(TEXT) for _ in range(min(AT_ONCE, number - start))])

    trio.run(fill, MemoryStore(), AT_ONCE)  # what is loaded once is loaded now
    store = MemoryStore()
    gc.collect()
    before, _ = rss()
    trio.run(fill, store, jobs)
    gc.collect()
    after, _ = rss()
    payload = len(json.dumps({"text": TEXT}, separators=(",", ":")))
    print(json.dumps({"job": (after - before) * 1e6 / jobs - payload, "payload": payload}))


if __name__ == "__main__":
    _print(int(sys.argv[1]))
