"""One event is one line, whatever a caller sent."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import BadOption, logs


@pytest.fixture(autouse=True)
def kept() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("actors").setLevel(logging.NOTSET)
    logging.captureWarnings(False)


def written(format: str, *, level: str = "info", **extra: Any) -> str:
    stream = io.StringIO()
    logs.configure(format, level, stream)
    logging.getLogger("actors.server").info("request", extra=extra)
    return stream.getvalue()


def test_json_is_one_object_a_line() -> None:
    (line,) = written("json", path="/a", status=200, owner=None).splitlines()
    event = json.loads(line)
    assert list(event)[:3] == ["time", "level", "event"]
    assert (event["level"], event["event"], event["path"], event["status"]) == ("info", "request", "/a", 200)
    assert "owner" not in event and event["logger"] == "actors.server"


def test_text_is_for_people() -> None:
    line = written("text", path="/a b", status=200, empty="")
    assert line.rstrip().endswith('info     request path="/a b" status=200 empty=""')


HOSTILE = "x\n2026-01-01T00:00:00Z error forged\r\x1b[2J\x00\u2028\x85\x7f"


@pytest.mark.parametrize("format", ["text", "json"])
def test_a_value_forges_no_line_and_moves_no_cursor(format: str) -> None:
    line = written(format, path=HOSTILE)
    assert line.count("\n") == 1
    body = line[:-1]
    if format == "text":
        assert body.isprintable() and "\\n" in body and "\\x1b" in body
    else:
        assert json.loads(body)["path"] == HOSTILE and "\x1b" not in body and "\n" not in body


@given(st.text())
def test_whatever_is_escaped_is_one_printable_line(text: str) -> None:
    assert logs.escaped(text).isprintable()


def test_a_long_value_is_cut() -> None:
    assert len(written("text", path="A" * 100_000)) < 2_500


@pytest.mark.parametrize("format", ["text", "json"])
def test_a_stack_is_kept_and_can_forge_nothing(format: str) -> None:
    stream = io.StringIO()
    logs.configure(format, "info", stream)
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        logging.getLogger("actors.server").exception("request failed", extra={"path": "/x"})
    said = stream.getvalue()
    assert "ValueError" in said and "request failed" in said
    if format == "json":
        assert "Traceback" in json.loads(said)["exception"]
    else:
        first, *stack = said.splitlines()
        assert "/x" in first and all(line.startswith("    | ") and line.isprintable() for line in stack)


def test_a_jobs_line_has_its_fields_once() -> None:
    stream = io.StringIO()
    logs.configure("text", "info", stream)
    extra = {"job": "j1", "type": "t", "queue": "q", "attempt": 0, "run": 1}
    logging.getLogger("actors").info("%s %s", "job:started", "job=j1 type=t queue=q attempt=0 run=1", extra=extra)
    assert stream.getvalue().split(None, 2)[2] == "job:started job=j1 type=t queue=q attempt=0 run=1\n"


def test_a_level_is_heeded_and_libraries_speak_only_of_trouble() -> None:
    stream = io.StringIO()
    logs.configure("text", "warning", stream)
    logging.getLogger("actors").info("quiet")
    logging.getLogger("some.library").info("quiet")
    logging.getLogger("actors").warning("loud")
    assert stream.getvalue().count("\n") == 1


@pytest.mark.parametrize(("format", "level"), [("xml", "info"), ("text", "loud")])
def test_what_there_is_not_is_refused(format: str, level: str) -> None:
    with pytest.raises(BadOption):
        logs.configure(format, level)
