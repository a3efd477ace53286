"""A wire between a client and a server that can be cut in the middle of a call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

import pytest
import trio


class Proxy:
    """Passes bytes on to a port of the loopback. It can be told to swallow an answer and hang up instead."""

    def __init__(self, port: int) -> None:
        self.url = ""
        self.cuts = 0
        self._port = port
        self._word: bytes | None = None
        self._open: list[trio.SocketStream] = []

    def cut_the_answer_to(self, word: bytes) -> None:
        """The next call with `word` in it reaches the server, and its answer nobody."""
        self._word = word

    async def cut_everything(self) -> None:
        """Hang up on everybody."""
        for stream in self._open:
            with trio.move_on_after(0):
                await stream.aclose()
        self._open.clear()

    async def serve(self, client: trio.SocketStream) -> None:
        marked = False

        async def up() -> None:
            nonlocal marked
            async for data in client:
                if self._word is not None and self._word in data:
                    self._word, marked = None, True
                await server.send_all(data)

        async def down() -> None:
            async for data in server:
                if marked:
                    self.cuts += 1
                    return
                await client.send_all(data)

        try:
            async with client, await trio.open_tcp_stream("127.0.0.1", self._port) as server:
                self._open += [client, server]
                async with trio.open_nursery() as nursery:
                    for pump in (up, down):
                        nursery.start_soon(self._until_it_ends, pump, nursery)
        except OSError:
            pass  # nobody is at home there

    async def _until_it_ends(self, pump, nursery: trio.Nursery) -> None:
        try:
            await pump()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        nursery.cancel_scope.cancel()


@pytest.fixture
async def proxy(redis_url: str) -> AsyncIterator[Proxy]:
    """A proxy before the shared server."""
    made = Proxy(int(redis_url.rpartition(":")[2]))
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, made.serve, 0, host="127.0.0.1"))
        made.url = f"redis://127.0.0.1:{listener.socket.getsockname()[1]}"
        yield made
        nursery.cancel_scope.cancel()
