"""A wire between a client and the shared Redis server, that can be cut in the middle of a call."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.relay import Relay


@pytest.fixture
async def proxy(redis_url: str) -> AsyncIterator[Relay]:
    """A relay before the shared server."""
    async with Relay.to(int(redis_url.rpartition(":")[2])) as relay:
        yield relay
