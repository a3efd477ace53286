"""What a store sees of coredis: connections of one process to the simulated server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs
import trio
from coredis import exceptions

if TYPE_CHECKING:
    from tests.sim.process import Process
    from tests.sim.redis.network import Network

PREFIX: Final = "{actors}:"  # of all keys

Fate = Literal["good", "refused", "request lost", "answer lost", "request late", "answer late", "doubled"]


@attrs.define(eq=False)
class Call:
    """One call of a client, under way. The caller may be gone before its answer."""

    function: str
    arguments: Sequence[str | bytes | int]
    fate: Fate = "good"
    answered: trio.Event = attrs.Factory(trio.Event)
    answer: bytes | BaseException | None = None

    def be_answered(self, answer: bytes | BaseException) -> None:
        """Only the first answer counts."""
        if not self.answered.is_set():
            self.answer = answer
            self.answered.set()


class Ear:
    """A subscription to the news."""

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[bytes | None](1_000)

    def hear(self, message: bytes | None) -> None:
        """A message, or that the line is broken."""
        self._send.send_nowait(message)

    async def get_message(self, timeout: float) -> dict[str, Any]:
        """The next one, as coredis tells it."""
        message = await self._receive.receive()
        if message is None:
            raise exceptions.ConnectionError("Connection reset by peer")
        return {"data": message}


class Client:
    """What a store sees of coredis: some calls and one subscription, of one process."""

    def __init__(self, network: Network, process: Process) -> None:
        self.network = network
        self.process = process
        self.line = object()  # another one after it was broken
        self.ear: Ear | None = None
        self.connection_pool = self
        self.calls: dict[Call, None] = {}  # in the order in which they were sent

    async def fcall(self, name: str, keys: Sequence[str], arguments: Sequence[str | bytes | int]) -> bytes:
        """Call a function."""
        assert keys == [PREFIX]
        if self.process.dead:
            await trio.sleep_forever()
        call = Call(name, arguments)
        self.network.send(self, call)
        self.calls[call] = None
        try:
            await call.answered.wait()
        finally:
            del self.calls[call]
        if isinstance(call.answer, BaseException):
            raise call.answer
        assert call.answer is not None
        return call.answer

    async def function_load(self, code: str) -> None:
        """Give the server the library."""
        await self._reach()
        self.network.load(code)

    def disconnect(self) -> None:
        """Hang up; the next call is on a new line."""
        self.break_off("the line was hung up")

    def break_off(self, why: str) -> None:
        """Whoever waits for an answer learns that it is not coming."""
        self.line = object()
        for call in list(self.calls):
            call.be_answered(exceptions.ConnectionError(why))
        if self.ear is not None:
            self.ear.hear(None)

    @asynccontextmanager
    async def pubsub(self, channels: list[str], **options: Any) -> AsyncIterator[Ear]:
        """Hear the news."""
        await self._reach()
        self.ear = Ear()
        try:
            yield self.ear
        finally:
            self.ear = None

    async def _reach(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.network.is_down:
            raise exceptions.ConnectionError("Connection refused")


class Way:
    """The `Endpoint` of one process."""

    tls = None

    def __init__(self, network: Network, process: Process) -> None:
        self.clients: list[Client] = []
        self._network = network
        self._process = process

    def __str__(self) -> str:
        return "the simulated server"

    @asynccontextmanager
    async def connect(self, name: str) -> AsyncIterator[Client]:
        """A line, while the server is up."""
        await trio.lowlevel.checkpoint()
        if self._network.is_down:
            raise exceptions.ConnectionError("Connection refused")
        client = Client(self._network, self._process)
        self.clients.append(client)
        self._network.add(client)
        try:
            yield client
        finally:
            self.clients.remove(client)
            self._network.drop(client)
