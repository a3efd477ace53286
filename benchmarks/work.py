"""The two kinds of no-op: one never suspends, which flatters everyone; one suspends once, as real jobs do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Literal

import trio

from actors import JobType, Registry

Kind = Literal["no-op", "suspends"]
KINDS: Final[tuple[Kind, ...]] = ("no-op", "suspends")

Body = Callable[[], Awaitable[None]]


async def no_op() -> None:
    """Never suspends."""


async def suspends() -> None:
    """Suspends once."""
    await trio.lowlevel.checkpoint()


BODIES: Final[dict[Kind, Body]] = {"no-op": no_op, "suspends": suspends}


class Countdown:
    """Tells when the last of `left` jobs has come to its end; more than those may follow."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.over = trio.Event()

    def one_less(self) -> None:
        """A body is at its last line."""
        self.left -= 1
        if self.left == 0:
            self.over.set()


def registered(kind: Kind, countdown: Countdown) -> tuple[Registry, JobType[[], None]]:
    """A registry with one job type of this kind."""
    registry = Registry()
    if kind == "no-op":

        @registry.job()
        async def job() -> None:
            countdown.one_less()
    else:

        @registry.job()
        async def job() -> None:
            await trio.lowlevel.checkpoint()
            countdown.one_less()

    return registry, job
