"""A store whose commits fail now and then, before or after they happened: nobody who sees the error can know which."""

from __future__ import annotations

import random
from typing import Any

import trio

from actors import StoreError
from actors.store import Store
from actors.store.port import Batch, Outcome


class Uncertain:
    """Every third commit or so fails; the rest of the port is the store's."""

    def __init__(self, store: Store, draw: random.Random) -> None:
        self.faults = {"before": 0, "after": 0}
        self._store = store
        self._draw = draw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        """The store's commit, or an error; a commit that happened is forgotten by everybody but the database."""
        lot = self._draw.random()
        if lot < 0.15:
            self.faults["before"] += 1
            await trio.lowlevel.checkpoint()
            raise StoreError("did not happen")
        outcome = await self._store.commit(holder, tick, batch)
        if lot < 0.3:
            self.faults["after"] += 1
            self._forget(holder)
            raise StoreError("happened, but who can know")
        return outcome

    def _forget(self, holder: str) -> None:
        """Let the repeat ask the database, not the memory of this process, in which an error would have left nothing."""
        holders = getattr(self._store, "_holders", {})
        if hasattr(holders.get(holder), "answered"):
            holders[holder].answered = None
