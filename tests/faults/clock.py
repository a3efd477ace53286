"""A wall clock that the harness steps while the programs run: the machine's, and an offset that lies in a shared file."""

from __future__ import annotations

import mmap
import struct
import time
from pathlib import Path


class FileClock:
    """A `Clock`: the offset (microseconds, eight bytes) is read at every look."""

    patience = 1.0

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(8))
        with path.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), 8)

    def now(self) -> int:
        """The machine's time and the offset, in microseconds."""
        (offset,) = struct.unpack("q", self._shared[:8])
        return time.time_ns() // 1000 + int(offset)

    def steady(self) -> int:
        """What no step moves."""
        return time.monotonic_ns() // 1000

    def step(self, seconds: float) -> None:
        """Set the clocks of all programs that use this file, forwards or backwards."""
        (offset,) = struct.unpack("q", self._shared[:8])
        self._shared[:8] = struct.pack("q", offset + round(seconds * 1e6))

    def set(self, instant: int) -> None:
        """Set them to an instant (microseconds)."""
        self.step((instant - self.now()) / 1e6)
