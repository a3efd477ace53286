"""The bare durable actor loop: as the tick loop, but the ready jobs are mirrored in memory, so that nothing is queried.

It commits in groups, and claims are on the disk before their jobs run. The workers share one channel with up to ten
jobs for each of them, and hand back lists. One process, no codec: the most that a durable queue could do here.
"""

from __future__ import annotations

import math
import sqlite3
import time
from collections import deque
from pathlib import Path

import orjson
import trio

from actors.testing.speed import Pace, Stopwatch
from benchmarks.bare_queue import AHEAD, SLICE
from benchmarks.bare_tick import COMPLETE, KEEP, database
from benchmarks.work import Body

Job = tuple[int, str]


def _commit(connection: sqlite3.Connection, ended: list[int], claimed: list[Job]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    if ended:
        connection.execute(COMPLETE, (orjson.dumps(ended).decode(),))
    if claimed:
        connection.execute(KEEP, (orjson.dumps([seq for seq, _ in claimed]).decode(),))
    connection.execute("COMMIT")


async def mirror_loop(scratch: Path, jobs: int, workers: int, body: Body) -> Pace:
    """The pace of jobs inserted before, from the start of the workers to the commit of the last completion."""
    out = done = 0
    tell, inbox = trio.open_memory_channel[list[int]](math.inf)
    door, shared = trio.open_memory_channel[Job](math.inf)

    async def work() -> None:
        while True:
            try:
                seq, _ = await shared.receive()
            except trio.EndOfChannel:
                return
            mine: list[int] = []
            until = time.perf_counter() + SLICE
            while True:
                await body()
                mine.append(seq)
                if time.perf_counter() > until:
                    break
                try:
                    seq, _ = shared.receive_nowait()
                except (trio.WouldBlock, trio.EndOfChannel):
                    break
            tell.send_nowait(mine)

    with database(scratch, jobs) as connection:
        ready: deque[Job] = deque((seq, "{}") for seq in range(jobs))
        watch = Stopwatch()
        async with trio.open_nursery() as nursery:
            for _ in range(workers):
                nursery.start_soon(work)
            ended: list[int] = []
            while True:
                claimed = [ready.popleft() for _ in range(min(len(ready), workers * AHEAD - out))]
                _commit(connection, ended, claimed)
                done += len(ended)
                if done == jobs:
                    break
                out += len(claimed)
                for job in claimed:
                    door.send_nowait(job)
                ended = await inbox.receive()
                while True:
                    try:
                        ended += inbox.receive_nowait()
                    except trio.WouldBlock:
                        break
                out -= len(ended)
            pace = watch.pace(jobs)
            door.close()
    return pace
