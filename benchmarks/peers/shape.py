"""The shape in which every peer is measured, so that figures can stand side by side. Standard library only: it runs
wherever a peer does.

enqueue: calls/s that each return when the peer says that it has the job; the better of one caller and of fifty (where
it is asynchronous). bulk: jobs/s of its call for many, where there is one. process: jobs wait before; from the first
line of the first job to the last line of the last, of two kinds: one that never suspends, one that suspends once
(where it is asynchronous). latency: from the call that enqueues to the first line, one job at a time, at rest between.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from importlib import import_module
from statistics import quantiles
from typing import Any, Literal, Protocol

CALLERS = 50
WORKERS = 100  # bodies at a time, where a peer is asynchronous
REST = 0.002  # seconds
LOOK = 0.000_5  # seconds between two looks at another's thread or task, which tells us nothing by itself
PATIENCE = 120.0  # seconds after which a peer that loses a job is given up

package = import_module
"""A peer's package, untyped: it need not be there when types are checked."""

lines: list[float] = []
"""When each body came to its line; bodies append `time.perf_counter()` to it."""


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Counts of jobs, and where a peer may keep its files and finds its server."""

    jobs: int
    samples: int
    scratch: str
    redis: str


@dataclasses.dataclass(frozen=True)
class Peer:
    """One peer in one setting. `measure` gives enqueue, bulk, no-op, suspends (each per second), p50, p99 (ms)."""

    name: str
    store: Literal["memory", "sqlite", "redis"]
    packages: tuple[str, ...]
    settings: str
    keeps: str
    measure: Callable[[Sizes], dict[str, float]]
    slow: bool = False  # a tenth of the jobs says as much
    python: tuple[int, int] = (3, 11)  # at least
    rust: bool = False


class Threaded(Protocol):
    """A peer that works in threads."""

    def enqueue(self) -> object: ...

    def start(self) -> None: ...


def measure_threads(peer: Threaded, sizes: Sizes, bulk: Callable[[int], object] | None = None) -> dict[str, float]:
    """All that such a peer has. It is left running: the process ends soon."""
    found: dict[str, float] = {}
    began = time.perf_counter()
    for _ in range(sizes.jobs):
        peer.enqueue()
    found["enqueue"] = sizes.jobs / (time.perf_counter() - began)
    waiting = sizes.jobs
    if bulk is not None:
        began = time.perf_counter()
        bulk(sizes.jobs)
        found["bulk"] = sizes.jobs / (time.perf_counter() - began)
        waiting += sizes.jobs
    peer.start()
    wait_for(waiting)
    found["no-op"] = pace(lines)
    waits: list[float] = []
    for _ in range(sizes.samples):
        time.sleep(REST)
        lines.clear()
        called = time.perf_counter()
        peer.enqueue()
        wait_for(1)
        waits.append(lines[0] - called)
    return found | cuts(waits)


class Asynchronous(Protocol):
    """A peer on asyncio. `kind` is no-op or suspends."""

    async def enqueue(self, kind: str) -> object: ...

    async def start(self) -> None: ...


async def measure_asyncio(
    peer: Asynchronous, sizes: Sizes, bulk: Callable[[int], Awaitable[object]] | None = None, *, at_once: bool = False
) -> dict[str, float]:
    """All that such a peer has; first in, first out, so that the two kinds run one after the other.

    `at_once`: an enqueue runs the job, so each kind is timed from its first enqueue.
    """
    found: dict[str, float] = {}
    one = sizes.jobs // 4
    began = time.perf_counter()
    alone = await _enqueue(peer, "no-op", one, 1)
    crowd = await _enqueue(peer, "no-op", sizes.jobs - one, CALLERS)
    found["enqueue"] = max(alone, crowd)
    no_ops = sizes.jobs
    if at_once:
        await wait(no_ops)
        found["no-op"] = no_ops / (max(lines) - began)
        lines.clear()
        began = time.perf_counter()
        await _enqueue(peer, "suspends", sizes.jobs, CALLERS)
        await wait(sizes.jobs)
        found["suspends"] = sizes.jobs / (max(lines) - began)
    else:
        if bulk is not None:
            began = time.perf_counter()
            await bulk(sizes.jobs)
            found["bulk"] = sizes.jobs / (time.perf_counter() - began)
            no_ops += sizes.jobs
        await _enqueue(peer, "suspends", sizes.jobs, CALLERS)
        await peer.start()
        await wait(no_ops + sizes.jobs)
        found["no-op"], found["suspends"] = pace(lines[:no_ops]), pace(lines[no_ops:])
    waits: list[float] = []
    for _ in range(sizes.samples):
        await asyncio.sleep(REST)
        lines.clear()
        called = time.perf_counter()
        await peer.enqueue("no-op")
        await wait(1)
        waits.append(lines[0] - called)
    return found | cuts(waits)


def run_on_asyncio(main: Coroutine[Any, Any, dict[str, float]]) -> dict[str, float]:
    """As `asyncio.run`, but what a peer leaves running is left: the process ends next, and some never do."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop.run_until_complete(main)


async def _enqueue(peer: Asynchronous, kind: str, jobs: int, callers: int) -> float:
    async def call(share: int) -> None:
        for _ in range(share):
            await peer.enqueue(kind)

    began = time.perf_counter()
    shares = [jobs // callers + (number < jobs % callers) for number in range(callers)]
    await asyncio.gather(*(call(share) for share in shares))
    return jobs / (time.perf_counter() - began)


def pace(reached: Sequence[float]) -> float:
    """Jobs/s between the first and the last line."""
    return (len(reached) - 1) / (max(reached) - min(reached))


def cuts(waits: list[float]) -> dict[str, float]:
    """The median and the 99th percentile in milliseconds."""
    found = quantiles(waits, n=100, method="inclusive")
    return {"p50": found[49] * 1e3, "p99": found[98] * 1e3}


def wait_for(jobs: int) -> None:
    """Until so many lines have been reached, in other threads."""
    until = time.perf_counter() + PATIENCE
    while len(lines) < jobs:
        _check(until, jobs)
        time.sleep(LOOK)


async def wait(jobs: int) -> None:
    """Until so many lines have been reached, in other tasks."""
    until = time.perf_counter() + PATIENCE
    while len(lines) < jobs:
        _check(until, jobs)
        await asyncio.sleep(LOOK)


def _check(until: float, jobs: int) -> None:
    if time.perf_counter() > until:
        raise TimeoutError(f"{len(lines)} of {jobs} jobs ran in {PATIENCE:g} s")
