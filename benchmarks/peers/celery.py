"""Celery: threads on Redis; acknowledges before it runs, as it does by default."""

from __future__ import annotations

import time
from contextlib import ExitStack

from benchmarks.peers.shape import Peer, Sizes, lines, measure_threads, package

THREADS = 4
AHEAD = 64  # per thread


class _Celery:
    def __init__(self, url: str) -> None:
        Celery = package("celery").Celery

        self.app = Celery("bench", broker=url)
        self.app.conf.update(
            task_ignore_result=True,
            worker_prefetch_multiplier=AHEAD,
            worker_hijack_root_logger=False,
            broker_connection_retry_on_startup=True,
        )
        self._stack = ExitStack()

        @self.app.task(name="no-op")
        def no_op() -> None:
            lines.append(time.perf_counter())

        self.enqueue = no_op.delay

    def start(self) -> None:
        start_worker = package("celery.contrib.testing.worker").start_worker

        options = {"pool": "threads", "concurrency": THREADS, "perform_ping_check": False, "loglevel": "ERROR"}
        self._stack.enter_context(start_worker(self.app, **options))


def _measure(sizes: Sizes) -> dict[str, float]:
    return measure_threads(_Celery(sizes.redis), sizes)


PEERS = [
    Peer(
        "celery",
        "redis",
        ("celery", "redis"),
        f"{THREADS} threads, {AHEAD} ahead each, no results",
        "at most once: acknowledged before it runs",
        _measure,
        slow=True,
    )
]
