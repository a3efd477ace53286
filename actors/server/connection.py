"""One client's connection: anycorn's HTTP/1.1 and WebSockets on a trio stream. Rule: nothing that a client sends, or
does not do, ends more than its own connection.

anycorn's own accept loop keeps neither: an exception in one connection ends them all (`Upgrade: h2c` with settings
that are no UTF-8 is enough), and a client that never reads its answer is waited for without end. HTTP/2 is left out:
nobody speaks it without TLS, and it would be one more door.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
from typing import Any, Final

import h11
import trio
from anycorn import Config
from anycorn.app_wrappers import ASGIWrapper
from anycorn.events import Closed, Event, RawData, Updated
from anycorn.protocol.events import Body, EndBody, Response, StreamClosed
from anycorn.protocol.events import Event as StreamEvent
from anycorn.protocol.h11 import STREAM_ID, H11Protocol
from anycorn.task_group import TaskGroup
from anycorn.typing import ConnectionState
from anycorn.worker_context import WorkerContext

from actors.server.app import LINGER, LINGER_BYTES, SECURITY_HEADERS, Application
from actors.server.problems import Problem

log: Final = logging.getLogger("actors.server")
AT_ONCE: Final = 64 * 1024  # bytes that are read, or written under one deadline
_REFUSED: Final = {
    403: ("no-websocket", "There is no WebSocket here"),
    404: ("no-such-path", "There is no such path"),
    431: ("head-too-large", "The head of the request is too large"),
    500: ("fault", "A fault of the server: its log says more"),
    501: ("transfer-encoding", "Transfer-Encoding: expected chunked, or none"),
}


class Connection:
    """A connection that was accepted; `run` ends when it is closed, whoever closes it."""

    def __init__(self, app: Application, config: Config, context: WorkerContext, stream: trio.SocketStream) -> None:
        self._app = app
        self._config = config
        self._context = context
        self._stream = stream
        self._sending = trio.Lock()
        self._idle = True
        self._reading = trio.CancelScope()
        self._protocol: _Http1 | None = None

    async def run(self) -> None:
        """Serve its requests, one after the other. Whatever goes wrong is logged, and ends this connection only."""
        try:
            async with self._stream:
                await self._serve()
        except* OSError:
            pass  # it was gone before it began
        except* Exception as group:
            log.error("a connection failed", exc_info=group)

    def leave_if_idle(self) -> None:
        """Hang up, unless a request is under way: its answer will be the last one."""
        if self._idle:
            self._reading.cancel()

    async def _serve(self) -> None:
        client, server = self._stream.socket.getpeername(), self._stream.socket.getsockname()
        async with TaskGroup() as group:
            self._protocol = protocol = _Http1(
                ASGIWrapper(self._app),  # type: ignore[arg-type]  # starlette's types of ASGI are wider than anycorn's
                self._config,
                self._context,
                group,
                ConnectionState({}),
                client[:2],
                server[:2],
                self._send,
                None,
            )
            self._idle_from_now()
            with self._reading, contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                while data := await self._stream.receive_some(AT_ONCE):
                    await protocol.handle(RawData(data))
            if protocol.has_refused:
                await self._see_off()
            await self._hang_up()
            await protocol.handle(Closed())  # what is under way learns that its client has left

    def _idle_from_now(self) -> None:
        self._idle = True
        self._reading.deadline = trio.current_time() + self._app.settings.idle

    async def _send(self, event: Event) -> None:
        match event:
            case RawData():
                await self._write(event.data)
            case Closed() if self._protocol is not None and self._protocol.is_answering:
                await trio.sleep_forever()  # bytes behind the last request: its answer is sent first, then it closes
            case Closed() if self._protocol is not None and self._protocol.has_refused:
                self._reading.cancel()
            case Closed():
                await self._hang_up()
            case Updated(idle=True):
                self._idle_from_now()
            case Updated():
                self._idle = False
                self._reading.deadline = math.inf
            case _:
                raise TypeError(f"{type(event).__name__}: expected bytes, or a close")

    async def _write(self, data: bytes) -> None:
        if not self._sending.locked():
            data = data[self._write_now(data) :]
        if not data:
            return
        async with self._sending:
            try:
                for start in range(0, len(data), AT_ONCE):
                    with trio.fail_after(self._app.settings.answer_idle):
                        await self._stream.send_all(data[start : start + AT_ONCE])
                return
            except trio.TooSlowError:
                log.debug("an answer was not read")
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
        await self._hang_up()

    def _write_now(self, data: bytes) -> int:
        """Write what the kernel takes on the spot, which is nearly always all: no deadline, no turn of the loop."""
        try:
            return os.write(self._stream.socket.fileno(), data)
        except OSError:
            return 0  # it is full, or gone: the stream says which

    async def _see_off(self) -> None:
        """Read what a refused client still sends, for a while: hanging up at once would make it lose the answer."""
        dropped = 0
        with (
            trio.move_on_after(LINGER),
            contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError),
        ):
            await self._stream.send_eof()
            while dropped < LINGER_BYTES and (data := await self._stream.receive_some(AT_ONCE)):
                dropped += len(data)

    async def _hang_up(self) -> None:
        self._reading.cancel()
        await self._stream.aclose()


class _Http1(H11Protocol):
    """anycorn's, but that it upgrades to no HTTP/2, and says why it refuses what never reaches the application."""

    is_answering = False  # from an answer's first byte to its last
    has_refused = False  # what h11 can't read: the last that is read of this connection
    _is_head = False
    _said = b""
    _held = b""  # the head of an answer: it goes out together with what follows it

    def __init__(self, app: Any, config: Config, *more: Any) -> None:
        super().__init__(app, config, *more)
        self.connection = _Heard(h11.SERVER, max_incomplete_event_size=config.h11_max_incomplete_size)

    async def _check_protocol(self, event: h11.Request) -> None:
        """No other protocol is taken up; the request is answered as HTTP/1.1."""

    async def _create_stream(self, request: h11.Request) -> None:
        self._is_head = request.method == b"HEAD"
        await super()._create_stream(request)

    async def stream_send(self, event: StreamEvent) -> None:
        """anycorn's own refusals have no body: they get one. What was refused in its body has its answer already."""
        if self.has_refused:
            return
        if isinstance(event, (Response, StreamClosed)):
            self.is_answering = isinstance(event, Response)
        if isinstance(event, Response) and event.status_code >= 400 and (b"content-length", b"0") in event.headers:
            headers, self._said = _refusal(event.status_code)
            event = Response(stream_id=STREAM_ID, headers=headers, status_code=event.status_code)
        elif isinstance(event, EndBody) and self._said:
            said, self._said = self._said, b""
            if not self._is_head:
                await super().stream_send(Body(stream_id=STREAM_ID, data=said))
        await super().stream_send(event)

    async def _send_h11_event(self, event: Any) -> None:
        """As anycorn does, but head and body in one piece, and no empty one for the end of a body of known length."""
        try:
            data: bytes = self.connection.send(event) or b""
        except h11.LocalProtocolError:
            if self.connection.their_state != h11.ERROR:
                raise
            return
        if type(event) is h11.Response:
            self._held = data
            return
        if self._held:
            data, self._held = self._held + data, b""
        if data:
            await self.send(RawData(data=data))

    async def _send_error_response(self, status_code: int) -> None:
        self.has_refused = True
        headers, said = _refusal(status_code)
        await self._send_h11_event(h11.Response(status_code=status_code, headers=headers))
        if not self._is_head:
            await self._send_h11_event(h11.Data(data=said))
        await self._send_h11_event(h11.EndOfMessage())


class _Heard(h11.Connection):
    """h11's, but that bytes behind the last request are not looked at: h11 calls them an error, and that request, which
    may have been done by then, would be answered 400.
    """

    def receive_data(self, data: bytes) -> None:
        """Bytes, or b"" for their end."""
        if not data or self.their_state is not h11.MUST_CLOSE:
            super().receive_data(data)

    def next_event(self) -> Any:
        """The next event, or that there is none yet."""
        return h11.NEED_DATA if self.their_state is h11.MUST_CLOSE else super().next_event()


def _refusal(status: int) -> tuple[list[tuple[bytes, bytes]], bytes]:
    kind, said = _REFUSED.get(status, ("bad-http", "This is no HTTP/1.1 request that can be read"))
    response = Problem(status, kind, said).response()
    headers: list[Any] = [*response.raw_headers, *SECURITY_HEADERS, (b"connection", b"close")]
    return headers, bytes(response.body)
