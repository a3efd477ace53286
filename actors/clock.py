"""The clock port: wall-clock instants for the system, real or simulated. Only `system` picks one; everybody else is
given `now`.
"""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime
from typing import Protocol

import trio

from actors.core.job import instant


class Clock(Protocol):
    """Tells the wall-clock time."""

    @property
    def patience(self) -> float:
        """Seconds an actor may sleep before it looks at this clock again: as long as a step of the clock may go
        unnoticed.
        """
        ...

    def now(self) -> int:
        """Microseconds since the Unix epoch (UTC)."""
        ...

    def steady(self) -> int:
        """Microseconds by a clock that nobody sets, the same in all processes of a machine: leases are measured by it.

        By the wall clock, a step of an hour would make every process look dead to the others.
        """
        ...


class SystemClock:
    """The machine's wall clock, which may be set at any time: nobody sleeps longer than a second by it."""

    patience = 1.0

    def now(self) -> int:
        """Microseconds since the Unix epoch (UTC); may step when the machine's clock is set."""
        return time.time_ns() // 1000

    def steady(self) -> int:
        """Microseconds since the machine was started."""
        return time.monotonic_ns() // 1000


class TrioClock:
    """Wall time that follows trio's clock, so a `trio.testing.MockClock` moves both. `step` sets it, as an
    administrator would.

    Without steps nobody has to look at it in between: a simulated week costs what happens in it, not its seconds. A
    test that steps it gives the `patience` after which the step is noticed.
    """

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC), *, patience: float = math.inf) -> None:
        self._start = instant(start)
        self._zero: float | None = None
        self.patience = patience

    def now(self) -> int:
        """`start` plus the trio time since the first call, in microseconds."""
        current = trio.current_time()
        if self._zero is None:
            self._zero = current
        return self._start + round((current - self._zero) * 1e6)

    def steady(self) -> int:
        """Trio's time in microseconds; `step` does not move it."""
        return round(trio.current_time() * 1e6)

    def step(self, seconds: float) -> None:
        """Step the wall clock, forwards or backwards; trio's own time does not move."""
        self._start += round(seconds * 1e6)
