"""What happened, as facts for whoever listens: one `Event` a step of a job's life, numbered by the job's version."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from actors.core.job import JobRecord, Standing, moment
from actors.core.lifecycle import Step
from actors.core.value import value

NAMES: Final[Mapping[Step, str]] = {
    "promote": "job:ready",
    "claim": "job:started",
    "complete": "job:completed",
    "retry": "job:failed",  # and will be retried
    "snooze": "job:snoozed",
    "give_back": "job:interrupted",
    "lose": "job:lost",
    "bury": "job:dead",
    "discard": "job:dead",
    "quarantine": "job:dead",
    "cancel": "job:cancelled",
    "replay": "job:replayed",
}
QUEUED: Final = "job:queued"
PROGRESS: Final = "job:progress"
GAP: Final = "gap"
LOOP_BLOCKED: Final = "loop_blocked"  # something held the event loop up: `seconds` and `stack` in `data`


@value(kw_only=True)
class Event:
    """One fact. `job`, `type`, `queue`, `owner`, `state` and `version` are there for `job:*`; `data` holds what else
    belongs to it.

    `gap` says that this subscriber was too slow: `data["missed"]` events were dropped for it.
    """

    name: str
    at: int  # microseconds since the epoch
    job: str | None = None
    type: str | None = None
    queue: str | None = None
    owner: str | None = None
    state: str | None = None
    version: int | None = None
    data: Mapping[str, Any] = {}

    @property
    def time(self) -> datetime:
        """When it happened, as an aware UTC datetime."""
        return moment(self.at)


def job_event(name: str, job: JobRecord, standing: Standing, at: int, **data: Any) -> Event:
    """The fact `name` about `job`, which stands as `standing` since `at`."""
    spec = job.spec
    return Event(
        name=name,
        at=at,
        job=spec.id,
        type=spec.type,
        queue=spec.queue,
        owner=spec.owner,
        state=standing.state,
        version=standing.version,
        data=data,
    )
