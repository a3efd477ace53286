"""RQ: one job at a time on Redis; here its `SimpleWorker`, which does not fork for each."""

from __future__ import annotations

import threading
import time
from typing import Any

from benchmarks.peers.shape import Peer, Sizes, lines, measure_threads, package


def no_op() -> None:
    """Found by its name."""
    lines.append(time.perf_counter())


class _Rq:
    def __init__(self, url: str) -> None:
        redis = package("redis")
        Queue = package("rq").Queue

        self.connection = redis.Redis.from_url(url)
        self.queue = Queue("bench", connection=self.connection)
        self.worker: Any = None
        self._working: threading.Thread | None = None

    def enqueue(self) -> None:
        self.queue.enqueue(no_op, result_ttl=0)

    def bulk(self, jobs: int) -> None:
        self.queue.enqueue_many([self.queue.prepare_data(no_op, result_ttl=0) for _ in range(jobs)])

    def start(self) -> None:
        SimpleWorker: type[Any] = package("rq").SimpleWorker
        TimerDeathPenalty = package("rq.timeouts").TimerDeathPenalty

        class InThread(SimpleWorker):
            death_penalty_class = TimerDeathPenalty  # the usual one is a signal

            def _install_signal_handlers(self) -> None: ...

        self.worker = InThread([self.queue], connection=self.connection)
        self._working = threading.Thread(target=self.worker.work, daemon=True)
        self._working.start()


def _measure(sizes: Sizes) -> dict[str, float]:
    peer = _Rq(sizes.redis)
    return measure_threads(peer, sizes, bulk=peer.bulk)


PEERS = [
    Peer(
        "rq",
        "redis",
        ("rq", "redis"),
        "SimpleWorker in a thread, keeps no results",
        "at least once",
        _measure,
        slow=True,
    )
]
