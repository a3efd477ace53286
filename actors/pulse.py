"""The pulse of the loop: a thread that notices when something holds the event loop up, and says which job and where.

The loop can't tell of itself that it stands still; and a process whose loop does is not dead: nobody takes its jobs.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Final

import trio

from actors.core.job import JobRecord
from actors.core.value import value

log = logging.getLogger("actors")

EVERY: Final = 0.5  # seconds between two beats
LIMIT: Final = 1.0  # seconds after which an unanswered beat counts as a blocked loop
SLICE: Final = 0.1  # seconds: a process that was stopped as a whole misses one of these, not a second of them
LAST_FRAMES: Final = 30  # of the stack, which is told innermost last


@value(kw_only=True)
class Block:
    """The loop stood still for `seconds` (so far, when it is first told), in `job` or (None) in something else."""

    job: JobRecord | None
    seconds: float
    stack: str


class Pulse:
    """The thread's two ends. `run` is the task that starts it and stops it; `told` is called on the loop's thread once
    the loop goes on.
    """

    def __init__(self, job_on: Callable[[FrameType], JobRecord | None], told: Callable[[Block], None]) -> None:
        self._job_on = job_on
        self._told = told
        self._stop = threading.Event()
        self._answered = threading.Event()
        self._ended = False

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled; the thread ends within a second, and tells nothing more from then on."""
        token, loop = trio.lowlevel.current_trio_token(), threading.get_ident()
        thread = threading.Thread(target=self._watch, args=(token, loop), name="actors-pulse", daemon=True)
        thread.start()
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            self._ended = True
            self._stop.set()

    def _watch(self, token: trio.lowlevel.TrioToken, loop: int) -> None:
        try:
            while not self._stop.wait(EVERY):
                self._answered.clear()
                began = time.monotonic()
                token.run_sync_soon(self._answered.set)
                if not self._is_answered_in_time() and not self._stop.is_set():
                    self._look(token, loop, began)
        except trio.RunFinishedError:
            pass  # the loop has ended without cancelling anybody

    def _is_answered_in_time(self) -> bool:
        waited = 0.0
        while waited < LIMIT:
            if self._answered.wait(SLICE):
                return True
            waited += SLICE
        return False

    def _look(self, token: trio.lowlevel.TrioToken, loop: int, began: float) -> None:
        frame = sys._current_frames().get(loop)
        if frame is None or self._answered.is_set():
            return
        job = self._job_on(frame)
        stack = "".join(traceback.format_stack(frame)[-LAST_FRAMES:])
        del frame  # it holds all its locals
        what = "something" if job is None else f"job {job.id} ({job.type})"
        named = {} if job is None else {"job": job.id, "type": job.type}
        log.error("loop_blocked: %s holds the event loop up, at\n%s", what, stack, extra={**named, "stack": stack})

        def tell() -> None:
            if not self._ended:
                self._told(Block(job=job, seconds=time.monotonic() - began, stack=stack))

        token.run_sync_soon(tell)
        while not self._answered.wait(EVERY):  # tell of it once
            if self._stop.is_set():
                return
