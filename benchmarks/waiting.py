"""A process of its own that meets a backlog: `python -m benchmarks.waiting FILE FIRST CLAIMED WORKERS` prints JSON.

Of its own, because memory is only worth measuring where nothing else has been. `fill` makes the backlog before.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio

from actors import JobType, Registry, Store, open_system
from actors.core.job import PRIORITIES
from actors.core.lifecycle import advance
from actors.store.port import Batch, Claim, Write
from actors.store.sqlite import SQLiteStore
from benchmarks.machine import rss

AT_ONCE: Final = 20_000  # jobs per call of `enqueue_many`
PER_CLAIM: Final = 100  # jobs per commit, when the store is asked alone


def by_priority(count: Callable[[], object]) -> tuple[Registry, list[JobType[[], None]]]:
    """A registry with a type for each priority, so that they can be mixed in one `enqueue_many`."""
    registry = Registry()

    async def job() -> None:
        count()

    return registry, [registry.job(type=f"no-op-{priority}", priority=priority)(job) for priority in PRIORITIES]


async def fill(store: Store, jobs: int) -> float:
    """Jobs/s; every fourth job has the same priority."""
    registry, types = by_priority(int)
    began = time.perf_counter()
    async with open_system(registry, store=store, queues={}) as system:
        for start in range(0, jobs, AT_ONCE):
            numbers = range(start, min(start + AT_ONCE, jobs))
            await system.enqueue_many([types[number % len(types)]() for number in numbers])
    return jobs / (time.perf_counter() - began)


async def meet(store: Store, first: int, workers: int) -> dict[str, float]:
    """Open a system on the backlog, run `first` jobs of it, and leave.

    Seconds from opening to the first line of a job, jobs/s from there on, resident MB then and at most.
    """
    lines: list[float] = []
    enough = trio.Event()

    def count() -> None:
        lines.append(time.perf_counter())
        if len(lines) == first:
            enough.set()

    registry, _ = by_priority(count)
    began = time.perf_counter()
    async with open_system(registry, store=store, queues={"default": workers}):
        await enough.wait()
        now, most = rss()
    return {
        "start": lines[0] - began,
        "first": (first - 1) / (lines[first - 1] - lines[0]),
        "rss": now,
        "most": most,
    }


async def claim(store: Store, jobs: int) -> dict[str, float]:
    """Microseconds per job of claims by the store alone, commits included; untimed, the jobs are completed."""
    registry, _ = by_priority(int)
    holder, tick, seconds, claimed = "benchmark", 0, 0.0, 0
    await store.open(holder, _now())
    while claimed < jobs:
        tick += 1
        batch = Batch(now=_now(), types=registry.types, claims=[Claim(queue="default", limit=PER_CLAIM)])
        began = time.perf_counter()
        outcome = await store.commit(holder, tick, batch)
        seconds += time.perf_counter() - began
        if not outcome.claimed:
            raise RuntimeError(f"the backlog is used up: expected {jobs - claimed} more waiting jobs")
        claimed += len(outcome.claimed)
        tick += 1
        now = _now()
        writes = [Write(job=job, after=advance(job, "complete", now), step="complete") for job in outcome.claimed]
        await store.commit(holder, tick, Batch(now=now, writes=writes))
    await store.close(holder)
    return {"claim": seconds / claimed * 1e6}


def _now() -> int:
    return time.time_ns() // 1000


def main() -> None:
    """Measure and print."""
    path, first, claimed, workers = sys.argv[1:]
    store = SQLiteStore(Path(path))
    found = trio.run(meet, store, int(first), int(workers))
    print(json.dumps({**found, **trio.run(claim, store, int(claimed))}))


if __name__ == "__main__":
    main()
