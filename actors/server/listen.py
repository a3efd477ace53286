"""The listening sockets, and anycorn as a task on them."""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence
from typing import Any, Final

import anycorn
import trio
from anycorn.logging import Logger

from actors.core.errors import BadOption
from actors.server.app import Application

log: Final = logging.getLogger("actors.server")
BACKLOG: Final = 1024
LAST_ANSWERS: Final = 0.5  # seconds for what is in flight once the system has ended: all of it has its answer by then
HEADER_BYTES: Final = 16 * 1024


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
    config = anycorn.Config()
    config.bind = [f"fd://{one.detach()}" for one in sockets]
    config.backlog = BACKLOG
    config.include_server_header = False
    config.h11_max_incomplete_size = HEADER_BYTES
    config.graceful_timeout = LAST_ANSWERS
    config.logger_class = _Quiet
    await anycorn.serve(
        app,  # type: ignore[arg-type]  # starlette's types of ASGI are wider than anycorn's
        config,
        shutdown_trigger=stop.wait,
        mode="asgi",
        task_status=_Started(task_status),
    )


class _Started:
    """Tells our nursery, which does not want anycorn's list of addresses."""

    def __init__(self, task_status: trio.TaskStatus[None]) -> None:
        self._task_status = task_status

    def started(self, value: object = None) -> None:
        """It listens."""
        self._task_status.started()


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
