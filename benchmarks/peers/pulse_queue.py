"""pulse-queue: asyncio on SQLite."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from benchmarks.peers.shape import WORKERS, Peer, Sizes, lines, measure_asyncio, package, run_on_asyncio


class _Pulse:
    def __init__(self, store: Any) -> None:
        HandlerRegistry = package("pulse_queue").HandlerRegistry

        self.store = store
        self.registry = HandlerRegistry()
        self.pool: Any = None
        self.registry.register("no-op", self._no_op)
        self.registry.register("suspends", self._suspends)

    async def _no_op(self, ctx: Any) -> None:
        lines.append(time.perf_counter())

    async def _suspends(self, ctx: Any) -> None:
        await asyncio.sleep(0)
        lines.append(time.perf_counter())

    async def enqueue(self, kind: str) -> None:
        await self.store.enqueue({"type": kind})

    async def start(self) -> None:
        WorkerPool = package("pulse_queue").WorkerPool

        self.pool = WorkerPool(self.store, self.registry, concurrency=WORKERS)
        await self.pool.start()


def _measure(sizes: Sizes) -> dict[str, float]:
    AsyncStore = package("pulse_queue").AsyncStore
    Store = package("pulse_queue").Store

    async def run() -> dict[str, float]:
        return await measure_asyncio(_Pulse(AsyncStore(Store(str(Path(sizes.scratch) / "pulse.db")))), sizes)

    return run_on_asyncio(run())


PEERS = [
    Peer(
        "pulse-queue",
        "sqlite",
        ("pulse-queue",),
        f"{WORKERS} at a time",
        "at least once",
        _measure,
        slow=True,
        python=(3, 12),
    )
]
