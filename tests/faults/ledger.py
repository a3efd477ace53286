"""The ledger: what bodies really did, in one append-only file that all processes of a trial write to, line by line."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import attrs

VARIABLE: Final = "FAULTS_LEDGER"  # names the file in the environment of the programs


@attrs.frozen
class Entry:
    """One line: a body `began` or `ended`; `at` is the machine's monotonic clock, the same for all processes."""

    word: str
    number: int
    pid: int
    at: float


def write(word: str, number: int) -> None:
    """Add a line. One small write to a file opened for appending is never torn, also by SIGKILL."""
    line = f"{word} {number} {os.getpid()} {time.monotonic()}\n".encode()
    descriptor = os.open(os.environ[VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


class Ledger:
    """The reading side; it reads on where it stopped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._entries: list[Entry] = []
        self._read = 0

    @property
    def entries(self) -> list[Entry]:
        """All lines, in the order in which they were written."""
        if self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self._read)
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._read += len(whole)
            for line in whole.decode().splitlines():
                word, number, pid, at = line.split()
                self._entries.append(Entry(word, int(number), int(pid), float(at)))
        return self._entries

    def of(self, word: str, numbers: Iterable[int] | None = None, *, pid: int | None = None) -> list[Entry]:
        """The lines with this word."""
        wanted = None if numbers is None else set(numbers)
        return [
            entry
            for entry in self.entries
            if entry.word == word and (wanted is None or entry.number in wanted) and pid in (None, entry.pid)
        ]

    def counts(self, word: str, numbers: Iterable[int] | None = None) -> Counter[int]:
        """How often each number has this word."""
        return Counter(entry.number for entry in self.of(word, numbers))

    def in_flight(self, pid: int, at: float) -> set[int]:
        """What the process had begun and not ended at that time."""
        open_: set[int] = set()
        for entry in self.entries:
            if entry.pid == pid and entry.at <= at:
                (open_.add if entry.word == "began" else open_.discard)(entry.number)
        return open_

    def lost(self, numbers: Iterable[int]) -> int:
        """How many of these never ended."""
        return len(set(numbers) - set(self.counts("ended")))

    def twice(self, numbers: Iterable[int]) -> int:
        """How many endings of these were one too many."""
        return sum(times - 1 for times in self.counts("ended", numbers).values())
