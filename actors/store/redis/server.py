"""Which server is meant, and how one connects to it: a single one, one that Sentinels watch, or a cluster."""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, Literal, Protocol

import attrs
import coredis
from coredis.connection import TCPLocation
from coredis.retry import NoRetryPolicy

from actors.store.redis.library import Client

_LOG: Final = logging.getLogger("coredis")
_RAISED: Final = ("Connection attempt failed unexpectedly!", "Connection closed unexpectedly!")


def _is_news(record: logging.LogRecord) -> bool:
    """What the client logs there, with a traceback at each try, it raises, too: the store says it in a sentence."""
    return record.msg not in _RAISED


class Endpoint(Protocol):
    """What a store connects to. Its text is for people, without secrets."""

    @property
    def tls(self) -> ssl.SSLContext | None:
        """How connections are secured; None: not at all."""
        ...

    def connect(self, name: str) -> AbstractAsyncContextManager[Client]:
        """A client for as long as the block lasts, which repeats nothing; `name` is how the server may list it."""
        ...


@attrs.frozen(kw_only=True)
class Credentials:
    """Who one is to a server; its `repr` is no secret."""

    username: str | None = None
    password: str | None = attrs.field(default=None, repr=False)

    def options(self) -> dict[str, Any]:
        """As the client takes them."""
        given = {"username": self.username, "password": self.password}
        return {name: text for name, text in given.items() if text is not None}


@attrs.frozen(kw_only=True)
class Server:
    """Where the data is. `hosts`: the Sentinels, or some nodes of the cluster; `service`: what Sentinels call it."""

    kind: Literal["single", "sentinel", "cluster"] = "single"
    hosts: tuple[tuple[str, int], ...]
    service: str | None = None
    db: int = 0
    credentials: Credentials = Credentials()
    sentinel_credentials: Credentials = Credentials()
    tls: ssl.SSLContext | None = attrs.field(default=None, repr=False)

    def __str__(self) -> str:
        """For people: no secrets."""
        listed = ",".join(f"{host}:{port}" for host, port in self.hosts)
        words = {
            "single": "Redis at",
            "sentinel": f"Redis {self.service!r} of the Sentinels",
            "cluster": "Redis Cluster",
        }
        return f"{words[self.kind]} {listed}"

    @asynccontextmanager
    async def connect(self, name: str) -> AsyncIterator[Client]:
        """A client for as long as the block lasts; `name` is how the server lists its connections.

        Nothing is retried in here: a commit is repeated by whoever asked for it.
        """
        _LOG.addFilter(_is_news)  # adding it again changes nothing
        options = {"client_name": name, **self.credentials.options(), "ssl_context": self.tls}
        locations = [TCPLocation(host, port) for host, port in self.hosts]
        never = NoRetryPolicy()
        match self.kind:
            case "single":
                pool = coredis.ConnectionPool(location=locations[0], db=self.db, **options)
                async with coredis.Redis(connection_pool=pool, retry_policy=never) as client:
                    yield client
            case "sentinel":
                asking = {**self.sentinel_credentials.options(), "ssl_context": self.tls, "connect_timeout": 1.0}
                sentinel = coredis.Sentinel(locations, sentinel_kwargs=asking, retry_policy=never)
                async with sentinel, sentinel.primary_for(self.service or "", db=self.db, **options) as client:
                    yield client
            case "cluster":
                del options["client_name"]
                async with coredis.RedisCluster(startup_nodes=locations, **options) as client:
                    yield client
