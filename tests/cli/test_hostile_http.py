"""What is no honest HTTP against the real process: each is answered or hung up on, alone, and the next honest request is
served.
"""

from __future__ import annotations

import re
import resource
import socket
from collections.abc import Callable
from typing import Any

import orjson
import trio

Start = Callable[..., Any]
HOST = b"Host: localhost\r\n"
JOBS = b"POST /jobs HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
GET = b"GET /healthz HTTP/1.1\r\n" + HOST
LAST = GET + b"Connection: close\r\n\r\n"
CHUNKED = JOBS + b"Transfer-Encoding: chunked\r\n"
EMPTY = b"2\r\n{}\r\n0\r\n\r\n"  # the body `{}` in chunks: a 422
UPGRADE = (
    GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
H2C = GET + b"Connection: close, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: "

# name -> (bytes, the statuses that come back). No request hidden in another one's body may ever be answered: LAST is
# the one behind it.
SENT: dict[str, tuple[bytes, tuple[int, ...]]] = {
    "CL.TE": (JOBS + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + LAST, (400,)),
    "TE.CL": (CHUNKED + b"Content-Length: 4\r\n\r\n3a\r\n" + LAST + b"\r\n0\r\n\r\n", (400,)),
    "TE.TE": (CHUNKED + b"Transfer-Encoding: x\r\n\r\n0\r\n\r\n" + LAST, (501,)),
    "TE unknown": (JOBS + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + LAST, (501,)),
    "TE list": (JOBS + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + LAST, (501,)),
    "TE with a tab": (JOBS + b"Transfer-Encoding:\tchunked\r\n\r\n" + EMPTY + LAST, (422, 200)),
    "TE with a vertical tab": (JOBS + b"Transfer-Encoding: \x0bchunked\r\n\r\n" + EMPTY + LAST, (400,)),
    "TE in HTTP/1.0": (CHUNKED.replace(b"1.1", b"1.0") + b"\r\n" + EMPTY + LAST, (422,)),
    "space before colon": (JOBS + b"Transfer-Encoding : chunked\r\n\r\n" + EMPTY + LAST, (400,)),
    "folded header": (JOBS + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + EMPTY + LAST, (422, 200)),
    "bare LF": (JOBS + b"X: a\nTransfer-Encoding: chunked\r\n\r\n" + EMPTY + LAST, (422, 200)),
    "bare CR": (JOBS + b"X: a\rTransfer-Encoding: chunked\r\n\r\n" + EMPTY + LAST, (400,)),
    "NUL in a header": (GET + b"X: a\0b\r\n\r\n" + LAST, (400,)),
    "NUL in a name": (GET + b"X\0: a\r\n\r\n" + LAST, (400,)),
    "the same length twice": (JOBS + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}" + LAST, (422, 200)),
    "two lengths": (JOBS + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}" + LAST, (400,)),
    "a list of lengths": (JOBS + b"Content-Length: 2, 3\r\n\r\n{}" + LAST, (400,)),
    "length +2": (JOBS + b"Content-Length: +2\r\n\r\n{}" + LAST, (400,)),
    "length 0x2": (JOBS + b"Content-Length: 0x2\r\n\r\n{}" + LAST, (400,)),
    "length 1_0": (JOBS + b"Content-Length: 1_0\r\n\r\n{}" + LAST, (400,)),
    "length -2": (JOBS + b"Content-Length: -2\r\n\r\n{}" + LAST, (400,)),
    "length of 5 000 digits": (JOBS + b"Content-Length: " + b"9" * 5_000 + b"\r\n\r\n{}", (400,)),
    "chunk extension": (CHUNKED + b'\r\n2;a=b;c="d"\r\n{}\r\n0\r\n\r\n' + LAST, (422, 200)),
    "chunk extension with LF": (CHUNKED + b"\r\n2;\n{}\r\n0\r\n\r\n" + LAST, (400,)),
    "long chunk extension": (CHUNKED + b"\r\n2;" + b"a" * 100_000 + b"\r\n{}\r\n0\r\n\r\n", (431,)),
    "chunk size with 30 digits": (CHUNKED + b"\r\n" + b"F" * 30 + b"\r\n{}\r\n0\r\n\r\n", (400,)),
    "chunk size -2": (CHUNKED + b"\r\n-2\r\n{}\r\n0\r\n\r\n" + LAST, (400,)),
    "chunk size 0x2": (CHUNKED + b"\r\n0x2\r\n{}\r\n0\r\n\r\n" + LAST, (400,)),
    "chunk without its end": (CHUNKED + b"\r\n2\r\n{}XX0\r\n\r\n" + LAST, (400,)),
    "no chunk size": (CHUNKED + b"\r\n\r\n{}\r\n0\r\n\r\n" + LAST, (400,)),
    "trailers": (CHUNKED + b"\r\n2\r\n{}\r\n0\r\nContent-Length: 99\r\n\r\n" + LAST, (422, 200)),
    "10 000 trailers": (
        CHUNKED + b"\r\n2\r\n{}\r\n0\r\n" + b"".join(b"X%d: y\r\n" % n for n in range(10_000)) + b"\r\n",
        (431,),
    ),
    "10 000 headers": (GET + b"".join(b"X%d: y\r\n" % n for n in range(10_000)) + b"\r\n", (431,)),
    "a request line of 1 MB": (b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", (431,)),
    "HTTP/0.9": (b"GET /healthz\r\n\r\n", (400,)),
    "HTTP/9": (b"GET /healthz HTTP/9\r\n\r\n", (400,)),
    "no Host": (b"GET /jobs HTTP/1.1\r\n\r\n", (400,)),
    "two Hosts": (b"GET /jobs HTTP/1.1\r\n" + HOST + HOST + b"\r\n", (400,)),
    "a URL of another host": (LAST.replace(b"/healthz", b"http://evil.example/jobs"), (404,)),
    "CONNECT": (LAST.replace(b"GET /healthz", b"CONNECT localhost:80"), (404,)),
    "OPTIONS *": (LAST.replace(b"GET /healthz", b"OPTIONS *"), (404,)),
    "a bad escape": (b"GET /%zz HTTP/1.1\r\n" + HOST + b"\r\n", (400,)),
    "a bad escape by HEAD": (b"HEAD /%zz HTTP/1.1\r\n" + HOST + b"\r\n", (400,)),
    "no UTF-8 in the path": (b"GET /%ff%fe HTTP/1.1\r\n" + HOST + b"\r\n", (400,)),
    "bytes in the path": (b"GET /\xff\xfe HTTP/1.1\r\n" + HOST + b"\r\n", (400,)),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0", (421, 400)),
    "HTTP/2 upgrade": (H2C + b"AAMAAABk\r\n\r\n", (200,)),
    "HTTP/2 upgrade, no base64": (H2C + b"!!!\r\n\r\n", (200,)),
    "HTTP/2 upgrade, no UTF-8": (H2C + b"\xff\xff\r\n\r\n", (200,)),  # took the process along
    "TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 508, (400,)),
    "binary": (bytes(range(256)) * 10, (400,)),
    "line ends": (b"\r\n" * 20_000, (400,)),
    "pipelined": ((GET + b"\r\n") * 20 + LAST, (200,) * 21),
    "pipelined bodies": ((JOBS + b"Content-Length: 2\r\n\r\n{}") * 10 + LAST, (422,) * 10 + (200,)),
    "a body that nobody asked for": (GET + b"Content-Length: 5\r\n\r\nhello", (200,)),
    "WebSocket": (UPGRADE + b"\r\n", (403,)),
    "WebSocket and a byte": (UPGRADE + b"\r\nx", (403,)),  # took Hypercorn's whole nursery along
    "WebSocket and 3 000 bytes": (UPGRADE + b"\r\n" + b"\xff" * 3_000, (403,)),
    "WebSocket with a body": (UPGRADE + b"Content-Length: 5\r\n\r\nhello", (403,)),
    "WebSocket in chunks": (UPGRADE + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", (403,)),
    "WebSocket without a key": (GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\nx", (400,)),
    "WebSocket in HTTP/1.0": (UPGRADE.replace(b"P/1.1", b"P/1.0") + b"\r\nx", (400,)),
}
RESET = b"\1\0\0\0\0\0\0\0"  # SO_LINGER of 0 seconds: close is a reset


async def tell(port: int, sent: bytes) -> bytes:
    """What comes back for these bytes, until the server hangs up."""
    got = b""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        try:
            await stream.send_all(sent)
            async for chunk in stream:
                got += chunk
        except trio.BrokenResourceError:
            pass  # it may hang up before it has read all
    return got


def answers(got: bytes) -> list[tuple[int, bytes]]:
    """Status and body of each answer."""
    parts = re.split(rb"HTTP/1\.1 (?=\d)", got)[1:]
    return [(int(part[:3]), part.partition(b"\r\n\r\n")[2]) for part in parts]


async def test_what_is_no_honest_http_is_answered_and_hurts_nobody(start: Start) -> None:
    server = start("--store", "memory:")
    port = int(server.url.rpartition(":")[2])
    before = server.request("GET", "/jobs/stats")[1]["queue"]
    found: dict[str, bytes] = {}

    async def one(name: str, sent: bytes) -> None:
        with trio.move_on_after(10):
            found[name] = await tell(port, sent)

    async with trio.open_nursery() as nursery:
        for name, (sent, _) in SENT.items():
            nursery.start_soon(one, name, sent)
    for name, (_, expected) in SENT.items():
        got = answers(found[name])
        assert tuple(status for status, _ in got) == expected, (name, found[name][:300])
        for status, body in got:
            if status >= 400 and "HEAD" not in name:
                assert orjson.loads(body)["status"] == status, (name, body)
    assert server.process.poll() is None
    assert server.request("GET", "/jobs/stats")[1]["queue"] == before
    server.signal()
    assert server.end()[0] == 0
    assert "Traceback" not in server.logged


async def test_clients_that_leave_at_any_byte_hurt_nobody(start: Start) -> None:
    server = start("--store", "memory:")
    port = int(server.url.rpartition(":")[2])
    whole = JOBS + b'Content-Length: 9\r\n\r\n{"a":"b"}' + UPGRADE + b"\r\n" + b"x"
    for end in range(0, len(whole) + 1, 7):
        for leave in ("close", "half", "reset"):
            client = socket.create_connection(("127.0.0.1", port))
            client.sendall(whole[:end])
            if leave == "half":
                client.shutdown(socket.SHUT_WR)
            elif leave == "reset":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            client.close()
    assert server.request("GET", "/healthz") == (200, {"status": "ok"})
    server.signal()
    assert server.end()[0] == 0
    assert "Traceback" not in server.logged


async def test_more_connections_than_files_are_waited_for(start: Start) -> None:
    server = start("--store", "memory:")
    port = int(server.url.rpartition(":")[2])
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (60, 60))  # after its own bound was counted
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(150)]
    with trio.fail_after(10):
        while "can't accept" not in server.logged:
            await trio.sleep(0.05)  # another process
    assert server.process.poll() is None
    for client in clients:
        client.close()
    assert server.request("GET", "/healthz") == (200, {"status": "ok"})
    server.signal()
    assert server.end()[0] == 0
