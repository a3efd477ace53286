"""The store on a Redis or Valkey server: durable as the server is, shared by the processes of many machines."""

from __future__ import annotations

from actors.store.redis.store import RedisStore

__all__ = ["RedisStore"]
