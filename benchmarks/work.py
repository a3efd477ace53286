"""The bodies of the bare loops: the two kinds of no-op of `actors.testing.speed`, without a job around them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from actors.testing.speed import Kind

Body = Callable[[], Awaitable[None]]


async def no_op() -> None:
    """Never suspends."""


async def suspends() -> None:
    """Suspends once."""
    await trio.lowlevel.checkpoint()


BODIES: Final[dict[Kind, Body]] = {"no-op": no_op, "suspends": suspends}
