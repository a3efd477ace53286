"""The job record and its words: what a job *is* (`JobSpec`, set once) and where it *stands* (`Standing`, replaced by
`advance`).

Instants are integer microseconds since the Unix epoch (UTC) here and in the stores; the public record shows aware
datetimes. Durations are seconds (float).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, get_args

import orjson

from actors.core.value import value

State = Literal["scheduled", "pending", "running", "completed", "cancelled", "dead"]
"""Where a job stands. `scheduled`: its time has not come (a first start or a retry); `pending`: ready to run."""

Status = Literal["pending", "running", "completed", "failed", "cancelled"]
"""The coarse word on the wire: scheduled is pending, dead is failed."""

Priority = Literal["low", "normal", "high", "critical"]
RunIn = Literal["trio", "thread", "process"]
Reason = Literal["timeout", "user", "shutdown", "lease lost", "superseded"]
"""Why a running body is stopped; the reason decides the outcome."""

STATES: Final[tuple[State, ...]] = get_args(State)
UNFINISHED: Final[frozenset[State]] = frozenset({"scheduled", "pending", "running"})
FINAL: Final[frozenset[State]] = frozenset({"completed", "cancelled", "dead"})
PRIORITIES: Final[tuple[Priority, ...]] = get_args(Priority)
RANK: Final[dict[str, int]] = {word: rank for rank, word in enumerate(PRIORITIES)}
STATUS: Final[dict[State, Status]] = {
    "scheduled": "pending",
    "pending": "pending",
    "running": "running",
    "completed": "completed",
    "cancelled": "cancelled",
    "dead": "failed",
}

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def instant(when: datetime) -> int:
    """The aware datetime `when` as integer microseconds since the epoch, without a float's rounding."""
    since = when - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def moment(micros: int) -> datetime:
    """The instant `micros` (microseconds since the epoch) as an aware UTC datetime."""
    return EPOCH + timedelta(microseconds=micros)


@value(kw_only=True)
class Details:
    """The rarely used part of a spec. Stores keep it as one JSON text, or nothing when all of it is default."""

    description: str | None = None
    tags: tuple[str, ...] = ()
    retry: Mapping[str, Any] | None = None  # a back-off policy as JSON (`retry.policy_to_json`), instead of the type's
    run_in: RunIn | None = None
    unique_key: str | None = None
    schedule: str | None = None  # the stored schedule that fired it
    slot: int | None = None  # ... and for which slot

    def to_json(self) -> str | None:
        """One JSON object of what differs from the defaults; `None` when nothing does."""
        if self is NO_DETAILS:
            return None
        given = {name: member for name in _DETAIL_FIELDS if (member := getattr(self, name)) not in (None, ())}
        return orjson.dumps(given).decode() if given else None

    @staticmethod
    def from_json(text: str | None) -> Details:
        """The inverse of `to_json`."""
        if text is None:
            return NO_DETAILS
        given = orjson.loads(text)
        given["tags"] = tuple(given.get("tags", ()))
        return Details(**given)


_DETAIL_FIELDS: Final = ("description", "tags", "retry", "run_in", "unique_key", "schedule", "slot")
NO_DETAILS: Final = Details()


@value
class JobSpec:
    """What a job is: set at enqueue, encoded once, never rewritten."""

    id: str
    type: str
    payload: str  # one JSON object
    queue: str
    priority: int  # an index into PRIORITIES
    front: int  # 0, or minus the instant at which it was put in front: the newest sorts first
    max_attempts: int
    timeout: float | None  # seconds
    created_at: int
    owner: str | None
    details: Details


@value
class Standing:
    """Where a job stands: a few small fields, replaced as a whole by `lifecycle.advance` and by nothing else."""

    seq: int  # the store's own sequence number; 0 until the store has given one
    state: State
    version: int  # grows by one at every step; a write with an old version changes nothing; numbers the events
    attempt: int  # failures and timeouts so far
    runs: int  # claims so far: the fence
    crashes: int  # processes that died holding it
    run_at: int
    started_at: int | None  # of the last claim
    finished_at: int | None
    holder: str | None  # the process that has claimed it


@value(kw_only=True)
class AttemptError:
    """What one attempt raised. `children` are the members of an exception group, kept as a tree."""

    attempt: int
    type: str
    message: str
    traceback: str = ""
    started_at: int | None = None
    failed_at: int | None = None
    children: tuple[AttemptError, ...] = ()

    def to_json(self) -> str:
        """One JSON object; the inverse of `from_json`."""
        return orjson.dumps(self.as_dict()).decode()

    def as_dict(self) -> dict[str, Any]:
        """The error as a JSON-ready dict, children included."""
        return {
            "attempt": self.attempt,
            "type": self.type,
            "message": self.message,
            "traceback": self.traceback,
            "started_at": self.started_at,
            "failed_at": self.failed_at,
            "children": [child.as_dict() for child in self.children],
        }

    @staticmethod
    def from_json(text: str) -> AttemptError:
        """The inverse of `to_json`."""
        return AttemptError.from_dict(orjson.loads(text))

    @staticmethod
    def from_dict(given: dict[str, Any]) -> AttemptError:
        """The inverse of `as_dict`."""
        children = tuple(AttemptError.from_dict(child) for child in given["children"])
        return AttemptError(**{**given, "children": children})


@value(kw_only=True)
class Progress:
    """How far a body says it is: `done` of `total` (None: unknown), with a word for people."""

    done: float
    total: float | None = None
    message: str | None = None

    @property
    def percent(self) -> float | None:
        """0 to 100, clamped; None when the total is unknown. A total of nothing is all done."""
        if self.total is None:
            return None
        if self.total <= 0:
            return 100.0
        return min(100.0, max(0.0, 100.0 * self.done / self.total))


@value(kw_only=True)
class LogLine:
    """One line a body kept with its job."""

    at: int
    run: int
    text: str


@value
class JobRecord:
    """A job as it can be looked at: its spec, its standing, and what is kept beside them. A snapshot: it does not
    change.
    """

    spec: JobSpec
    standing: Standing
    result_json: str | None = None
    errors: tuple[AttemptError, ...] = ()
    progress: Progress | None = None
    log: tuple[LogLine, ...] = ()
    saved_json: str | None = None  # the durable cursor of `ctx.save`
    stop: Reason | None = None  # a running job that was asked to stop, and why

    @property
    def id(self) -> str:
        """UUIDv7 text, or the caller's own."""
        return self.spec.id

    @property
    def type(self) -> str:
        """The registered name of the job's type."""
        return self.spec.type

    @property
    def payload(self) -> dict[str, Any]:
        """The payload as JSON values (decoded anew at each call)."""
        decoded: dict[str, Any] = orjson.loads(self.spec.payload)
        return decoded

    @property
    def result(self) -> Any:
        """The result as JSON values; None when there is none."""
        return None if self.result_json is None else orjson.loads(self.result_json)

    @property
    def state(self) -> State:
        """One of `STATES`."""
        return self.standing.state

    @property
    def status(self) -> Status:
        """The coarse word of the wire."""
        return STATUS[self.standing.state]

    @property
    def queue(self) -> str:
        """The queue's name."""
        return self.spec.queue

    @property
    def priority(self) -> Priority:
        """`low`, `normal`, `high` or `critical`."""
        return PRIORITIES[self.spec.priority]

    @property
    def attempt(self) -> int:
        """Failures and timeouts so far (0 while it runs for the first time)."""
        return self.standing.attempt

    @property
    def max_attempts(self) -> int:
        """How many attempts may fail before the job is dead."""
        return self.spec.max_attempts

    @property
    def runs(self) -> int:
        """How often it was claimed: a fence that only grows."""
        return self.standing.runs

    @property
    def crashes(self) -> int:
        """How many processes died while they held it."""
        return self.standing.crashes

    @property
    def version(self) -> int:
        """Grows by one at every step of its life."""
        return self.standing.version

    @property
    def owner(self) -> str | None:
        """The user it belongs to."""
        return self.spec.owner

    @property
    def timeout(self) -> float | None:
        """Seconds an attempt may take; None: no limit."""
        return self.spec.timeout

    @property
    def description(self) -> str | None:
        """A sentence for people."""
        return self.spec.details.description

    @property
    def tags(self) -> tuple[str, ...]:
        """Words to find it by."""
        return self.spec.details.tags

    @property
    def created_at(self) -> datetime:
        """When it was accepted."""
        return moment(self.spec.created_at)

    @property
    def run_at(self) -> datetime:
        """Not before this instant."""
        return moment(self.standing.run_at)

    @property
    def started_at(self) -> datetime | None:
        """When it was last claimed."""
        return None if self.standing.started_at is None else moment(self.standing.started_at)

    @property
    def finished_at(self) -> datetime | None:
        """When it reached a final state."""
        return None if self.standing.finished_at is None else moment(self.standing.finished_at)

    @property
    def duration(self) -> float | None:
        """Seconds from the last claim to the end; None while it has not finished or never ran."""
        standing = self.standing
        if standing.finished_at is None or standing.started_at is None:
            return None
        return max(0.0, (standing.finished_at - standing.started_at) / 1e6)

    @property
    def error(self) -> AttemptError | None:
        """The last attempt's error."""
        return self.errors[-1] if self.errors else None
