"""Wake-ups: a holder's bell is a datagram socket, or inline an event, that whoever has changed something rings."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import sys
import tempfile
from pathlib import Path
from typing import Protocol

import trio


class Bell(Protocol):
    """What a holder listens to, and rings the others with."""

    async def heard(self) -> None:
        """Return when it was rung since the last time (or has been closed)."""
        ...

    def ring(self, holder: str) -> None:
        """Ring the bell of another holder of the same database. Never waits; from any thread for a socket."""
        ...

    def close(self) -> None:
        """Stop listening."""
        ...


class SocketBell:
    """A bell that other processes can ring: an abstract name on Linux, else a file in the temp directory."""

    def __init__(self, database: Path, holder: str) -> None:
        self._database = database
        self._address = self._address_of(holder)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            self._unlink()
            self._socket.bind(self._address)
        except OSError as error:
            if (
                error.errno != errno.EADDRINUSE
            ):  # it is: by another store object with the same holder, who then hears for both
                self._socket.close()
                raise

    def _address_of(self, holder: str) -> str:
        digest = hashlib.sha256(f"{self._database}\0{holder}".encode(errors="surrogateescape")).hexdigest()[:32]
        if sys.platform == "linux":
            return f"\0actors-{digest}"
        return os.path.join(tempfile.gettempdir(), f"actors-{digest}.bell")

    def _unlink(self) -> None:
        if not self._address.startswith("\0"):
            Path(self._address).unlink(missing_ok=True)

    async def heard(self) -> None:
        """Return when a datagram has come."""
        try:
            await trio.lowlevel.wait_readable(self._socket)
            while True:
                self._socket.recv(1)
        except (BlockingIOError, trio.ClosedResourceError):
            return

    def ring(self, holder: str) -> None:
        """Send a datagram. Who is gone, or has some that it has not read yet, needs none."""
        try:
            self._socket.sendto(b"!", self._address_of(holder))
        except OSError:
            pass

    def close(self) -> None:
        """Wake who waits in `heard`, and close the socket."""
        trio.lowlevel.notify_closing(self._socket)
        self._socket.close()
        self._unlink()


_events: dict[tuple[Path, str], EventBell] = {}


class EventBell:
    """A bell within one trio run, for simulated time: no socket, nothing that the clock could overtake."""

    def __init__(self, database: Path, holder: str) -> None:
        self._key = (database, holder)
        self._event = trio.Event()
        _events[self._key] = self

    async def heard(self) -> None:
        """Return when it was rung."""
        await self._event.wait()
        self._event = trio.Event()

    def ring(self, holder: str) -> None:
        """Set the other's event."""
        if (other := _events.get((self._key[0], holder))) is not None:
            other._event.set()

    def close(self) -> None:
        """Wake who waits in `heard`."""
        if _events.get(self._key) is self:
            del _events[self._key]
        self._event.set()
