"""A little room kept on the disk, given up when it is full: inserts are refused then, but running jobs can report."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

SIZE: Final = 1 << 20  # bytes: some thousand reports


class Reserve:
    """A file of nothing beside the database, shared by all its processes."""

    def __init__(self, database: Path) -> None:
        self._file = database.with_name(database.name + "-reserve")

    def fill(self) -> None:
        """Take the room, if there is any."""
        try:
            if self._file.exists() and self._file.stat().st_size >= SIZE:
                return
            with self._file.open("wb", buffering=0) as file:
                if file.write(bytes(SIZE)) < SIZE:
                    file.truncate(0)
        except OSError:
            self.spend()

    def spend(self) -> bool:
        """Give the room back; whether there was any."""
        try:
            kept = self._file.stat().st_size > 0
            os.truncate(self._file, 0)
        except OSError:
            return False
        return kept
