"""The heart: a thread that says in time that this process lives, also while its loop is held up.

It has a trio run and a connection of its own. A lease counts from the moment at which a confirmed beat was sent, so it
never ends later here than at the server.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

import trio

from actors.core.errors import StoreError
from actors.store.redis import library
from actors.store.redis.faults import redis_errors
from actors.store.redis.library import Client
from actors.store.redis.server import Endpoint

BEATS: Final = 3  # within a lease: one may be late and one lost
AGAIN: Final = 0.1  # of a lease, before a beat that failed is tried again
LONGEST_AGAIN: Final = 0.5  # seconds
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # it goes on while the machine sleeps


def moment() -> float:
    """Seconds of a clock that only this process reads."""
    return time.clock_gettime(_CLOCK)


class Heart:
    """Beats for the holders of one store object. Called from the loop; the thread only reads what it is given."""

    def __init__(self, server: Endpoint, prefix: str, *, inline: bool = False) -> None:
        """`inline`: beat in the loop itself and by its clock, for simulated time."""
        self._server = server
        self._prefix = f"{{{prefix}}}:"
        self._inline = inline
        self.now: Callable[[], float] = trio.current_time if inline else moment  # the clock of the leases
        self._leases: dict[str, float] = {}
        self._confirmed: dict[str, float] = {}  # holder -> when the last beat that was confirmed had been sent
        self._token: trio.lowlevel.TrioToken | None = None
        self._scope = trio.CancelScope()
        self._stir = trio.Event()
        self._ended: trio.Event | None = None  # set in the loop once the thread is over

    def tends(self, holder: str, lease: float) -> bool:
        """Whether it beats for this holder, with this lease."""
        return self._leases.get(holder) == lease

    def tend(self, holder: str, lease: float, confirmed: float) -> None:
        """Beat for this holder from now on; its first beat was sent at `confirmed`."""
        self._leases = {**self._leases, holder: lease}
        self._confirmed[holder] = confirmed
        if self._ended is None:
            self._ended = trio.Event()
            if self._inline:
                trio.lowlevel.spawn_system_task(self._run_here, self._ended, name="actors-heart")
                return
            home = trio.lowlevel.current_trio_token()
            thread = threading.Thread(target=self._live, args=(home, self._ended), name="actors-heart", daemon=True)
            thread.start()
        elif (token := self._token) is not None:
            _tell(token, self._stir.set)

    def drop(self, holder: str) -> None:
        """Beat for this holder no longer."""
        self._leases = {name: lease for name, lease in self._leases.items() if name != holder}
        self._confirmed.pop(holder, None)

    def left(self, holder: str) -> float:
        """Seconds until the lease of this holder ends, unless a beat comes through."""
        return self._confirmed[holder] + self._leases[holder] - self.now()

    async def stop(self) -> None:
        """End the thread."""
        self._leases = {}
        if self._ended is not None:
            self._scope.cancel() if self._token is None else _tell(self._token, self._scope.cancel)
            await self._ended.wait()

    def _live(self, home: trio.lowlevel.TrioToken, ended: trio.Event) -> None:
        try:
            trio.run(self._run)
        finally:
            _tell(home, ended.set)

    async def _run_here(self, ended: trio.Event) -> None:
        try:
            await self._run()
        finally:
            ended.set()

    async def _run(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        try:
            with self._scope:
                while True:
                    try:
                        async with self._server.connect("actors:heart") as client:
                            while True:
                                await self._round(client)
                    except* Exception:
                        pass  # it is seen by who asks how much of the lease is left
                    await trio.sleep(self._again())
        except* Exception:
            pass  # a client that is cancelled may fail beside it

    async def _round(self, client: Client) -> None:
        leases = self._leases
        if leases:
            sent = self.now()
            pairs = [part for holder, lease in leases.items() for part in (holder, round(lease * 1_000))]
            try:
                with redis_errors(str(self._server)), trio.fail_after(min(leases.values()) / BEATS):
                    await library.call(client, "beat", self._prefix, *pairs)
            except StoreError:
                client.connection_pool.disconnect()
                await trio.sleep(self._again())
                return
            for holder in leases:
                if holder in self._confirmed:
                    self._confirmed[holder] = sent
        with trio.move_on_after(min(leases.values(), default=1.0) / BEATS):
            await self._stir.wait()
        self._stir = trio.Event()

    def _again(self) -> float:
        return min(LONGEST_AGAIN, AGAIN * min(self._leases.values(), default=1.0))


def _tell(token: trio.lowlevel.TrioToken, what: object) -> None:
    try:
        token.run_sync_soon(what)  # type: ignore[arg-type]  # a bound method without arguments
    except trio.RunFinishedError:
        pass  # that run is over, and waits for nothing
