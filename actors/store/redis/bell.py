"""The bell of a holder: rung by the messages of others, with a look behind it for those that were lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import attrs
import trio

from actors.core.errors import StoreError

LOOK_SECONDS: Final = 1.0  # between two looks for news whose message was lost


@attrs.define
class Bell:
    """News are numbered by the server; `seen` is the newest that this holder knows of."""

    seen: int = 0
    _rung: trio.Event = attrs.Factory(trio.Event)
    _closed: bool = False

    def ring(self, news: int) -> None:
        """Another holder has told of these news (0: perhaps, after a gap)."""
        self.seen = max(self.seen, news)
        self._rung.set()

    def made(self, before: int, after: int) -> None:
        """A commit of this holder moved the number: those are its own news, unless others came between."""
        if before <= self.seen:
            self.seen = max(self.seen, after)

    def close(self) -> None:
        """Wake whoever waits, for good."""
        self._closed = True
        self._rung.set()

    async def heard(self, look: Callable[[], Awaitable[int]]) -> None:
        """Return when it was rung since the last time, or `look` tells of other news. Cancelling loses nothing."""
        while True:
            with trio.move_on_after(LOOK_SECONDS):
                await self._rung.wait()
            if self._rung.is_set():
                if not self._closed:
                    self._rung = trio.Event()
                return
            try:
                news = await look()
            except StoreError:
                continue  # whoever commits hears of it
            if news != self.seen:
                self.seen = news
                return
