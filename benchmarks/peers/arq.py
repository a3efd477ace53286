"""arq: asyncio on a Redis sorted set that it polls."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from benchmarks.peers.shape import WORKERS, Peer, Sizes, lines, measure_asyncio, package, run_on_asyncio

POLL = 0.01  # seconds


async def _no_op(ctx: Any) -> None:
    lines.append(time.perf_counter())


async def _suspends(ctx: Any) -> None:
    await asyncio.sleep(0)
    lines.append(time.perf_counter())


class _Arq:
    def __init__(self, pool: Any, settings: Any) -> None:
        self.pool = pool
        self.settings = settings
        self.worker: Any = None
        self._running: asyncio.Task[None] | None = None

    async def enqueue(self, kind: str) -> None:
        await self.pool.enqueue_job(kind)

    async def start(self) -> None:
        Worker = package("arq.worker").Worker
        func = package("arq.worker").func

        self.worker = Worker(
            functions=[func(_no_op, name="no-op"), func(_suspends, name="suspends")],
            redis_settings=self.settings,
            max_jobs=WORKERS,
            poll_delay=POLL,
            keep_result=0,
            handle_signals=False,
        )
        self._running = asyncio.create_task(self.worker.async_run())


def _measure(sizes: Sizes) -> dict[str, float]:
    create_pool = package("arq").create_pool
    RedisSettings = package("arq.connections").RedisSettings

    async def run() -> dict[str, float]:
        settings = RedisSettings.from_dsn(sizes.redis)
        return await measure_asyncio(_Arq(await create_pool(settings), settings), sizes)

    return run_on_asyncio(run())


PEERS = [
    Peer(
        "arq",
        "redis",
        ("arq", "redis"),
        f"{WORKERS} at a time, polls each {POLL * 1e3:g} ms, keeps no results",
        "at least once",
        _measure,
        slow=True,
    )
]
