"""Systems on simulated time: a `MockClock` that jumps whenever nothing is left to do, and stores without threads."""

from __future__ import annotations

import itertools
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

import actors
from actors.core.lifecycle import STEPS, TRANSITIONS
from actors.store.memory import MemoryStore
from actors.store.sqlite import SQLiteStore

Open = Callable[..., AbstractAsyncContextManager[actors.System]]


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> actors.Store:
    """Each test that asks for it runs over both stores."""
    return MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "jobs.db", inline=True)


@pytest.fixture
def clock() -> actors.TrioClock:
    """One wall clock for all systems of a test, on simulated time."""
    return actors.TrioClock()


@pytest.fixture
def opened(store: actors.Store, clock: actors.TrioClock, autojump_clock: MockClock) -> Open:
    """`open_system` on simulated time, over both stores. (pytest-trio uses the clock that the test itself asks for.)"""
    return _opener(store, clock, autojump_clock)


@pytest.fixture
def memory(clock: actors.TrioClock, autojump_clock: MockClock) -> Open:
    """`open_system` on simulated time, in memory only: for what no store can do differently."""
    return _opener(MemoryStore(), clock, autojump_clock)


def _opener(store: actors.Store, clock: actors.TrioClock, simulated: MockClock) -> Open:
    seeds = itertools.count(7)  # two systems with the same seed would be the same holder

    def open_one(jobs: actors.Registry, **options: Any) -> AbstractAsyncContextManager[actors.System]:
        assert trio.lowlevel.current_clock() is simulated, "the test must take autojump_clock"
        given = {"store": store, "clock": clock, "rng": random.Random(next(seeds)), "grace": 5.0, **options}
        return actors.open_system(jobs, **given)

    return open_one


@pytest.fixture
def mortal() -> Callable[[actors.Store], Mortal]:
    """Wraps a store so that the process before it can die."""
    return Mortal


class Mortal:
    """A store as seen by a process that can die: once `dead`, nothing it does comes through any more, not even its goodbye."""

    def __init__(self, store: actors.Store) -> None:
        self.dead = False
        self._store = store

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def call(*given: Any) -> Any:
            if self.dead:
                await trio.sleep_forever()
            return await getattr(self._store, name)(*given)

        return call

    async def close(self, holder: str) -> None:
        if not self.dead:
            await self._store.close(holder)


@pytest.fixture
def path_of() -> Iterator[Callable[[list[actors.Event]], None]]:
    """Asserts that the events of each job are numbered without gaps and are a path in `TRANSITIONS`."""

    def check(events: list[actors.Event]) -> None:
        at: dict[str, tuple[int, str]] = {}
        for event in events:
            if event.job is None or event.name in ("job:progress", "schedule:fired", "schedule:skipped"):
                continue
            assert event.version is not None and event.state is not None
            if event.job in at:
                version, state = at[event.job]
                assert event.version == version + 1, event
                assert any(TRANSITIONS[step].get(state) == event.state for step in STEPS), (state, event)  # type: ignore[call-overload]
            at[event.job] = (event.version, event.state)

    yield check
