"""The ASGI application: from a request to a call and back, with every error a problem document.

No ASGI lifespan: the server is a task in the nursery of whoever serves, and starts and stops there.
"""

from __future__ import annotations

import logging
from typing import Final

import trio
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from actors import System
from actors.core.errors import ActorsError, StoreError
from actors.server.access import Caller, Gate, forbidden
from actors.server.ask import Ask
from actors.server.calls import CALLS
from actors.server.calls.about import PAGES
from actors.server.headers import Headers
from actors.server.origin import check_host, check_origin, cors_headers, preflight_headers
from actors.server.problems import RETRY_AFTER, Problem, problem_of
from actors.server.routes import Routes
from actors.server.settings import ServerSettings

log: Final = logging.getLogger("actors.server")

LINGER: Final = (
    2.0  # seconds for which the rest of a refused body is read and dropped, so that its sender reads the answer
)
LINGER_BYTES: Final = 64 * 1024 * 1024
LOGGED_PATH: Final = 200  # characters
LATE: Final = (
    "The system did not answer in time. It may still do what was asked: an Idempotency-Key makes repeating safe"
)
SECURITY_HEADERS: Final = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))


class NoLifespan(RuntimeError):
    """Said to a server that asks for ASGI lifespan."""


class Application:
    """The application for one system. Set `closing` and every new request is answered 503."""

    def __init__(self, system: System, settings: ServerSettings = ServerSettings()) -> None:
        self.system = system
        self.settings = settings
        self.closing = False
        self._gate = Gate(system.settings, loopback_only=settings.loopback_only)
        self._routes = Routes(CALLS)
        for path, handler in PAGES:
            self._routes.add(path, handler, "anyone")
        self._in_flight = 0
        self._idle = trio.Event()

    async def idle(self) -> None:
        """Wait until no request is in flight."""
        while self._in_flight:
            self._idle = trio.Event()
            await self._idle.wait()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection's worth of ASGI."""
        match scope["type"]:
            case "http":
                self._in_flight += 1
                try:
                    await self._serve(scope, receive, send)
                finally:
                    self._in_flight -= 1
                    if not self._in_flight:
                        self._idle.set()
            case "websocket":
                await send({"type": "websocket.close", "code": 1000})
            case _:
                raise NoLifespan("no lifespan here")

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = trio.current_time()
        headers = Headers(scope["headers"])
        exchange = _Exchange(receive, send, headers)
        caller: Caller | None = None
        try:
            try:
                response, caller = await self._answer(scope, headers, exchange.receive)
            except Problem as problem:
                response = problem.response()
            except ActorsError as error:
                if isinstance(error, StoreError):
                    log.warning("store error", extra={"error": str(error)})
                response = problem_of(error).response()
        except ClientDisconnect:
            return
        except Exception:
            log.exception("request failed", extra={"method": scope["method"], "path": scope["path"][:LOGGED_PATH]})
            response = Problem(
                500, "fault", "A fault of the server: its log says more", error="Internal error"
            ).response()
        if self.settings.cors_origins:
            for name, value in cors_headers(headers, self.settings.cors_origins).items():
                response.headers[name] = value
        response.raw_headers.extend(SECURITY_HEADERS)
        if (self.closing or not exchange.is_read) and scope["http_version"] in ("1.0", "1.1"):
            response.headers["Connection"] = "close"
        await exchange.send(response, has_body=scope["method"] != "HEAD")
        if log.isEnabledFor(logging.INFO):
            log.info(
                "request",
                extra={
                    "method": scope["method"][:20],
                    "path": scope["path"][:LOGGED_PATH],
                    "status": response.status_code,
                    "ms": round((trio.current_time() - began) * 1000, 1),
                    "owner": None if caller is None else caller.owner,
                },
            )

    async def _answer(self, scope: Scope, headers: Headers, receive: Receive) -> tuple[Response, Caller | None]:
        if self.closing:
            raise Problem(503, "shutting-down", "The server is shutting down", headers={"Retry-After": RETRY_AFTER})
        if "transfer-encoding" in headers and "content-length" in headers:
            raise Problem(400, "two-lengths", "The request has both a Transfer-Encoding and a Content-Length")
        path, method = scope["path"], scope["method"]
        if self.settings.loopback_only and await self._gate.is_open():
            check_host(headers)
        if method == "OPTIONS":
            methods = self._routes.allow(path)
            made = preflight_headers(headers, self.settings.cors_origins, methods)
            return Response(None, 204, {"Allow": methods, **made}), None
        route, parameters = self._routes.find(path, method)
        caller: Caller | None = None
        if route.access != "anyone":
            caller = await self._gate.caller(headers)
            if route.access == "admin" and not caller.is_admin:
                raise forbidden()
        check_origin(method, headers, self.settings.cors_origins)
        ask = Ask(
            system=self.system,
            settings=self.settings,
            caller=caller if caller is not None else _NOBODY,
            scope=scope,
            headers=headers,
            path=parameters,
            receive=receive,
            gate=self._gate,
            scope_of_call=trio.CancelScope(deadline=trio.current_time() + self.settings.patience),
        )
        with ask.scope_of_call:
            return await route.handler(ask), caller
        if ask.is_reading:
            raise Problem(408, "slow-body", "The body came too slowly: the request was given up")
        raise Problem(503, "late", LATE, error="No answer in time", headers={"Retry-After": RETRY_AFTER})


_NOBODY: Final = Caller(None, "user")
"""Who calls what needs no token."""


class _Exchange:
    """One request and its answer. What is left of a body is read, for a while, before the connection goes: closing it
    at once would make its sender lose the answer."""

    def __init__(self, receive: Receive, send: Send, headers: Headers) -> None:
        self._receive = receive
        self._send = send
        self.is_read = "transfer-encoding" not in headers and headers.get("content-length", "0") == "0"

    async def receive(self) -> Message:
        """The next message of the request."""
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self.is_read = True
        return message

    async def send(self, response: Response, *, has_body: bool) -> None:
        """The whole answer."""
        await self._send(
            {"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers}
        )
        body = bytes(response.body) if has_body else b""
        if not self.is_read:
            await self._send({"type": "http.response.body", "body": body, "more_body": True})
            body = b""
            await self._drop_the_rest()
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def _drop_the_rest(self) -> None:
        dropped = 0
        with trio.move_on_after(LINGER):
            while not self.is_read and dropped < LINGER_BYTES:
                dropped += len((await self.receive()).get("body", b""))
