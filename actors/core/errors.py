"""Everything that can go wrong, by whose fault it is. Each error says what, which, and what was expected, and carries
the values.
"""

from __future__ import annotations

from typing import Any

from actors.core.job import AttemptError, JobRecord, Reason

QUOTED = 100  # characters of a caller's input that an error may repeat


def quote(text: object) -> str:
    """`repr` of a caller's input, cut at `QUOTED` characters."""
    shown = repr(text)
    return shown if len(shown) <= QUOTED else shown[: QUOTED - 1] + "…"


class ActorsError(Exception):
    """The base of every error of this package."""


# The caller's fault


class CallerError(ActorsError):
    """The call was wrong; it changed nothing."""


class RegistrationError(CallerError, TypeError):
    """A job type can't be registered as it is written."""


class UnknownType(CallerError, LookupError):
    """No such job type in the registry."""

    def __init__(self, type: object, registered: list[str]) -> None:
        known = ", ".join(registered) or "none"
        super().__init__(f"unknown job type {quote(type)}: expected one of the registered types ({known})")
        self.type = type
        self.registered = registered


class BadPayload(CallerError, ValueError):
    """A payload that its type does not accept. `problems` is one (field path, what was expected) per wrong field."""

    def __init__(self, type: str, problems: list[tuple[str, str]]) -> None:
        listed = "; ".join(f"{field}: {problem}" if field else problem for field, problem in problems)
        super().__init__(f"bad payload for {type}: {listed}")
        self.type = type
        self.problems = problems


class BadOption(CallerError, ValueError):
    """An option (delay, priority, max_attempts, ...) with a value that is not allowed."""

    def __init__(self, option: str, given: object, expected: str) -> None:
        super().__init__(f"{option} is {quote(given)}: expected {expected}")
        self.option = option
        self.given = given
        self.expected = expected


class NotFound(CallerError, LookupError):
    """Nothing by that name or id."""

    def __init__(self, what: str, name: object) -> None:
        super().__init__(f"{what} {quote(name)} not found")
        self.what = what
        self.name = name


class WrongState(CallerError):
    """The job's state does not allow this: `job 17 is completed: it cannot be cancelled`."""

    def __init__(self, id: str, state: str, verb: str) -> None:
        super().__init__(f"job {id} is {state}: it cannot {verb}")
        self.id = id
        self.state = state
        self.verb = verb


class Conflict(CallerError):
    """The id, the unique key or the idempotency key is taken by another job. `existing` is that job's id."""

    def __init__(self, message: str, existing: str | None = None) -> None:
        super().__init__(message)
        self.existing = existing


class Refused(CallerError, PermissionError):
    """`authorize` of the type said no to this owner."""


class AlreadyRunning(Conflict):
    """The schedule's previous run has not ended, and its overlap is skip."""

    def __init__(self, name: str) -> None:
        super().__init__(f"schedule {quote(name)} is running already: expected its previous run to have ended")
        self.name = name


# The circumstances' fault


class QueueFull(ActorsError):
    """The queue holds as many waiting jobs as it may; try again later."""

    def __init__(self, queue: str, limit: int) -> None:
        super().__init__(f"queue {queue!r} is full: {limit} jobs are waiting; try again later")
        self.queue = queue
        self.limit = limit


class ShuttingDown(ActorsError):
    """The system is stopping and takes no more calls."""


class StoreError(ActorsError):
    """The store could not do it. What was asked may or may not have happened; give an id to make repeating it safe."""


class StoreFull(StoreError):
    """The disk under the store is full."""


class StoreBusy(StoreError):
    """The store is held by another process or out of reach for now."""


class StoreSilent(StoreBusy):
    """The store was asked and has not answered: it may have done it, and may still do it."""


class LeaseLost(StoreError):
    """This process could not say in time that it lives: its jobs may be given to others, so what runs must stop now."""


# The job's own fault: what `JobHandle.result()` raises


class JobFailed(ActorsError):
    """The job is dead. Carries the whole record; `errors` is the history, oldest first."""

    def __init__(self, record: JobRecord) -> None:
        last = record.error
        why = f": {last.type}: {last.message}" if last is not None else ""
        super().__init__(
            f"job {record.id} ({record.type}) is dead after {record.attempt} of {record.max_attempts} attempts{why}"
        )
        self.record = record

    @property
    def errors(self) -> tuple[AttemptError, ...]:
        """Every attempt's error, oldest first."""
        return self.record.errors


class JobCancelled(ActorsError):
    """The job was cancelled before it could finish."""

    def __init__(self, record: JobRecord) -> None:
        super().__init__(f"job {record.id} ({record.type}) was cancelled")
        self.record = record


class JobTimeout(ActorsError):
    """An attempt took longer than its timeout."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the attempt took longer than its timeout of {seconds:g} s")
        self.seconds = seconds


class Stopped(ActorsError):
    """A body was stopped from outside, and ended because of it. The reason decides what becomes of the job."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(f"stopped: {reason}")
        self.reason = reason


class BadResult(ActorsError, TypeError):
    """A body returned what can't be kept as JSON."""


# What a body raises to say how its attempt ended


class Outcome(ActorsError):
    """The base of `Retry`, `Snooze`, `Discard` and `Cancel`: not a fault, but a body's word on how its attempt ends."""


class Retry(Outcome):
    """This attempt failed; run again after `after` seconds (None: by the back-off policy). Counts as a failure."""

    def __init__(self, after: float | None = None, reason: str = "asked for a retry") -> None:
        check_seconds("after", after)
        super().__init__(reason)
        self.after = after


class Snooze(Outcome):
    """Come back after `seconds`; costs no attempt."""

    def __init__(self, seconds: float) -> None:
        check_seconds("seconds", seconds)
        super().__init__(f"snoozed for {seconds:g} s")
        self.seconds = seconds


class Discard(Outcome):
    """Give up at once, whatever attempts are left: the job becomes a dead letter."""

    def __init__(self, reason: str = "discarded") -> None:
        super().__init__(reason)
        self.reason = reason


class Cancel(Outcome):
    """Stop here: the job ends cancelled."""

    def __init__(self, reason: str = "cancelled itself") -> None:
        super().__init__(reason)
        self.reason = reason


MAX_SECONDS = 10 * 366 * 86_400.0  # ten years: anything above is a mistake in the unit


def check_seconds(option: str, seconds: Any) -> None:
    """Raise `BadOption` unless `seconds` is None or a finite number from 0 to ten years."""
    if seconds is None:
        return
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds <= MAX_SECONDS:
        raise BadOption(option, seconds, f"seconds from 0 to {MAX_SECONDS:.0f}")
