"""The listening sockets, and the task that accepts connections on them: so many at a time, the others wait in the
kernel's line.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import resource
import socket
from collections.abc import Sequence
from typing import Any, Final

import anycorn
import trio
from anycorn.logging import Logger
from anycorn.worker_context import WorkerContext

from actors.core.errors import BadOption
from actors.server.app import Application
from actors.server.connection import Connection

log: Final = logging.getLogger("actors.server")
BACKLOG: Final = 1024
LAST_ANSWERS: Final = 0.5  # seconds for what is in flight once the system has ended: all of it has its answer by then
HEADER_BYTES: Final = 16 * 1024
A_MOMENT: Final = 0.1  # seconds until accepting is tried again
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})


class CannotListen(OSError):
    """The address can't be had."""


def bind(host: str, port: int) -> list[socket.socket]:
    """Listening sockets on all addresses that `host` means; port 0 takes a free one, the same for all.
    `CannotListen`.
    """
    if isinstance(port, bool) or not 0 <= port <= 65_535:
        raise BadOption("port", port, "a number from 0 to 65535")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise CannotListen(f"host {host!r}: {error}") from None
    addresses = sorted(
        {(family, address) for family, _, _, _, address in found}, key=lambda one: one[0] != socket.AF_INET
    )
    sockets: list[socket.socket] = []
    for family, address in addresses:
        taken = sockets[0].getsockname()[1] if sockets else port
        try:
            sockets.append(_listening(family, (address[0], taken, *address[2:])))
        except OSError as error:
            if sockets and family == socket.AF_INET6:
                continue  # a machine without IPv6
            for one in sockets:
                one.close()
            raise CannotListen(f"can't listen on {host} port {port}: {error.strerror or error}") from None
    return sockets


def _listening(family: int, address: tuple[Any, ...]) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
        made.listen(BACKLOG)  # now, not later: it is here that another's socket on the port is noticed
    except OSError:
        made.close()
        raise
    return made


def url_of(sockets: Sequence[socket.socket], host: str) -> str:
    """Where to call: the name that was asked for, where one can call it."""
    port = sockets[0].getsockname()[1]
    shown = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"


async def serve(
    app: Application,
    sockets: Sequence[socket.socket],
    stop: trio.Event,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve `app` on `sockets`, which are then this task's to close, until `stop` is set; what is in flight has
    `LAST_ANSWERS` seconds.
    """
    listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(one.dup())) for one in sockets]
    for one in sockets:
        one.close()
    async with contextlib.AsyncExitStack() as stack:
        for listener in listeners:
            await stack.enter_async_context(listener)
        await _Front(app).serve(listeners, stop, task_status)


class _Front:
    """Accepts, and knows who is connected."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self._config = config = anycorn.Config()
        config.include_server_header = False
        config.h11_max_incomplete_size = HEADER_BYTES
        config.logger_class = _Quiet
        self._context = WorkerContext(None)
        self._connected: set[Connection] = set()
        self._room = trio.Semaphore(_most_connections(app.settings.max_connections))

    async def serve(
        self, listeners: Sequence[trio.SocketListener], stop: trio.Event, task_status: trio.TaskStatus[None]
    ) -> None:
        """Accept until `stop`; then let go of who is idle, and wait a moment for the last answers."""
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                for listener in listeners:
                    accepting.start_soon(self._accept, listener, connections)
                task_status.started()
                await stop.wait()
                accepting.cancel_scope.cancel()
            await self._context.terminated.set()
            for connection in self._connected:
                connection.leave_if_idle()
            connections.cancel_scope.deadline = trio.current_time() + LAST_ANSWERS

    async def _accept(self, listener: trio.SocketListener, connections: trio.Nursery) -> None:
        while True:
            await self._room.acquire()
            try:
                stream = await listener.accept()
            except OSError as error:
                self._room.release()
                if error.errno not in _EXHAUSTED:
                    raise
                log.error("can't accept a connection", extra={"error": error.strerror})
                await trio.sleep(A_MOMENT)
            else:
                connections.start_soon(self._serve, stream)

    async def _serve(self, stream: trio.SocketStream) -> None:
        connection = Connection(self._app, self._config, self._context, stream)
        self._connected.add(connection)
        try:
            await connection.run()
        finally:
            self._connected.discard(connection)
            self._room.release()


def _most_connections(wanted: int) -> int:
    """At most half of the files that this process may open: the store and the jobs need some, too."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if files == resource.RLIM_INFINITY else max(1, min(wanted, files // 2))


class _Quiet(Logger):
    """anycorn's words to our log: faults as faults, the rest (addresses, clients that speak no HTTP, no lifespan) for
    debugging.
    """

    def __init__(self, config: anycorn.Config) -> None:
        pass

    async def access(self, request: Any, response: Any, request_time: float) -> None:
        """The application logs its requests itself."""

    async def critical(self, message: str, *args: Any, **kwargs: Any) -> None:
        """A fault."""
        log.critical(message, *args, **kwargs)

    async def error(self, message: str, *args: Any, **kwargs: Any) -> None:
        """A fault."""
        log.error(message, *args, **kwargs)

    async def warning(self, message: str, *args: Any, **kwargs: Any) -> None:
        """For debugging."""
        log.debug(message, *args, **kwargs)

    async def info(self, message: str, *args: Any, **kwargs: Any) -> None:
        """For debugging."""
        log.debug(message, *args, **kwargs)

    async def debug(self, message: str, *args: Any, **kwargs: Any) -> None:
        """For debugging."""
        log.debug(message, *args, **kwargs)

    async def exception(self, message: str, *args: Any, **kwargs: Any) -> None:
        """A fault, with its stack."""
        log.exception(message, *args, **kwargs)

    async def log(self, level: int, message: str, *args: Any, **kwargs: Any) -> None:
        """As said."""
        log.log(level, message, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(log, name)
