"""One request as the calls see it: who asks, for what, and the body, read within its limits."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import attrs
import orjson
import trio
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope

from actors import System
from actors.core import strict_json
from actors.server.access import Caller
from actors.server.problems import Problem, clip
from actors.server.query import Query
from actors.server.settings import ServerSettings

IN_PLACE: Final = 64 * 1024  # bytes of JSON read on the spot: a longer body is read in a thread, beside the loop


@attrs.frozen(eq=False)
class Ask:
    """A request whose caller is known and whose path is one of ours."""

    system: System
    settings: ServerSettings
    caller: Caller
    scope: Scope
    headers: Headers
    path: Mapping[str, str]
    receive: Receive
    identify: Callable[[], Awaitable[Caller]]  # who calls, where that was not asked yet; raises the 401
    scope_of_call: trio.CancelScope  # cancelled when the system does not answer in time

    def be_patient(self, factor: float = 1.0) -> None:
        """Give the system `factor` times its usual time to answer, from now on."""
        self.scope_of_call.deadline = trio.current_time() + factor * self.settings.patience

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
        if self.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
            raise Problem(415, "content-encoding", "The body is encoded: expected it plain, without Content-Encoding")
        announced = self.headers.get("content-length", "")
        if announced.isdecimal() and int(announced[:20]) > longest:
            raise too_large(longest)
        start = trio.current_time()
        self.scope_of_call.deadline = math.inf  # the body has its own deadlines
        end = start + self.settings.body_total
        chunks: list[bytes] = []
        size = 0
        with trio.CancelScope(deadline=min(end, start + self.settings.body_idle)) as scope:
            while True:
                message = await self.receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                chunk = message.get("body", b"")
                size += len(chunk)
                if size > longest:
                    raise too_large(longest)
                chunks.append(chunk)
                if not message.get("more_body", False):
                    self.be_patient()
                    return b"".join(chunks)
                scope.deadline = min(end, trio.current_time() + self.settings.body_idle)
        raise Problem(408, "slow-body", "The body came too slowly: the request was given up")

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
        media_type, _, parameters = self.headers.get("content-type", "").partition(";")
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


def answer(given: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(orjson.dumps(given), status, headers, "application/json")
