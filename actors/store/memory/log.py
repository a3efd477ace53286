"""The event log in memory: the newest commits, while somebody listens."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Final

from actors.core.events import Cursor
from actors.store.event_log import PAGE_STEPS, Row, page, start
from actors.store.port import LOG_KEPT, LOG_STEPS, LogPage

_KEPT: Final = round(LOG_KEPT * 1e6)


class Log:
    """Closed until somebody listens, and again when nobody has for `LOG_KEPT` seconds."""

    __slots__ = ("_commits", "_last", "_opened", "_until")

    def __init__(self) -> None:
        self._commits: deque[tuple[int, int, str, list[Row]]] = deque()  # number, instant, holder, steps
        self._opened = 0
        self._last = 0
        self._until: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether commits are to be written to it, unless it `is_over`."""
        return self._until is not None

    def is_over(self, now: int) -> bool:
        """Whether it is open and was not read for so long that it is to be closed."""
        return self._until is not None and self._until < now

    def close(self) -> None:
        """End it; who reads on has a gap."""
        self._until = None
        self._commits.clear()

    def listen(self, now: int) -> Cursor:
        """Keep it open from now on, opening it where it is closed; where it stands."""
        if self._until is None:
            self._opened, self._last = now, 0
        self._until = now + _KEPT
        return Cursor(self._opened, self._last)

    def append(self, now: int, holder: str, rows: list[Row]) -> None:
        """One commit."""
        self._last += len(rows)
        commits = self._commits
        commits.append((self._last, now, holder, rows))
        while commits[0][0] <= self._last - LOG_STEPS or commits[0][1] < now - _KEPT:
            commits.popleft()

    def sweep(self, now: int) -> None:
        """Drop what is too old."""
        if self.is_over(now):
            self.close()
        while self._commits and self._commits[0][1] < now - _KEPT:
            self._commits.popleft()

    def page(self, after: Cursor | None) -> LogPage:
        """The first commits after this cursor."""
        begin = start(self._opened, self._last, after)
        behind = 0  # commits that are wanted: most readers are near the end
        for commit in reversed(self._commits):
            if commit[0] <= begin:
                break
            behind += 1
        found: list[tuple[int, int, str, list[Row]]] = []
        steps = 0
        for commit in islice(self._commits, len(self._commits) - behind, None):
            if found and steps >= PAGE_STEPS:
                break
            found.append(commit)
            steps += len(commit[3])
        return page(self._opened, self._last, after, found)
