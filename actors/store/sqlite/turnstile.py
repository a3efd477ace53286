"""Fair turns at the database among processes: take the gate, take the turn, leave the gate, commit, leave the turn.

SQLite lets whoever asks at the right moment begin, so of three busy processes one starves. Here at most one process
waits for the turn, and it is there before the one that has just had it can pass the gate again. Who has had a turn
while another one waited stands back for a moment, so that a third one passes the gate first. Locks are polled, not
waited for: a stopped process must not stop the others for longer than a locked database would.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Final

PAUSE: Final = 0.000_2  # seconds between two tries
STAND_BACK: Final = 0.003  # seconds after a turn before the gate is tried again, if others wait: some tries of theirs


class Turnstile:
    """Two lock files in `directory`, for one thread."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._gate = os.open(directory / "gate", flags, 0o666)
        self._turn = os.open(directory / "turn", flags, 0o666)
        self._began = 0.0  # the turn
        self._stand_back = 0.0  # until when

    def enter(self, deadline: float) -> bool:
        """Take a turn; False when it did not come before `deadline` (`time.monotonic`)."""
        if (pause := self._stand_back - time.monotonic()) > 0:
            time.sleep(pause)
        if not _wait(self._gate, deadline):
            return False
        try:
            return _wait(self._turn, deadline)
        finally:
            fcntl.lockf(self._gate, fcntl.LOCK_UN)
            self._began = time.monotonic()

    def leave(self) -> None:
        """End the turn, whether it was had or not."""
        fcntl.lockf(self._turn, fcntl.LOCK_UN)
        now = time.monotonic()
        if _take(self._gate):
            fcntl.lockf(self._gate, fcntl.LOCK_UN)
        else:  # no longer than the turn was: while others have theirs, there is nothing to miss
            self._stand_back = now + min(STAND_BACK, now - self._began)

    def close(self) -> None:
        """Close the files."""
        os.close(self._gate)
        os.close(self._turn)


def _take(descriptor: int) -> bool:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _wait(descriptor: int, deadline: float) -> bool:
    while not _take(descriptor):
        if time.monotonic() > deadline:
            return False
        time.sleep(PAUSE)
    return True
