"""Fair turns at the database among processes: take the gate, take the turn, leave the gate, commit, leave the turn.

SQLite lets whoever asks at the right moment begin, so of three busy processes one starves. Here at most one process
waits for the turn, and it is there before the one that has just had it can pass the gate again. Locks are polled, not
waited for: a stopped process must not stop the others for longer than a locked database would.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Final

PAUSE: Final = 0.000_2  # seconds between two tries


class Turnstile:
    """Two lock files in `directory`, for one thread."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._gate = os.open(directory / "gate", flags, 0o666)
        self._turn = os.open(directory / "turn", flags, 0o666)

    def enter(self, deadline: float) -> bool:
        """Take a turn; False when it did not come before `deadline` (`time.monotonic`)."""
        if not _wait(self._gate, deadline):
            return False
        try:
            return _wait(self._turn, deadline)
        finally:
            fcntl.lockf(self._gate, fcntl.LOCK_UN)

    def leave(self) -> None:
        """End the turn, whether it was had or not."""
        fcntl.lockf(self._turn, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the files."""
        os.close(self._gate)
        os.close(self._turn)


def _wait(descriptor: int, deadline: float) -> bool:
    while True:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            if time.monotonic() > deadline:
                return False
            time.sleep(PAUSE)
        else:
            return True
