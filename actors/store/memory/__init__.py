"""The store in memory: a real one, for tests and throw-away work."""

from __future__ import annotations

from actors.store.memory.store import MemoryStore

__all__ = ["MemoryStore"]
