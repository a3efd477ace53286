"""A client that costs little: `python -m benchmarks.http_client URL REQUESTS BATCHES` prints, as JSON, requests/s and
the processor time of the server's process per request, in seconds. Without BATCHES the empty endpoint alone.

Each connection is kept alive and sends the next request when the last one is answered; all bytes are made before. The
kinds take turns, so that what else the machine does hits all of them.
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
TURNS: Final = 6
_JOB: Final = {"type": "no-op", "to": "somebody@example.org"}


async def _talk(host: str, port: int, request: bytes, share: int) -> None:
    stream = await trio.open_tcp_stream(host, port)
    async with stream:
        for _ in range(share):
            await stream.send_all(request)
            await _read_answer(stream)


async def _read_answer(stream: trio.SocketStream) -> bytes:
    got = b""
    while (end := got.find(b"\r\n\r\n")) < 0:
        got += await _more(stream)
    head = got[:end].lower()
    if not head.startswith(b"http/1.1 202"):
        raise RuntimeError(f"expected 202, not {got[:200]!r}")
    size = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
    left = end + 4 + size - len(got)
    while left > 0:
        got += (more := await _more(stream))
        left -= len(more)
    return got[end + 4 :]


async def _more(stream: trio.SocketStream) -> bytes:
    got = bytes(await stream.receive_some(1 << 20))
    if not got:
        raise RuntimeError("the server closed the connection")
    return got


async def _cpu(host: str, port: int) -> float:
    """Seconds of processor time that the server has taken."""
    async with await trio.open_tcp_stream(host, port) as stream:
        await stream.send_all(f"GET /cpu HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        return float(await _read_answer(stream))


async def _took(url: str, path: str, jobs: int, connections: int, requests: int) -> tuple[int, float, float]:
    """How many requests were made, and what they took: seconds, and seconds of the server's processor time."""
    where = urlsplit(url)
    host, port = where.hostname or "127.0.0.1", where.port or 80
    body = json.dumps(_JOB if jobs == 1 else [_JOB] * jobs).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    share = -(-requests // connections)
    await _talk(host, port, request, 1)  # what is made once is made now
    cpu, began = await _cpu(host, port), time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(connections):
            nursery.start_soon(_talk, host, port, request, share)
    took = time.perf_counter() - began
    return share * connections, took, await _cpu(host, port) - cpu


def _print(url: str, requests: int, batches: int) -> None:
    kinds = {"empty": ("/empty", 1, CONNECTIONS, -(-requests // TURNS))}
    if batches:
        kinds["one"] = ("/jobs", 1, CONNECTIONS, -(-requests // TURNS))
        kinds["batch"] = ("/jobs/batch", 1_000, BATCH_CONNECTIONS, -(-batches // TURNS))
    taken: dict[str, list[tuple[int, float, float]]] = {kind: [] for kind in kinds}
    for _ in range(TURNS):
        for kind, given in kinds.items():
            taken[kind].append(trio.run(_took, url, *given))
    found: dict[str, float] = {}
    for kind, each in taken.items():
        made, seconds, cpu = (sum(column) for column in zip(*each, strict=True))
        found |= {kind: made / seconds, f"{kind} cpu": cpu / made}
    print(json.dumps(found))


if __name__ == "__main__":
    _print(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
