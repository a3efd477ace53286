"""The stores that are measured, each new and empty; and which of them are there."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from actors import Store
from actors.store import store_from_url
from actors.store.memory import MemoryStore
from actors.store.sqlite import SQLiteStore
from benchmarks.settings import Settings, StoreName


@contextmanager
def new_store(name: StoreName, settings: Settings) -> Iterator[Store]:
    """A store for several systems one after the other, gone with its files afterwards."""
    match name:
        case "memory":
            yield MemoryStore()
        case "sqlite":
            with TemporaryDirectory(dir=settings.scratch) as directory:
                yield SQLiteStore(Path(directory) / "jobs.db")
        case "redis":
            assert settings.redis is not None
            empty(settings.redis)
            yield store_from_url(settings.redis)


@contextmanager
def redis_server() -> Iterator[str]:
    """The URL of a Redis server of our own; `RuntimeError` says why there is none."""
    try:
        testing = import_module("actors.testing.redis")
    except ImportError as error:
        raise RuntimeError(f"{error}: no Redis server can be started") from None
    with testing.RedisServer() as server:
        yield server.url


def why_no_redis_store(url: str) -> str | None:
    """Why this system has no store on Redis; None when it has one."""
    try:
        store_from_url(url)
    except Exception as error:
        return str(error)
    return None


def empty(url: str) -> None:
    """Forget all that the server holds."""
    where = urlsplit(url)
    with socket.create_connection((where.hostname or "127.0.0.1", where.port or 6379), timeout=20) as connection:
        connection.sendall(b"FLUSHALL SYNC\r\n")
        answer = connection.recv(100)
    if not answer.startswith(b"+OK"):
        raise RuntimeError(f"the server at {url} can't be emptied: {answer!r}")
