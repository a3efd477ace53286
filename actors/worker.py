"""One worker: a task that runs one body at a time, so the number of workers is the concurrency.

A job is run in two halves: `Worker._start` steps its body to the first suspension, where most small ones are over
already; `Worker._go_on` awaits the rest. These two catch what a job raises. The reason of a stop decides the outcome,
never a flag or a compared deadline.
"""

from __future__ import annotations

import contextvars
import math
from collections.abc import Awaitable
from types import FrameType
from typing import Any, Protocol

import trio

from actors.attempt import ThreadCall, make_body, read_payload, result_text, unwrapped, what_is_kept
from actors.body import drive, was_cancelled, without_cancelled
from actors.core.errors import BadResult, JobTimeout, Stopped
from actors.core.job import AttemptError, JobRecord, Reason
from actors.core.registry import Registry
from actors.core.value import value
from actors.queue import Ended
from actors.run import Desk, Run


@value(kw_only=True)
class WorkerInfo:
    """One worker as it can be looked at: the job it runs (None: idle), and how many it has run."""

    id: str
    queue: str
    job: str | None
    processed: int


def job_on(frame: FrameType | None) -> JobRecord | None:
    """The job whose body is being run on this stack (another thread's, or one's own); None when none is."""
    while frame is not None:
        if frame.f_code is Worker._start.__code__ or frame.f_code is Worker._go_on.__code__:
            run: Run | None = frame.f_locals.get("run")
            return None if run is None else run.job
        frame = frame.f_back
    return None


_Suspended = tuple[Run, ThreadCall | None, Awaitable[Any]]
"""A job whose body has suspended, and what is left of the body."""


class Foreman(Protocol):
    """What a worker needs of its crew: jobs to run, and somebody to tell what became of them."""

    queue: str
    desk: Desk
    registry: Registry
    threads: trio.CapacityLimiter
    running: dict[tuple[str, int], Run]
    stopped_early: dict[str, tuple[int, Reason]]
    lapsed_at: int | None

    async def receive(self) -> list[JobRecord]:
        """The next list of jobs, the next job last; `trio.EndOfChannel` when there will be none."""
        ...

    def take_waiting(self) -> list[JobRecord] | None:
        """A list that waits already (None: none does), without the turn of the loop that `receive` gives to others."""
        ...

    def pass_on(self, rest: list[JobRecord]) -> bool:
        """Give jobs that nobody has started to another worker; False when the shutdown has begun."""
        ...

    def end(self, ended: Ended, suspended: bool = False) -> None:
        """Tell the queue. `suspended`: since its worker took its list, it has seen a body suspend."""
        ...

    def check_stopped_early(self, run: Run) -> None:
        """Raise `Stopped` when this run was told to stop before it started."""
        ...

    def watch(self) -> None:
        """Somebody has to look whether a body ends when it is told to."""
        ...

    def is_late(self) -> bool:
        """Whether a body that ends now ignored the end of the grace."""
        ...

    def return_stuck(self) -> None:
        """A stuck body has ended at last: its worker stands among the others again (and may be one too many)."""
        ...

    def leave(self) -> bool:
        """Whether this idle worker is one too many; it is struck off then."""
        ...

    def gone(self, number: int) -> None:
        """This worker's task is over."""
        ...


class Worker:
    """One worker: takes lists of jobs from the shared channel and runs them one after the other."""

    def __init__(self, crew: Foreman, number: int) -> None:
        self.crew = crew
        self.number = number
        self.processed = 0
        self._run: Run | None = None
        self._list: list[JobRecord] = []  # what is left of it, the next job last
        self._scope = trio.CancelScope()
        self._suspended_lately = False  # a body of the list under way did
        self._lingering: tuple[Run, ThreadCall] | None = None

    @property
    def busy(self) -> bool:
        """Whether it has a job under way."""
        return self._run is not None

    def info(self) -> WorkerInfo:
        """What it does now."""
        job = None if self._run is None else self._run.job.id
        id = f"{self.crew.queue}/{self.number}"
        return WorkerInfo(id=id, queue=self.crew.queue, job=job, processed=self.processed)

    @trio.lowlevel.enable_ki_protection
    async def work(self) -> None:
        """Until there are no more jobs, or this worker is one too many.

        KI protection: a Ctrl-C never lands in a body, and a body's own KeyboardInterrupt is its failed attempt.
        """
        try:
            while True:
                # One scope for as long as no body is stopped: opening one costs more than running a small job.
                with trio.CancelScope() as self._scope:
                    while True:
                        if self._list:
                            rest = self._start(self._list.pop())
                            if rest is not None:
                                await self._go_on(rest)
                                if self._scope.cancel_called:
                                    break
                        else:
                            had_a_turn = self._suspended_lately  # the loop, since this worker took its list
                            self._suspended_lately = False
                            if self.crew.leave():
                                return
                            waiting = self.crew.take_waiting() if had_a_turn else None
                            self._list = await self.crew.receive() if waiting is None else waiting
                await self._linger()
        except trio.EndOfChannel:
            pass
        finally:
            self._give_the_rest_back()
            self.crew.gone(self.number)

    # One job

    def _start(self, job: JobRecord) -> _Suspended | None:
        """Run a job up to its body's first suspension; None when it is over by then.

        Such a job can't be stopped, for no one else has a turn meanwhile: it is not entered anywhere, nothing is armed
        for it, and it costs no coroutine but its own.
        """
        crew = self.crew
        run = self._run = Run(job, crew.desk)
        call: ThreadCall | None = None
        error: BaseException | None = None
        result: str | None = None
        try:
            if crew.stopped_early or crew.lapsed_at is not None:
                crew.check_stopped_early(run)
            definition = crew.registry[job.spec.type]
            payload = read_payload(definition, job)
            if definition.options.run_in == "thread":
                call = ThreadCall(run, definition, payload, crew.threads)
            body = make_body(run, definition, payload, call)
            step = contextvars.copy_context().run  # what a body sets does not leak into the worker's next job
            try:
                trap = step(body.send, None)
            except StopIteration as stop:
                given = stop.value
            else:
                return run, call, drive(body, step, trap)
            if given is not None:
                result = result_text(given)
        except BaseException as raised:
            error = raised
        self._finish(run, result, error)
        return None

    async def _go_on(self, rest: _Suspended) -> None:
        """Await the rest of a body that has suspended."""
        run, call, body = rest
        error: BaseException | None = None
        result: str | None = None
        try:
            self._expose(run)
            given = await body
            if given is not None:
                result = result_text(given)
        except BaseException as raised:
            error = raised
        # No await from here to the report: a stop that comes now would hit the next job.
        if call is not None and error is not None and not call.ended.is_set():
            if self._scope.cancel_called:
                self._lingering = (run, call)
                return
            run.abandoned = True
        self._finish(run, result, error)

    def _expose(self, run: Run) -> None:
        """The body waits for something: from now on it can be stopped, and others need not wait for it."""
        run.scope = self._scope
        self.crew.running[run.job.spec.id, run.job.standing.runs] = run
        self._suspended_lately = True
        if (timeout := run.job.spec.timeout) is not None:
            self._scope.deadline = trio.current_time() + timeout
            self.crew.watch()
        if self._list:
            self._pass_on()

    def _pass_on(self) -> None:
        rest, self._list = self._list, []
        if not self.crew.pass_on(rest):
            self._list = rest
            self._give_the_rest_back()

    def _finish(self, run: Run, result: str | None, error: BaseException | None) -> None:
        crew, job = self.crew, run.job
        now = crew.desk.clock.now()
        kept: AttemptError | None = None
        if error is not None or run.stuck:
            error = self._judge(run, error)
            if error is not None and not isinstance(error, Stopped):
                kept = what_is_kept(error, job, now)
        if run.scope is not None:
            run.scope = None
            del crew.running[job.spec.id, job.standing.runs]
            if job.spec.timeout is not None:
                self._scope.deadline = math.inf
        self._run = None
        self.processed += 1
        left = run.stuck or run.abandoned or crew.is_late()
        crew.end(
            Ended(job, now, result, error, kept, run.children or (), run.take(), left, run.stuck),
            self._suspended_lately,
        )
        if run.stuck:
            crew.return_stuck()

    def _judge(self, run: Run, error: BaseException | None) -> BaseException | None:
        """What the run's end means: the body's own error, or why it was stopped."""
        reason = run.cancelled_because
        if error is None:  # a stuck body that returned at last
            return JobTimeout(run.job.spec.timeout or 0.0) if reason == "timeout" else None
        # A Cancelled that no scope around us asked for was made by hand: an error like any other.
        if was_cancelled(error) and (run.stuck or trio.current_effective_deadline() == -math.inf):
            if reason != "timeout":
                return Stopped(reason or "shutdown")
            timeout = JobTimeout(run.job.spec.timeout or 0.0)
            timeout.__cause__ = without_cancelled(error)
            return timeout
        if reason in ("user", "superseded"):
            return Stopped(reason)
        return unwrapped(error)

    # Bodies that do not end when they are told to

    async def _linger(self) -> None:
        """Wait for a thread that was stopped and still runs: its retry must not run beside it."""
        if self._lingering is None:
            return
        (run, call), self._lingering = self._lingering, None
        try:
            await call.ended.wait()
        except trio.Cancelled:
            # The shutdown does not wait for it: the thread is left to itself, the job is given back.
            run.reason, run.abandoned = "shutdown", True
            self._finish(run, None, Stopped("shutdown"))
            raise
        result: str | None = None
        error = call.error
        if error is None and call.value is not None:
            try:
                result = result_text(call.value)
            except BadResult as bad:
                error = bad
        if error is not None and was_cancelled(error):
            error = (
                JobTimeout(run.job.spec.timeout or 0.0)
                if run.cancelled_because == "timeout"
                else Stopped(run.reason or "user")
            )
        self._finish(run, result, error)

    def _give_the_rest_back(self) -> None:
        now = self.crew.desk.clock.now()
        while self._list:
            self.crew.end(Ended(self._list.pop(), now, None, Stopped("shutdown")))
