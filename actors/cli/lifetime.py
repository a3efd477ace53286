"""The life of a command that works until it is stopped: a first signal stops it in order, a second one at once."""

from __future__ import annotations

import contextlib
import gc
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import trio

from actors import System
from actors.cli.watchdog import Watchdog
from actors.core.errors import BadPayload
from actors.core.registry import Registry

log: Final = logging.getLogger("actors.cli")

BEYOND_GRACE: Final = 1.0  # seconds after the grace at which the process ends, whatever holds it
AT_ONCE: Final = 0.9  # the same, after a second signal
COLLECT: Final = (
    10_000,
    20,
    50,
)  # allocations between collections; by default a fifth of a small job's cost goes there
STOPPED_BY: Final = (signal.SIGINT, signal.SIGTERM)


def make_ready(registry: Registry) -> None:
    """Make every type's decoder now, so that the first job does not wait for it, and spare the garbage collector: what
    was imported stays, and need not be looked at again, nor as often as in a short program.
    """
    for name in registry:
        with contextlib.suppress(BadPayload):
            registry.from_json(name, {})
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT)


class Lifetime:
    """One run of a command. Its work opens a system inside `hurry`, names it in `system`, and leaves it once `stop` is
    set; the watchdog ends the process when a body holds it for longer than the grace.
    """

    def __init__(self, grace: float) -> None:
        self.grace = grace
        self.stop = trio.Event()  # the first signal
        self.hurry = trio.CancelScope()  # the second one
        self.system: System | None = None
        self._watchdog = Watchdog(self._held_by)

    async def run(self, work: Callable[[], Awaitable[None]]) -> int:
        """Work until a signal, and say how it ended; 0."""
        for number in STOPPED_BY:
            signal.signal(
                number, signal.SIG_IGN
            )  # what is put back at the end: one more signal shall not spoil the exit code
        with trio.open_signal_receiver(*STOPPED_BY) as signals:
            for number in STOPPED_BY:
                signal.signal(number, self._arming(signal.getsignal(number)))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._heed, signals)
                await work()
                nursery.cancel_scope.cancel()
        self._watchdog.disarm()
        self._tell_the_end()
        return 0

    def _arming(self, heed: Any) -> Callable[[int, Any], None]:
        """A handler that arms the watchdog, then does what `heed` does: the loop may be blocked, a handler runs all
        the same.
        """

        def handler(number: int, frame: Any) -> None:
            self._watchdog.arm(self.grace + BEYOND_GRACE)
            heed(number, frame)

        return handler

    async def _heed(self, signals: AsyncIterator[int]) -> None:
        async for number in signals:
            name = signal.Signals(number).name
            if not self.stop.is_set():
                log.info("stopping", extra={"signal": name, "grace": self.grace})
                self.stop.set()
            else:
                log.info("stopping at once", extra={"signal": name})
                self._watchdog.arm(AT_ONCE)
                self.hurry.cancel()

    def _held_by(self) -> list[str]:
        return [] if self.system is None else [one.job for one in self.system.workers() if one.job is not None]

    def _tell_the_end(self) -> None:
        report = None if self.system is None else self.system.report
        if report is None:
            return
        said = f"stopped: {report.finished} finished, {report.given_back} given back, {report.cancelled} cancelled"
        if report.stuck:
            said += f"; ignored being stopped: {', '.join(report.stuck)}"
        print(said, flush=True)
