"""`kill -9` in mid-work: nothing accepted is missing, what ran is run again, what was done stays done. Real processes, a real file."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

APP = """
import os
import time

import actors
import trio

jobs = actors.Registry()


@jobs.job(max_attempts=1)
async def work(number: int, seconds: float) -> int:
    with open("began", "a") as began:
        print(number, file=began)
    await trio.sleep(seconds)
    with open("ended", "a") as ended:
        print(number, file=ended)
    return number
"""


class Server:
    """`actors serve` as a process of its own, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "app.py").write_text(APP)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        command = [sys.executable, "-m", "actors", "serve", "--app", "app:jobs", "--port", str(self.port), *options]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log, env=environment)
        until = time.monotonic() + 30
        while True:
            try:
                self.call("GET", "/healthz")
                return
            except OSError:
                assert self.process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < until, "the server did not start within 30 s"
                time.sleep(0.05)  # another process's socket: there is nothing to wait on

    def call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        url = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())

    def stop(self, number: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(30)

    def lines(self, name: str) -> list[int]:
        path = self.folder / name
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def wait_for(self, met: Any, what: str) -> None:
        until = time.monotonic() + 30
        while not met():
            assert time.monotonic() < until, (
                f"{what} did not come within 30 s\n{(self.folder / 'log').read_text()[-3000:]}"
            )
            time.sleep(0.02)  # another process's work: there is nothing to wait on


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.stop(signal.SIGKILL)


def post_many(server: Server, numbers: range, seconds: float) -> list[str]:
    items = [{"type": "work", "number": number, "seconds": seconds} for number in numbers]
    return [one["jobId"] for one in server.call("POST", "/jobs/batch", items)["jobs"]]


def test_a_killed_server_loses_nothing_and_keeps_what_was_done(server: Server) -> None:
    server.start("--workers", "4")
    ids = post_many(server, range(60), 0.05)
    server.wait_for(lambda: len(server.lines("ended")) >= 20, "the first twenty jobs")
    assert server.stop(signal.SIGKILL) == -signal.SIGKILL
    done_before = Counter(server.lines("ended"))
    began_before = Counter(server.lines("began"))

    server.start("--workers", "4")
    server.wait_for(lambda: server.call("GET", "/jobs/stats")["queue"]["completed"] == 60, "the rest")
    records = [server.call("GET", f"/jobs/{id}") for id in ids]
    assert [record["status"] for record in records] == ["completed"] * 60
    assert [record["result"] for record in records] == list(range(60))
    ended = Counter(server.lines("ended"))
    assert set(ended) == set(range(60))
    # at most what was in flight at the kill is done twice; it cost no attempt, though each had only one
    assert sum(ended.values()) - 60 <= 4
    in_flight = [number for number in began_before if number not in done_before]
    assert len(in_flight) <= 4
    assert all(server.lines("began").count(number) == 2 for number in in_flight)
    assert server.stop(signal.SIGTERM) == 0


def test_sigterm_lets_short_jobs_finish_and_gives_long_ones_back(server: Server) -> None:
    server.start("--workers", "4", "--grace", "1")
    short = post_many(server, range(2), 0.3)
    long = post_many(server, range(2, 4), 60.0)
    waiting = post_many(server, range(4, 8), 0.01)
    server.wait_for(lambda: len(server.lines("began")) == 4, "four running jobs")
    began = time.monotonic()
    assert server.stop(signal.SIGTERM) == 0
    assert time.monotonic() - began < 1 + 1 + 1.5  # grace + 1 s, and what the interpreter takes to end
    assert "Traceback" not in (server.folder / "log").read_text()

    server.start("--workers", "0")
    states = [[server.call("GET", f"/jobs/{id}")["state"] for id in group] for group in (short, long, waiting)]
    assert states == [["completed"] * 2, ["pending"] * 2, ["pending"] * 4]
    given_back = server.call("GET", f"/jobs/{long[0]}")
    assert given_back["attempts"] == 0
    assert given_back["errors"] == []
    assert server.stop(signal.SIGTERM) == 0
