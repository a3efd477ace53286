"""The stores: one port, and the places that can stand behind it."""

from __future__ import annotations

from actors.core.errors import BadOption
from actors.store.port import Store

__all__ = ["Store", "store_from_url"]


def store_from_url(url: str) -> Store:
    """The store that `url` names: `memory:`, `sqlite:///path.db` (three slashes: relative, four: absolute), or
    `redis://host:port/db` with its relatives (`actors.store.redis.url` has them all).
    """
    scheme, _, rest = url.partition(":")
    if scheme == "memory" and not rest.strip("/"):
        from actors.store.memory import MemoryStore

        return MemoryStore()
    if scheme == "sqlite" and rest.startswith("///") and len(rest) > 3:
        from actors.store.sqlite import SQLiteStore

        return SQLiteStore(rest[3:])
    if scheme.partition("+")[0] in ("redis", "rediss", "valkey", "valkeys"):
        try:
            from actors.store.redis import RedisStore
        except ModuleNotFoundError as error:
            raise BadOption("store", scheme, f"the extra trio-actors[redis] ({error.name} is not installed)") from error
        return RedisStore(url)
    raise BadOption("store", url, "memory:, sqlite:///path.db or redis://host:port/db")
