"""A schedule's timing on the wire: read field by field, so that one answer names all that is wrong."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

from actors.core.errors import BadOption, CallerError, quote
from actors.core.schedule import At, Every, parse_when, timing
from actors.server.call import TIME, nullable
from actors.server.problems import FieldErrors, Problem, clip, wrong_fields
from actors.server.submission import read_seconds, read_time

T = TypeVar("T")


def _when(given: object) -> Any:
    match given:
        case str():
            return parse_when(given)
        case {"every": seconds, **rest} if not rest:
            return Every(read_seconds("every", seconds))
        case {"at": time, **rest} if not rest:
            return At(read_time("at", time))
        case _:
            raise BadOption("schedule", given, 'a cron expression, {"every": seconds} or {"at": time}')


def _text(given: object) -> object:
    if not isinstance(given, str):
        raise BadOption("value", given, "text")
    return given


def _time(given: object) -> object:
    return None if given is None else read_time("time", given)


TIMING: Final[Mapping[str, tuple[str, Callable[[object], object]]]] = {
    "schedule": ("when", _when),
    "tz": ("tz", _text),
    "overlap": ("overlap", _text),
    "catchUp": ("catch_up", _text),
    "jitter": ("jitter", lambda given: read_seconds("jitter", given)),
    "start": ("start", _time),
    "end": ("end", _time),
    "limit": ("limit", lambda given: given),
}


def read_timing(body: Mapping[str, Any], errors: FieldErrors) -> dict[str, Any]:
    """The fields of a timing that the body names, each tried by itself so that all that is wrong is told at once."""
    made: dict[str, Any] = {}
    for wire, (name, read) in TIMING.items():
        if wire not in body:
            continue
        try:
            made[name] = read(body[wire])
            alone = {name: made[name]} if name == "when" else {"when": "@daily", name: made[name]}
            timing(alone.pop("when"), **alone)
        except BadOption as error:
            errors.add(wire, f"expected {error.expected}, not {quote(error.given)}")
        except (ValueError, TypeError) as error:
            errors.add(wire, clip(error, 300))
    if not errors and made.get("start") is not None and made.get("end") is not None and made["start"] >= made["end"]:
        errors.add("end", "expected a time after start")
    return made


async def checked(doing: Awaitable[T]) -> T:
    """What the system says of a timing as a whole, as a 422."""
    try:
        return await doing
    except (BadOption, LookupError):
        raise
    except (ValueError, TypeError) as error:
        raise _wrong(error) from None
    except CallerError as error:
        if isinstance(error.__cause__, (ValueError, TypeError)):
            raise _wrong(error) from None
        raise


def _wrong(error: Exception) -> Problem:
    return wrong_fields([("", clip(error, 300))])


_WHEN: Final[dict[str, Any]] = {
    "description": "cron with 3 fields (minute hour day-of-week), 5 or 6 (seconds first); every so often; or once",
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "properties": {"every": {"type": "number", "minimum": 0.001}},
            "required": ["every"],
            "additionalProperties": False,
        },
        {"type": "object", "properties": {"at": TIME}, "required": ["at"], "additionalProperties": False},
    ],
}
TIMING_SCHEMA: Final[dict[str, Any]] = {
    "schedule": _WHEN,
    "tz": {"type": "string", "default": "UTC", "description": "an IANA name"},
    "overlap": {"enum": ["skip", "allow", "queue", "cancel_previous"], "default": "skip"},
    "catchUp": {"enum": ["none", "latest", "all"], "default": "latest"},
    "jitter": {"type": "number", "minimum": 0, "maximum": 86_400, "default": 0},
    "start": nullable(TIME),
    "end": nullable(TIME),
    "limit": nullable({"type": "integer", "minimum": 1}),
}
