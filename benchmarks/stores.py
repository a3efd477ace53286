"""The stores that are measured, each new and empty."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal

from actors import Store
from actors.store.memory import MemoryStore
from actors.store.sqlite import SQLiteStore

StoreName = Literal["memory", "sqlite"]
STORES: Final[tuple[StoreName, ...]] = ("memory", "sqlite")


@contextmanager
def new_store(name: StoreName, scratch: Path) -> Iterator[Store]:
    """A store for several systems one after the other, gone with its files afterwards."""
    if name == "memory":
        yield MemoryStore()
        return
    with TemporaryDirectory(dir=scratch) as directory:
        yield SQLiteStore(Path(directory) / "jobs.db")
