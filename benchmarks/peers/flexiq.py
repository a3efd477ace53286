"""flexiq: a Rust core on SQLite (WAL, synchronous=NORMAL), bodies in threads or, where asynchronous, on one loop."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.peers.shape import WORKERS, Peer, Sizes, lines, measure_threads, pace, package, wait_for

THREADS = 4


class _Flexiq:
    def __init__(self, queue: Any, *, suspends: bool) -> None:
        self.queue = queue
        self._working: threading.Thread | None = None
        if suspends:

            @queue.task()
            async def body() -> None:
                await asyncio.sleep(0)
                lines.append(time.perf_counter())
        else:

            @queue.task()
            def body() -> None:
                lines.append(time.perf_counter())

        self.enqueue = body.delay
        self.body = body

    def bulk(self, jobs: int) -> None:
        self.body.map([()] * jobs)

    def start(self) -> None:
        self._working = threading.Thread(target=self.queue.run_worker, daemon=True)
        self._working.start()

    def stop(self) -> None:
        assert self._working is not None
        self.queue.shutdown()
        self._working.join()


def _queue(sizes: Sizes, name: str) -> Any:
    Queue = package("flexiq").Queue

    path = str(Path(sizes.scratch) / f"{name}.db")
    return Queue(db_path=path, workers=THREADS, async_concurrency=WORKERS, scheduler_poll_interval_ms=1)


def _measure(sizes: Sizes) -> dict[str, float]:
    threads = _Flexiq(_queue(sizes, "threads"), suspends=False)
    found = measure_threads(threads, sizes, bulk=threads.bulk)
    threads.stop()
    tasks = _Flexiq(_queue(sizes, "tasks"), suspends=True)
    lines.clear()
    tasks.bulk(sizes.jobs)
    tasks.start()
    wait_for(sizes.jobs)
    found["suspends"] = pace(lines)
    return found


PEERS = [
    Peer(
        "flexiq",
        "sqlite",
        ("flexiq",),
        f"{THREADS} threads, {WORKERS} tasks at a time, looks each 1 ms, synchronous=NORMAL",
        "at least once",
        _measure,
        slow=True,
        rust=True,
    )
]
