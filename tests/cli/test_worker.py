"""`actors worker`: processes that only work, beside a server that only takes jobs."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from actors.testing.redis import RedisServer

APP = """
import actors, trio
jobs = actors.Registry()

@jobs.job()
async def add(a: int, b: int) -> int:
    return a + b

@jobs.job(queue="slow")
async def wait(seconds: float) -> None:
    await trio.sleep(seconds)
"""


def test_workers_do_what_a_server_without_workers_takes(start: Any, in_process: Any, tmp_path: Path) -> None:
    (tmp_path / "myjobs.py").write_text(APP)
    server = start("--app", "myjobs:jobs", "--workers", "0")
    waiting = server.enqueue("add", a=1, b=2)
    assert server.request("GET", f"/jobs/{waiting}")[1]["state"] == "pending"
    one = start("--app", "myjobs:jobs", command="worker")
    two = start("--app", "myjobs:jobs", "--queue", "slow=1", command="worker")
    assert server.until(waiting, "completed")["result"] == 3
    later = [server.enqueue("add", a=n, b=n) for n in range(20)]
    assert [server.until(id, "completed")["result"] for id in later] == [2 * n for n in range(20)]

    assert "nobody here works on queue slow" in one.said
    slow = server.enqueue("wait", seconds=60)
    server.until(slow, "running")
    one.signal()
    two.signal()
    two.signal(signal.SIGINT)  # a second one: at once (of the same number it might arrive as one)
    assert one.end()[0] == two.end()[0] == 0
    assert "Traceback" not in one.logged + two.logged and "1 given back" in two.said
    given_back = server.request("GET", f"/jobs/{slow}")[1]
    assert (given_back["state"], given_back["attempts"]) == ("pending", 0)
    assert json.loads(in_process("verify", "--json").out)["ok"]


def test_workers_in_a_store_that_nobody_shares_are_refused(in_process: Any) -> None:
    done = in_process("worker", "--store", "memory:")
    assert done.code == 2 and "a store that lasts" in " ".join(done.err.split())


@pytest.mark.parametrize("command", [("worker",), ("serve", "--workers", "0", "--port", "0")])
def test_strict_refuses_a_server_that_may_lose_jobs(in_process: Any, command: tuple[str, ...]) -> None:
    with RedisServer({"appendonly": "no", "save": ""}) as server:
        done = in_process(*command, "--store", f"{server.url}?prefix=shop", "--strict")
    assert done.code not in (0, 2) and "may lose accepted jobs" in " ".join(done.err.split())
