"""Problem documents (RFC 9457): every error of every call, with the right status.

Rule: an answer never holds a stack, a path, SQL or more than 100 characters of what the caller sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import orjson
from starlette.responses import Response

from actors.core.errors import (
    QUOTED,
    ActorsError,
    BadOption,
    BadPayload,
    Conflict,
    NotFound,
    QueueFull,
    Refused,
    ShuttingDown,
    StoreError,
    StoreFull,
    UnknownType,
    WrongState,
    quote,
)

MEDIA_TYPE: Final = "application/problem+json"
_LONGEST_SENTENCE: Final = QUOTED + 60  # around a quoted word of the caller's that is no longer than it may be
MOST_FIELDS: Final = 100  # wrong fields that one answer names
RETRY_AFTER: Final = "1"  # seconds: a full queue, a busy store and a restart are all over soon
_TITLES: Final[Mapping[int, str]] = {
    400: "Bad request",
    401: "Not authenticated",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    408: "The body came too slowly",
    409: "Conflict",
    413: "Too large",
    415: "Unsupported media type",
    421: "Misdirected request",
    422: "Some fields are wrong",
    429: "Too many waiting jobs",
    431: "Head too large",
    500: "A fault of the server",
    501: "Not implemented",
    503: "Not available at the moment",
    507: "The store is full",
}
_WIRE_NAMES: Final[Mapping[str, str]] = {
    "id": "jobId",
    "run_at": "runAt",
    "max_attempts": "maxAttempts",
    "unique key": "uniqueKey",
    "idempotency_key": "Idempotency-Key",
    "catch_up": "catchUp",
    "when": "schedule",
}


def clip(text: object, longest: int = QUOTED) -> str:
    """`text`, cut: what a caller sent may be a megabyte."""
    shown = str(text)
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


class Problem(Exception):
    """An error as the caller sees it. `kind` is the last part of its `type`, `error` the short text, `more` goes into
    the document.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        *,
        error: str | None = None,
        errors: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.error = error or detail
        self.errors = errors
        self.headers = dict(headers or {})
        self.more = more

    def document(self) -> dict[str, Any]:
        """The problem document."""
        made: dict[str, Any] = {
            "type": f"urn:actors:{self.kind}",
            "title": _TITLES.get(self.status, "Error"),
            "status": self.status,
            "detail": self.detail,
            "error": self.error,
        }
        if self.errors:
            made["errors"] = [
                {"field": clip(field), "message": clip(said, 300)} for field, said in self.errors[:MOST_FIELDS]
            ]
        return {**made, **self.more}

    def response(self) -> Response:
        """The answer that carries it."""
        return Response(orjson.dumps(self.document()), self.status, self.headers, MEDIA_TYPE)


class FieldErrors:
    """Gathers what is wrong with a body, so that one answer names every field."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str]] = []

    def __bool__(self) -> bool:
        return bool(self.found)

    def add(self, field: str, said: str) -> None:
        """One more wrong field."""
        self.found.append((field, said))

    def add_option(self, error: BadOption, prefix: str = "") -> None:
        """The option that `error` names, under its name on the wire."""
        self.found.append((prefix + wire_name(error.option), option_message(error)))

    def raise_if_any(self) -> None:
        """Raise one 422 that names them all."""
        if self.found:
            raise wrong_fields(self.found)


def wire_name(option: str) -> str:
    """How an option is called on the wire."""
    return _WIRE_NAMES.get(option, option)


def option_message(error: BadOption) -> str:
    """What was expected of an option, and what was given."""
    given = error.given.isoformat() if isinstance(error.given, datetime) else error.given
    return f"expected {error.expected}, not {quote(given)}"


def wrong_fields(found: Sequence[tuple[str, str]]) -> Problem:
    """A 422 that names every wrong field."""
    first = "; ".join(f"{clip(field)}: {clip(said, 200)}" if field else clip(said, 200) for field, said in found[:1])
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return Problem(422, "wrong-fields", first + more, error=f"Wrong fields: {_names(found)}", errors=found)


def _names(found: Sequence[tuple[str, str]]) -> str:
    names = list(dict.fromkeys(clip(field, 40) or "body" for field, _ in found[:5]))
    return clip(", ".join(names), QUOTED)


def field_errors_of(
    error: BadPayload | BadOption, payload_prefix: str = "", option_prefix: str = ""
) -> list[tuple[str, str]]:
    """(field, message) for each thing wrong, with where the body keeps it in front."""
    match error:
        case BadPayload():
            return [
                ((payload_prefix + field) if field else payload_prefix.rstrip("."), said)
                for field, said in error.problems
            ]
        case BadOption():
            return [(option_prefix + wire_name(error.option), option_message(error))]


_NOUNS: Final[Mapping[str, str]] = {
    "schedule": "Task",
    "job": "Job",
    "queue": "Queue",
    "token": "Token",
    "dead letter": "Dead letter",
}


def not_found(what: str, name: object) -> Problem:
    """`Job not found: 17`; the same for what is not there and for what is not the caller's."""
    said = f"{_NOUNS.get(what, what.capitalize())} not found: {clip(name)}"
    return Problem(404, f"{what.replace(' ', '-')}-not-found", said)


def problem_of(error: ActorsError) -> Problem:
    """The problem that an error of the system is to its caller."""
    retry = {"Retry-After": RETRY_AFTER}
    match error:
        case UnknownType():
            said = f"Unknown job type: {clip(error.type)}"
            return Problem(400, "unknown-type", said, registeredTypes=error.registered)
        case BadPayload() | BadOption():
            return wrong_fields(field_errors_of(error))
        case NotFound():
            return not_found(error.what, error.name)
        case WrongState():
            return Problem(409, "wrong-state", f"Job {clip(error.id)} is {error.state}: it cannot {error.verb}")
        case Conflict():
            said = str(error)
            short = said if len(said) <= _LONGEST_SENTENCE else "This id or idempotency key is taken by another job"
            return Problem(409, "conflict", short)
        case Refused():
            return Problem(403, "refused", "This job may not be enqueued by you: its type refuses it")
        case QueueFull():
            return Problem(429, "queue-full", str(error), headers=retry)
        case ShuttingDown():
            return Problem(503, "shutting-down", "The server is shutting down", headers=retry)
        case StoreFull():
            return Problem(507, "store-full", "The store is full: nothing was kept", headers=retry)
        case StoreError():
            return Problem(503, "store-unavailable", "The store is busy or out of reach: try again", headers=retry)
        case _:
            return Problem(400, "bad-request", clip(error, 300))
