"""Pages of other sites may neither read nor write, unless their origin was let in."""

from __future__ import annotations

from typing import Any

import pytest

from actors.server import ServerSettings
from actors.server.origin import is_loopback

ALLOWED = "https://example.org"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:8080", 200),
        ("LOCALHOST:1", 200),
        ("127.0.0.1", 200),
        ("127.1.2.3:80", 200),
        ("[::1]", 200),
        ("[::1]:8080", 200),
        ("evil.example", 421),
        ("evil.example:8080", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("10.0.0.1:8080", 421),
        ("0.0.0.0", 421),
        ("[::ffff:10.0.0.1]", 421),
        ("localhost:80x", 421),
        ("", 421),
    ],
)
async def test_without_tokens_only_this_machines_names_are_answered(serving: Any, host: str, status: int) -> None:
    async with serving("memory:") as served:
        await served.call("GET", "/jobs", status, headers={"host": host})
        await served.call("POST", "/scheduler/x/run", 404 if status == 200 else 421, headers={"host": host})


async def test_with_tokens_the_host_does_not_matter(serving: Any) -> None:
    async with serving("memory:", admin=True) as served:
        await served.call("GET", "/jobs", headers={"host": "jobs.example"})


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:1"},
        {"origin": "http://["},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
async def test_a_page_of_another_site_can_write_nothing(serving: Any, headers: dict[str, str]) -> None:
    async with serving("memory:") as served:
        id = await served.enqueue("echo", text="x", delay=60)
        for method, path in (
            ("POST", f"/jobs/{id}/promote"),
            ("DELETE", f"/jobs/{id}"),
            ("POST", "/queues/default/pause"),
        ):
            await served.call(method, path, 403, headers=headers)
        await served.call("POST", "/jobs", 403, headers=headers, json={"type": "echo", "text": "x"})
        answer = await served.call("GET", f"/jobs/{id}", headers=headers)
        assert "access-control-allow-origin" not in answer.headers  # so that the page can't read it
        assert answer.json()["state"] == "scheduled"


async def test_our_own_page_can_write(serving: Any) -> None:
    async with serving("memory:") as served:
        for headers in ({"origin": served.url, "sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}):
            await served.call("POST", "/jobs", 202, headers=headers, json={"type": "echo", "text": "x"})


async def test_an_origin_that_was_let_in_can_read_and_write(serving: Any) -> None:
    async with serving("memory:", settings=ServerSettings(cors_origins=(ALLOWED,))) as served:
        headers = {"origin": ALLOWED, "sec-fetch-site": "cross-site"}
        answer = await served.call("POST", "/jobs", 202, headers=headers, json={"type": "echo", "text": "x"})
        assert answer.headers["access-control-allow-origin"] == ALLOWED and answer.headers["vary"] == "Origin"
        asked = {
            "origin": ALLOWED,
            "access-control-request-method": "POST",
            "access-control-request-headers": "content-type",
        }
        preflight = await served.http.request("OPTIONS", "/jobs", headers=asked)
        assert preflight.status_code == 204
        assert preflight.headers["access-control-allow-methods"] == "GET, HEAD, OPTIONS, POST"
        assert "Idempotency-Key" in preflight.headers["access-control-allow-headers"]
        refused = await served.call("POST", "/jobs", 422, headers=headers, json={"type": "echo"})
        assert refused.headers["access-control-allow-origin"] == ALLOWED  # an error can be read, too

        other = {"origin": "https://evil.example", "access-control-request-method": "POST"}
        preflight = await served.http.request("OPTIONS", "/jobs", headers=other)
        assert "access-control-allow-origin" not in preflight.headers
        await served.call("POST", "/jobs", 403, headers=other, json={"type": "echo", "text": "x"})


async def test_options_tells_what_a_path_takes(serving: Any) -> None:
    async with serving("memory:") as served:
        answer = await served.http.request("OPTIONS", "/jobs/x")
        assert (answer.status_code, answer.headers["allow"]) == (204, "DELETE, GET, HEAD, OPTIONS")
        assert (await served.http.request("OPTIONS", "/nope")).status_code == 404
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]", "Localhost."])
def test_what_is_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "::", "", "10.0.0.1", "example.org", "localhost.example.org", "127.0.0.1.example.org", "0127.0.0.1"],
)
def test_what_is_not_this_machine(host: str) -> None:
    assert not is_loopback(host)
