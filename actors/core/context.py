"""What a body is given (`JobContext`) and what an enqueue gives (`JobHandle`), as protocols: the actors behind them are
not the core's.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol, TypeVar, Unpack, runtime_checkable

from actors.core.job import JobRecord, Reason
from actors.core.options import Options

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Job(Protocol[T_co]):
    """A job: anything with `execute(ctx)`. An instance of a job class is one, and so is a called function job."""

    def execute(self, ctx: JobContext, /) -> Awaitable[T_co]:
        """Do the work; what it returns is the result, what it raises ends the attempt."""
        ...


class JobHandle(Protocol[R_co]):
    """A job that was accepted."""

    @property
    def id(self) -> str:
        """The job's id."""
        ...

    @property
    def created(self) -> bool:
        """False when the enqueue answered with a job that was there before (its own id, a unique or an idempotency
        key).
        """
        ...

    async def record(self) -> JobRecord:
        """The job as it stands now; `NotFound` once it has been deleted."""
        ...

    async def result(self) -> R_co:
        """Wait for the end; the result as JSON values.

        Raises `JobFailed` (with the history) when it is dead, `JobCancelled`, or `NotFound` when it was deleted.
        Cancelling the wait does not touch the job.
        """
        ...

    async def cancel(self) -> None:
        """Cancel the job; see `System.cancel`."""
        ...


@runtime_checkable
class JobContext(Protocol):
    """The running job as its body sees it. Every method but `save` may also be called from a body's thread."""

    @property
    def job(self) -> JobRecord:
        """The record as it was claimed: id, attempt (failures so far), max_attempts, created_at, owner, ..."""
        ...

    @property
    def fence(self) -> int:
        """Grows from run to run of this job: give it to what must refuse a late writer."""
        ...

    @property
    def state(self) -> Any:
        """What `save` kept last (JSON values), in this or an earlier attempt; None when nothing was."""
        ...

    @property
    def cancelled_because(self) -> Reason | None:
        """Why the body is being stopped; None while it is not."""
        ...

    def progress(self, done: float, total: float | None = None, message: str | None = None) -> None:
        """Say how far it is. Kept with the job and told to listeners, at most once a tick; the last one wins."""
        ...

    def log(self, text: str, /) -> None:
        """Keep a line with the job (the last 1 000, each cut at 8 kB)."""
        ...

    async def save(self, state: Any) -> None:
        """Keep a durable cursor (JSON values): returns once it is committed; the next attempt finds it as `state`.

        From a body's thread: `trio.from_thread.run(ctx.save, state)`.
        """
        ...

    def enqueue(self, job: Job[R], /, *, now: bool = False, **options: Unpack[Options]) -> JobHandle[R]:
        """Enqueue another job, committed together with this attempt's success (dropped with its failure). Exempt from
        queue limits.

        With `now` it is sent at once, whatever becomes of this attempt.
        """
        ...

    def resource(self, kind: type[T]) -> T:
        """The resource of this type among those given to `open_system`; `LookupError` when there is none."""
        ...
