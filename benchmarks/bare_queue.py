"""The bare queue actor on trio: nothing but channels, tasks and bodies. What the whole system is divided by.

No records, no store, no events, no errors, no retries; but real tasks, and a real channel item for every job.
"""

from __future__ import annotations

import math
import time
from collections import deque
from typing import Final

import trio

from actors.testing.speed import Pace, Stopwatch
from benchmarks.work import Body

AHEAD: Final = 10  # jobs per worker in the shared channel
SLICE: Final = 0.001  # seconds that a worker may drain the shared channel before it lets others run

Job = tuple[int, str]


def _jobs(number: int) -> deque[Job]:
    return deque((index, "{}") for index in range(number))


async def push(jobs: int, workers: int, body: Body) -> Pace:
    """The pace when each job is pushed to the channel of an idle worker, from their start to the last completion."""
    waiting = _jobs(jobs)
    done = 0
    tell, inbox = trio.open_memory_channel[int](math.inf)
    doors: list[trio.MemorySendChannel[Job]] = []

    async def work(me: int, mine: trio.MemoryReceiveChannel[Job]) -> None:
        async for _ in mine:
            await body()
            tell.send_nowait(me)

    watch = Stopwatch()
    async with trio.open_nursery() as nursery:
        for number in range(workers):
            door, mine = trio.open_memory_channel[Job](1)
            doors.append(door)
            nursery.start_soon(work, number, mine)
            if waiting:
                door.send_nowait(waiting.popleft())
        while done < jobs:
            idle = await inbox.receive()
            while True:
                done += 1
                if waiting:
                    doors[idle].send_nowait(waiting.popleft())
                try:
                    idle = inbox.receive_nowait()
                except trio.WouldBlock:
                    break
        pace = watch.pace(jobs)
        for door in doors:
            door.close()
    return pace


async def share(jobs: int, workers: int, body: Body) -> Pace:
    """The pace through one channel that all workers drain, from the workers' start to the last completion.

    A worker hands its completions back as one list, when the channel runs dry or its slice ends.
    """
    waiting = _jobs(jobs)
    out = done = 0
    tell, inbox = trio.open_memory_channel[list[Job]](math.inf)
    door, shared = trio.open_memory_channel[Job](math.inf)

    async def work() -> None:
        while True:
            try:
                job = await shared.receive()
            except trio.EndOfChannel:
                return
            ended: list[Job] = []
            until = time.perf_counter() + SLICE
            while True:
                await body()
                ended.append(job)
                if time.perf_counter() > until:
                    break
                try:
                    job = shared.receive_nowait()
                except (trio.WouldBlock, trio.EndOfChannel):
                    break
            tell.send_nowait(ended)

    watch = Stopwatch()
    async with trio.open_nursery() as nursery:
        for _ in range(workers):
            nursery.start_soon(work)
        while done < jobs:
            while waiting and out < workers * AHEAD:
                door.send_nowait(waiting.popleft())
                out += 1
            ended = await inbox.receive()
            while True:
                done += len(ended)
                out -= len(ended)
                try:
                    ended = inbox.receive_nowait()
                except trio.WouldBlock:
                    break
        pace = watch.pace(jobs)
        door.close()
    return pace
