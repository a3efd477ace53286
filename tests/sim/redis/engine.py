"""The engine: a real server of the simulation's own, whose functions see the simulated time. One call at a time.

A real one, not a model of its data types: the library is the half of the store that a model would have to guess at. It
is asked through a plain blocking socket, so to the simulation a call happens in no time and in no order but its own,
and the same seed stays the same history; a call takes 50 µs, 15 of them of this process.
"""

from __future__ import annotations

import atexit
import socket
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import attrs

from actors.store.redis import library
from actors.testing.redis import RedisServer

FAST_DISK: Final = Path("/dev/shm")
CLOCK: Final = "clock"  # the key with the simulated time, which the library reads instead of the server's
EPOCH: Final = 1_700_000_000_000  # milliseconds of the server when a history begins
_READS: Final = "local time = call('TIME')"
_READS_INSTEAD: Final = (
    f"local at = tonumber(call('GET', '{CLOCK}')) local time = {{ floor(at / 1000), at % 1000 * 1000 }}"
)
_SETTINGS: Final = {
    "appendonly": "no",
    "unixsocket": "socket",
    # hashes and sets in the order in which they were filled: that of big ones is the server process's own
    "hash-max-listpack-entries": "100000",
    "hash-max-listpack-value": "1000000",
    "set-max-listpack-entries": "100000",
    "set-max-listpack-value": "1000000",
}


class Refusal(Exception):
    """The server has answered with this error."""


@attrs.frozen
class Reply:
    """What one call has answered, and the messages that it has published."""

    value: Any
    news: list[bytes]


class Engine:
    """One connection to one server, whose data is thrown away with each history."""

    def __init__(self) -> None:
        self._server = RedisServer(_SETTINGS, parent=FAST_DISK if FAST_DISK.is_dir() else None)
        self._server.start()
        atexit.register(self._close)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(self._server.directory / "socket"))
        self._answers = self._socket.makefile("rb")
        self._code = ""
        self._ask([("HELLO", "3")])

    def _close(self) -> None:
        self._answers.close()
        self._socket.close()
        self._server.kill()
        self._server._directory.cleanup()

    def reset(self, channel: str, *, knows_library: bool) -> None:
        """An empty server, and one ear on its news."""
        self._ask([("FLUSHALL", "SYNC"), ("SUBSCRIBE", channel)])
        if knows_library:
            self.load(library.CODE)
        else:
            self.forget()

    def load(self, code: str) -> None:
        """The function library, but by the simulated clock."""
        if code != self._code:
            assert _READS in code, "the library reads its clock in another way"
            self._ask([("FUNCTION", "LOAD", "REPLACE", code.replace(_READS, _READS_INSTEAD))])
            self._code = code

    def forget(self) -> None:
        """No function library, as on a server that nobody has used yet."""
        self._ask([("FUNCTION", "FLUSH")])
        self._code = ""

    def call(self, at: float, function: str, prefix: str, arguments: Sequence[str | bytes | int]) -> Reply:
        """Call a function at this moment (seconds since the history began)."""
        clock = EPOCH + int(at * 1_000 + 1e-6)
        _, reply, _, *news = self._ask([("SET", CLOCK, clock), ("FCALL", function, 1, prefix, *arguments)])
        if isinstance(reply, Refusal):
            raise reply
        return Reply(reply, [message[2] for message in news if message[0] == b"message"])

    def _ask(self, commands: Sequence[Sequence[str | bytes | int]]) -> list[Any]:
        """The answers to these commands and to a PING, and the messages behind them."""
        sent = bytearray()
        for words in (*commands, ("PING",)):
            sent += b"*%d\r\n" % len(words)
            for word in words:
                data = word if isinstance(word, bytes) else str(word).encode()
                sent += b"$%d\r\n%b\r\n" % (len(data), data)
        self._socket.sendall(sent)
        answers: list[Any] = []
        pushed: list[Any] = []
        while len(answers) < len(commands) + 1:
            is_push, value = self._read()
            if not is_push:
                answers.append(value)
            elif value[0] == b"subscribe":
                answers.append(value)  # the only answer to it
            else:
                pushed.append(value)
        return answers + pushed

    def _read(self) -> tuple[bool, Any]:
        """Whether it is no answer but a message, and what it says."""
        line = self._answers.readline()
        kind, rest = line[:1], line[1:-2]
        match kind:
            case b"+":
                return False, rest
            case b"-":
                return False, Refusal(rest.decode())
            case b":":
                return False, int(rest)
            case b"$":
                data = self._answers.read(int(rest) + 2)
                return False, data[:-2]
            case b"*" | b">" | b"~":
                return kind == b">", [self._read()[1] for _ in range(int(rest))]
            case b"%":
                return False, [self._read()[1] for _ in range(2 * int(rest))]
            case b"_":
                return False, None
        raise ConnectionError(f"the server has said {line!r}")


@cache
def engine() -> Engine:
    """The one of this process."""
    return Engine()
