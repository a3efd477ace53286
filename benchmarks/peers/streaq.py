"""streaq: anyio on Redis streams; here on asyncio, as the others."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any

from benchmarks.peers.shape import WORKERS, Peer, Sizes, lines, measure_asyncio, package, run_on_asyncio


def _worker(url: str) -> tuple[Any, dict[str, Any]]:
    """A worker, which is also the client, and its tasks; results are kept a second."""
    Worker = package("streaq").Worker

    worker: Any = Worker(redis_url=url, queue_name="bench", concurrency=WORKERS, handle_signals=False)

    @worker.task(ttl=timedelta(seconds=1), name="no-op")
    async def no_op() -> None:
        lines.append(time.perf_counter())

    @worker.task(ttl=timedelta(seconds=1), name="suspends")
    async def suspends() -> None:
        await asyncio.sleep(0)
        lines.append(time.perf_counter())

    return worker, {"no-op": no_op, "suspends": suspends}


class _Streaq:
    def __init__(self, url: str) -> None:
        self.client, self.tasks = _worker(url)
        self.worker, _ = _worker(url)
        self._running: asyncio.Task[None] | None = None

    async def enqueue(self, kind: str) -> None:
        await self.tasks[kind].enqueue()

    async def bulk(self, jobs: int) -> None:
        await self.client.enqueue_many([self.tasks["no-op"].enqueue() for _ in range(jobs)])

    async def start(self) -> None:
        self._running = asyncio.create_task(self.worker.run_async())


def _measure(sizes: Sizes) -> dict[str, float]:
    async def run() -> dict[str, float]:
        peer = _Streaq(sizes.redis)
        async with peer.client:
            return await measure_asyncio(peer, sizes, bulk=peer.bulk)

    return run_on_asyncio(run())


PEERS = [
    Peer(
        "streaq",
        "redis",
        ("streaq", "coredis"),
        f"{WORKERS} at a time, keeps results a second",
        "at least once",
        _measure,
        slow=True,
    )
]
