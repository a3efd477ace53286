"""What meets a backlog in SQLite: a system that runs the first jobs of it, a store that claims.

As a process of its own: `python -m benchmarks.waiting FILE FIRST WORKERS` runs the first jobs, and prints JSON.
`database` makes the backlog before: jobs of one kind, of four priorities that take turns, or with times in no order
(the last two scatter what is claimed over the pages of the file).
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any, Final, Literal

import trio

from actors import JobType, Options, Registry, Store, open_system
from actors.core.job import PRIORITIES
from actors.core.lifecycle import advance
from actors.store.port import Batch, Claim, Write
from actors.store.sqlite import SQLiteStore
from benchmarks.machine import rss

Shape = Literal["plain", "interleaved", "random"]
SHAPES: Final[tuple[Shape, ...]] = ("plain", "interleaved", "random")
AT_ONCE: Final = 10_000  # jobs between two looks at the clock
PER_CLAIM: Final = 100  # jobs per commit, when the store is asked alone
REFILLED: Final = 100_000  # a backlog above is made once: each round takes only a few thousand jobs off it
PAST: Final = 86_400.0  # seconds over which times in no order are spread


def database(scratch: Path, shape: Shape, size: int) -> Path:
    """A database with so many jobs that wait; a small one is new each time."""
    path = scratch / f"{shape}-{size}.db"
    if size <= REFILLED:
        for old in scratch.glob(f"{path.name}*"):
            if old.is_file():
                old.unlink()
    if not path.exists():
        trio.run(fill, SQLiteStore(path), shape, size)
    return path


def by_priority(count: Callable[[], object]) -> tuple[Registry, list[JobType[[], None]]]:
    """A registry with a type for each priority, so that they can be mixed in one `enqueue_many`."""
    registry = Registry()

    async def job() -> None:
        count()

    return registry, [registry.job(type=f"no-op-{priority}", priority=priority)(job) for priority in PRIORITIES]


async def fill(store: Store, shape: Shape, jobs: int) -> None:
    """Enqueue so many."""
    registry, types = by_priority(int)
    normal = types[PRIORITIES.index("normal")]
    draw = random.Random(jobs)
    async with open_system(registry, store=store, queues={}) as system:
        for start in range(0, jobs, AT_ONCE):
            numbers = range(start, min(start + AT_ONCE, jobs))
            match shape:
                case "plain":
                    await system.enqueue_many([normal() for _ in numbers])
                case "interleaved":
                    await system.enqueue_many([types[number % len(types)]() for number in numbers])
                case "random":
                    now = datetime.now(UTC)
                    times = [now - timedelta(seconds=draw.uniform(0, PAST)) for _ in numbers]
                    items: list[tuple[Any, Options]] = [(normal(), Options(run_at=at)) for at in times]
                    await system.enqueue_batch(items)


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
    """Microseconds per job of claims by the store alone, commits included: the median of them, as a disk stalls at
    times. Untimed, the jobs are completed.
    """
    registry, _ = by_priority(int)
    holder, tick, claimed = "benchmark", 0, 0
    costs: list[float] = []
    await store.open(holder, _now())
    while claimed < jobs:
        tick += 1
        batch = Batch(now=_now(), types=registry.types, claims=[Claim(queue="default", limit=PER_CLAIM)])
        began = time.perf_counter()
        outcome = await store.commit(holder, tick, batch)
        seconds = time.perf_counter() - began
        if not outcome.claimed:
            raise RuntimeError(f"the backlog is used up: expected {jobs - claimed} more waiting jobs")
        claimed += len(outcome.claimed)
        costs.append(seconds / len(outcome.claimed) * 1e6)
        tick += 1
        now = _now()
        writes = [Write(job=job, after=advance(job, "complete", now), step="complete") for job in outcome.claimed]
        await store.commit(holder, tick, Batch(now=now, writes=writes))
    await store.close(holder)
    return {"claim": median(costs)}


def _now() -> int:
    return time.time_ns() // 1000


def main() -> None:
    """Measure and print."""
    path, first, workers = sys.argv[1:]
    print(json.dumps(trio.run(meet, SQLiteStore(Path(path)), int(first), int(workers))))


if __name__ == "__main__":
    main()
