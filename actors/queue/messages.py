"""What the queue is told, and what it tells the hub. Imperatives go in, facts come out; a request carries its reply
address.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from actors.core.errors import ActorsError
from actors.core.job import AttemptError, JobRecord
from actors.core.value import value
from actors.intake import Order
from actors.mailbox import Reply
from actors.queue.lane import Lane
from actors.store.port import Batch, Note, Outcome, ScheduleMove, ScheduleRecord


@value
class Accepted:
    """The answer to an enqueue: the job's id, and whether this enqueue made it."""

    id: str
    created: bool


@value(kw_only=True)
class Enqueue:
    """Insert these; answered once all are decided, one answer per order. `exempt`: whatever the queue's limit says."""

    orders: Sequence[Order]
    reply: Reply[list[Accepted | ActorsError]]
    exempt: bool = False


@value
class Ended:
    """What a worker says of one run that is over. `error` None: success, with `result` as JSON text (None: nothing
    returned).
    """

    job: JobRecord
    at: int
    result: str | None = None
    error: BaseException | None = None
    kept: AttemptError | None = None  # what to keep of the error
    children: Sequence[Order] = ()
    note: Note | None = None
    stuck: bool = False  # it ignored that it was stopped, or its thread is left to itself
    replaced: bool = False  # a `Stuck` was sent for it: its place is counted as free already


@value
class Report:
    """Runs of one queue are over; `take` gives them. One message stands for all that end before it is read: an item in
    the inbox for each body that suspends costs more than the body.
    """

    take: Callable[[], Reported]


@value
class Reported:
    """Runs that are over (at least one), and whether the last one's worker has seen a body suspend since it last
    reported.
    """

    ended: list[Ended]
    suspended: bool


@value
class Noted:
    """A running body said something; `take` gives what it said since it was last taken (None: taken already)."""

    take: Callable[[], Note | None]


@value
class Save:
    """Keep a body's cursor; answered once it is committed."""

    note: Note
    reply: Reply[None]


@value
class Stuck:
    """This job's body ignores that it was stopped: its place is free for another worker."""

    job: JobRecord


@value
class Act:
    """Cancel, replay or promote jobs by hand; one answer per id: the job as it then stands, or the error."""

    verb: Literal["cancel", "replay", "promote", "delete"]
    ids: Sequence[str]
    reply: Reply[list[JobRecord | ActorsError]]


@value
class Lost:
    """These running jobs' holders have vanished, or are this process and may have forgotten them: give them back."""

    jobs: Sequence[JobRecord]


@value
class Firing:
    """Due slots of one schedule: its cursor moves and their jobs are inserted, together or not at all."""

    move: ScheduleMove
    orders: Sequence[Order]


@value
class Fire:
    """Fire these, each by itself, in one commit. Answered with one truth per firing: whether the cursor was moved; it
    was not when another process was faster.
    """

    firings: Sequence[Firing]
    reply: Reply[list[bool]]


@value(kw_only=True)
class Keep:
    """Settings and schedules to keep; answered once committed."""

    reply: Reply[None]
    settings: Mapping[str, str | None] = {}
    schedules: Sequence[ScheduleRecord] = ()
    forget_schedules: Sequence[str] = ()
    moves: Sequence[ScheduleMove] = ()


@value
class Hire:
    """So many workers of a queue stand at the other end of these channels."""

    lane: Lane


@value
class Resize:
    """A queue has so many workers from now on."""

    queue: str
    capacity: int


@value
class Wake:
    """Another process may have changed something."""


@value
class Ping:
    """Answered by a tick."""

    reply: Reply[None]


@value
class Listen:
    """Somebody subscribes to events: have the log written from the next commit on; answered once it is."""

    reply: Reply[None]


@value
class StopClaiming:
    """The shutdown has begun: claim nothing more, take back what nobody has started, let idle workers end."""


@value
class Finish:
    """The last message."""


Message = (
    Enqueue
    | Report
    | Noted
    | Save
    | Stuck
    | Act
    | Lost
    | Fire
    | Keep
    | Hire
    | Resize
    | Wake
    | Ping
    | Listen
    | StopClaiming
    | Finish
)


@value
class Ticked:
    """A fact for the hub: this batch was committed, with this outcome."""

    batch: Batch
    outcome: Outcome
