"""litequeue: a queue in SQLite (WAL, synchronous=NORMAL) without workers: timed is taking and doing, one by one."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.peers.shape import Peer, Sizes, package


def _measure(sizes: Sizes) -> dict[str, float]:
    LiteQueue = package("litequeue").LiteQueue

    queue = LiteQueue(str(Path(sizes.scratch) / "lite.db"))
    began = time.perf_counter()
    for _ in range(sizes.jobs):
        queue.put("{}")
    found = {"enqueue": sizes.jobs / (time.perf_counter() - began)}
    began = time.perf_counter()
    for _ in range(sizes.jobs):
        queue.done(queue.pop().message_id)
    return found | {"no-op": sizes.jobs / (time.perf_counter() - began)}


PEERS = [
    Peer(
        "litequeue",
        "sqlite",
        ("litequeue",),
        "no workers: pop and done in a loop; synchronous=NORMAL",
        "what is popped stays locked",
        _measure,
    )
]
