"""A server that comes back without its last moments: killed while its disk lagged, without power, or failed over to a
replica that was behind. What was inserted in them is lost; no job is stranded.
"""

from __future__ import annotations

import shutil
import uuid
from collections import Counter
from pathlib import Path

import pytest
import trio

import actors
from actors.store.redis import RedisStore
from actors.testing.redis import RedisServer

PATIENCE = 60.0  # seconds that a loaded machine may take for anything
LEASE = 3_600.0  # nobody is to be helped by its end, nor by the beats within it


class Past:
    """The files of a server at a moment, to which it can be set back. `always`: they are whole."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._copy = server.directory.with_name(f"{server.directory.name}-past")
        shutil.copytree(self._log, self._copy)

    @property
    def _log(self) -> Path:
        return self._server.directory / "appendonlydir"

    def come_back(self) -> None:
        self._server.kill()
        shutil.rmtree(self._log)
        shutil.move(self._copy, self._log)
        self._server.start()


class Bodies:
    """Short ones end when they may, the long one later."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.may_end = {"short": trio.Event(), "long": trio.Event()}
        jobs = self.jobs = actors.Registry()

        @jobs.job()
        async def waits(name: str) -> None:
            self.began.append(name)
            await self.may_end[name].wait()

    def job(self, name: str):
        return self.jobs.from_json("waits", {"name": name})


async def _until(system: actors.System, *, completed: int, running: int) -> None:
    """(The server is another process, so there is nothing to wait for.)"""
    with trio.fail_after(PATIENCE):
        while True:
            try:
                stats = await system.stats()
            except actors.StoreBusy:
                pass
            else:
                if (stats.completed, stats.running, stats.pending) == (completed, running, 0):
                    return
            await trio.sleep(0.01)


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "at work"])
async def test_a_job_whose_report_the_server_lost_runs_again_and_one_that_still_runs_does_not(busy: bool) -> None:
    bodies = Bodies()
    with RedisServer({"appendfsync": "always"}) as server:
        store = RedisStore(server.url, prefix=uuid.uuid4().hex)
        async with actors.open_system(bodies.jobs, store=store, lease=LEASE) as system:
            handles = await system.enqueue_many([bodies.job(name) for name in ["long"] + 3 * ["short"]])
            await _until(system, completed=0, running=4)
            with trio.fail_after(PATIENCE):
                while len(bodies.began) < 4:
                    await trio.sleep(0.01)
            past = Past(server)
            bodies.may_end["short"].set()
            await _until(system, completed=3, running=1)
            past.come_back()
            if busy:
                handles.append(await system.enqueue(bodies.job("short")))
            await _until(system, completed=len(handles) - 1, running=1)
            assert Counter(bodies.began) == {"long": 1, "short": 6 + busy}
            bodies.may_end["long"].set()
            await _until(system, completed=len(handles), running=0)
            assert (await system.audit()).ok
            for handle in handles:
                record = await handle.record()
                assert (record.attempt, record.crashes) == (0, 0), "no process has died"
