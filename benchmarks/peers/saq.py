"""saq: asyncio on Redis lists."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from benchmarks.peers.shape import WORKERS, Peer, Sizes, lines, measure_asyncio, package, run_on_asyncio


async def _no_op(ctx: Any) -> None:
    lines.append(time.perf_counter())


async def _suspends(ctx: Any) -> None:
    await asyncio.sleep(0)
    lines.append(time.perf_counter())


class _Saq:
    def __init__(self, queue: Any) -> None:
        self.queue = queue
        self.worker: Any = None
        self._running: asyncio.Task[None] | None = None

    async def enqueue(self, kind: str) -> None:
        await self.queue.enqueue(kind)

    async def start(self) -> None:
        Worker = package("saq").Worker

        functions = [("no-op", _no_op), ("suspends", _suspends)]
        self.worker = Worker(self.queue, functions, concurrency=WORKERS)
        self._running = asyncio.create_task(self.worker.start())


def _measure(sizes: Sizes) -> dict[str, float]:
    Redis = package("redis.asyncio").Redis
    RedisQueue = package("saq.queue.redis").RedisQueue

    async def run() -> dict[str, float]:
        # each of its hundred takers holds a connection, and a client's pool has a hundred
        queue = RedisQueue(Redis.from_url(sizes.redis, max_connections=4 * WORKERS))
        await queue.connect()
        return await measure_asyncio(_Saq(queue), sizes)

    return run_on_asyncio(run())


PEERS = [Peer("saq", "redis", ("saq", "redis"), f"{WORKERS} at a time", "at least once", _measure, slow=True)]
