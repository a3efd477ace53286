"""BullMQ for Python: asyncio, Lua on Redis."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from benchmarks.peers.shape import WORKERS, Peer, Sizes, lines, measure_asyncio, package, run_on_asyncio

_OPTIONS = {"removeOnComplete": True}


async def _process(job: Any, token: str) -> None:
    if job.name == "suspends":
        await asyncio.sleep(0)
    lines.append(time.perf_counter())


class _BullMQ:
    def __init__(self, url: str) -> None:
        Queue = package("bullmq").Queue

        self.url = url
        self.queue = Queue("bench", {"connection": url})
        self.worker: Any = None

    async def enqueue(self, kind: str) -> None:
        await self.queue.add(kind, {}, _OPTIONS)

    async def bulk(self, jobs: int) -> None:
        await self.queue.addBulk([{"name": "no-op", "data": {}, "opts": _OPTIONS}] * jobs)

    async def start(self) -> None:
        Worker = package("bullmq").Worker

        self.worker = Worker("bench", _process, {"connection": self.url, "concurrency": WORKERS})


def _measure(sizes: Sizes) -> dict[str, float]:
    async def run() -> dict[str, float]:
        peer = _BullMQ(sizes.redis)
        return await measure_asyncio(peer, sizes, bulk=peer.bulk)

    return run_on_asyncio(run())


PEERS = [
    Peer(
        "bullmq",
        "redis",
        ("bullmq", "redis"),
        f"{WORKERS} at a time, keeps no finished jobs",
        "at least once",
        _measure,
        slow=True,
    )
]
