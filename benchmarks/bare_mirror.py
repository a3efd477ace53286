"""The bare durable loops that claim ahead: on SQLite with the ready jobs mirrored in memory, so that nothing is
queried, and on Redis with one fused call per tick.

They commit in groups, and a claim is durable before its job runs. The workers share one channel with up to ten jobs for
each of them, and hand back lists. One process, no codec: the most that a durable queue could do here.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Awaitable, Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import orjson
import trio

from actors.testing.speed import Pace, Stopwatch
from benchmarks.bare_queue import AHEAD, SLICE
from benchmarks.bare_tick import COMPLETE, KEEP, database
from benchmarks.work import Body

Commit = Callable[[list[int], int], Awaitable[list[int]]]
"""Completes those, claims so many, and answers them; durable when it returns."""

_LEASE: Final = 1 << 40  # a score: nobody is reaped here
# completes all but the first argument, and takes as many as that says
_FUSED: Final = """
for i = 2, #ARGV do
    redis.call('ZREM', KEYS[2], ARGV[i])
    redis.call('HDEL', KEYS[3], ARGV[i])
end
local taken, ids = redis.call('ZPOPMIN', KEYS[1], ARGV[1]), {}
for i = 1, #taken, 2 do
    ids[#ids + 1] = taken[i]
    redis.call('ZADD', KEYS[2], LEASE, taken[i])
end
local payloads = #ids > 0 and redis.call('HMGET', KEYS[3], unpack(ids)) or {}
return {ids, payloads}
""".replace("LEASE", str(_LEASE))


async def _loop(jobs: int, workers: int, body: Body, commit: Commit) -> Pace:
    """The pace of jobs that wait, from the start of the workers to the commit of the last completion."""
    out = done = 0
    tell, inbox = trio.open_memory_channel[list[int]](math.inf)
    door, shared = trio.open_memory_channel[int](math.inf)

    async def work() -> None:
        while True:
            try:
                seq = await shared.receive()
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
                    seq = shared.receive_nowait()
                except (trio.WouldBlock, trio.EndOfChannel):
                    break
            tell.send_nowait(mine)

    watch = Stopwatch()
    async with trio.open_nursery() as nursery:
        for _ in range(workers):
            nursery.start_soon(work)
        ended: list[int] = []
        while True:
            claimed = await commit(ended, workers * AHEAD - out)
            done += len(ended)
            if done == jobs:
                break
            out += len(claimed)
            for seq in claimed:
                door.send_nowait(seq)
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


async def mirror_loop(scratch: Path, jobs: int, workers: int, body: Body) -> Pace:
    """On SQLite; commits run inline: with nobody else to serve, a thread only costs its hops."""
    ready = deque(range(jobs))
    with database(scratch, jobs) as connection:

        async def commit(ended: list[int], room: int) -> list[int]:
            claimed = [ready.popleft() for _ in range(min(len(ready), room))]
            connection.execute("BEGIN IMMEDIATE")
            if ended:
                connection.execute(COMPLETE, (orjson.dumps(ended).decode(),))
            if claimed:
                connection.execute(KEEP, (orjson.dumps(claimed).decode(),))
            connection.execute("COMMIT")
            return claimed

        return await _loop(jobs, workers, body, commit)


async def fused_loop(url: str, jobs: int, workers: int, body: Body) -> Pace:
    """On the empty Redis server at `url`, with a cancel scope for each job."""

    async def scoped() -> None:
        with trio.CancelScope():
            await body()

    client: Any
    async with import_module("coredis").Redis.from_url(url) as client:
        for start in range(0, jobs, 10_000):
            seqs = [str(seq) for seq in range(start, min(start + 10_000, jobs))]
            await client.zadd("ready", {seq: float(seq) for seq in seqs})
            await client.hset("payload", dict.fromkeys(seqs, "{}"))
        script = client.register_script(_FUSED)

        async def commit(ended: list[int], room: int) -> list[int]:
            ids, _ = await script(keys=["ready", "held", "payload"], args=[room, *ended])
            return [int(id) for id in ids]

        return await _loop(jobs, workers, scoped, commit)
