"""`webhook` against real HTTP servers on loopback: what arrives, what an answer means, and where no
connection is ever made."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
import trio
import trustme

from actors import Discard, Retry
from actors.jobs import DeliveryFailed, Settings, Webhook, registry
from actors.jobs.webhook import retry_after

LOOPBACK = ("127.0.0.1/32",)  # and not 127.0.0.2, which is somebody else in these tests
Start = Callable[..., Any]


async def serve(nursery: trio.Nursery, speak: Callable[[trio.SocketStream], Awaitable[None]]) -> str:
    """A server that says what `speak` says, and its URL."""
    [listener] = await nursery.start(partial(trio.serve_tcp, speak, 0, host="127.0.0.1"))
    return f"http://127.0.0.1:{listener.socket.getsockname()[1]}/"


async def test_the_payload_arrives_as_json(perform: Any, receiver: Start) -> None:
    server = receiver()
    jobs = registry(Settings(webhook_allow=LOOPBACK))
    payload = {"event": "test", "n": [1, 2.5, None, True, "ü"]}
    job = Webhook(url=server.url("/post?a=b%20c"), payload=payload, headers={"X-Token": "t", "User-Agent": "me"})
    result = await perform(jobs, job, id="0199-abc")
    [request] = server.requests
    assert json.loads(request.body) == payload
    assert request.path == "/post?a=b%20c"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["host"] == f"127.0.0.1:{server.port}"
    assert (request.headers["x-token"], request.headers["user-agent"]) == ("t", "me")
    assert request.headers["webhook-id"] == "0199-abc"
    assert "webhook-signature" not in request.headers
    assert result == {"status": 200, "redirects": 0, "seconds": result["seconds"]}


@pytest.mark.parametrize("secret", ["whsec_" + base64.b64encode(bytes(range(32))).decode(), "any other text"])
async def test_the_signature_is_the_one_of_standard_webhooks(perform: Any, receiver: Start, secret: str) -> None:
    server = receiver()
    jobs = registry(Settings(webhook_allow=LOOPBACK, webhook_secret=secret))
    await perform(jobs, Webhook(url=server.url(), payload={"a": 1}), id="msg_1")
    [request] = server.requests
    timestamp = request.headers["webhook-timestamp"]
    assert int(timestamp) == perform.now // 1_000_000
    key = base64.b64decode(secret[6:]) if secret.startswith("whsec_") else secret.encode()
    signed = f"msg_1.{timestamp}.".encode() + request.body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert request.headers["webhook-signature"] == f"v1,{expected}"


def test_the_signature_of_the_specification_s_own_example() -> None:
    """The vector that the reference libraries are tested with."""
    from actors.jobs.signature import signed_headers

    made = signed_headers(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert made["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


# What an answer means


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_every_2xx_is_a_success(perform: Any, receiver: Start, status: int) -> None:
    server = receiver(lambda request: (status, {}, b""))
    result = await perform(registry(Settings(webhook_allow=LOOPBACK)), Webhook(url=server.url(), payload=None))
    assert result["status"] == status


@pytest.mark.parametrize("status", [300, 304, 400, 401, 404, 429, 500, 503])
async def test_any_other_answer_is_a_failure_that_names_it(perform: Any, receiver: Start, status: int) -> None:
    server = receiver(lambda request: (status, {}, b"out of\r\n\x1bcheese" if status != 304 else b""))
    jobs = registry(Settings(webhook_allow=LOOPBACK))
    with pytest.raises(DeliveryFailed) as caught:
        await perform(jobs, Webhook(url=server.url("/secret"), payload=None))
    text = "" if status == 304 else ": out of cheese"
    assert str(caught.value) == f"http://127.0.0.1:{server.port} answered {status}{text}"


async def test_a_receiver_that_is_gone_is_not_asked_again(perform: Any, receiver: Start) -> None:
    server = receiver(lambda request: (410, {}, b""))
    with pytest.raises(Discard, match="410"):
        await perform(registry(Settings(webhook_allow=LOOPBACK)), Webhook(url=server.url(), payload=None))


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("header", "after"),
    [
        ({"retry-after": "120"}, 120),
        ({"retry-after": "0"}, 1),
        ({"retry-after": "99999999999999999999"}, 600),
        ({"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}, 1),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}, 600),
    ],
)
async def test_retry_after_is_honoured_within_bounds(
    perform: Any, receiver: Start, status: int, header: dict[str, str], after: float
) -> None:
    server = receiver(lambda request: (status, header, b""))
    jobs = registry(Settings(webhook_allow=LOOPBACK, webhook_longest_wait=600))
    with pytest.raises(Retry) as caught:
        await perform(jobs, Webhook(url=server.url(), payload=None))
    assert caught.value.after == after


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "5"}, 5),
        ({"retry-after": " 5 "}, 5),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "5.5"}, None),
        ({"retry-after": "²"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "Thu, 01 Jan 2026 00:01:00 GMT"}, 60),
        ({"retry-after": "Thu, 01 Jan 2026 00:01:00 GMT", "date": "Thu, 01 Jan 2026 00:00:50 GMT"}, 10),
        ({"retry-after": "Thu, 01 Jan 2026 00:01:00 GMT", "date": "nonsense"}, 60),
        ({"retry-after": "Thu, 99 Jan 99999999999 00:01:00 GMT"}, None),
    ],
)
def test_retry_after_is_read(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, datetime(2026, 1, 1, tzinfo=UTC)) == seconds


async def test_a_huge_answer_is_not_fetched(perform: Any) -> None:
    sent = 0

    async def pour(stream: trio.SocketStream) -> None:
        nonlocal sent
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000000\r\n\r\n")
        with contextlib.suppress(trio.BrokenResourceError):
            while True:
                await stream.send_all(b"x" * 65536)
                sent += 65536

    async with trio.open_nursery() as nursery:
        job = Webhook(url=await serve(nursery, pour), payload=None)
        result = await perform(registry(Settings(webhook_allow=LOOPBACK)), job)
        nursery.cancel_scope.cancel()
    assert result["status"] == 200
    assert sent < 32_000_000  # what fits into the sockets' buffers


async def test_an_answer_that_never_ends_counts_by_its_status(perform: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.jobs.http_post.READ_TIME", 0.05)
    async with trio.open_nursery() as nursery:

        async def drip(stream: trio.SocketStream) -> None:
            await stream.receive_some()
            await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
            with contextlib.suppress(trio.BrokenResourceError):
                while True:
                    await stream.send_all(b"x")
                    await trio.sleep(0.001)

        job = Webhook(url=await serve(nursery, drip), payload=None)
        result = await perform(registry(Settings(webhook_allow=LOOPBACK)), job)
        assert result["status"] == 200
        nursery.cancel_scope.cancel()


async def test_a_silent_receiver_is_a_failure_after_the_timeout(perform: Any) -> None:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/"
    jobs = registry(Settings(webhook_allow=LOOPBACK, webhook_timeout=0.1))
    with pytest.raises(DeliveryFailed, match=r"did not answer within 0.1 s"):
        await perform(jobs, Webhook(url=url, payload=None))
    await listener.aclose()


async def test_nobody_listening_is_a_failure_that_names_it(perform: Any) -> None:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    origin = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
    await listener.aclose()
    with pytest.raises(DeliveryFailed, match=f"{origin} can't be connected to: .*"):
        await perform(registry(Settings(webhook_allow=LOOPBACK)), Webhook(url=origin, payload=None))


@pytest.mark.parametrize(
    "answer", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\nx" + b"y" * 200_000, b"HTTP/9.9 999 \r\n\r\n"]
)
async def test_what_is_no_http_is_a_failure(perform: Any, answer: bytes) -> None:
    async with trio.open_nursery() as nursery:

        async def speak(stream: trio.SocketStream) -> None:
            await stream.receive_some()
            with contextlib.suppress(trio.BrokenResourceError):
                await stream.send_all(answer)

        job = Webhook(url=await serve(nursery, speak), payload=None)
        with pytest.raises(DeliveryFailed):
            await perform(registry(Settings(webhook_allow=LOOPBACK)), job)
        nursery.cancel_scope.cancel()


# Where no connection is made


@pytest.mark.parametrize(
    "address",
    ["10.0.0.1", "127.0.0.2", "169.254.169.254", "::1", "fd00::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"],
)
async def test_a_name_with_a_private_address_is_discarded(perform: Any, resolver: Any, address: str) -> None:
    resolver({"inner.example": [[address]]})
    with pytest.raises(Discard, match=r"inner.example resolves to .*: expected a public one"):
        await perform(registry(Settings(webhook_allow=LOOPBACK)), Webhook(url="http://inner.example/", payload=None))


async def test_a_second_look_up_does_not_matter(perform: Any, receiver: Start, resolver: Any) -> None:
    """DNS rebinding: the name answers with an allowed address first, and with a forbidden one ever after."""
    good = receiver()
    evil = receiver(host="127.0.0.2", port=good.port)
    names = resolver({"rebind.example": [["127.0.0.1"], ["127.0.0.2"]]})
    jobs = registry(Settings(webhook_allow=LOOPBACK))
    await perform(jobs, Webhook(url=f"http://rebind.example:{good.port}/", payload=None))
    assert names.asked == ["rebind.example"]
    assert (len(good.requests), len(evil.requests)) == (1, 0)
    assert good.requests[0].headers["host"] == f"rebind.example:{good.port}"

    with pytest.raises(Discard):  # the next attempt looks again, and is refused
        await perform(jobs, Webhook(url=f"http://rebind.example:{good.port}/", payload=None))
    assert evil.requests == []


async def test_the_next_address_is_tried_when_one_does_not_answer(perform: Any, receiver: Start, resolver: Any) -> None:
    server = receiver()
    resolver({"two.example": [["10.0.0.1", "127.0.0.3", "127.0.0.1"]]})
    jobs = registry(Settings(webhook_allow=("127.0.0.0/8",)))
    assert (await perform(jobs, Webhook(url=f"http://two.example:{server.port}/", payload=None)))["status"] == 200


async def test_an_unknown_name_is_tried_again(perform: Any, resolver: Any) -> None:
    resolver({})
    with pytest.raises(DeliveryFailed, match=r"http://nobody.example: the name can't be resolved"):
        await perform(registry(), Webhook(url="http://nobody.example/", payload=None))


async def test_environment_proxies_are_not_used(perform: Any, receiver: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    server, proxy = receiver(), receiver()
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url(""))
    await perform(registry(Settings(webhook_allow=LOOPBACK)), Webhook(url=server.url(), payload=None))
    assert (len(server.requests), len(proxy.requests)) == (1, 0)


# Redirects


@pytest.mark.parametrize("status", [307, 308])
async def test_a_redirect_that_keeps_the_post_is_followed(perform: Any, receiver: Start, status: int) -> None:
    server = receiver(lambda request: (status, {"location": "/b?c"}, b"") if request.path == "/a" else (200, {}, b""))
    jobs = registry(Settings(webhook_allow=LOOPBACK))
    result = await perform(jobs, Webhook(url=server.url("/a"), payload={"x": 1}, headers={"X-Token": "t"}))
    assert result["redirects"] == 1
    assert [(request.path, request.body) for request in server.requests] == [
        ("/a", b'{"x":1}'),
        ("/b?c", b'{"x":1}'),
    ]
    assert server.requests[1].headers["x-token"] == "t"  # the same origin


@pytest.mark.parametrize("status", [301, 302, 303])
async def test_a_redirect_that_loses_the_post_is_a_failure(perform: Any, receiver: Start, status: int) -> None:
    server = receiver(lambda request: (status, {"location": "/b"}, b""))
    with pytest.raises(DeliveryFailed, match=f"answered {status}: a redirect that does not keep a POST"):
        await perform(registry(Settings(webhook_allow=LOOPBACK)), Webhook(url=server.url(), payload=None))
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "there",
    [
        "http://127.0.0.2:{port}/",
        "http://127.2:{port}/",
        "//127.0.0.2:{port}/",
        "http://localhost.:{port}/",
        "http://[::1]:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://inner.example:{port}/",
        "http://169.254.169.254/latest/meta-data",
    ],
)
async def test_a_redirect_to_a_private_address_is_discarded(
    perform: Any, receiver: Start, resolver: Any, there: str
) -> None:
    server: Any = receiver()
    server.reply = lambda request: (307, {"location": there.format(port=server.port)}, b"")
    evil = receiver(host="127.0.0.2", port=server.port)
    resolver({"inner.example": [["127.0.0.2"]], "localhost.": [["127.0.0.2"]]})
    with pytest.raises(Discard, match="expected a public one"):
        await perform(registry(Settings(webhook_allow=LOOPBACK)), Webhook(url=server.url(), payload=None))
    assert evil.requests == []


@pytest.mark.parametrize(
    "there", ["ftp://example.org/", "http://me:pw@127.0.0.1/", "http://:80/", "javascript:x", "http://a b/"]
)
async def test_a_redirect_to_no_url_is_a_failure(perform: Any, receiver: Start, there: str) -> None:
    server = receiver(lambda request: (307, {"location": there}, b""))
    with pytest.raises(DeliveryFailed, match="redirects to what is no URL"):
        await perform(registry(Settings(webhook_allow=LOOPBACK)), Webhook(url=server.url(), payload=None))


async def test_redirects_without_end_are_a_failure(perform: Any, receiver: Start) -> None:
    server = receiver(lambda request: (307, {"location": request.path + "x"}, b""))
    with pytest.raises(DeliveryFailed, match="redirects more than 5 times"):
        await perform(registry(Settings(webhook_allow=LOOPBACK)), Webhook(url=server.url(), payload=None))
    assert len(server.requests) == 6


async def test_the_caller_s_headers_stay_with_the_first_origin(perform: Any, receiver: Start) -> None:
    other = receiver()
    first = receiver(lambda request: (308, {"location": other.url("/b")}, b""))
    jobs = registry(Settings(webhook_allow=LOOPBACK, webhook_secret="s3cret-s3cret"))
    await perform(jobs, Webhook(url=first.url(), payload={}, headers={"Authorization": "Bearer x", "Cookie": "y"}))
    assert first.requests[0].headers["authorization"] == "Bearer x"
    assert not {"authorization", "cookie"} & other.requests[0].headers.keys()
    assert other.requests[0].headers["webhook-signature"] == first.requests[0].headers["webhook-signature"]


# TLS


async def test_the_certificate_is_the_name_s_although_the_address_is_pinned(
    perform: Any, receiver: Start, resolver: Any, server_tls: Any, ca_file: str
) -> None:
    server = receiver(tls=server_tls("hook.example"))
    resolver({"hook.example": [["127.0.0.1"]], "other.example": [["127.0.0.1"]]})
    jobs = registry(Settings(webhook_allow=LOOPBACK, ca_file=ca_file))
    await perform(jobs, Webhook(url=f"https://hook.example:{server.port}/", payload=1))
    assert server.requests[0].headers["host"] == f"hook.example:{server.port}"
    with pytest.raises(DeliveryFailed, match="CERTIFICATE_VERIFY_FAILED"):
        await perform(jobs, Webhook(url=f"https://other.example:{server.port}/", payload=1))
    with pytest.raises(DeliveryFailed, match="CERTIFICATE_VERIFY_FAILED"):
        plain = registry(Settings(webhook_allow=LOOPBACK))
        await perform(plain, Webhook(url=f"https://hook.example:{server.port}/", payload=1))
    assert len(server.requests) == 1


async def test_a_redirect_does_not_leave_tls(
    perform: Any, receiver: Start, resolver: Any, server_tls: Any, ca_file: str, authority: trustme.CA
) -> None:
    plain = receiver()
    server = receiver(lambda request: (307, {"location": plain.url()}, b""), tls=server_tls("hook.example"))
    resolver({"hook.example": [["127.0.0.1"]]})
    jobs = registry(Settings(webhook_allow=LOOPBACK, ca_file=ca_file))
    with pytest.raises(Discard, match="from https to http"):
        await perform(jobs, Webhook(url=f"https://hook.example:{server.port}/", payload=1))
    assert plain.requests == []


async def test_an_address_may_have_a_certificate_of_its_own(
    perform: Any, receiver: Start, server_tls: Any, ca_file: str
) -> None:
    server = receiver(tls=server_tls("127.0.0.1"))
    jobs = registry(Settings(webhook_allow=LOOPBACK, ca_file=ca_file))
    result = await perform(jobs, Webhook(url=f"https://127.0.0.1:{server.port}/", payload=1))
    assert result["status"] == 200


# The rest


async def test_cancelling_hangs_up(perform: Any) -> None:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/"
    jobs = registry(Settings(webhook_allow=LOOPBACK))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(perform, jobs, Webhook(url=url, payload="x" * 100))
        server = await listener.accept()
        assert await server.receive_some()
        nursery.cancel_scope.cancel()
    with trio.fail_after(5):
        while await server.receive_some():
            pass
    await server.aclose()
    await listener.aclose()


async def test_without_httpx2_the_error_says_what_to_install(
    perform: Any, receiver: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "httpx2", None)
    with pytest.raises(RuntimeError, match=r"trio-actors\[server\]"):
        await perform(registry(Settings(webhook_allow=LOOPBACK)), Webhook(url=receiver().url(), payload=None))


def test_importing_the_jobs_does_not_import_the_http_client() -> None:
    import subprocess
    import sys

    code = "import actors.jobs, sys; sys.exit('httpx2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
