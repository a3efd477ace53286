"""What happened, as facts for whoever listens: one `Event` a step of a job's life, numbered by the job's version."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from actors.core.errors import BadOption
from actors.core.job import moment
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
LONGEST_CURSOR: Final = 40  # characters
LOOP_BLOCKED: Final = "loop_blocked"  # something held the event loop up: `seconds` and `stack` in `data`


@value
class Cursor:
    """A place in the log of all steps: after the step of this number, in the log that was opened at the instant `log`.

    A log ends when nobody has read it for a while; the next one counts from one again.
    """

    log: int
    number: int

    def __str__(self) -> str:
        return f"{self.log}.{self.number}"

    @staticmethod
    def parse(text: object) -> Cursor:
        """The inverse of `str`; `BadOption` for what no event carries."""
        if isinstance(text, str) and len(text) <= LONGEST_CURSOR and text.isascii():
            log, _, number = text.partition(".")
            if log.isdigit() and number.isdigit():
                return Cursor(int(log), int(number))
        raise BadOption("after", text, "the cursor of an event")


@value(kw_only=True)
class Event:
    """One fact. `job`, `type`, `queue`, `owner`, `state` and `version` are there for `job:*`; `data` holds what else
    belongs to it.

    `cursor` is there for `job:*`, which come from all processes of a store in the order of their commits: a new
    subscription can go on after it. Anything else is told by the process in which it happened, and can't be told again.

    `gap` says that this subscriber has missed something: `data["missed"]` events were dropped because it was too slow,
    or (None) as many as nobody can tell, because the log does not go back as far.
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
    cursor: str | None = None

    @property
    def time(self) -> datetime:
        """When it happened, as an aware UTC datetime."""
        return moment(self.at)
