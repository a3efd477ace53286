"""The real command as a subprocess, in a directory of its own."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

import actors
from actors.cli import main

ROOT = str(Path(actors.__file__).parents[1])


def environment(**given: str) -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if not name.startswith("ACTORS_") and name != "PORT"}
    return {**kept, "PYTHONPATH": ROOT, "NO_COLOR": "1", "COLUMNS": "100", **given}


@attrs.define
class Server:
    """A running `actors serve` (or `worker`, whose `url` is its holder)."""

    process: subprocess.Popen[str]
    url: str
    out: list[str]
    err: list[str]
    readers: list[threading.Thread]

    def request(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(
            self.url + path, data, {"Content-Type": "application/json", **(headers or {})}, method=method
        )
        try:
            with urllib.request.urlopen(asked, timeout=10) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def enqueue(self, type: str, **fields: Any) -> str:
        status, made = self.request("POST", "/jobs", {"type": type, **fields})
        assert status == 202, made
        return str(made["jobId"])

    def until(self, id: str, *states: str) -> Any:
        deadline = time.monotonic() + 10
        while (job := self.request("GET", f"/jobs/{id}")[1])["state"] not in states:
            assert time.monotonic() < deadline, job
            time.sleep(0.02)
        return job

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def end(self, within: float = 10.0) -> tuple[int, float]:
        """The exit code, and how long it took."""
        began = time.monotonic()
        code = self.process.wait(within)
        took = time.monotonic() - began
        for reader in self.readers:
            reader.join(5)
        return code, took

    @property
    def said(self) -> str:
        return "".join(self.out)

    @property
    def logged(self) -> str:
        return "".join(self.err)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """`start(*arguments, **environment)` runs `actors serve` on a free port, or another command that stays, and waits
    until it is ready.
    """
    running: list[Server] = []

    def run(*arguments: str, command: str = "serve", **given: str) -> Server:
        process = subprocess.Popen(
            [sys.executable, "-m", "actors", command, *arguments],
            cwd=tmp_path,
            env={**environment(), "ACTORS_PORT": "0", **given},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        made = Server(process, "", [], [], [])
        running.append(made)
        assert process.stdout is not None and process.stderr is not None
        first = process.stdout.readline()
        ready = {"serve": "listens on ", "worker": "works as "}[command]
        if ready not in first:
            raise AssertionError(first + process.stderr.read())
        made.url = first.split(ready)[1].strip()
        made.out.append(first)
        for pipe, lines in ((process.stdout, made.out), (process.stderr, made.err)):
            made.readers.append(threading.Thread(target=lambda pipe=pipe, lines=lines: lines.extend(pipe), daemon=True))
            made.readers[-1].start()
        return made

    yield run
    for server in running:
        if server.process.poll() is None:
            server.process.kill()
        server.end()
        for pipe in (server.process.stdout, server.process.stderr):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


@attrs.frozen
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def in_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Any]:
    """`in_process(*arguments)` calls `actors.cli.main`: for what ends before anything runs."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("ACTORS_")] + ["PORT"]:
        monkeypatch.delenv(name, raising=False)
    root = logging.getLogger()
    handlers, level, path, modules = root.handlers[:], root.level, sys.path[:], set(sys.modules)

    def call(*arguments: str) -> Done:
        try:
            code = main(arguments)
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            logging.captureWarnings(False)
            root.handlers[:] = handlers
        said = capsys.readouterr()
        return Done(code, said.out, said.err)

    yield call
    root.setLevel(level)
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if getattr(sys.modules[name], "__file__", None) and str(sys.modules[name].__file__).startswith(str(tmp_path)):
            del sys.modules[name]
