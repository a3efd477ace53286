"""One request as the calls see it: who asks, for what, and the body, read within its limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs
import orjson
import trio
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope

from actors import System
from actors.core import strict_json
from actors.server.access import Caller, Gate
from actors.server.headers import Headers
from actors.server.problems import Problem, clip
from actors.server.query import Query
from actors.server.settings import ServerSettings

IN_PLACE: Final = 64 * 1024  # bytes of JSON read on the spot: a longer body is read in a thread, beside the loop
_SLACK: Final = 0.02  # of a deadline: by less than that it is not moved, as moving it costs more than a byte is worth


@attrs.define(eq=False)
class Ask:
    """A request whose caller is known and whose path is one of ours."""

    system: System
    settings: ServerSettings
    caller: Caller
    scope: Scope
    headers: Headers
    path: Mapping[str, str]
    receive: Receive
    gate: Gate
    scope_of_call: trio.CancelScope  # cancelled when the system does not answer in time, or the body does not come
    is_reading: bool = False  # whether it is the body that is waited for

    async def identify(self) -> Caller:
        """Who calls, where that was not asked yet; raises the 401."""
        return await self.gate.caller(self.headers)

    def be_patient(self, factor: float = 1.0) -> None:
        """Give the system `factor` times its usual time to answer, from now on."""
        self._wait_until(trio.current_time(), factor * self.settings.patience)

    def _wait_until(self, now: float, seconds: float) -> None:
        """Move the deadline to so many seconds from now, if that makes a difference."""
        if abs(self.scope_of_call.deadline - now - seconds) > _SLACK * seconds:
            self.scope_of_call.deadline = now + seconds

    @property
    def query(self) -> Query:
        """The query string's parameters."""
        return Query(self.scope["query_string"])

    async def body(self, limit: int | None = None) -> bytes:
        """The whole body, at most `limit` bytes (default: the settings' `max_body`).

        Raises the problem for a body that is too large (whether its length was announced or not), comes too slowly or
        is encoded.
        """
        longest = self.settings.max_body if limit is None else limit
        if "content-encoding" in self.headers and self.headers.get("content-encoding", "").strip().lower() not in (
            "",
            "identity",
        ):
            raise Problem(415, "content-encoding", "The body is encoded: expected it plain, without Content-Encoding")
        announced = self.headers.get("content-length", "")
        if announced.isdecimal() and int(announced[:20]) > longest:
            raise too_large(longest)
        idle = self.settings.body_idle
        now = trio.current_time()
        end = now + self.settings.body_total
        chunks: list[bytes] = []
        size = 0
        self.is_reading = True
        while True:
            self._wait_until(now, min(idle, end - now))
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > longest:
                raise too_large(longest)
            chunks.append(chunk)
            if not message.get("more_body", False):
                break
            now = trio.current_time()
        self.is_reading = False
        self.be_patient()
        return b"".join(chunks)

    async def json(self, limit: int | None = None) -> Any:
        """The body as JSON values, strictly read."""
        self._check_media_type()
        return await self._decode(await self.body(limit))

    async def optional_object(self) -> dict[str, Any]:
        """The body as an object; an empty one when there is no body."""
        text = await self.body()
        if not text:
            return {}
        self._check_media_type()
        return as_object(await self._decode(text))

    async def object(self) -> dict[str, Any]:
        """The body as an object."""
        return as_object(await self.json())

    def _check_media_type(self) -> None:
        given = self.headers.get("content-type", "")
        if given == "application/json":
            return
        media_type, _, parameters = given.partition(";")
        media_type = media_type.strip().lower()
        charset = parameters.lower().replace(" ", "").replace('"', "").partition("charset=")[2].partition(";")[0]
        if media_type != "application/json" and not (
            media_type.startswith("application/") and media_type.endswith("+json")
        ):
            raise Problem(415, "media-type", "expected Content-Type: application/json", error="Unsupported media type")
        if charset not in ("", "utf-8", "utf8", "us-ascii"):
            raise Problem(415, "media-type", "expected JSON in UTF-8", error="Unsupported charset")

    async def _decode(self, text: bytes) -> Any:
        try:
            if len(text) <= IN_PLACE:
                return _read(text)
            return await trio.to_thread.run_sync(_read, text)
        except strict_json.NotJSON as error:
            where, mark, why = str(error).rpartition(": ")
            said = f"{clip(where)}{mark}{clip(why)}"
            detail = said if said.startswith("not JSON") else f"not JSON: {said}"
            raise Problem(400, "not-json", detail, error="The body is not JSON") from None


def _read(text: bytes) -> Any:
    try:
        return strict_json.loads(text.decode())  # decoded here: `json` would guess UTF-16 and UTF-32, too
    except UnicodeDecodeError:
        raise strict_json.NotJSON("not JSON: not UTF-8") from None


def too_large(longest: int) -> Problem:
    """A body that is longer than it may be."""
    return Problem(413, "too-large", f"The body is larger than {longest} bytes", maxBytes=longest)


def as_object(given: Any) -> dict[str, Any]:
    """`given`, if it is a JSON object."""
    if not isinstance(given, dict):
        raise Problem(422, "wrong-fields", "expected a JSON object", errors=[("", "expected an object")])
    return given


class _JsonAnswer(Response):
    """starlette's, with its headers made at once: what has one body and one type needs no look at either."""

    media_type = "application/json"

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        """Those given, the length and the type."""
        self.raw_headers = [(b"content-length", b"%d" % len(self.body)), (b"content-type", b"application/json")]
        if headers is not None:
            self.raw_headers += [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]


def answer(given: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer."""
    return _JsonAnswer(orjson.dumps(given), status, headers)
