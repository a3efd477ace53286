"""The machines: all rules over each store."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings

from actors.store.memory import MemoryStore
from actors.store.sqlite import SQLiteStore
from actors.store.sqlite.thread import SqlThread
from tests.machines.by_hand import ByHand
from tests.machines.enqueuing import Enqueuing
from tests.machines.lives import Lives
from tests.machines.process import Process


class OverMemory(Enqueuing, ByHand, Lives):
    """Several systems of one program over the memory store."""

    def make_store(self) -> Any:
        if not self.stores:
            self.stores.append(MemoryStore())
        return self.stores[0]


class OverSQLite(Enqueuing, ByHand, Lives):
    """Several processes over one SQLite file, called inline."""

    def make_store(self) -> Any:
        return SQLiteStore(self.directory / "jobs.db", inline=True)

    async def bury(self, process: Process) -> None:
        store = process.witness.store
        for served in store._holders.values():
            served.hang_up()
        store._holders.clear()
        await store._free()


class Thread(SqlThread):
    """A store's thread, that can be waited for."""

    all: ClassVar[set[Thread]] = set()

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.all.add(self)

    def stop(self) -> None:
        super().stop()
        self.all.discard(self)


class OverThreads(Enqueuing, ByHand, Lives):
    """The same with threads, sockets and the kernel's locks: who is silent keeps its jobs, who dies loses them at once."""

    leases = False

    def __init__(self) -> None:
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr("actors.store.sqlite.store.SqlThread", Thread)
        super().__init__()

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            self._patch.undo()

    def make_store(self) -> Any:
        return SQLiteStore(self.directory / "jobs.db")

    def is_busy(self) -> bool:
        return not all(thread.idle for thread in Thread.all)

    async def bury(self, process: Process) -> None:
        store = process.witness.store
        for holder, served in store._holders.items():
            served.hang_up()
            store._presence.release(holder)  # as the kernel does
        store._holders.clear()
        await store._free()


def plan(examples: int, steps: int, **more: Any) -> settings:
    """So many histories of so many steps."""
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
        **more,
    )


QUICK: dict[str, Any] = {"phases": [Phase.generate], "database": None, "derandomize": True}
"""The same histories each time; a failure is told as it was found, for to shrink one takes minutes."""
