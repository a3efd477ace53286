"""taskiq: asyncio; its in-memory broker, which runs a task as soon as it is sent, and its Redis stream broker."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from benchmarks.peers.shape import WORKERS, Peer, Sizes, lines, measure_asyncio, package, run_on_asyncio


class _Taskiq:
    """The worker is taskiq's own `Receiver`, in this process; in memory the broker has one inside."""

    def __init__(self, broker: Any) -> None:
        self.broker = broker
        self._listening: asyncio.Task[None] | None = None

        @broker.task(task_name="no-op")
        async def no_op() -> None:
            lines.append(time.perf_counter())

        @broker.task(task_name="suspends")
        async def suspends() -> None:
            await asyncio.sleep(0)
            lines.append(time.perf_counter())

        self.tasks = {"no-op": no_op, "suspends": suspends}

    async def enqueue(self, kind: str) -> None:
        await self.tasks[kind].kiq()

    async def start(self) -> None:
        Receiver = package("taskiq.receiver").Receiver

        receiver = Receiver(self.broker, max_async_tasks=WORKERS, max_prefetch=WORKERS, run_startup=False)
        self._listening = asyncio.create_task(receiver.listen(asyncio.Event()))


def _memory(sizes: Sizes) -> dict[str, float]:
    InMemoryBroker = package("taskiq").InMemoryBroker

    async def run() -> dict[str, float]:
        broker = InMemoryBroker(max_async_tasks=WORKERS)
        broker.is_worker_process = True
        await broker.startup()
        return await measure_asyncio(_Taskiq(broker), sizes, at_once=True)

    return run_on_asyncio(run())


def _redis(sizes: Sizes) -> dict[str, float]:
    RedisStreamBroker = package("taskiq_redis").RedisStreamBroker

    async def run() -> dict[str, float]:
        broker = RedisStreamBroker(sizes.redis, queue_name="bench", xread_count=WORKERS)
        broker.is_worker_process = True
        await broker.startup()
        return await measure_asyncio(_Taskiq(broker), sizes)

    return run_on_asyncio(run())


PEERS = [
    Peer("taskiq", "memory", ("taskiq",), f"{WORKERS} tasks at a time", "nothing", _memory),
    Peer(
        "taskiq, stream",
        "redis",
        ("taskiq", "taskiq-redis"),
        f"{WORKERS} tasks at a time, reads {WORKERS}",
        "at least once, but for idle reclaims",
        _redis,
        slow=True,
    ),
]
