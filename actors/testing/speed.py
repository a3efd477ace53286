"""How fast the system goes on a store: small jobs run, jobs enqueued, one job started. For `actors bench`, and for the
benchmarks of this project.

Two kinds of no-op: one never suspends, which flatters everyone; one suspends once, as real jobs do.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from statistics import quantiles
from typing import Final, Literal

import attrs
import trio
import trio.testing

from actors import JobType, Registry, Store, System, open_system

Kind = Literal["no-op", "suspends"]
KINDS: Final[tuple[Kind, ...]] = ("no-op", "suspends")
IDLE_WORKERS: Final = 4  # of a system whose latency is measured
REST: Final = 0.002  # seconds between a job's end and the next enqueue: the system has gone back to sleep


@attrs.frozen
class Pace:
    """`rate` in jobs/s by the clock; `cpu` in microseconds of processor time per job, all threads together, which holds
    still where others use the machine too.
    """

    rate: float
    cpu: float

    def under(self, key: str) -> dict[str, float]:
        """Both numbers as a measurement's: `key`, and `key/cpu`."""
        return {key: self.rate, f"{key}/cpu": self.cpu}


class Stopwatch:
    """Runs from its making."""

    def __init__(self) -> None:
        self._wall = time.perf_counter()
        self._cpu = time.process_time()

    def pace(self, jobs: int) -> Pace:
        """The pace of `jobs` since then."""
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        return Pace(jobs / wall, cpu / jobs * 1e6)


class Countdown:
    """Tells when the last of `left` jobs has come to its end; more than those may follow."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.over = trio.Event()

    def one_less(self) -> None:
        """A body is at its last line."""
        self.left -= 1
        if self.left == 0:
            self.over.set()


def registered(kind: Kind, countdown: Countdown) -> tuple[Registry, JobType[[], None]]:
    """A registry with one job type of this kind."""
    registry = Registry()
    if kind == "no-op":

        @registry.job()
        async def job() -> None:
            countdown.one_less()
    else:

        @registry.job()
        async def job() -> None:
            await trio.lowlevel.checkpoint()
            countdown.one_less()

    return registry, job


async def process(store: Store, kind: Kind, jobs: int, workers: int, *, standing: bool = False) -> Pace:
    """The pace of jobs enqueued before, from the start of the workers to the commit of the last completion.

    `standing`: from when the queue is resumed; the workers stand ready before.
    """
    countdown = Countdown(jobs)
    registry, job = registered(kind, countdown)
    async with open_system(registry, store=store, queues={}) as filling:
        await filling.enqueue_many([job() for _ in range(jobs)])
    async with open_system(registry, store=store, queues={"default": 0}) as system:
        queue = system.queues["default"]
        before = (await system.stats()).completed
        if standing:
            await queue.pause()
            queue.set_workers(workers)
            await trio.testing.wait_all_tasks_blocked()
        gc.collect()
        watch = Stopwatch()
        if standing:
            await queue.resume()
        else:
            queue.set_workers(workers)
        await countdown.over.wait()
        while (await system.stats()).completed < before + jobs:  # the last tick at most
            await trio.sleep(0.001)
        return watch.pace(jobs)


async def enqueue(store: Store, jobs: int, callers: int) -> float:
    """Jobs/s of `callers` tasks that await each of their jobs, on a system that only enqueues."""
    registry, job = registered("no-op", Countdown(0))

    async def call(system: System, share: int) -> None:
        for _ in range(share):
            await system.enqueue(job())

    async with open_system(registry, store=store, queues={}) as system:
        began = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for _ in range(callers):
                nursery.start_soon(call, system, jobs // callers)
        return jobs // callers * callers / (time.perf_counter() - began)


async def enqueue_many(store: Store, jobs: int) -> float:
    """Jobs/s of one `enqueue_many`."""
    registry, job = registered("no-op", Countdown(0))
    async with open_system(registry, store=store, queues={}) as system:
        calls = [job() for _ in range(jobs)]
        began = time.perf_counter()
        await system.enqueue_many(calls)
        return jobs / (time.perf_counter() - began)


async def latencies(store: Store, samples: int, workers: int = IDLE_WORKERS) -> list[float]:
    """Milliseconds each from the call of `enqueue` to the first line of the job, of jobs that come one at a time."""
    registry = Registry()
    started: list[float] = []

    @registry.job()
    async def job() -> None:
        started.append(time.perf_counter())

    called: list[float] = []
    async with open_system(registry, store=store, queues={"default": workers}) as system:
        for _ in range(samples):
            await trio.sleep(REST)
            called.append(time.perf_counter())
            handle = await system.enqueue(job())
            await handle.result()
    return [(start - call) * 1e3 for start, call in zip(started, called, strict=True)]


def cuts(given: Sequence[float]) -> tuple[float, float]:
    """The median and the 99th percentile."""
    found = quantiles(given, n=100, method="inclusive")
    return found[49], found[98]
