"""ardiq: a Rust core on Redis streams, bodies on asyncio."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from benchmarks.peers.shape import WORKERS, Peer, Sizes, lines, measure_asyncio, package, run_on_asyncio


class _Ardiq:
    def __init__(self, app: Any) -> None:
        self.app = app
        self._running: asyncio.Task[None] | None = None

        @app.task(name="no-op")
        async def no_op() -> None:
            lines.append(time.perf_counter())

        @app.task(name="suspends")
        async def suspends() -> None:
            await asyncio.sleep(0)
            lines.append(time.perf_counter())

        self.tasks = {"no-op": no_op, "suspends": suspends}

    async def enqueue(self, kind: str) -> None:
        await self.tasks[kind].enqueue()

    async def bulk(self, jobs: int) -> None:
        await self.app.enqueue_many([self.tasks["no-op"].prepare() for _ in range(jobs)])

    async def start(self) -> None:
        self._running = asyncio.create_task(self.app.run())


def _measure(sizes: Sizes) -> dict[str, float]:
    Ardiq = package("ardiq").Ardiq

    async def run() -> dict[str, float]:
        peer = _Ardiq(Ardiq(redis_url=sizes.redis, queue_name="bench", concurrency=WORKERS))
        return await measure_asyncio(peer, sizes, bulk=peer.bulk)

    return run_on_asyncio(run())


PEERS = [
    Peer("ardiq", "redis", ("ardiq",), f"{WORKERS} at a time", "at least once", _measure, python=(3, 12), rust=True)
]
