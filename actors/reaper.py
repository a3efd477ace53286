"""The reaper: beats for this process, gives back what vanished processes held, sweeps expired keys, and hears the
store's wake-ups.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import trio

from actors import scheduler
from actors.clock import Clock
from actors.core.errors import LeaseLost, ShuttingDown, StoreError
from actors.mailbox import Reply, answer, refusing_the_rest, tell
from actors.queue import Lost, Message, Wake
from actors.store.port import Query, Store

log = logging.getLogger("actors")

SWEEP_EVERY: Final = 3_600.0  # seconds: keys live for a day
SWEEP_AFTER_LOSS: Final = (
    1.0  # seconds in which the jobs of a vanished process are given back; then what it left can go
)
AGAIN: Final = 1.0  # seconds between two tries while the store fails
LEASE_AGAIN: Final = 1 / 6  # ... of a lease, where that is less
PAGE: Final = 500  # lost jobs given back per tick


class Reaper:
    """The actor. It asks the store, not the other processes, so every process reaps and no one leads."""

    def __init__(
        self,
        *,
        holder: str,
        store: Store,
        clock: Clock,
        lease: float,
        queue: trio.MemorySendChannel[Message],
        scheduler: trio.MemorySendChannel[scheduler.Message],
        inbox: trio.MemoryReceiveChannel[Reply[None]],
        hold: Callable[[bool], None],
    ) -> None:
        """`hold` is told when the lease is lost (False): what runs must stop; and when it is renewed after that."""
        self._holder = holder
        self._store = store
        self._clock = clock
        self._lease = lease
        self._queue = queue
        self._scheduler = scheduler
        self._inbox = inbox
        self._hold = hold
        self._lost = False  # the lease
        self._forgotten = False  # what ended here may be running in the store, and is to be given back
        self._said = ""  # of the store's trouble, so that it is said once

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled."""
        with self._inbox, refusing_the_rest(self._inbox):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._pong)
                await self._reap_for_ever(task_status)

    async def _pong(self) -> None:
        async for reply in self._inbox:
            answer(reply, None)

    async def _reap_for_ever(self, task_status: trio.TaskStatus[None]) -> None:
        next_beat = trio.current_time()
        next_sweep = next_beat + SWEEP_AFTER_LOSS  # a process that was killed may have left something
        started = False
        while True:
            try:
                if trio.current_time() >= next_beat:
                    pause = await self._beat()
                    next_beat = trio.current_time() + pause
                    with trio.move_on_at(next_beat):  # a store that does not answer must not keep it from the next
                        if await self._reap():
                            next_sweep = trio.current_time() + SWEEP_AFTER_LOSS
                if trio.current_time() >= next_sweep:
                    with trio.move_on_at(next_beat):
                        await self._store.sweep(self._clock.now())
                    next_sweep = trio.current_time() + SWEEP_EVERY
            except StoreError as error:
                if str(error) != self._said:
                    self._said = str(error)
                    log.warning("the reaper waits for the store: %s", error)
                self._lose(error)
                next_beat = trio.current_time() + min(AGAIN, self._lease * LEASE_AGAIN)
                next_sweep = max(next_sweep, next_beat)
            if not started:
                started = True
                task_status.started()
            woken = look = False
            with trio.move_on_at(min(next_beat, next_sweep)):
                try:
                    look = await self._store.wakeup(self._holder)
                    woken = True
                except StoreError as error:
                    log.warning("the reaper waits for the store: %s", error)
                    await trio.sleep(1.0)
            if woken:
                tell(self._queue, Wake())
                with suppress(ShuttingDown):  # it ends before this one
                    tell(self._scheduler, scheduler.Wake())
                soon = 0.0 if look or next_beat == math.inf else self._lease / 3
                next_beat = min(next_beat, trio.current_time() + soon)

    async def _beat(self) -> float:
        """Seconds until the next one."""
        pause = await self._store.beat(self._holder, self._clock.steady(), self._lease)
        self._said = ""
        if self._lost:
            log.warning("the lease is renewed: this process works again")
            self._lost = False
            self._hold(True)
        return pause

    def _lose(self, error: StoreError) -> None:
        if isinstance(error, LeaseLost) and not self._lost:
            log.error("the lease is lost, what runs is stopped: others may run it")
            self._lost = True
            self._hold(False)

    async def _reap(self) -> bool:
        """Whether somebody has vanished."""
        gone = await self._store.vanished(self._holder, self._clock.steady())
        self._forgotten = self._forgotten or self._holder in gone  # it is told once, and what follows may fail
        if self._forgotten and self._holder not in gone:
            gone = [*gone, self._holder]
        for holder in gone:
            after: str | None = None
            while True:
                query = Query(holder=holder, states=frozenset({"running"}), limit=PAGE, after=after)
                page = await self._store.find(query)
                if page.jobs:
                    if holder != self._holder:
                        log.warning("process %s is gone: %d of its jobs are given back", holder, len(page.jobs))
                    tell(self._queue, Lost(page.jobs))
                if (after := page.after) is None:
                    break
            if holder == self._holder:
                self._forgotten = False
        return bool(gone)
