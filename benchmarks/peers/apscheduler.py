"""APScheduler 3: a scheduler in a thread, jobs for now in its memory store, a pool of threads."""

from __future__ import annotations

import time

from benchmarks.peers.shape import Peer, Sizes, lines, measure_threads, package

THREADS = 4


def _no_op() -> None:
    lines.append(time.perf_counter())


class _Scheduler:
    def __init__(self) -> None:
        ThreadPoolExecutor = package("apscheduler.executors.pool").ThreadPoolExecutor
        BackgroundScheduler = package("apscheduler.schedulers.background").BackgroundScheduler

        # none is dropped for being late
        options = {"misfire_grace_time": None}
        self.scheduler = BackgroundScheduler(
            executors={"default": ThreadPoolExecutor(THREADS)}, job_defaults=options, timezone="UTC"
        )

    def enqueue(self) -> None:
        self.scheduler.add_job(_no_op)

    def start(self) -> None:
        self.scheduler.start()


def _measure(sizes: Sizes) -> dict[str, float]:
    return measure_threads(_Scheduler(), sizes)


PEERS = [Peer("APScheduler 3", "memory", ("apscheduler",), f"pool of {THREADS} threads", "nothing", _measure)]
