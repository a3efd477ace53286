"""The crew of one queue: hires its workers, hands them what the queue has claimed, passes stops on, and replaces the
stuck.
"""

from __future__ import annotations

import logging
import math
from typing import Final

import trio

from actors.core.errors import ShuttingDown, Stopped
from actors.core.job import JobRecord, Reason
from actors.mailbox import tell
from actors.queue import Ended, Hire, Lane, Report, Reported, Resize, Stuck
from actors.run import Desk, Run
from actors.worker import Worker, WorkerInfo

log = logging.getLogger("actors")

STUCK_AFTER: Final = 1.0  # seconds that a stopped body may take to end before another worker takes its place
MOST_STOPPED_EARLY: Final = 10_000


class Crew:
    """The workers of one queue in this process. `run` is the task that starts them and passes stops on to them."""

    def __init__(self, queue: str, size: int, desk: Desk, threads: trio.CapacityLimiter) -> None:
        self.queue = queue
        self.size = size
        self.desk = desk
        self.threads = threads
        # those whose bodies have suspended, by (id, run): a job whose lease was lost may run again while its body ends
        self.running: dict[tuple[str, int], Run] = {}
        self.stopped_early: dict[
            str, tuple[int, Reason]
        ] = {}  # told to stop while still in a list: id -> (run, reason)
        self.registry = desk.registry
        self.workers: dict[int, Worker] = {}
        self.cut_at = math.inf  # when the shutdown stops the bodies, by trio's clock
        self.lapsed_at: int | None = None  # what was claimed before is no longer this process's
        self._hired = 0  # workers, less the stuck ones
        self._ended: list[Ended] = []  # not yet read by the queue
        self._suspended = False
        self._wake_watch, self._watch_wakes = trio.open_memory_channel[None](1)
        self._jobs: trio.MemoryReceiveChannel[list[JobRecord]]
        self._rest: trio.MemorySendChannel[list[JobRecord]]  # its other end
        self._calls: trio.MemoryReceiveChannel[list[JobRecord]]  # where idle workers wait
        self._call: trio.MemorySendChannel[list[JobRecord]]  # its other end
        self._no_more_jobs = trio.Event()
        self._nursery: trio.Nursery

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until the queue closes the job channel and every body has ended. Cancelling stops the bodies with the reason
        `shutdown`.
        """
        send, receive = trio.open_memory_channel[list[JobRecord]](math.inf)
        send_stop, stops = trio.open_memory_channel[tuple[JobRecord, Reason] | None](math.inf)
        call, self._calls = trio.open_memory_channel[list[JobRecord]](0)
        self._jobs, self._rest, self._call = receive.clone(), send.clone(), call.clone()
        lane = Lane(queue=self.queue, capacity=self.size, jobs=send, unstarted=receive, idle=call, stops=send_stop)
        tell(self.desk.inbox, Hire(lane))
        with self._jobs, self._rest, self._calls, self._call, stops, self._wake_watch, self._watch_wakes:
            async with trio.open_nursery() as watching:
                watching.start_soon(self._watch)
                watching.start_soon(self._pass_stops_on, stops)
                try:
                    async with trio.open_nursery() as self._nursery:
                        self._hire_up_to(self.size)
                        task_status.started()
                        await self._no_more_jobs.wait()  # with no workers there is still a crew to resize
                finally:
                    self._no_more_jobs.set()
                    self._give_back_unstarted()
                watching.cancel_scope.cancel()

    def _give_back_unstarted(self) -> None:
        """What a worker passed on while the queue closed the channel, and nobody took."""
        now = self.desk.clock.now()
        while True:
            try:
                rest = self._jobs.receive_nowait()
            except (trio.WouldBlock, trio.EndOfChannel):
                return
            for job in rest:  # (an empty list wakes a worker that is one too many)
                self.end(Ended(job, now, None, Stopped("shutdown")))

    async def _pass_stops_on(self, stops: trio.MemoryReceiveChannel[tuple[JobRecord, Reason] | None]) -> None:
        async for stop in stops:
            if stop is None:
                self._rest.close()
                self._call.close()
                self._no_more_jobs.set()
            else:
                self._stop(*stop)

    def resize(self, size: int) -> None:
        """Have so many workers from now on; those too many leave when they are idle."""
        if self._no_more_jobs.is_set():
            raise ShuttingDown("the system is stopping: it takes no more calls")
        self.size = size
        self._hire_up_to(size)
        for _ in range(max(0, self._hired - size)):
            self.pass_on([])  # wakes an idle worker, who sees that it is one too many
        tell(self.desk.inbox, Resize(self.queue, size))

    def info(self) -> list[WorkerInfo]:
        """The workers, by number."""
        return [worker.info() for _, worker in sorted(self.workers.items())]

    def active(self) -> int:
        """How many workers have a job under way."""
        return sum(worker.busy for worker in self.workers.values())

    def _hire_up_to(self, size: int) -> None:
        number = 0
        while self._hired < size:
            while number in self.workers:
                number += 1
            self._hired += 1
            worker = self.workers[number] = Worker(self, number)
            self._nursery.start_soon(worker.work, name=f"worker {self.queue}/{number}")

    def _stop(self, job: JobRecord, reason: Reason) -> None:
        run = self.running.get((job.id, job.runs))
        if run is None:
            self.stopped_early[job.id] = (job.runs, reason)
            if len(self.stopped_early) > MOST_STOPPED_EARLY:  # those whose report crossed the stop stay behind
                del self.stopped_early[next(iter(self.stopped_early))]
            return
        run.reason = run.reason or reason
        if run.scope is not None:
            run.scope.cancel()
        self.watch()

    def lease_lost(self) -> None:
        """The store could not be told in time that this process lives: others may run what it has claimed so far."""
        self.lapsed_at = self.desk.clock.now()
        for run in list(self.running.values()):
            self._stop(run.job, "lease lost")

    def lease_renewed(self) -> None:
        """The store knows again that this process lives."""
        self.lapsed_at = None

    # What its workers call (`Foreman`)

    async def receive(self) -> list[JobRecord]:
        """The next list of jobs, the next job last; `trio.EndOfChannel` when there will be none."""
        waiting = self.take_waiting()
        if waiting is None:
            return await self._calls.receive()
        await trio.lowlevel.cancel_shielded_checkpoint()
        return waiting

    def take_waiting(self) -> list[JobRecord] | None:
        """A list that waits already (None: none does), without the turn of the loop that `receive` gives to others."""
        try:
            return self._jobs.receive_nowait()
        except trio.WouldBlock:
            return None
        except trio.EndOfChannel:
            return None  # those that were called last may still come

    def pass_on(self, rest: list[JobRecord]) -> bool:
        """Give jobs that nobody has started to another worker; False when the shutdown has begun."""
        try:
            self._call.send_nowait(rest)
        except trio.WouldBlock:
            self._rest.send_nowait(rest)
        except trio.ClosedResourceError:
            return False
        return True

    def end(self, ended: Ended, suspended: bool = False) -> None:
        """A run is over: tell the queue. What else ends before it reads that goes with it."""
        self._suspended = suspended
        self._ended.append(ended)
        if len(self._ended) == 1:
            try:
                tell(self.desk.inbox, Report(self._take_report))
            except ShuttingDown:
                pass  # the queue is gone; whoever finds this process gone gives its jobs back

    def _take_report(self) -> Reported:
        ended, self._ended = self._ended, []
        return Reported(ended, self._suspended)

    def check_stopped_early(self, run: Run) -> None:
        """Raise `Stopped` when this run was told to stop before it started."""
        claimed_at = run.job.standing.started_at
        if self.lapsed_at is not None and claimed_at is not None and claimed_at < self.lapsed_at:
            raise Stopped("lease lost")
        fence, reason = self.stopped_early.pop(run.job.id, (0, "user"))
        if fence == run.fence:
            raise Stopped(reason)

    def watch(self) -> None:
        """Somebody has to look whether a body ends when it is told to."""
        try:
            self._wake_watch.send_nowait(None)
        except trio.WouldBlock:
            pass

    def leave(self) -> bool:
        """Whether this idle worker is one too many; it is struck off then."""
        if self._hired <= self.size:
            return False
        self._hired -= 1
        return True

    def gone(self, number: int) -> None:
        """This worker's task is over."""
        self.workers.pop(number, None)

    def is_late(self) -> bool:
        """Whether a body that ends now ignored the end of the grace."""
        return self.cut_at < math.inf and trio.current_time() - self.cut_at >= STUCK_AFTER

    def return_stuck(self) -> None:
        """A stuck body has ended at last: its worker stands among the others again (and may be one too many)."""
        self._hired += 1

    # Stuck bodies

    async def _watch(self) -> None:
        """Find bodies that ignore being stopped: mark them stuck, and put another worker in their place."""
        noticed: dict[Run, float] = {}
        async for _ in self._watch_wakes:
            while any(run.scope is not None and self._may_stick(run) for run in self.running.values()):
                now = trio.current_time()
                for run in list(self.running.values()):
                    if run.scope is None or not run.scope.cancel_called or run.stuck:
                        continue
                    since = noticed.setdefault(run, now)
                    if now - since >= STUCK_AFTER:
                        self._mark_stuck(run)
                for run in list(noticed):
                    if run.stuck or run.scope is None:  # it has ended
                        del noticed[run]
                await trio.sleep(self._until_next(noticed))

    def _may_stick(self, run: Run) -> bool:
        return not run.stuck and run.scope is not None and (run.scope.cancel_called or run.scope.deadline < math.inf)

    def _until_next(self, noticed: dict[Run, float]) -> float:
        """Seconds until a deadline passes or a stopped body has had its time."""
        now = trio.current_time()
        times = [since + STUCK_AFTER for since in noticed.values()]
        for run in self.running.values():
            if run not in noticed and run.scope is not None and not run.stuck:
                times.append(now if run.scope.cancel_called else run.scope.deadline)
        return min(max(0.001, min(times, default=now) - now), STUCK_AFTER / 2)

    def _mark_stuck(self, run: Run) -> None:
        run.stuck = True
        self._hired -= 1
        log.error(
            "job %s (%s) ignores that it was stopped: another worker takes its place",
            run.job.id,
            run.job.type,
            extra={"job": run.job.id, "type": run.job.type},
        )
        tell(self.desk.inbox, Stuck(run.job))
        self._hire_up_to(self.size)
