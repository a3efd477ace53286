"""dramatiq: threads; its stub broker in memory, and its Redis broker."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.peers.shape import Peer, Sizes, lines, measure_threads, package

THREADS = 4


class _Dramatiq:
    def __init__(self, broker: Any) -> None:
        dramatiq = package("dramatiq")

        self.broker = broker
        broker.emit_after("process_boot")
        self.worker: Any = None

        @dramatiq.actor(broker=broker)
        def no_op() -> None:
            lines.append(time.perf_counter())

        self.enqueue = no_op.send

    def start(self) -> None:
        dramatiq = package("dramatiq")

        self.worker = dramatiq.Worker(self.broker, worker_threads=THREADS, worker_timeout=100)
        self.worker.start()


def _memory(sizes: Sizes) -> dict[str, float]:
    StubBroker = package("dramatiq.brokers.stub").StubBroker

    return measure_threads(_Dramatiq(StubBroker(middleware=[])), sizes)


def _redis(sizes: Sizes) -> dict[str, float]:
    RedisBroker = package("dramatiq.brokers.redis").RedisBroker

    return measure_threads(_Dramatiq(RedisBroker(url=sizes.redis, middleware=[])), sizes)


_SETTINGS = f"{THREADS} threads, no middleware"
PEERS = [
    Peer("dramatiq, stub", "memory", ("dramatiq",), _SETTINGS, "nothing", _memory),
    Peer("dramatiq", "redis", ("dramatiq", "redis"), _SETTINGS, "at least once", _redis, slow=True),
]
