"""The bare durable tick loop on SQLite, and the bare commit: WAL, every commit synced, claims by query.

No records, no events, no errors, no retries; but each tick completes what has ended and claims for as many workers
as are idle in one transaction, so that a claim is on the disk before its job runs.
"""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import orjson
import trio

from actors.testing.speed import Pace, Stopwatch
from benchmarks.work import Body

_TABLE: Final = """CREATE TABLE job (seq INTEGER PRIMARY KEY, state INTEGER NOT NULL, priority INTEGER NOT NULL,
    run_at INTEGER NOT NULL, payload TEXT NOT NULL, holder TEXT)"""
_READY: Final = "CREATE INDEX ready ON job (priority DESC, run_at, seq) WHERE state = 0"
_INSERT: Final = "INSERT INTO job VALUES (?, 0, 1, ?, '{}', NULL)"
# one row that holds JSON: sqlite3 is dearer by the row than by the byte
_CLAIM: Final = """SELECT json_group_array(json_array(seq, payload)) FROM
    (SELECT seq, payload FROM job WHERE state = 0 ORDER BY priority DESC, run_at, seq LIMIT ?)"""
KEEP: Final = "UPDATE job SET state = 1, holder = 'me' WHERE seq IN (SELECT value FROM json_each(?))"
COMPLETE: Final = "UPDATE job SET state = 2, holder = NULL WHERE seq IN (SELECT value FROM json_each(?))"

Job = tuple[int, str]


@contextmanager
def database(scratch: Path, jobs: int) -> Iterator[sqlite3.Connection]:
    """A new database with so many jobs that wait."""
    with (
        TemporaryDirectory(dir=scratch) as directory,
        closing(sqlite3.connect(Path(directory) / "bare.db", isolation_level=None)) as connection,
    ):
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(_TABLE)
        connection.execute(_READY)
        connection.execute("BEGIN")
        connection.executemany(_INSERT, ((seq, seq) for seq in range(jobs)))
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        yield connection


def _tick(connection: sqlite3.Connection, ended: list[int], idle: int) -> list[Job]:
    connection.execute("BEGIN IMMEDIATE")
    if ended:
        connection.execute(COMPLETE, (orjson.dumps(ended).decode(),))
    ((text,),) = connection.execute(_CLAIM, (idle,)).fetchall()
    claimed: list[Job] = orjson.loads(text)
    if claimed:
        connection.execute(KEEP, (orjson.dumps([seq for seq, _ in claimed]).decode(),))
    connection.execute("COMMIT")
    return claimed


async def tick_loop(scratch: Path, jobs: int, workers: int, body: Body) -> Pace:
    """The pace of jobs inserted before, from the start of the workers to the commit of the last completion.

    Commits run inline: with nobody else to serve, a thread only costs its hops.
    """
    done = 0
    tell, inbox = trio.open_memory_channel[tuple[int, int]](math.inf)
    doors: list[trio.MemorySendChannel[Job]] = []

    async def work(me: int, mine: trio.MemoryReceiveChannel[Job]) -> None:
        async for seq, _ in mine:
            await body()
            tell.send_nowait((me, seq))

    with database(scratch, jobs) as connection:
        watch = Stopwatch()
        async with trio.open_nursery() as nursery:
            for number in range(workers):
                door, mine = trio.open_memory_channel[Job](1)
                doors.append(door)
                nursery.start_soon(work, number, mine)
            idle, ended = list(range(workers)), list[int]()
            while True:
                claimed = _tick(connection, ended, len(idle))
                done += len(ended)
                if done == jobs:
                    break
                ended = []
                for job in claimed:
                    doors[idle.pop()].send_nowait(job)
                me, seq = await inbox.receive()
                while True:
                    idle.append(me)
                    ended.append(seq)
                    try:
                        me, seq = inbox.receive_nowait()
                    except trio.WouldBlock:
                        break
            pace = watch.pace(jobs)
            for door in doors:
                door.close()
    return pace


def single_commits(scratch: Path, rows: int) -> float:
    """Commits/s of one inserted row each, one after the other: what one caller who awaits each enqueue can get."""
    with database(scratch, 0) as connection:
        began = time.perf_counter()
        for seq in range(rows):
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(_INSERT, (seq, seq))
            connection.execute("COMMIT")
        return rows / (time.perf_counter() - began)
