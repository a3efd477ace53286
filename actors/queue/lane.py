"""Handing claimed jobs to the workers of one queue: how many to claim, in what lists, and when to take unstarted ones
back.

The job channel is shared by all workers of the queue, so no job waits bound to a busy worker. Its items are lists: to
wake a hundred workers costs more than the jobs. A worker whose job suspends passes the rest of its list on; and where
bodies do suspend, the lists are of one job.

Idle workers stand at a channel of their own, and are called for what waits. Not for all of it while jobs end by the
hundred in a few milliseconds: then the workers that run come for the next job sooner than an idle one is awake, and a
thousand workers that take turns cost twice what a hundred do.
"""

from __future__ import annotations

from typing import Final

import attrs
import trio

from actors.core.job import JobRecord, Reason

LISTS_PER_TURN: Final = 8  # receivers woken per turn; measured best at 100 and at 1 000 workers
LONGEST_LIST: Final = 64  # bounds how long one worker keeps the loop to itself
PREFETCH_WINDOW: Final = 5_000  # microseconds: only what was finished in the last 5 ms is claimed ahead
MOST_PREFETCH: Final = 250  # jobs claimed ahead at most: what priority may slip by
QUICK: Final = 20_000  # microseconds from claim to end: what takes longer is not worth claiming ahead for
BUSTLE: Final = 128  # jobs that ended quickly in such a window: from 25 000/s on idle workers are not called for all
MOST_AT_ONCE: Final = 500  # jobs claimed per tick: the first of them may have ended before the last one is needed
MOST_IN_A_BUSTLE: Final = 200  # jobs claimed per tick then: what is more only pushes the others out of the caches
TAKE_BACK_AFTER: Final = 20_000  # microseconds an unstarted claim may wait while nothing moves


@attrs.define
class Lane:
    """One queue's link to its workers in this process. Only the queue actor touches it."""

    queue: str
    capacity: int
    jobs: trio.MemorySendChannel[list[JobRecord]]
    unstarted: trio.MemoryReceiveChannel[list[JobRecord]]  # the other end of `jobs`
    idle: trio.MemorySendChannel[list[JobRecord]]  # to the workers that wait at its other end; holds nothing
    stops: trio.MemorySendChannel[tuple[JobRecord, Reason] | None]  # None: no more jobs will come
    out: int = 0  # claimed and not yet reported, less the stuck ones
    dry: bool = False  # the last claim got less than it asked for, and nothing has come since
    finished: int = 0  # in the current window
    window: int = 0  # when it began
    recent: int = 0  # finished in the window before
    suspends: bool = False  # whether the bodies that were last heard of did
    look_again: int | None = None  # microseconds: there may be work for idle workers by then, though no message tells
    waiting_since: int | None = None  # unstarted jobs have been out at least since then
    moved: int = 0  # finished since then

    def ended(self, now: int, count: int, quick: int) -> None:
        """`count` jobs have been reported by `now`; the `quick` of them, which ended soon after their claim, let others
        be claimed ahead.
        """
        self.out -= count
        self.moved += count
        if not quick:
            return
        if not 0 <= now - self.window <= PREFETCH_WINDOW:
            self.recent = self.finished if 0 <= now - self.window <= 2 * PREFETCH_WINDOW else 0
            self.window, self.finished = now, 0
        self.finished += quick

    def wanted(self, now: int) -> int:
        """How many jobs to claim now."""
        if self.capacity == 0:
            return 0
        quick = self._quick(now)
        free = max(0, self.capacity + min(MOST_PREFETCH, quick) - self.out)
        bustle = self.suspends and quick >= BUSTLE
        most = MOST_IN_A_BUSTLE if bustle else MOST_AT_ONCE
        if free > most:
            self.look_again = PREFETCH_WINDOW if bustle else 0
        return min(free, most)

    def _quick(self, now: int) -> int:
        """How many jobs have lately ended soon after their claim, in one window."""
        return max(self.finished, self.recent) if 0 <= now - self.window <= 2 * PREFETCH_WINDOW else 0

    def hand_out(self, claimed: list[JobRecord], now: int) -> None:
        """Send claimed jobs to the workers, in claim order, in a few lists (the next job last). Never waits."""
        self.out += len(claimed)
        if self.suspends:
            for job in claimed:
                self.jobs.send_nowait([job])
        else:
            size = min(LONGEST_LIST, -(-len(claimed) // LISTS_PER_TURN))
            for start in range(0, len(claimed), size):
                self.jobs.send_nowait(claimed[start : start + size][::-1])
        self.call_idle(now)
        if self.out > self.capacity and self.waiting_since is None:
            self.waiting_since, self.moved = now, 0

    def look(self, now: int) -> None:
        """Once a tick: what was put off is looked at."""
        if self.look_again is not None:
            self.look_again = None
            self.call_idle(now)

    def call_idle(self, now: int) -> None:
        """Call idle workers for the lists that wait, the first ones first."""
        lists = calls = self.unstarted.statistics().current_buffer_used
        if not lists:
            return
        idle = self.idle.statistics().tasks_waiting_receive
        if self.suspends and (quick := self._quick(now)) >= BUSTLE:
            # each busy worker will come for one, and so will each that is called now
            busy = self.capacity - idle
            calls = max(lists - min(MOST_PREFETCH, quick), -(-(lists - busy) // 2))
            if calls < min(lists, idle):
                self.look_again = PREFETCH_WINDOW  # unless they are held up
        for _ in range(min(calls, idle)):
            self.idle.send_nowait(self.unstarted.receive_nowait())

    def resize(self, capacity: int, now: int) -> None:
        """So many workers from now on; what is out beyond them may have to be taken back."""
        self.capacity = capacity
        self.dry = False
        if self.out > capacity and self.waiting_since is None:
            self.waiting_since, self.moved = now, 0

    def take_back(self, now: int) -> list[JobRecord]:
        """The jobs that nobody has started although they were claimed a while ago and little has moved since; none
        otherwise.
        """
        since = self.waiting_since
        if since is None or 0 <= now - since < TAKE_BACK_AFTER:  # (a wall clock may be set back)
            return []
        if self.out <= self.capacity:
            self.waiting_since = None
            return []
        if self.moved >= self.out - self.capacity:
            self.waiting_since, self.moved = now, 0
            return []
        self.waiting_since = now  # a worker may be about to pass on more
        self.finished = self.recent = 0  # nothing is claimed ahead until jobs finish quickly again
        return self.take_all_back()

    def take_all_back(self) -> list[JobRecord]:
        """Every job that no worker has started."""
        taken: list[JobRecord] = []
        while True:
            try:
                taken.extend(self.unstarted.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel):
                self.out -= len(taken)
                return taken

    def tell(self, stop: tuple[JobRecord, Reason] | None) -> None:
        """Tell the crew to stop a body, or (None) that no more jobs will come."""
        try:
            self.stops.send_nowait(stop)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the crew has gone, and has given back what it had

    def close(self) -> None:
        """No more jobs: idle workers end. Bodies that run can still be stopped."""
        self.look_again = None
        self.jobs.close()
        self.unstarted.close()
        self.idle.close()
        self.tell(None)
