"""A client that costs little: `python -m benchmarks.http_client URL REQUESTS BATCHES` prints requests/s as JSON.

Each connection is kept alive and sends the next request when the last one is answered; all bytes are made before.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Final
from urllib.parse import urlsplit

import trio

CONNECTIONS: Final = 32
BATCH_CONNECTIONS: Final = 4
_JOB: Final = {"type": "no-op", "to": "somebody@example.org"}


async def _talk(host: str, port: int, request: bytes, share: int) -> None:
    stream = await trio.open_tcp_stream(host, port)
    async with stream:
        for _ in range(share):
            await stream.send_all(request)
            await _read_answer(stream)


async def _read_answer(stream: trio.SocketStream) -> None:
    got = b""
    while (end := got.find(b"\r\n\r\n")) < 0:
        got += await _more(stream)
    head = got[:end].lower()
    if not head.startswith(b"http/1.1 202"):
        raise RuntimeError(f"expected 202, not {got[:200]!r}")
    size = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
    left = end + 4 + size - len(got)
    while left > 0:
        left -= len(await _more(stream))


async def _more(stream: trio.SocketStream) -> bytes:
    got = bytes(await stream.receive_some(1 << 20))
    if not got:
        raise RuntimeError("the server closed the connection")
    return got


async def _rate(url: str, path: str, jobs: int, connections: int, requests: int) -> float:
    where = urlsplit(url)
    host, port = where.hostname or "127.0.0.1", where.port or 80
    body = json.dumps(_JOB if jobs == 1 else [_JOB] * jobs).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    share = -(-requests // connections)
    await _talk(host, port, request, 1)  # what is made once is made now
    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(connections):
            nursery.start_soon(_talk, host, port, request, share)
    return share * connections / (time.perf_counter() - began)


def _print(url: str, requests: int, batches: int) -> None:
    rates = {
        "empty": trio.run(_rate, url, "/empty", 1, CONNECTIONS, requests),
        "one": trio.run(_rate, url, "/jobs", 1, CONNECTIONS, requests),
        "batch": trio.run(_rate, url, "/jobs/batch", 1_000, BATCH_CONNECTIONS, batches),
    }
    print(json.dumps(rates))


if __name__ == "__main__":
    _print(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
