"""A server to be measured: `python -m benchmarks.http_server STORE DIRECTORY REDIS` prints its URL, and serves until
its input is closed. The store `bare` is none: anycorn as it comes, with an application that does nothing.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Literal

import anycorn
import trio
from starlette.types import Receive, Scope, Send

from actors import Registry, Store, open_system
from actors.server import Application, bind, serve, url_of
from benchmarks.settings import Settings, StoreName
from benchmarks.stores import new_store

_ANSWER = b'{"success":true}'
_HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(_ANSWER)).encode())]


async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """`/empty` reads the body and answers, without anything of ours in between; `/cpu` answers what this process has
    taken, in seconds.
    """
    if scope["type"] != "http":
        raise RuntimeError("HTTP only")
    while (await receive()).get("more_body", False):
        pass
    body, headers = _ANSWER, _HEADERS
    if scope["path"] == "/cpu":
        body = b"%.6f" % time.process_time()
        headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 202, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class WithNothing(Application):
    """The application, and `nothing` beside it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] in ("/empty", "/cpu"):
            await nothing(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


async def _serve_bare() -> None:
    (socket,) = bind("127.0.0.1", 0)
    config = anycorn.Config()
    config.bind = [f"fd://{socket.fileno()}"]
    config.errorlog = None
    config.include_server_header = False
    ended = trio.Event()
    async with trio.open_nursery() as nursery:

        async def run() -> None:
            await anycorn.serve(nothing, config, shutdown_trigger=ended.wait)  # type: ignore[arg-type]

        nursery.start_soon(run)
        print(url_of([socket], "127.0.0.1"), flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
        ended.set()
        nursery.cancel_scope.cancel()


async def _serve(store: Store) -> None:
    registry = Registry()

    @registry.job(type="no-op")
    async def no_op(to: str) -> None: ...

    sockets = bind("127.0.0.1", 0)
    url = url_of(sockets, "127.0.0.1")
    ended = trio.Event()
    async with trio.open_nursery() as nursery, open_system(registry, store=store, queues={}) as system:
        await nursery.start(serve, WithNothing(system), sockets, ended)
        print(url, flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
        ended.set()


def main(name: StoreName | Literal["bare"], directory: str, redis: str) -> None:
    """Serve a new store, or nothing."""
    if name == "bare":
        trio.run(_serve_bare)
        return
    with new_store(name, Settings(scratch=Path(directory), redis=redis or None)) as store:
        trio.run(_serve, store)


if __name__ == "__main__":
    main(*sys.argv[1:])  # type: ignore[arg-type]  # a word of the list
