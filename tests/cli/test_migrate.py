"""`actors migrate`: for people, from one server's life to the next one's, and killed in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import trio

import actors
from actors.store import store_from_url

APP = """
import pathlib

import actors, trio
jobs = actors.Registry()

@jobs.job()
async def add(a: int, b: int) -> int:
    return a + b

@jobs.job(queue="slow")
async def once(name: str) -> None:  # hangs at its first run
    if not pathlib.Path(name).exists():
        pathlib.Path(name).touch()
        await trio.sleep_forever()
"""
MANY = 4_000

jobs = actors.Registry()


@jobs.job()
async def work(n: int) -> None:
    """Nothing."""


def test_a_server_moves_with_its_jobs(start: Any, in_process: Any, tmp_path: Path, redis_url: str) -> None:
    """A living one is refused, by name; what it was running when it was killed runs again at the new place."""
    (tmp_path / "myjobs.py").write_text(APP)
    to = f"{redis_url}/0?prefix={uuid.uuid4().hex}"
    command = ("migrate", "--from", "sqlite:///actors.db", "--to", to)
    server = start("--app", "myjobs:jobs", "--workers", "0")
    worker = start("--app", "myjobs:jobs", "--workers", "0", "--queue", "slow=1", command="worker")
    waiting = [server.enqueue("add", a=n, b=1) for n in range(3)]
    (tmp_path / "there").touch()
    before = server.enqueue("once", name="there")
    server.until(before, "completed")
    lost = server.enqueue("once", name="hung")
    server.until(lost, "running")
    done = in_process(*command)
    said = " ".join(done.err.split())
    assert done.code == 1 and f"process {worker.url}" in said and "the source is used by" in said, done
    server.signal()
    assert server.end()[0] == 0
    worker.signal(signal.SIGKILL)
    worker.end()

    done = in_process(*command, "--json")
    told = json.loads(done.out)
    assert (done.code, told["carried"], told["lost"], told["conflicts"]) == (0, 5, 1, [])
    done = in_process(*command)
    assert done.code == 0 and "jobs that came before" in done.out and "everything of sqlite:///actors.db" in done.out
    assert json.loads(in_process("verify", "--json", "--store", to).out)["ok"]
    server = start("--app", "myjobs:jobs", "--queue", "slow=1", "--store", to)
    assert [server.until(id, "completed")["result"] for id in waiting] == [1, 2, 3]
    assert server.until(lost, "completed")["attempts"] == 0
    assert server.request("GET", f"/jobs/{before}")[1]["state"] == "completed"


def test_a_killed_migration_goes_on(in_process: Any, tmp_path: Path, redis_url: str) -> None:
    to = f"{redis_url}/0?prefix={uuid.uuid4().hex}"

    async def fill() -> list[str]:
        async with actors.open_system(jobs, store=f"sqlite:///{tmp_path}/actors.db", queues={}) as system:
            return [handle.id for handle in await system.enqueue_many([work(n) for n in range(MANY)])]

    async def ids() -> list[str]:
        store = store_from_url(to)
        await store.open("reader", 0)
        found: list[Any] = []
        while page := await store.export(found[-1].job.standing.seq if found else 0, 1_000):
            found += page
        await store.close("reader")
        return [kept.job.id for kept in found]

    made = trio.run(fill)
    command = ("migrate", "--from", "sqlite:///actors.db", "--to", to)
    process = subprocess.Popen(
        [sys.executable, "-m", "actors", *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(actors.__file__).parents[1])},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 30
    while not (came := len(trio.run(ids))):  # another process: there is nothing to wait on but what it has done
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.kill()
    process.wait()
    done = in_process(*command, "--json")
    told = json.loads(done.out)
    assert (done.code, told["carried"] + told["there"], told["gone"]) == (0, MANY, 0)
    assert told["there"] >= came
    assert trio.run(ids) == made, "each once, in order"
    assert json.loads(in_process("verify", "--json", "--store", to).out)["ok"]


def test_what_can_not_be_carried_is_said(in_process: Any, tmp_path: Path) -> None:
    async def empty(name: str) -> None:
        async with actors.open_system(jobs, store=f"sqlite:///{tmp_path}/{name}.db", queues={}) as system:
            await system.set_setting("paused/q", name)

    for name in ("here", "there"):
        trio.run(empty, name)
    here = "sqlite:///here.db"
    for source, to, code, word in (
        ("sqlite:///nope.db", here, 1, "nope.db is not there"),
        (here, "memory:", 2, "--to is memory:"),
        ("memory:", here, 2, "--from is memory:"),
        ("mysql://root:secret@host", here, 2, "--from is"),
        (here, "redis://localhost/x", 2, "--to is '/x'"),
        (here, "redis://127.0.0.1:1", 1, "out of reach"),
        (here, here, 2, "another store than the source"),
        (here, "sqlite:///there.db", 1, "1 conflicts"),
    ):
        done = in_process("migrate", "--from", source, "--to", to)
        said = " ".join(done.err.split())
        assert (done.code, word in said, "Traceback" in said) == (code, True, False), done
    assert not (tmp_path / "nope.db").exists()
    assert in_process("migrate", "--from", here).code == 2
