"""The last resort of a shutdown: a thread that ends the process when a body that ignores being stopped would hold it
for ever.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

LOOK: Final = 0.02  # seconds between two looks at the clock, once armed


class Watchdog:
    """Armed by a signal, also while the loop is blocked; disarmed by a shutdown that came to its end."""

    def __init__(self, held_by: Callable[[], Sequence[str]]) -> None:
        self._held_by = held_by
        self._deadline: float | None = None  # a plain field, not a lock: a signal handler sets it
        self._disarmed = False

    def arm(self, seconds: float) -> None:
        """End the process `seconds` from now at the latest; an earlier deadline stays."""
        deadline = time.monotonic() + seconds
        if self._deadline is None:
            self._deadline = deadline
            threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        else:
            self._deadline = min(self._deadline, deadline)

    def disarm(self) -> None:
        """The shutdown has ended by itself."""
        self._disarmed = True

    def _watch(self) -> None:
        while not self._disarmed:
            if self._deadline is not None and time.monotonic() >= self._deadline:
                self._exit()
            time.sleep(LOOK)

    def _exit(self) -> None:
        try:
            jobs = ", ".join(self._held_by())
        except Exception:  # read from outside the loop, which may be changing it
            jobs = "unknown"
        said = (
            f"actors: job {jobs} ignored being stopped: exit without it; it will be run again"
            if jobs
            else "actors: exit in mid-shutdown"
        )
        os.write(2, (said + "\n").encode("utf-8", "backslashreplace"))
        os._exit(0)
