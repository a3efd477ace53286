"""Everything a caller can get wrong: one clear problem document, nothing of the input but a glimpse, and no count
changed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import orjson
import pytest

JSON = {"content-type": "application/json"}
LONG = "A" * 5_000
UPGRADE = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


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


@pytest.fixture
async def served(serving: Any) -> AsyncIterator[Any]:
    async with serving("memory:") as made:
        before = await made.json("GET", "/jobs/stats")
        yield made
        after = await made.json("GET", "/jobs/stats")
        assert after["queue"] == before["queue"]  # a 4xx changes no count


def is_fit(answer: httpx2.Response) -> dict[str, Any]:
    """The problem document, if it tells no stack, no path and no more than a glimpse of what was sent."""
    said: dict[str, Any] = answer.json()
    assert "Traceback" not in answer.text and "/work" not in answer.text and ".py" not in answer.text
    assert "A" * 101 not in answer.text
    assert len(answer.content) < 60_000
    return said


async def test_every_bad_body_has_its_answer(served: Any) -> None:
    for name, body, status, word in BODIES:
        answer = await served.http.post("/jobs", content=body, headers=JSON)
        assert answer.status_code == status, (name, answer.status_code, answer.text[:300])
        served.check("POST", "/jobs", answer)
        said = is_fit(answer)
        fields = [one["field"] for one in said.get("errors", [])]
        assert word in fields or any(word in text for text in (said["error"], said["detail"], *fields)), (name, said)
        assert (status == 422) == bool(said.get("errors")), name


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


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 415),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": "application/json; charset=latin-1"}, 415),
        ({"content-type": "application/json", "content-encoding": "gzip"}, 415),
        ({"content-type": "application/json; charset=utf-8"}, 422),
        ({"content-type": "Application/JSON"}, 422),
        ({"content-type": "application/vnd.x+json"}, 422),
        ({"content-type": "application/json", "content-encoding": "identity"}, 422),
    ],
)
async def test_only_json_is_read(served: Any, headers: dict[str, str], status: int) -> None:
    await served.call("POST", "/jobs", status, content=b"{}", headers=headers)


@pytest.mark.parametrize("key", ["", "x" * 201, "a\tb"])
async def test_a_bad_idempotency_key_is_refused(served: Any, key: str) -> None:
    said = await served.json("POST", "/jobs", 422, json={"type": "echo", "text": "x"}, headers={"Idempotency-Key": key})
    assert said["errors"][0]["field"] == "Idempotency-Key"


async def test_two_idempotency_keys_are_refused(served: Any) -> None:
    headers = [("content-type", "application/json"), ("idempotency-key", "a"), ("idempotency-key", "b")]
    answer = await served.http.post("/jobs", content=echo(), headers=headers)
    assert answer.status_code == 422


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


async def test_every_wrong_path_and_method_has_its_answer(served: Any) -> None:
    for method, path, status in ROUTES:
        answer = await served.http.request(method, path)
        assert answer.status_code == status, (method, path[:60], answer.status_code, answer.text[:200])
        served.check(method, path, answer)
        is_fit(answer)
        if status == 405:
            assert method not in answer.headers["allow"].split(", ")
    assert (await served.http.request("PUT", "/jobs")).headers["allow"] == "GET, HEAD, OPTIONS, POST"
    assert (await served.http.request("GET", "/scheduler/x/run")).headers["allow"] == "OPTIONS, POST"


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=-1",
        "limit=1001",
        "limit=abc",
        "limit=1e2",
        "limit=",
        "limit=9999999999999999999999",
        "limit=%D9%A1",
        "limit=1&limit=2",
        "state=nope",
        "state=",
        "state=pending,nope",
        "after=nonsense",
        "after=",
        "after=" + "A" * 5_000,
        "after=%00",
        "after=-1",
        "after=99999999999999999999999999",
        "type=" + "A" * 5_000,
        "type=",
        "queue=%00",
        "owner=%0a",
        "tag=" + "A" * 201,
        "colour=red",
        "page=2",
    ],
)
async def test_bad_queries_are_refused(served: Any, query: str) -> None:
    answer = await served.http.get(f"/jobs?{query}")
    assert answer.status_code == 422, answer.text[:300]
    served.check("GET", "/jobs", answer)
    assert is_fit(answer)["errors"]


async def test_a_query_that_is_no_query_is_refused(served: Any) -> None:
    for query in ("limit=%ff", "&".join(f"a{n}=1" for n in range(100))):
        assert (await served.call("GET", f"/jobs?{query}", 400)).json()["type"] == "urn:actors:bad-query"
    for path in (
        "/jobs/stats?x=1",
        "/jobs/completed?limit=0",
        "/dead-letters?after=nonsense",
        "/types?a=b",
        "/scheduler?a=b",
        "/queues?a=b",
    ):
        await served.call("GET", path, 422)


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


async def test_every_bad_schedule_has_its_answer(served: Any) -> None:
    good = {"name": "n", "schedule": "@daily", "type": "echo", "data": {"text": "x"}}
    for name, change, field in SCHEDULES:
        answer = await served.http.post("/scheduler", json={**good, **change})
        assert answer.status_code == 422, (name, answer.status_code, answer.text[:300])
        served.check("POST", "/scheduler", answer)
        assert [one["field"] for one in is_fit(answer)["errors"]] == [field], (name, answer.text)
    await served.call("POST", "/scheduler", 400, json={**good, "type": "nope"})
    both = await served.json("POST", "/scheduler", 422, json={"name": "", "type": "echo", "tz": "x", "data": {}})
    assert {one["field"] for one in both["errors"]} == {"name", "schedule", "tz", "data.text"}
    assert (await served.json("GET", "/scheduler"))["tasks"] == []
    await served.call("POST", "/scheduler", 201, json=good)
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


@pytest.mark.parametrize("workers", [-1, 10_001, 1.5, "3", None, True, [], 10**18])
async def test_bad_numbers_of_workers_are_refused(served: Any, workers: Any) -> None:
    said = await served.json("PATCH", "/queues/default", 422, json={"workers": workers})
    assert said["errors"][0]["field"] == "workers"


async def test_bad_bodies_of_the_other_calls_are_refused(served: Any) -> None:
    await served.call("PATCH", "/queues/default", 422, json={})
    await served.call("PATCH", "/queues/default", 422, json={"workers": 1, "limit": 5})
    await served.call("PATCH", "/queues/default", 422, json=[])
    await served.call("PATCH", "/queues/default", 400, content=b"{", headers=JSON)
    await served.call("PATCH", "/queues/default", 415, content=b"{}")
    await served.call("POST", "/dead-letters/retry", 422, json={"colour": 1})
    await served.call("POST", "/dead-letters/retry", 422, json={"type": 1})
    await served.call("POST", "/dead-letters/retry", 422, json=[])
    await served.call("POST", "/dead-letters/retry", 415, content=b"{}")
    await served.call("POST", "/jobs/batch", 422, json={"type": "echo"})
    await served.call("POST", "/jobs/batch", 400, content=b"[", headers=JSON)


async def test_what_is_no_http_does_not_hurt(served: Any) -> None:
    host = b"Host: localhost\r\n"
    for sent in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + host + b"X: " + b"a" * 100_000 + b"\r\n\r\n",
        b"POST /jobs HTTP/1.1\r\n" + host + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}",
        b"POST /jobs HTTP/1.1\r\n" + host + b"Content-Length: -5\r\n\r\n{}",
        b"POST /jobs HTTP/1.1\r\n" + host + b"Content-Length: abc\r\n\r\n{}",
        b"POST /jobs HTTP/1.1\r\n" + host + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /jobs HTTP/1.1\r\n\r\n",  # no Host
        b"GET /jobs HTTP/1.1\r\n" + host + host + b"\r\n",
        b"GET /jo bs HTTP/1.1\r\n" + host + b"\r\n",
        b"GET /%zz HTTP/1.1\r\n" + host + b"Connection: close\r\n\r\n",
        b"GET /ws HTTP/1.1\r\n" + host + UPGRADE + b"\r\n",
        b"GET /ws HTTP/1.1\r\n" + host + UPGRADE + b"\r\nx",  # a trailing byte took Hypercorn's whole nursery along
    ):
        got = await served.raw(sent, end=True)
        assert not got or got.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5")), (sent[:60], got[:100])
        assert b" 500 " not in got[:20]
    await served.call("GET", "/healthz")
