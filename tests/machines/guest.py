"""A trio run on a `MockClock` that goes on only while the host pumps it: what a rule asks for is done, and all is quiet, when it returns."""

from __future__ import annotations

import queue
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import outcome
import trio
import trio.testing

from tests.machines.promise import promise

PATIENCE = 30.0  # real seconds without any progress: the run hangs
LONGEST_WAIT = 60.0  # simulated seconds that an answer may take (a store that fails is tried again after a second)
FIRST_WAIT = 0.06
MOST_TURNS = 50_000  # of the loop at one instant of simulated time, by far


class Guest:
    """The run. `busy` tells of work outside of it (threads) that is to be waited for; `check` raises what went wrong in it."""

    def __init__(self, busy: Callable[[], bool], check: Callable[[], None]) -> None:
        self.clock = trio.testing.MockClock()
        self.waited = False  # whether the last answer took simulated time
        self._busy = busy
        self._check = check
        self._todo: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._ended: outcome.Outcome[Any] | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._nursery: trio.Nursery
        trio.lowlevel.start_guest_run(
            self._main,
            run_sync_soon_threadsafe=self._todo.put,
            done_callback=self._done,
            clock=self.clock,
            host_uses_signal_set_wakeup_fd=True,
        )
        self._pump(lambda: self._token is not None)

    async def _main(self) -> None:
        async with trio.open_nursery() as self._nursery:
            self._token = trio.lowlevel.current_trio_token()
            await trio.sleep_forever()

    def _done(self, ended: outcome.Outcome[Any]) -> None:
        self._ended = ended

    def _pump(self, until: Callable[[], bool]) -> None:
        turns = 0
        while not until():
            if self._ended is not None:
                self._ended.unwrap()
                raise RuntimeError("the run has ended")
            self._todo.get(timeout=PATIENCE)()
            turns += 1
            promise(20, turns < MOST_TURNS, "the system never comes to rest")
        self._check()

    def _soon(self, work: Callable[[], Awaitable[Any]]) -> None:
        assert self._token is not None
        self._token.run_sync_soon(partial(self._nursery.start_soon, work))

    def __call__(self, work: Callable[..., Awaitable[Any]], *given: Any) -> Any:
        """Run `work(*given)` and let all tasks come to rest; its value, or its error. Time passes only if it must."""
        answers: list[outcome.Outcome[Any]] = []

        async def task() -> None:
            answers.append(await outcome.acapture(work, *given))

        self._soon(task)
        self.rest()
        waited, pause = 0.0, FIRST_WAIT
        while not answers:
            promise(20, waited < LONGEST_WAIT, f"{work} was not answered in {LONGEST_WAIT} s")
            waited, pause = waited + pause, min(1.1, pause * 2)
            self.jump(pause)
        self.waited = waited > 0
        return answers[0].unwrap()

    def start(self, work: Callable[..., Awaitable[Any]], *given: Any) -> Any:
        """Start a task that goes on; what it says when it has started."""
        return self(partial(self._nursery.start, work, *given))

    def rest(self) -> None:
        """Go on until every task waits for something, and no thread works for them."""
        rested: list[None] = []

        async def task() -> None:
            await trio.testing.wait_all_tasks_blocked()
            while self._busy():
                await trio.testing.wait_all_tasks_blocked(0.000_2)
            rested.append(None)

        self._soon(task)
        self._pump(lambda: bool(rested))

    def jump(self, seconds: float) -> None:
        """Let simulated time pass at one go."""
        self.clock.jump(seconds)
        self.rest()

    def close(self) -> None:
        """End the run, whatever waits in it."""

        def end() -> None:
            self.clock.autojump_threshold = 0  # whoever waits for time at the end is given it
            self._nursery.cancel_scope.cancel()

        if self._ended is not None:  # it has failed, and has told why
            return
        assert self._token is not None
        self._token.run_sync_soon(end)
        while self._ended is None:
            self._todo.get(timeout=PATIENCE)()
