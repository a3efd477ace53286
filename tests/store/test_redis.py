"""`RedisStore` keeps the port's promises, on a real server."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from actors.store.redis import RedisStore
from actors.testing.store import check_store


def _stores(url: str) -> tuple[Callable[[], RedisStore], Callable[[], RedisStore]]:
    last = ""

    def make() -> RedisStore:
        nonlocal last
        last = uuid.uuid4().hex
        return RedisStore(url, prefix=last)

    return make, lambda: RedisStore(url, prefix=last)


async def test_it_keeps_the_promises_of_the_port(redis_url: str) -> None:
    make, reopen = _stores(redis_url)
    await check_store(make, reopen=reopen)
