"""Structured logs: what the rooms say through `logging` (with `extra`), rendered by structlog as JSON lines or
readable text.

Rule: one event is one line, whatever a caller sent: control characters are escaped. Payloads are never logged.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Final, Literal, TextIO, get_args

import orjson
import structlog
from structlog.stdlib import ProcessorFormatter

from actors.core.errors import BadOption

Format = Literal["text", "json"]
LEVELS: Final = ("debug", "info", "warning", "error", "critical")
LONGEST: Final = 2_000  # characters of one value; a stack may have more
_FIRST: Final = ("job", "type", "queue", "attempt", "run", "duration", "error")
_PLAIN: Final = frozenset(
    {
        *logging.makeLogRecord({}).__dict__,
        "message",
        "asctime",
        "taskName",
        "stack_info",
        "_name",
        "_from_structlog",
        "_record",
    }
)


def configure(format: str = "text", level: str = "info", stream: TextIO | None = None) -> None:
    """Send the logs of this program to `stream` (default: stderr) from now on. `BadOption` for a format or a level
    there is not.
    """
    if format not in get_args(Format):
        raise BadOption("log_format", format, " or ".join(get_args(Format)))
    if level.lower() not in LEVELS:
        raise BadOption("log_level", level, ", ".join(LEVELS))
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[_fields],
            processors=[
                ProcessorFormatter.remove_processors_meta,
                structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
                structlog.processors.format_exc_info,
                _as_json if format == "json" else _as_text,
            ],
        )
    )
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)  # the libraries'
    logging.getLogger("actors").setLevel(level.upper())
    logging.captureWarnings(True)


def _fields(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """What the record carries beside its text, in a settled order."""
    record: logging.LogRecord = event["_record"]
    given = {name: value for name, value in record.__dict__.items() if name not in _PLAIN}
    if "job" in given and "run" in given:
        event["event"] = str(event["event"]).partition(" ")[
            0
        ]  # its text repeats the fields, for those who log without structure
    event["level"] = record.levelname.lower()
    event["logger"] = record.name
    for name in _FIRST:
        if name in given:
            event[name] = given.pop(name)
    event.update(given)
    return event


def _as_json(_: Any, __: str, event: MutableMapping[str, Any]) -> str:
    first = {name: event.pop(name) for name in ("time", "level", "event") if name in event}
    kept = {name: value for name, value in event.items() if value is not None}
    return orjson.dumps({**first, **kept}, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def _as_text(_: Any, __: str, event: MutableMapping[str, Any]) -> str:
    stack = event.pop("exception", None)
    event.pop("logger", None)
    time, level, what = event.pop("time"), event.pop("level"), escaped(str(event.pop("event")))
    line = f"{time} {level:<8} {what}{_pairs(event)}"
    if stack:
        line += "".join(f"\n    | {escaped(text)}" for text in str(stack).splitlines())
    return line


def _pairs(event: Mapping[str, Any]) -> str:
    return "".join(f" {name}={_shown(value)}" for name, value in event.items() if value is not None)


def _shown(value: object) -> str:
    text = escaped(str(value))
    return f'"{text}"' if not text or any(character in text for character in ' "=') else text


def escaped(text: str) -> str:
    """`text` on one line, cut: what is not printable, and would write a line of its own or move the cursor, is shown
    as an escape.
    """
    cut = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    if cut.isprintable():
        return cut
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in cut)
