"""A store as one process sees it: it can die, fall silent, fail and be slow; every commit that it lets through is told to the ledger."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import trio

import actors
from actors.store.port import Batch, Outcome
from tests.machines.ledger import Ledger

Fault = Literal["error", "busy", "full", "error after", "slow before", "slow after"]
FAULTS: tuple[Fault, ...] = ("error", "busy", "full", "error after", "slow before", "slow after")
SLOW = 0.4  # simulated seconds
SPARED = ("wakeup", "logged", "events")  # they wait, or are repeated after a while


class Witness:
    """Stands between a process and its store. `faults` hit its next calls, one each; but not those that are `SPARED`."""

    def __init__(self, store: Any, ledger: Ledger) -> None:
        self.store = store
        self.holder = ""
        self.faults: list[Fault] = []
        self.hurt = 0  # faults so far
        self.dead = False
        self.silent = False
        self.last_beat = 0.0  # by trio's clock
        self.under_way = 0  # commits, and calls that a fault has hit, that have not been answered
        self.failing = False  # the last commit raised
        self.full_at = -math.inf  # when its disk was full, by trio's clock
        self._back = trio.Event()
        self._ledger = ledger

    @property
    def calm(self) -> bool:
        """Nothing keeps this process from doing what it wants to."""
        return not (self.dead or self.silent or self.faults or self.failing or self.under_way)

    def fall_silent(self) -> None:
        """From now on every call waits."""
        self.silent, self._back = True, trio.Event()

    def come_back(self) -> None:
        """What waited goes on."""
        self.silent = False
        self._back.set()

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        call = getattr(self.store, name)

        async def through(*given: Any) -> Any:
            return await self._hurt(lambda: call(*given), spare=name in SPARED)

        return through

    async def open(self, holder: str, now: int) -> None:
        self.holder = holder
        await self.store.open(holder, now)
        self.last_beat = trio.current_time()
        self._ledger.opened(self)

    async def close(self, holder: str) -> None:
        if not self.dead:
            await self.store.close(holder)
        self._ledger.closed(holder)

    async def beat(self, holder: str, now: int, lease: float) -> float:
        async def beat() -> float:
            pause: float = await self.store.beat(holder, now, lease)
            self.last_beat = now / 1e6  # as it was asked: who fell silent just then beat too late
            return pause

        given: float = await self._hurt(beat)
        return given

    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        async def commit() -> Outcome:
            async with self._ledger.lock:  # commits of threads would else be told in another order than they were made
                outcome: Outcome = await self.store.commit(holder, tick, batch)
                made = [one.spec.id for index, one in enumerate(batch.inserts) if index not in outcome.refused]
                numbers = {id: job.standing.seq for id, job in (await self.store.get(made)).items()} if made else {}
                self._ledger.committed(holder, tick, batch, outcome, numbers)
            return outcome

        self.under_way += 1
        self.failing = True
        try:
            given: Outcome = await self._hurt(commit)
            self.failing = False
            return given
        finally:
            self.under_way -= 1

    async def _hurt(self, call: Callable[[], Awaitable[Any]], *, spare: bool = False) -> Any:
        if self.dead:
            await trio.sleep_forever()
        if self.silent:
            await self._back.wait()
        if spare or not self.faults:
            if spare:
                return await call()
            with trio.CancelScope(shield=True):
                return await call()
        self.hurt += 1
        self.under_way += 1
        try:
            with trio.CancelScope(shield=True):  # a store's work is not torn by a cancellation
                return await self._fail(self.faults.pop(0), call)
        finally:
            self.under_way -= 1

    async def _fail(self, fault: Fault, call: Callable[[], Awaitable[Any]]) -> Any:
        match fault:
            case "error":
                raise actors.StoreError("planted: it failed")
            case "busy":
                raise actors.StoreBusy("planted: it is locked")
            case "full":
                self.full_at = trio.current_time()
                raise actors.StoreFull("planted: the disk is full")
            case "error after":
                await call()
                raise actors.StoreError("planted: it failed, or did it")
            case "slow before":
                await trio.sleep(SLOW)
                return await call()
            case "slow after":
                given = await call()
                await trio.sleep(SLOW)
                return given
