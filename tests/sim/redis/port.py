"""The Redis store as one process sees it: its own code, on a network that does all the lying."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import trio

from actors.core.errors import LeaseLost, StoreError
from actors.store.port import Batch, Outcome
from actors.store.redis import RedisStore
from tests.sim.port import Port
from tests.sim.redis.client import Way
from tests.sim.redis.network import Network

if TYPE_CHECKING:
    from tests.sim.process import Process


class RedisPort(Port):
    """A `Port` that adds no fault of its own; only a dead process gets no further."""

    leases_end = True

    def __init__(self, network: Network, process: Process, rng: random.Random) -> None:
        self._network = network
        self._way = Way(network, process)
        self._redis = RedisStore(self._way, inline=True)
        super().__init__(self._redis, process, rng)

    @property
    def is_troubled(self) -> bool:
        """Whether something that it has asked for is not going well."""
        calls = [call for client in self._way.clients for call in client.calls]
        return super().is_troubled or self._network.is_down or any(call.fate != "good" for call in calls)

    def die(self) -> None:
        """Nobody beats or listens any more."""
        super().die()
        self._redis._heart._scope.cancel()
        if self._redis._line is not None:
            self._redis._line._scope.cancel()

    async def heard(self) -> None:
        """Wait while this process is cut off."""
        while self.silent and not self._process.dead:
            await self._back.wait()

    async def open(self, holder: str, now: int) -> None:
        self._process.opens(holder)
        await self._store.open(holder, now)

    async def close(self, holder: str) -> None:
        if not self._process.dead:
            await self._store.close(holder)
            self._process.closes()

    async def beat(self, holder: str, now: int, lease: float) -> float:
        try:
            return await self._call(self._store.beat, holder, now, lease)  # what the server heard, the witness tells
        except LeaseLost:
            self._process.stops_all()
            raise

    async def wakeup(self, holder: str) -> bool:
        look = await self._store.wakeup(holder)
        await self._there()
        return look

    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        self._network.witness.means(holder, tick, batch)
        await self._there()
        try:
            outcome = await self._store.commit(holder, tick, batch)
        except StoreError:
            self.failing = True
            raise
        await self._there()
        self.failing = False
        self._process.truth.answered(self._process, tick, outcome)
        return outcome

    async def sweep(self, now: int) -> None:
        await self._call(self._store.sweep, now)

    async def _call(self, call: Callable[..., Awaitable[Any]], *given: Any) -> Any:
        await self._there()
        answer = await call(*given)
        await self._there()
        return answer

    async def _there(self) -> None:
        if self._process.dead:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
