"""This system, in the shape of its peers, so that the ratios to them are of one run."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.peers.shape import CALLERS, REST, WORKERS, Peer, Sizes, cuts, lines, pace

if TYPE_CHECKING:
    from benchmarks.settings import StoreName

IDLE_WORKERS = 4


def _measure(name: StoreName, sizes: Sizes) -> dict[str, float]:
    import trio

    from actors import JobType, Registry, Store, System, open_system
    from benchmarks.settings import Settings
    from benchmarks.stores import new_store

    registry = Registry()
    reached = trio.Event()

    @registry.job(type="no-op")
    async def no_op() -> None:
        line()

    @registry.job(type="suspends")
    async def suspends() -> None:
        await trio.lowlevel.checkpoint()
        line()

    def line() -> None:
        lines.append(time.perf_counter())
        if len(lines) == wanted:
            reached.set()

    wanted = 0

    async def enqueue(system: System, jobs: int, callers: int) -> float:
        async def call() -> None:
            for _ in range(jobs // callers):
                await system.enqueue(no_op())

        began = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for _ in range(callers):
                nursery.start_soon(call)
        return jobs // callers * callers / (time.perf_counter() - began)

    async def process(store: Store, job: JobType[[], None]) -> float:
        nonlocal wanted, reached
        async with open_system(registry, store=store, queues={}) as system:
            await system.enqueue_many([job() for _ in range(sizes.jobs)])
        wanted, reached = sizes.jobs, trio.Event()
        async with open_system(registry, store=store, queues={"default": WORKERS}):
            await reached.wait()
        found = pace(lines)
        lines.clear()
        return found

    async def latencies(store: Store) -> list[float]:
        nonlocal wanted, reached
        wanted = 1
        waits: list[float] = []
        async with open_system(registry, store=store, queues={"default": IDLE_WORKERS}) as system:
            for _ in range(sizes.samples):
                await trio.sleep(REST)
                lines.clear()
                reached = trio.Event()
                called = time.perf_counter()
                await system.enqueue(no_op())
                await reached.wait()
                waits.append(lines[0] - called)
        lines.clear()
        return waits

    async def run() -> dict[str, float]:
        found: dict[str, float] = {}
        settings = Settings(scratch=Path(sizes.scratch), redis=sizes.redis or None)
        with new_store(name, settings) as store:
            async with open_system(registry, store=store, queues={}) as system:
                alone = await enqueue(system, sizes.jobs // 4, 1)
                found["enqueue"] = max(alone, await enqueue(system, sizes.jobs, CALLERS))
                began = time.perf_counter()
                await system.enqueue_many([no_op() for _ in range(sizes.jobs)])
                found["bulk"] = sizes.jobs / (time.perf_counter() - began)
        with new_store(name, settings) as store:
            found["no-op"] = await process(store, no_op)
            found["suspends"] = await process(store, suspends)
            return found | cuts(await latencies(store))

    return trio.run(run)


_SETTINGS = f"{WORKERS} workers, everything on"
PEERS = [
    Peer("trio-actors", "memory", ("trio-actors", "trio"), _SETTINGS, "nothing", partial(_measure, "memory")),
    Peer(
        "trio-actors",
        "sqlite",
        ("trio-actors", "trio"),
        f"{_SETTINGS}, synchronous=FULL",
        "at least once",
        partial(_measure, "sqlite"),
    ),
    Peer("trio-actors", "redis", ("trio-actors", "trio"), _SETTINGS, "at least once", partial(_measure, "redis")),
]
