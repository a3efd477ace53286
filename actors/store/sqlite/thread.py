"""One thread that runs calls one after the other, for a connection that only one thread may use at a time.

A hop costs about 40 µs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

import outcome
import trio

T = TypeVar("T")
_Call = tuple[Callable[[], Any], trio.lowlevel.Task, trio.lowlevel.TrioToken]


def _refuse(_raise_cancel: Any) -> trio.lowlevel.Abort:
    return trio.lowlevel.Abort.FAILED


class SqlThread:
    """A thread of its own. Calls come from one trio run at a time."""

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._waiting = 0
        # a daemon, so that a store that nobody closed can't keep the interpreter alive
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    @property
    def idle(self) -> bool:
        """Whether no call is waiting or running (told from the side of the callers)."""
        return self._waiting == 0

    async def call(self, function: Callable[[], T]) -> T:
        """What `function()` returns or raises, run on the thread.

        Waits for it even when cancelled, and is then no checkpoint.
        """
        self._waiting += 1
        try:
            self._calls.put((function, trio.lowlevel.current_task(), trio.lowlevel.current_trio_token()))
            answer: T = await trio.lowlevel.wait_task_rescheduled(_refuse)
            return answer
        finally:
            self._waiting -= 1

    def stop(self) -> None:
        """End the thread when its last call is done; blocks until then."""
        self._calls.put(None)
        self._thread.join()

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            function, task, token = call
            answer = outcome.capture(function)
            try:
                token.run_sync_soon(trio.lowlevel.reschedule, task, answer)
            except trio.RunFinishedError:
                pass  # nobody is left to tell
            del call, function, task, token, answer  # or the last answer would live until the next call
