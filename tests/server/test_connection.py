"""One client's connection never costs another client its server: slow ones are left, those who never read are left,
and so many at a time are served.
"""

from __future__ import annotations

import socket
from typing import Any

import pytest
import trio

from actors.server import ServerSettings

GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
LAST = GET + b"Connection: close\r\n\r\n"


async def ended(stream: trio.SocketStream) -> bytes:
    """All that comes until the server hangs up."""
    got = b""
    with trio.fail_after(5):
        try:
            async for chunk in stream:
                got += chunk
        except trio.BrokenResourceError:
            pass
    return got


@pytest.mark.parametrize("sent", [b"", b"GET", GET, GET + b"X: ", LAST[:-2], GET + b"\r\n"])
async def test_a_slow_head_is_given_up(serving: Any, sent: bytes) -> None:
    async with serving("memory:", settings=ServerSettings(idle=0.1)) as served:
        stream = await trio.open_tcp_stream("127.0.0.1", served.port)
        async with stream:
            if sent:
                await stream.send_all(sent)
            assert (await ended(stream)).count(b"HTTP/1.1 ") == (1 if sent.endswith(b"\r\n\r\n") else 0)
        await served.call("GET", "/healthz")


async def test_a_head_that_drips_is_given_up_in_the_same_time(serving: Any) -> None:
    async with serving("memory:", settings=ServerSettings(idle=0.2)) as served:
        stream = await trio.open_tcp_stream("127.0.0.1", served.port)
        async with stream, trio.open_nursery() as nursery:

            async def drip() -> None:
                try:
                    for _ in range(10_000):
                        await stream.send_all(b"X: y\r\n")
                        await trio.sleep(0.01)
                except trio.BrokenResourceError:
                    pass

            await stream.send_all(GET)
            nursery.start_soon(drip)
            assert await ended(stream) == b""
            nursery.cancel_scope.cancel()


async def never_reads(served: Any, *, requests: int = 1) -> socket.socket:
    """A client that asks for more than the sockets between us hold, and reads none of it."""
    await served.call("POST", "/queues/default/pause")
    for _ in range(40):
        await served.enqueue("echo", text="x" * 200_000)
    await served.app.idle()
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", served.port))
    client.sendall(b"GET /jobs?limit=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n" * requests)
    return client


@pytest.mark.parametrize("requests", [1, 3])
async def test_a_client_that_never_reads_its_answer_is_left(serving: Any, requests: int) -> None:
    async with serving("memory:", settings=ServerSettings(answer_idle=0.1, max_connections=2)) as served:
        with await never_reads(served, requests=requests), trio.fail_after(10):
            while not served.app._in_flight:
                await trio.sleep(0.01)  # the request is on its way through the kernel
            await served.app.idle()
            for _ in range(3):  # its place is free
                async with await trio.open_tcp_stream("127.0.0.1", served.port) as stream:
                    await stream.send_all(LAST)
                    assert (await ended(stream)).startswith(b"HTTP/1.1 200")


async def test_a_client_that_never_reads_does_not_hold_the_end(serving: Any) -> None:
    async with serving("memory:", settings=ServerSettings(answer_idle=600)) as served:
        client = await never_reads(served)
        while not served.app._in_flight:
            await trio.sleep(0.01)
        ended_at = trio.current_time()
    assert trio.current_time() - ended_at < 5
    client.close()


async def test_more_clients_than_there_is_room_for_wait_until_one_leaves(serving: Any) -> None:
    async with serving("memory:", settings=ServerSettings(max_connections=2, idle=0.3)) as served:
        await served.http.aclose()
        idle = [await trio.open_tcp_stream("127.0.0.1", served.port) for _ in range(5)]
        async with await trio.open_tcp_stream("127.0.0.1", served.port) as stream:
            await stream.send_all(LAST)
            assert (await ended(stream)).startswith(b"HTTP/1.1 200")
        for one in idle:
            await one.aclose()


async def test_an_answer_that_closes_is_sent_although_more_requests_lie_behind(serving: Any) -> None:
    async with serving("memory:") as served:
        for _ in range(20):
            for last in (LAST, GET.replace(b"P/1.1", b"P/1.0") + b"\r\n"):
                got = await served.raw(last + GET + b"\r\n" + b"x" * 1_000)
                assert got.startswith(b"HTTP/1.1 200") and got.endswith(b'{"status":"ok"}'), got


async def test_a_client_that_hangs_up_while_its_body_waits_leaves_nothing_behind(serving: Any) -> None:
    """The application reads no body of this call, so that the body's bytes fill the queue between the two."""
    async with serving("memory:", settings=ServerSettings(max_connections=2)) as served:
        await served.http.aclose()
        for _ in range(4):
            client = socket.create_connection(("127.0.0.1", served.port))
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
            client.sendall(b"1\r\nx\r\n" * 5_000)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset, not a close
            client.close()
        async with await trio.open_tcp_stream("127.0.0.1", served.port) as stream:
            await stream.send_all(LAST)
            assert (await ended(stream)).startswith(b"HTTP/1.1 200")
        await served.app.idle()
