"""The store as one process sees it: slow, failing before or after the deed, silent, or lost with the process.

Below it stands a real store. What that one answers to a commit goes to the truth before anybody else hears of it.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import trio

from actors.core.errors import StoreBusy, StoreError, StoreFull
from actors.core.events import Cursor
from actors.core.job import JobRecord
from actors.store.port import (
    Batch,
    Counts,
    Kept,
    LogPage,
    Outcome,
    Page,
    Query,
    Recount,
    ScheduleRecord,
    SlotRecord,
    Store,
)

if TYPE_CHECKING:
    from tests.sim.process import Process

SLOW: Final = (0.0, 0.001, 0.02, 0.3)  # seconds that a slow call may take
LATE: Final = 1.0  # seconds that a wake-up may come late


class Port:
    """A `Store` between one process and the real one."""

    leases_end = False  # whether the store says in time that its lease is over, so that nobody runs what another runs

    def __init__(self, store: Store, process: Process, rng: random.Random) -> None:
        self._store = store
        self._process = process
        self._rng = rng
        self._world = process.world
        self._done: int | None = None  # the last tick that was committed
        self._rung = False  # a wake-up that was not passed on yet
        self._back = trio.Event()
        self.silent = False
        self.calm = False  # faults are off
        self.failing = False  # the last commit was answered with an error

    @property
    def is_troubled(self) -> bool:
        """Whether the store does not do what this process asks of it."""
        return self.silent or self.failing

    def fall_silent(self) -> None:
        """Nothing comes through until `come_back`."""
        self.silent, self._back = True, trio.Event()

    def come_back(self) -> None:
        """What waited comes through."""
        self.silent = False
        self._back.set()

    async def heard(self) -> None:
        """Come through, or wait until this process is not silent any more."""
        await self._there()

    def die(self) -> None:
        """The process is dead: nothing comes through any more."""
        self.come_back()

    # Holders

    async def open(self, holder: str, now: int) -> None:
        self._process.opens(holder)
        await self._store.open(holder, now)

    async def close(self, holder: str) -> None:
        if self._process.dead:
            return
        await self._there()
        await self._store.close(holder)
        self._process.closes()

    async def beat(self, holder: str, now: int, lease: float) -> float:
        at = trio.current_time()
        pause = await self._call(self._store.beat, holder, now, lease)
        self._process.beats(at)
        return pause

    async def vanished(self, holder: str, now: int) -> list[str]:
        return await self._call(self._store.vanished, holder, now)

    async def others(self, holder: str, now: int) -> list[str]:
        return await self._call(self._store.others, holder, now)

    async def wakeup(self, holder: str) -> bool:
        """Late, or for nothing, but never never."""
        await self._there()
        odd = not self.calm and self._rng.random() < self._world.odd_wakes
        if odd and self._rng.random() < 0.5:
            with trio.move_on_after(self._rng.random() * LATE):
                await self._ring(holder)
        else:
            await self._ring(holder)
            if odd:
                await trio.sleep(self._rng.random() * LATE)
        await self._there()
        self._rung = False
        return False  # no store of these histories forgets

    async def _ring(self, holder: str) -> None:
        if not self._rung:
            await self._store.wakeup(holder)
            self._rung = True

    # The event log

    async def events(self, now: int, after: Cursor | None = None) -> LogPage:
        return await self._call(self._store.events, now, after)

    async def logged(self, holder: str) -> None:
        await self._there()
        await self._store.logged(holder)
        await self._there()

    # Commits

    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        """Not torn by cancellation: it waits for its end."""
        fault = self._draw_fault()
        with trio.CancelScope(shield=True):
            await self._dawdle()
        await self._there()
        if fault == "before":
            raise self._error(tick)
        try:
            outcome = await self._store.commit(holder, tick, batch)
        except StoreError:
            self.failing = True
            raise
        self._process.truth.committed(self._process, tick, batch, outcome)
        self._done = tick
        with trio.CancelScope(shield=True):
            await self._dawdle()
        await self._there()
        if fault == "after":
            self.failing = True
            raise StoreError("uncertain: the store went away after the commit")
        self.failing = False
        return outcome

    def _error(self, tick: int) -> StoreError:
        self.failing = True
        kinds: list[StoreError] = [StoreError("broken before the commit"), StoreBusy("busy")]
        if self._done != tick:
            kinds.append(StoreFull("full"))  # which says that the commit has not happened
        return self._rng.choice(kinds)

    # Reads

    async def get(self, ids: Sequence[str]) -> dict[str, JobRecord]:
        return await self._call(self._store.get, ids)

    async def find(self, query: Query) -> Page:
        return await self._call(self._store.find, query)

    async def export(self, after: int, limit: int) -> list[Kept]:
        return await self._call(self._store.export, after, limit)

    async def counts(self) -> Counts:
        return await self._call(self._store.counts)

    async def recount(self) -> Recount:
        return await self._call(self._store.recount)

    async def settings(self) -> dict[str, str]:
        return await self._call(self._store.settings)

    async def schedules(self) -> list[ScheduleRecord]:
        return await self._call(self._store.schedules)

    async def slots(self, name: str, limit: int = 100) -> list[SlotRecord]:
        return await self._call(self._store.slots, name, limit)

    async def sweep(self, now: int) -> None:
        async def sweep() -> None:
            await self._store.sweep(now)
            self._process.truth.ledger.sweep(now)

        await self._call(sweep)

    async def _call(self, call: Callable[..., Awaitable[Any]], *given: Any) -> Any:
        fault = self._draw_fault()
        await self._dawdle()
        await self._there()
        if fault == "before":
            raise self._rng.choice([StoreError("broken"), StoreBusy("busy")])
        answer = await call(*given)
        await self._there()
        if fault == "after":
            raise StoreError("the answer was lost")
        return answer

    # Faults

    def _draw_fault(self) -> str | None:
        if self.calm or self._rng.random() >= self._world.faults:
            return None
        return self._rng.choice(["before", "after"])

    async def _dawdle(self) -> None:
        if not self.calm and self._rng.random() < self._world.slow:
            await trio.sleep(self._rng.choice(SLOW))

    async def _there(self) -> None:
        """Come through, or wait for the return of a silent process, or for ever with a dead one."""
        while self._process.dead or self.silent:
            if self._process.dead:
                await trio.sleep_forever()
            await self._back.wait()
