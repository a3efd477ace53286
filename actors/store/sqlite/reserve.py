"""A little room kept on the disk, given up when it is full: inserts and claims are refused then, but running jobs can
report.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from actors.store.sqlite.faults import is_no_room

SIZE: Final = 1 << 20  # bytes: some thousand reports


class Reserve:
    """A file of nothing beside the database, shared by all its processes."""

    def __init__(self, database: Path) -> None:
        self._file = database.with_name(database.name + "-reserve")
        self._name = str(self._file)  # it is looked at in every commit

    def fill(self) -> bool:
        """Take the room; False when there is none. (Where the file can't be made for another reason there is no
        reserve, and nothing to wait for.)
        """
        if self.is_full:
            return True
        try:
            with self._file.open("wb", buffering=0) as file:
                if file.write(bytes(SIZE)) == SIZE:
                    return True
        except OSError as error:
            if not is_no_room(error):
                return True
        self.spend()
        return False

    @property
    def is_full(self) -> bool:
        """Whether the room is taken."""
        try:
            return os.stat(self._name).st_size >= SIZE
        except OSError:
            return False

    def spend(self) -> bool:
        """Give the room back; whether there was any."""
        try:
            kept = self._file.stat().st_size > 0
            os.truncate(self._file, 0)
        except OSError:
            return False
        return kept
