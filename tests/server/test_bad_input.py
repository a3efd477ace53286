"""Everything a caller can get wrong, as one table after GUARANTEES 4: one problem document each, with the right status,
nothing of the input but a glimpse, at once, and no count changed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx2
import orjson
import pytest
import trio

import actors
from actors.server import ServerSettings
from actors.server.access import LOOK_AGAIN
from actors.server.calls import CALLS
from actors.store.memory import MemoryStore

JSON = {"content-type": "application/json"}
LONG = "A" * 5_000
GOOD = {"name": "n", "schedule": "@daily", "type": "echo", "data": {"text": "x"}}
AT_ONCE = 3.0  # seconds: under one on a machine that has nothing else to do


def echo(**fields: Any) -> bytes:
    return orjson.dumps({"type": "echo", "text": "x", **fields})


BODIES: list[tuple[str, bytes, int, str]] = [
    # (name, body, status, a field or a word that the answer names)
    ("empty", b"", 400, "not JSON"),
    ("no json", b"{", 400, "not JSON"),
    ("not utf-8", b'{"type":"\xff"}', 400, "UTF-8"),
    ("utf-16", '{"type":"echo"}'.encode("utf-16"), 400, "UTF-8"),
    ("a byte order mark", b'\xef\xbb\xbf{"type":"echo","text":"x"}', 400, "not JSON"),
    ("trailing", b'{"type":"echo","text":"x"} x', 400, "not JSON"),
    ("NaN", b'{"type":"echo","text":"x","delay":NaN}', 400, "NaN"),
    ("Infinity", b'{"type":"echo","text":"x","delay":Infinity}', 400, "Infinity"),
    ("1e400", b'{"type":"echo","text":"x","delay":1e400}', 400, "out of range"),
    ("5000 digits", b'{"type":"echo","text":"x","delay":' + b"9" * 5_000 + b"}", 400, "64 bits"),
    ("a 65 bit integer", b'{"type":"echo","text":"x","times":18446744073709551616}', 400, "64 bits"),
    ("duplicate keys", b'{"type":"echo","text":"x","text":"y"}', 400, "duplicate"),
    ("lone surrogate", b'{"type":"echo","text":"\\ud800"}', 400, "surrogate"),
    ("NUL", b'{"type":"echo","text":"\\u0000"}', 400, "NUL"),
    ("deep", b'{"type":"echo","text":' + b"[" * 40 + b"]" * 40 + b"}", 400, "32 levels"),
    ("very deep", b"[" * 100_000, 400, "not JSON"),
    ("a list", b"[]", 422, "object"),
    ("a string", b'"echo"', 422, "object"),
    ("null", b"null", 422, "object"),
    ("no type", b"{}", 422, "type"),
    ("type null", b'{"type":null}', 422, "type"),
    ("type a list", b'{"type":["echo"]}', 422, "type"),
    ("unknown type", b'{"type":"nope"}', 400, "nope"),
    ("unknown long type", orjson.dumps({"type": LONG}), 400, "Unknown job type"),
    ("data a list", b'{"type":"echo","data":[]}', 422, "data"),
    ("options a string", b'{"type":"echo","data":{"text":"x"},"options":"fast"}', 422, "options"),
    ("missing field", b'{"type":"echo"}', 422, "text"),
    ("wrong type of a field", echo(text=5), 422, "text"),
    ("a bool for an int", echo(times=True), 422, "times"),
    ("a float for an int", echo(times=1.5), 422, "times"),
    ("a string for an int", echo(times="3"), 422, "times"),
    ("unknown field", echo(colour="red"), 422, "colour"),
    ("unknown nested option", b'{"type":"echo","data":{"text":"x"},"options":{"colour":1}}', 422, "options.colour"),
    ("unknown nested field", b'{"type":"echo","data":{"text":"x","colour":1}}', 422, "data.colour"),
    ("id", echo(id="mine"), 422, "id"),
    ("owner", echo(owner="root"), 422, "owner"),
    ("state", echo(state="completed"), 422, "state"),
    ("attempts", echo(attempts=3), 422, "attempts"),
    ("status", echo(status="done"), 422, "status"),
    ("result", echo(result=1), 422, "result"),
    ("front", echo(front=True), 422, "front"),
    ("idempotency key in the body", echo(idempotency_key="x"), 422, "idempotency_key"),
    ("priority", echo(priority="urgent"), 422, "priority"),
    ("priority a number", echo(priority=3), 422, "priority"),
    ("maxAttempts 0", echo(maxAttempts=0), 422, "maxAttempts"),
    ("maxAttempts huge", echo(maxAttempts=10**9), 422, "maxAttempts"),
    ("maxAttempts a float", echo(maxAttempts=3.0), 422, "maxAttempts"),
    ("maxAttempts null", echo(maxAttempts=None), 422, "maxAttempts"),
    ("delay negative", echo(delay=-1), 422, "delay"),
    ("delay absurd", echo(delay=1e18), 422, "delay"),
    ("delay text", echo(delay="5"), 422, "delay"),
    ("delay null", echo(delay=None), 422, "delay"),
    ("delay true", echo(delay=True), 422, "delay"),
    ("runAt naive", echo(runAt="2030-01-01T00:00:00"), 422, "runAt"),
    ("runAt no date", echo(runAt="tomorrow"), 422, "runAt"),
    ("runAt impossible", echo(runAt="2030-02-30T00:00:00Z"), 422, "runAt"),
    ("runAt beyond", echo(runAt="9999-12-31T23:59:59-23:59"), 422, "runAt"),
    ("runAt absurd", echo(runAt="3000-01-01T00:00:00Z"), 422, "runAt"),
    ("runAt a number", echo(runAt=1_900_000_000), 422, "runAt"),
    ("runAt and delay", echo(delay=1, runAt="2030-01-01T00:00:00Z"), 422, "runAt"),
    ("timeout 0", echo(timeout=0), 422, "timeout"),
    ("timeout negative", echo(timeout=-5), 422, "timeout"),
    ("timeout text", echo(timeout="5s"), 422, "timeout"),
    ("queue empty", echo(queue=""), 422, "queue"),
    ("queue with a space", echo(queue="a b"), 422, "queue"),
    ("queue long", echo(queue=LONG), 422, "queue"),
    ("uniqueKey empty", echo(uniqueKey=""), 422, "uniqueKey"),
    ("uniqueKey long", echo(uniqueKey=LONG), 422, "uniqueKey"),
    ("uniqueKey a number", echo(uniqueKey=5), 422, "uniqueKey"),
    ("tags a string", echo(tags="a"), 422, "tags"),
    ("tags of numbers", echo(tags=[1]), 422, "tags"),
    ("tags too many", echo(tags=[str(n) for n in range(21)]), 422, "tags"),
    ("tags long", echo(tags=[LONG]), 422, "tags"),
    ("description long", echo(description=LONG), 422, "description"),
    ("jobId empty", echo(jobId=""), 422, "jobId"),
    ("jobId with a slash", echo(jobId="../etc"), 422, "jobId"),
    ("jobId long", echo(jobId=LONG), 422, "jobId"),
    ("jobId that is a path", echo(jobId="stats"), 422, "jobId"),
    ("payload too large", echo(text="A" * 300_000), 413, "bytes"),
    ("a long field name", orjson.dumps({"type": "echo", LONG: 1}), 422, "AAA"),
    ("many unknown fields", orjson.dumps({"type": "echo", **{f"f{n}": n for n in range(5_000)}}), 422, "text"),
    ("a nested class", b'{"type":"geo/place:1","at":{"x":"1","z":2}}', 422, "at.x"),
    (
        "mail injection",
        b'{"type":"send_email","to":"a@example.com\\r\\nBcc: b@example.com","subject":"s","body":"b"}',
        422,
        "to",
    ),
    ("a private webhook", b'{"type":"webhook","url":"http://127.0.0.1/","payload":1}', 422, "url"),
    ("a path with ..", b'{"type":"cleanup","directory":"/tmp/../etc"}', 422, "directory"),
]

ROUTES: list[tuple[str, str, int]] = [
    ("GET", "/nope", 404),
    ("GET", "/jobs/", 404),
    ("GET", "/JOBS", 404),
    ("GET", "/jobs/a/b", 404),
    ("GET", "/jobs/a/b/c/d", 404),
    ("GET", "/admin", 404),
    ("GET", "/docs/../../etc/passwd", 404),
    ("GET", "/docs/%2e%2e/secret", 404),
    ("PUT", "/jobs", 405),
    ("PATCH", "/jobs/x", 405),
    ("POST", "/jobs/stats", 405),
    ("DELETE", "/jobs/stats", 405),
    ("GET", "/jobs/batch", 405),
    ("POST", "/jobs/completed", 405),
    ("GET", "/jobs/x/retry", 405),
    ("GET", "/dead-letters/retry", 405),
    ("DELETE", "/types/echo", 405),
    ("GET", "/queues/default/pause", 405),
    ("PATCH", "/queues/default/pause", 405),
    ("POST", "/healthz", 405),
    ("TRACE", "/jobs", 405),
    ("BREW", "/jobs", 405),
    ("GET", "/jobs/unknown", 404),
    ("GET", "/jobs/unknown/status", 404),
    ("DELETE", "/jobs/unknown", 404),
    ("POST", "/jobs/unknown/retry", 404),
    ("POST", "/jobs/unknown/promote", 404),
    ("POST", "/dead-letters/unknown/retry", 404),
    ("DELETE", "/dead-letters/unknown", 404),
    ("GET", "/scheduler/unknown", 404),
    ("POST", "/scheduler/unknown/run", 404),
    ("DELETE", "/scheduler/unknown", 404),
    ("GET", "/types/unknown", 404),
    ("GET", "/jobs/" + "A" * 5_000, 404),
    ("GET", "/jobs/%00", 404),
    ("GET", "/jobs/%F0%9F%92%A9", 404),
    ("GET", "/jobs/';DROP TABLE jobs;--", 404),
    ("GET", "/jobs/%0d%0aSet-Cookie:a=b", 404),
    ("GET", "/types/" + "A" * 5_000, 404),
    ("POST", "/scheduler/" + "A" * 5_000 + "/run", 404),
]

SCHEDULES: list[tuple[str, dict[str, Any], str]] = [
    ("no name", {"name": None}, "name"),
    ("empty name", {"name": ""}, "name"),
    ("name with a slash", {"name": "a/b"}, "name"),
    ("long name", {"name": LONG}, "name"),
    ("control characters", {"name": "a\nb"}, "name"),
    ("bad cron", {"schedule": "61 * * * *"}, "schedule"),
    ("cron of words", {"schedule": "every day at noon"}, "schedule"),
    ("long cron", {"schedule": LONG}, "schedule"),
    ("step zero", {"schedule": "*/0 * * * *"}, "schedule"),
    ("never", {"schedule": "30 2 30 2 *"}, "schedule"),
    ("a number", {"schedule": 5}, "schedule"),
    ("null", {"schedule": None}, "schedule"),
    ("every 0", {"schedule": {"every": 0}}, "schedule"),
    ("every -1", {"schedule": {"every": -1}}, "schedule"),
    ("every text", {"schedule": {"every": "5"}}, "schedule"),
    ("every and more", {"schedule": {"every": 5, "at": "2030-01-01T00:00:00Z"}}, "schedule"),
    ("at naive", {"schedule": {"at": "2030-01-01T00:00:00"}}, "schedule"),
    ("zone", {"tz": "Mars/Olympus"}, "tz"),
    ("zone path", {"tz": "../../etc/passwd"}, "tz"),
    ("zone number", {"tz": 1}, "tz"),
    ("overlap", {"overlap": "maybe"}, "overlap"),
    ("overlap list", {"overlap": ["skip"]}, "overlap"),
    ("catchUp", {"catchUp": "some"}, "catchUp"),
    ("jitter", {"jitter": -1}, "jitter"),
    ("jitter huge", {"jitter": 1e9}, "jitter"),
    ("start", {"start": "soon"}, "start"),
    ("end before start", {"start": "2031-01-01T00:00:00Z", "end": "2030-01-01T00:00:00Z"}, "end"),
    ("limit", {"limit": 0}, "limit"),
    ("limit text", {"limit": "3"}, "limit"),
    ("unknown field", {"cron": "* * * * *"}, "cron"),
    ("delay", {"options": {"delay": 5}}, "options.delay"),
    ("jobId", {"options": {"jobId": "x"}}, "options.jobId"),
    ("owner", {"options": {"owner": "x"}}, "options.owner"),
    ("data", {"data": {"text": 5}}, "data.text"),
    ("no data", {"data": {}}, "data.text"),
]

QUERIES = (
    *("limit=0", "limit=-1", "limit=1001", "limit=abc", "limit=1e2", "limit=", "limit=9999999999999999999999"),
    *("limit=%D9%A1", "limit=1&limit=2", "state=nope", "state=", "state=pending,nope", "after=nonsense", "after="),
    *("after=" + "A" * 5_000, "after=%00", "after=-1", "after=99999999999999999999999999", "type=" + "A" * 5_000),
    *("type=", "queue=%00", "owner=%0a", "tag=" + "A" * 201, "colour=red", "page=2"),
)
NO_JSON: tuple[dict[str, str], ...] = (
    {},
    {"content-type": "text/plain"},
    {"content-type": "application/x-www-form-urlencoded"},
    {"content-type": "application/json; charset=latin-1"},
    {"content-type": "application/json", "content-encoding": "gzip"},
)
TOKENS = (
    *("", "Bearer", "Basic YTpi", "Token x", "bearer nonsense", "Bearer act_00000000_" + "A" * 43),
    *("Bearer " + "x" * 9_000, "Bearer \xff"),
)
WRITES = ("/jobs", "/jobs/batch", "/scheduler", "/dead-letters/retry")


@attrs.frozen
class Row:
    """One thing that is wrong. `words` are fields or words of which the answer names one; `world` is the server that it
    is said to."""

    name: str
    method: str
    path: str
    status: int
    words: tuple[str, ...] = ()
    sent: dict[str, Any] = attrs.Factory(dict)
    world: str = "open"


def rows() -> Iterable[Row]:
    anyone = [call for call in CALLS if call.access == "anyone"]
    for call in CALLS:
        path = call.path.replace(":path", "").replace("{id}", "x").replace("{name}", "default").replace("{type}", "x")
        if call not in anyone:
            yield Row("no token", call.method, path, 401, (), {}, "tokens")
            yield Row("an unknown token", call.method, path, 401, (), auth(TOKENS[5]), "tokens")
        if call.access == "admin":
            yield Row("the role is missing", call.method, path, 403, ("administrators",), {"token": "bob"}, "tokens")
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - methods_of(call.path):
            yield Row("wrong method", method, path, 405)
        if "{id}" in path or "{id}" in call.path:
            other = call.path.replace("{id}", "alices-job")
            yield Row("another owner's", call.method, other, 404, ("alices-job",), {"token": "bob"}, "tokens")
    for header in TOKENS:
        yield Row(f"malformed {header[:20]!r}", "GET", "/jobs", 401, (), auth(header), "tokens")
    for method, path, status in ROUTES:
        yield Row("path or method", method, path, status)
    for name, body, status, word in BODIES:
        yield Row(name, "POST", "/jobs", status, (word,), {"content": body, "headers": JSON})
    for name, change, field in SCHEDULES:
        yield Row(f"schedule: {name}", "POST", "/scheduler", 422, (field,), {"json": {**GOOD, **change}})
    for query in QUERIES:
        yield Row("query", "GET", f"/jobs?{query}", 422, (query.partition("=")[0],))
    for query in ("limit=%ff", "&".join(f"a{n}=1" for n in range(100))):
        yield Row("no query", "GET", f"/jobs?{query}", 400, ("query",))
    for path, field in (("/jobs/stats?x=1", "x"), ("/jobs/completed?limit=0", "limit"), ("/types?a=b", "a")):
        yield Row("query", "GET", path, 422, (field,))
    for path, field in (("/dead-letters?after=nonsense", "after"), ("/scheduler?a=b", "a"), ("/queues?a=b", "a")):
        yield Row("query", "GET", path, 422, (field,))
    for path in WRITES:
        for headers in NO_JSON:
            yield Row("no JSON", "POST", path, 415, (), {"content": b"{}", "headers": headers})
        yield Row("unreadable", "POST", path, 400, ("not JSON",), {"content": b"{", "headers": JSON})
        yield Row("wrong shape", "POST", path, 422, ("expected",), {"content": b'"x"', "headers": JSON})
        yield Row("too large", "POST", path, 413, ("bytes",), {"content": b" " * 20_001, "headers": JSON}, "small")
        yield Row("too large, in chunks", "POST", path, 413, ("bytes",), {"content": chunks, "headers": JSON}, "small")
        yield Row("during the end", "POST", path, 503, ("shutting down",), {"json": GOOD}, "closing")
    for workers in (-1, 10_001, 1.5, "3", None, True, [], 10**18):
        yield Row("workers", "PATCH", "/queues/default", 422, ("workers",), {"json": {"workers": workers}})
    yield Row("workers missing", "PATCH", "/queues/default", 422, ("workers",), {"json": {}})
    yield Row("more than workers", "PATCH", "/queues/default", 422, ("limit",), {"json": {"workers": 1, "limit": 5}})
    yield Row("filter", "POST", "/dead-letters/retry", 422, ("colour",), {"json": {"colour": 1}})
    yield Row("filter", "POST", "/dead-letters/retry", 422, ("type",), {"json": {"type": 1}})
    for key in ("", "x" * 201, "a\tb"):
        sent = {"content": echo(), "headers": {**JSON, "Idempotency-Key": key}}
        yield Row("idempotency key", "POST", "/jobs", 422, ("Idempotency-Key",), sent)
    twice = [*JSON.items(), ("idempotency-key", "a"), ("idempotency-key", "b")]
    yield Row("two keys", "POST", "/jobs", 422, ("Idempotency-Key",), {"content": echo(), "headers": twice})
    used = {"content": echo(text="other"), "headers": {**JSON, "Idempotency-Key": "used"}}
    yield Row("idempotency conflict", "POST", "/jobs", 409, ("taken",), used)
    yield Row(
        "id conflict",
        "POST",
        "/jobs",
        409,
        ("taken", "done"),
        {"content": echo(text="other", jobId="done"), "headers": JSON},
    )
    for method, path in (("DELETE", "/jobs/ID"), ("POST", "/jobs/ID/promote"), ("POST", "/jobs/ID/retry")):
        yield Row("wrong state", method, path.replace("ID", "done"), 409, ("is completed",))
    yield Row("wrong state", "POST", "/dead-letters/later/retry", 409, ("is scheduled",))
    yield Row("wrong state", "DELETE", "/dead-letters/done", 409, ("is completed",))
    for world, status, word in (
        ("full queue", 429, "full"),
        ("full store", 507, "nothing was kept"),
        ("busy store", 503, "try again"),
        ("closing", 503, "shutting down"),
    ):
        yield Row(world, "POST", "/jobs", status, (word, "did not answer"), {"content": echo(), "headers": JSON}, world)


def methods_of(path: str) -> set[str]:
    shape = path.replace(":path", "")
    return {call.method for call in CALLS if call.path.replace(":path", "") == shape}


def auth(header: str) -> dict[str, Any]:
    return {"headers": {"authorization": header.encode("latin-1")}}


async def chunks() -> AsyncIterator[bytes]:
    for _ in range(30):
        yield b" " * 1_000


class FullStore(MemoryStore):
    """A store on a disk that is full: it takes no new jobs."""

    async def commit(self, holder: str, tick: int, batch: Any) -> Any:
        if batch.inserts:
            raise actors.StoreFull("database or disk is full: INSERT INTO /secret/path.db")
        return await super().commit(holder, tick, batch)


Serving = Callable[..., Any]


@asynccontextmanager
async def world(name: str, serving: Serving, path: Path) -> AsyncIterator[Any]:
    """A server to say it to."""
    if name == "full store":
        async with serving(FullStore()) as made:
            yield made
    elif name == "full queue":
        async with serving("memory:", queues={"default": actors.Queue(1, 1, "reject")}) as made:
            await made.call("POST", "/queues/default/pause")
            await made.enqueue("echo", text="x")
            yield made
    elif name == "busy store":
        async with serving(f"sqlite:///{path}/jobs.db", settings=ServerSettings(patience=0.3)) as made:
            other = sqlite3.connect(path / "jobs.db", isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            yield made
            other.execute("ROLLBACK")
            other.close()
    elif name == "small":
        small = ServerSettings(max_body=20_000, batch_max_body=20_000)
        async with serving("memory:", settings=small) as made:
            yield made
    elif name == "tokens":
        async with serving("memory:", admin=True) as made:
            alice = await made.new_token("alice")
            made.tokens = {"bob": await made.new_token("bob")}
            await made.json(
                "POST", "/jobs", 202, token=alice, json={"type": "echo", "text": "x", "jobId": "alices-job"}
            )
            await made.until("alices-job", "completed")
            await trio.sleep(LOOK_AGAIN)
            yield made
    else:
        async with serving("memory:") as made:
            await made.enqueue("echo", text="x", jobId="done")
            await made.enqueue("echo", text="x", jobId="later", delay=3_600)
            used = {**JSON, "Idempotency-Key": "used"}
            await made.until(
                (await made.json("POST", "/jobs", 202, content=echo(), headers=used))["jobId"], "completed"
            )
            await made.until("done", "completed")
            yield made


def is_fit(answer: httpx2.Response) -> dict[str, Any]:
    """The problem document, if it tells no stack, no path, no SQL and no more than a glimpse of what was sent."""
    said: dict[str, Any] = answer.json()
    for secret in ("Traceback", "/work", "/tmp/pytest", ".py", "INSERT", "SELECT", "secret"):
        assert secret not in answer.text, answer.text
    assert "A" * 101 not in answer.text
    assert len(answer.content) < 60_000
    return said


@pytest.mark.parametrize("name", sorted({row.world for row in rows()}))
async def test_everything_wrong_has_its_answer(serving: Serving, tmp_path: Path, name: str) -> None:
    async with world(name, serving, tmp_path) as served:
        before = await served.system.stats()
        served.app.closing = name == "closing"
        for row in rows():
            if row.world == name:
                await check(served, row)
        served.app.closing = False
        assert await served.system.stats() == before


async def check(served: Any, row: Row) -> None:
    sent = dict(row.sent)
    if "token" in sent:
        sent["headers"] = auth(f"Bearer {served.tokens[sent.pop('token')]}")["headers"]
    if callable(sent.get("content")):
        sent["content"] = sent["content"]()
    began = trio.current_time()
    answer = await served.http.request(row.method, row.path, **sent)
    took = trio.current_time() - began
    where = (row.name, row.method, row.path[:80], answer.status_code, answer.text[:300])
    assert answer.status_code == row.status, where
    assert took < AT_ONCE, (took, *where)
    served.check(row.method, row.path, answer)
    if row.method == "HEAD":
        return
    said = is_fit(answer)
    fields = [one["field"] for one in said.get("errors", [])]
    texts = (said["error"], said["detail"], *fields)
    assert not row.words or any(word in fields or any(word in text for text in texts) for word in row.words), where
    assert (row.status == 422) == bool(fields), where
    headers = answer.headers
    assert row.status != 401 or headers["www-authenticate"].startswith("Bearer"), where
    assert row.status != 405 or row.method not in headers["allow"].split(", "), where
    assert row.status not in (429, 503, 507) or int(headers["retry-after"]) >= 1, where
    assert row.name != "unknown type" or said["registeredTypes"] == sorted(served.system.registry), where


@pytest.fixture
async def served(serving: Any) -> AsyncIterator[Any]:
    async with serving("memory:") as made:
        before = await made.json("GET", "/jobs/stats")
        yield made
        after = await made.json("GET", "/jobs/stats")
        assert after["queue"] == before["queue"]  # a 4xx changes no count


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "application/json; charset=utf-8"},
        {"content-type": "Application/JSON"},
        {"content-type": "application/vnd.x+json"},
        {"content-type": "application/json", "content-encoding": "identity"},
    ],
)
async def test_every_spelling_of_json_is_read(served: Any, headers: dict[str, str]) -> None:
    await served.call("POST", "/jobs", 422, content=b"{}", headers=headers)


async def test_every_bad_job_of_a_batch_has_its_answer(served: Any) -> None:
    bodies = [(name, body) for name, body, status, _ in BODIES if status in (422, 413) or "unknown" in name]
    answer = await served.http.post(
        "/jobs/batch", content=b"[" + b",".join(body for _, body in bodies) + b"]", headers=JSON
    )
    assert answer.status_code == 202
    is_fit(answer)
    for (name, _), one in zip(bodies, answer.json()["jobs"], strict=True):
        assert one["status"] == "failed" and one["error"], name


async def test_an_unknown_type_tells_the_known_ones(served: Any) -> None:
    said = await served.json("POST", "/jobs", 400, json={"type": "nope"})
    assert said["error"] == "Unknown job type: nope"
    assert said["registeredTypes"] == sorted(served.system.registry)


async def test_all_wrong_fields_are_named_at_once(served: Any) -> None:
    body = {"type": "echo", "text": 1, "times": "x", "zz": 0, "priority": "?", "delay": -1, "maxAttempts": 0}
    said = await served.json("POST", "/jobs", 422, json=body)
    assert {one["field"] for one in said["errors"]} == {"text", "times", "zz", "priority", "delay", "maxAttempts"}
    assert all(one["message"] for one in said["errors"])


async def test_a_schedule_that_is_refused_changes_nothing(served: Any) -> None:
    await served.call("POST", "/scheduler", 400, json={**GOOD, "type": "nope"})
    both = await served.json("POST", "/scheduler", 422, json={"name": "", "type": "echo", "tz": "x", "data": {}})
    assert {one["field"] for one in both["errors"]} == {"name", "schedule", "tz", "data.text"}
    assert (await served.json("GET", "/scheduler"))["tasks"] == []
    await served.call("POST", "/scheduler", 201, json=GOOD)
    for change in (
        {"schedule": "x"},
        {"paused": "yes"},
        {"paused": None},
        {"name": "m"},
        {"type": "fail"},
        {"tz": None},
    ):
        await served.call("PATCH", "/scheduler/n", 422, json=change)
    assert (await served.json("GET", "/scheduler/n"))["schedule"] == "@daily"
    await served.call(
        "PATCH", "/scheduler/n", 422, json={"end": "1000-01-01T00:00:00Z", "start": "2000-01-01T00:00:00Z"}
    )
    await served.call("PATCH", "/scheduler/n", json={"start": "2000-01-01T00:00:00Z"})
    late = await served.json(
        "PATCH", "/scheduler/n", 422, json={"end": "1000-01-01T00:00:00Z"}
    )  # wrong with what is kept
    assert "start" in late["detail"]
