"""Receivers and mail servers that mean harm, through a whole system: the attempt fails or ends by its status, within its
time, and the one worker takes the next job.
"""

from __future__ import annotations

import gzip
import os
import resource
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import trio

import actors
from actors.jobs import Cleanup, SendEmail, Settings, Webhook, registry

Speak = Callable[[trio.SocketStream], Awaitable[None]]
HELLO = SendEmail(to="test@example.com", subject="Test", body="Hello World")
BOMB = gzip.compress(b"\0" * 50_000_000)
TIME = 1.0  # seconds for one webhook


def once(answer: bytes) -> Speak:
    async def speak(stream: trio.SocketStream) -> None:
        await stream.send_all(answer)

    return speak


def endlessly(first: bytes, again: bytes) -> Speak:
    async def speak(stream: trio.SocketStream) -> None:
        await stream.send_all(first)
        while True:
            await stream.send_all(again)

    return speak


def http(headers: bytes, body: bytes = b"", status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 " + status + b"\r\n" + headers + b"\r\n" + body


OK = {"completed"}
REFUSED = {"DeliveryFailed", "discarded"}
WEBHOOKS: dict[str, tuple[Speak, set[str]]] = {
    # what is said after a request has come, and how the attempt may end
    "interim answers without end": (endlessly(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), REFUSED),
    "headers without end": (endlessly(b"HTTP/1.1 200 OK\r\n", b"x: y\r\n"), REFUSED),
    "one header without end": (endlessly(b"HTTP/1.1 200 OK\r\nx: ", b"y" * 60_000), REFUSED),
    "a status line without end": (endlessly(b"HTTP/1.1 200 ", b"y" * 60_000), REFUSED),
    "a body without end": (endlessly(http(b""), b"x" * 60_000), OK),
    "chunks without end": (endlessly(http(b"transfer-encoding: chunked\r\n"), b"1\r\nx\r\n" * 1_000), OK),
    "trailers without end": (endlessly(http(b"transfer-encoding: chunked\r\n", b"0\r\n"), b"x: y\r\n"), OK),
    "a chunk size without end": (endlessly(http(b"transfer-encoding: chunked\r\n"), b"1" * 60_000), OK),
    "no chunks": (once(http(b"transfer-encoding: chunked\r\n", b"zz\r\n")), OK),
    "a compressed bomb": (once(http(b"content-encoding: gzip\r\ncontent-length: %d\r\n" % len(BOMB), BOMB)), OK),
    "a failure with a bomb": (
        once(http(b"content-encoding: gzip\r\ncontent-length: %d\r\n" % len(BOMB), BOMB, b"500 No")),
        REFUSED,
    ),
    "two lengths": (once(http(b"content-length: 1\r\ncontent-length: 2\r\n", b"xx")), REFUSED),
    "a length below 0": (once(http(b"content-length: -1\r\n")), REFUSED),
    "a length of 5 000 digits": (once(http(b"content-length: " + b"9" * 5_000 + b"\r\n")), REFUSED),
    "another protocol": (once(http(b"connection: upgrade\r\nupgrade: x\r\n", b"", b"101 Now")), REFUSED),
    "status 0": (once(http(b"", b"", b"000 No")), REFUSED),
    "status 999": (once(http(b"content-length: 0\r\n", b"", b"999 No")), REFUSED),
    "control characters": (once(http(b"content-length: 9\r\n", b"\x1b[2J\r\n\0x\x7f", b"500 \x07No")), REFUSED),
    "a redirect of 10 kB": (once(http(b"location: /" + b"a" * 10_000 + b"\r\n", b"", b"307 There")), REFUSED),
    "a redirect to itself": (once(http(b"location: /\r\ncontent-length: 0\r\n", b"", b"307 There")), REFUSED),
    "a redirect to a file": (once(http(b"location: file:///etc/passwd\r\n", b"", b"307 There")), REFUSED),
    "a redirect with a line break": (once(http(b"location: /a\x0bb\r\n", b"", b"307 There")), REFUSED),
    "a redirect within": (once(http(b"location: http://169.254.169.254/\r\n", b"", b"308 There")), REFUSED),
    "a redirect with credentials": (once(http(b"location: http://a:b@127.0.0.1/\r\n", b"", b"308 There")), REFUSED),
    "a retry after ever": (once(http(b"retry-after: " + b"9" * 400 + b"\r\n", b"", b"503 Busy")), {"Retry"}),
    "a retry after nonsense": (once(http(b"retry-after: \xff\r\n", b"", b"503 Busy")), REFUSED),
}
MAILS: dict[str, Speak] = {
    "greeting without end": endlessly(b"", b"220-x\r\n" * 1_000),
    "a line without end": endlessly(b"220 ", b"x" * 60_000),
    "extensions without end": endlessly(b"220 mx\r\n", b"250-X\r\n" * 1_000),
    "no numbers": once(b"hello\r\n" * 10),
    "8 bit": once(b"220 \xff\xfe\r\n250 \xff\r\n550 \xff\x1b[2J\r\n"),
    "all at once": once(b"220 a\r\n250 b\r\n250 c\r\n250 d\r\n354 e\r\n451 f\r\n"),
    "STARTTLS and no TLS": once(b"220 a\r\n250-b\r\n250 STARTTLS\r\n220 go\r\nno tls at all\r\n"),
    "STARTTLS with more behind it": once(b"220 a\r\n250-b\r\n250 STARTTLS\r\n220 go\r\n250 injected\r\n"),
}


async def listen(nursery: trio.Nursery, speak: Speak, *, first: bool) -> int:
    """A server on loopback; `first`: it waits for a request before it speaks."""

    async def serve(stream: trio.SocketStream) -> None:
        try:
            if first:
                await stream.receive_some()
            await speak(stream)
            while await stream.receive_some():
                pass
        except trio.BrokenResourceError:
            pass

    [listener] = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
    port: int = listener.socket.getsockname()[1]
    return port


async def ended(handle: Any) -> tuple[str, Any]:
    """How its one attempt ended, and its record."""
    with trio.fail_after(20):
        try:
            await handle.result()
        except actors.JobFailed:
            pass
    record = await handle.record()
    return record.state if not record.errors else record.errors[-1].type, record


def is_clean(record: Any) -> bool:
    said = "".join(error.message for error in record.errors)
    return len(said) < 1_000 and said.isprintable()


async def test_a_webhook_to_whom_means_harm_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.jobs.http_post.READ_TIME", 0.1)
    jobs = registry(Settings(webhook_allow=("127.0.0.1/32",), webhook_timeout=TIME))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with trio.open_nursery() as nursery:
        async with actors.open_system(jobs, store="memory:", queues={"default": 4}) as system:
            found: dict[str, tuple[str, Any]] = {}

            async def one(name: str, speak: Speak) -> None:
                port = await listen(nursery, speak, first=True)
                job = Webhook(url=f"http://127.0.0.1:{port}/", payload={"secret": "s3cret"})  # type: ignore[arg-type]
                handle = await system.enqueue(job, max_attempts=1)
                found[name] = await ended(handle)

            async with trio.open_nursery() as all_of_them:
                for name, (speak, _) in WEBHOOKS.items():
                    all_of_them.start_soon(one, name, speak)
            for name, (_, expected) in WEBHOOKS.items():
                word, record = found[name]
                assert word in expected, (name, word, record.errors)
                assert is_clean(record), (name, record.errors)
            stats = await system.stats()
            assert stats.completed + stats.dead == len(WEBHOOKS) and stats.running == 0
        nursery.cancel_scope.cancel()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 60_000, f"{grown} kB more: something was read, or unpacked, without a bound"


@pytest.mark.parametrize("name", list(MAILS))
async def test_a_mail_server_that_means_harm_fails_the_attempt_only(name: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with trio.open_nursery() as nursery:
        port = await listen(nursery, MAILS[name], first=False)
        jobs = registry(Settings(smtp_url=f"smtp://127.0.0.1:{port}", email_timeout=0.5))
        async with actors.open_system(jobs, store="memory:", queues={"default": 1}) as system:
            word, record = await ended(await system.enqueue(HELLO, max_attempts=1, timeout=5.0))
            assert word in REFUSED, (word, record.errors)
            assert is_clean(record)
            with pytest.raises(actors.JobFailed):  # the worker lives
                await (await system.enqueue(Cleanup(directory="/etc"))).result()
        nursery.cancel_scope.cancel()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000


@pytest.mark.parametrize("link", ["/etc", "/dev", "/proc/self/fd", "/", "."])
async def test_a_root_full_of_traps_loses_its_old_files_only(tmp_path: Any, link: str) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "sub").mkdir(parents=True)
    outside.write_text("precious")
    (root / "sub" / "link").symlink_to(link)
    (root / "sub" / "same file").hardlink_to(outside)  # the link goes, the file stays
    os.mkfifo(root / "sub" / "fifo")
    (root / "\udcff\n\x1b[2J").write_text("x")
    (root / ("a" * 255)).write_text("x")
    for path in (root / "\udcff\n\x1b[2J", root / ("a" * 255), root / "sub" / "fifo", outside):
        os.utime(path, (0, 0))
    files = len(os.listdir("/proc/self/fd"))
    async with actors.open_system(registry(Settings(cleanup_roots=[root])), store="memory:") as system:
        result = await (await system.enqueue(Cleanup(directory=str(root)))).result()
        assert (result["deleted"], result["skipped"], result["failed"]) == (3, 2, 0)
        assert outside.read_text() == "precious"
        for directory in ("/dev", "/proc/self/fd", "/etc", str(root / "sub" / "link"), f"{root}/sub/fifo", f"{root}x"):
            word, record = await ended(await system.enqueue(Cleanup(directory=directory)))
            assert word == "discarded" and is_clean(record), (directory, record.errors)
    assert len(os.listdir("/proc/self/fd")) <= files
