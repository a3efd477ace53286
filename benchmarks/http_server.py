"""A server to be measured: `python -m benchmarks.http_server STORE DIRECTORY REDIS` prints its URL, and serves until
its input is closed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import trio
from starlette.types import Receive, Scope, Send

from actors import Registry, Store, open_system
from actors.server import Application, bind, serve, url_of
from benchmarks.settings import Settings, StoreName
from benchmarks.stores import new_store

_ANSWER = b'{"success":true}'
_HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(_ANSWER)).encode())]


class WithNothing(Application):
    """The application, and `/empty`: it reads the body and answers, without anything of ours in between."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/empty":
            await super().__call__(scope, receive, send)
            return
        while (await receive()).get("more_body", False):
            pass
        await send({"type": "http.response.start", "status": 202, "headers": _HEADERS})
        await send({"type": "http.response.body", "body": _ANSWER})


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


def main(name: StoreName, directory: str, redis: str) -> None:
    """Serve a new store."""
    with new_store(name, Settings(scratch=Path(directory), redis=redis or None)) as store:
        trio.run(_serve, store)


if __name__ == "__main__":
    main(*sys.argv[1:])  # type: ignore[arg-type]  # a word of the list
