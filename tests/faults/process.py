"""A real program in a process group of its own: started, killed, stopped, continued, and asked how it ended.

What lies in another process can only be polled: each wait has a deadline, and none decides what is measured.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import httpx2
import trio

from tests.faults.ledger import VARIABLE

ROOT: Final = Path(__file__).parents[2]
PATIENCE: Final = 60.0  # seconds until a program that does not come up, or a state that does not come, is a fault
LOOK: Final = 0.01  # seconds between two looks


async def until(met: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
    """Wait until something is so in another process."""
    deadline = time.monotonic() + patience
    while not met():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: did not come within {patience:g} s")
        await trio.sleep(LOOK)


class Program:
    """One program; `start` it as often as it dies. Its output is kept, a file per start."""

    def __init__(self, folder: Path, name: str, command: list[str], ready: str, environment: Mapping[str, str]) -> None:
        self.name = name
        self.starts = 0
        self.process: trio.Process
        self._folder = folder
        self._command = command
        self._ready = ready
        kept = {name: text for name, text in os.environ.items() if not name.startswith("ACTORS_") and name != "PORT"}
        self._environment = {
            **kept,
            "PYTHONPATH": str(ROOT),
            "NO_COLOR": "1",
            VARIABLE: str(folder / "ledger"),
            **environment,
        }

    @property
    def output(self) -> Path:
        """What the last start has said, on both streams."""
        return self._folder / f"{self.name}-{self.starts}.out"

    @property
    def said(self) -> str:
        """All that it has ever said."""
        files = [self._folder / f"{self.name}-{number}.out" for number in range(1, self.starts + 1)]
        return "".join(file.read_text(errors="replace") for file in files if file.exists())

    @property
    def pid(self) -> int:
        """The process of the last start."""
        return self.process.pid

    @property
    def lives(self) -> bool:
        """Whether it runs (or is stopped)."""
        return self.starts > 0 and self.process.poll() is None

    async def launch(self) -> None:
        """Start it, and do not wait until it is ready."""
        self.starts += 1
        with self.output.open("ab") as output:
            self.process = await trio.lowlevel.open_process(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self._folder,
                env=self._environment,
                start_new_session=True,
            )

    async def start(self) -> float:
        """Start it and wait until it says that it is ready; the time of that."""
        await self.launch()
        await until(lambda: self.is_ready or not self.lives, f"{self.name} starts")
        assert self.is_ready, f"{self.name} ended as it started:\n{self.output.read_text()[-3000:]}"
        return time.monotonic()

    @property
    def is_ready(self) -> bool:
        """Whether the last start has said so."""
        return self._ready in self.output.read_text(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the whole group."""
        if self.lives:
            os.killpg(self.process.pid, number)

    async def kill(self) -> float:
        """SIGKILL; the time at which it was sent."""
        at = time.monotonic()
        self.signal(signal.SIGKILL)
        await self.process.wait()
        return at

    async def wait(self, patience: float = PATIENCE) -> int:
        """Its exit code."""
        with trio.move_on_after(patience) as scope:
            await self.process.wait()
        assert not scope.cancelled_caught, f"{self.name} did not end within {patience:g} s"
        assert self.process.returncode is not None
        return self.process.returncode

    async def stop(self, patience: float = PATIENCE) -> tuple[int, float]:
        """SIGTERM; the exit code and the seconds until it came."""
        began = time.monotonic()
        self.signal(signal.SIGTERM)
        code = await self.wait(patience)
        return code, time.monotonic() - began

    def told(self) -> dict[str, Any]:
        """The figures that it told last: a line of JSON."""
        lines = [line for line in self.said.splitlines() if line.startswith("{")]
        assert lines, f"{self.name} told no figures:\n{self.said[-3000:]}"
        told: dict[str, Any] = json.loads(lines[-1])
        return told


def program(folder: Path, name: str, word: str, **given: Any) -> Program:
    """One of `tests.faults.programs`."""
    command = [sys.executable, "-m", "tests.faults.programs", word, json.dumps(given)]
    return Program(folder, name, command, "ready\n", {})


def _command(word: str, store: str) -> list[str]:
    return [sys.executable, "-m", "actors", word, "--app", "tests.faults.work:jobs", "--store", store]


class Worker(Program):
    """`actors worker` with the jobs of `tests.faults.work`."""

    def __init__(self, folder: Path, store: str, *options: str, name: str) -> None:
        command = [*_command("worker", store), *options]
        super().__init__(folder, name, command, "works as ", {"PYTHONUNBUFFERED": "1"})


class Server(Program):
    """`actors serve` with the jobs of `tests.faults.work`, on a port that it keeps over restarts."""

    def __init__(self, folder: Path, store: str, *options: str, name: str = "server") -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [*_command("serve", store), "--port", str(self.port), *options]
        super().__init__(folder, name, command, "listens on ", {"PYTHONUNBUFFERED": "1"})
        self.url = f"http://127.0.0.1:{self.port}"

    def client(self, patience: float = 10.0) -> httpx2.AsyncClient:
        """A client for it."""
        return httpx2.AsyncClient(base_url=self.url, timeout=patience, trust_env=False)

    async def ask(self, method: str, path: str, body: Any = None, patience: float = 10.0) -> httpx2.Response:
        """One call, on a connection of its own."""
        async with self.client(patience) as client:
            return await client.request(method, path, json=body)

    async def call(self, method: str, path: str, body: Any = None, patience: float = 10.0) -> tuple[int, Any]:
        """The status and the JSON of one call."""
        answer = await self.ask(method, path, body, patience)
        return answer.status_code, answer.json()

    async def post(self, job: str, numbers: range, seconds: float | Callable[[], float]) -> None:
        """Enqueue numbered jobs in one batch."""
        items = [
            {"type": job, "number": number, "seconds": seconds() if callable(seconds) else seconds}
            for number in numbers
        ]
        status, given = await self.call("POST", "/jobs/batch", items)
        assert status == 202 and all("jobId" in one for one in given["jobs"]), given
