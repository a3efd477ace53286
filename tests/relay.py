"""A relay between a client and a server on the loopback, whose connections can be cut in the middle of a call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Literal, Self

import trio

Fate = Literal["passes", "call lost", "answer lost"]


def passes(data: bytes) -> Fate:
    """Nothing happens to it."""
    return "passes"


class Relay:
    """Passes bytes on to a port. What becomes of a call is told by `fate`, which sees what a client sends: whatever is
    lost, is lost with its connection.
    """

    def __init__(self, port: int, fate: Callable[[bytes], Fate] = passes) -> None:
        self.port = 0
        self.fate = fate
        self.cuts = 0
        self._to = port
        self._flows = trio.Event()
        self._flows.set()
        self._open: list[trio.SocketStream] = []

    @classmethod
    @asynccontextmanager
    async def to(cls, port: int, fate: Callable[[bytes], Fate] = passes) -> AsyncIterator[Self]:
        """A relay to `port`, for as long as the block lasts."""
        made = cls(port, fate)
        async with trio.open_nursery() as nursery:
            (listener,) = await nursery.start(partial(trio.serve_tcp, made._serve, 0, host="127.0.0.1"))
            made.port = listener.socket.getsockname()[1]
            yield made
            nursery.cancel_scope.cancel()

    @property
    def url(self) -> str:
        """As a Redis server."""
        return f"redis://127.0.0.1:{self.port}"

    def cut_the_answer_to(self, word: bytes) -> None:
        """The next call with `word` in it reaches the server, and its answer nobody."""

        def once(data: bytes) -> Fate:
            if word not in data:
                return "passes"
            self.fate = passes
            return "answer lost"

        self.fate = once

    def hold(self) -> None:
        """What the server says is kept here: whoever listens falls behind."""
        self._flows = trio.Event()

    async def cut_everything(self) -> None:
        """Hang up on everybody, and forget what was kept."""
        for stream in self._open:
            await trio.aclose_forcefully(stream)
        self._open.clear()

    async def _serve(self, client: trio.SocketStream) -> None:
        lost = False

        async def up() -> None:
            nonlocal lost
            async for data in client:
                match self.fate(data):
                    case "call lost":
                        self.cuts += 1
                        return
                    case "answer lost":
                        lost = True
                await server.send_all(data)

        async def down() -> None:
            async for data in server:
                if lost:
                    self.cuts += 1
                    return
                await self._flows.wait()
                await client.send_all(data)

        try:
            async with client, await trio.open_tcp_stream("127.0.0.1", self._to) as server:
                self._open += [client, server]
                async with trio.open_nursery() as nursery:
                    for pump in (up, down):
                        nursery.start_soon(self._until_it_ends, pump, nursery)
        except OSError:
            pass  # nobody is at home there

    async def _until_it_ends(self, pump: Callable[[], Awaitable[None]], nursery: trio.Nursery) -> None:
        try:
            await pump()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        nursery.cancel_scope.cancel()
