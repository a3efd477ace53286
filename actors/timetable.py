"""What the scheduler knows of each schedule: stored ones (a job, kept in the store) and plain callables (kept by this
process).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Final, cast

import attrs
import orjson
import trio

from actors.core.context import Job
from actors.core.errors import BadOption
from actors.core.job import moment
from actors.core.options import Options
from actors.core.registry import Registry
from actors.core.retry import policy_from_json, policy_to_json
from actors.core.schedule import (
    At,
    CronExpression,
    Every,
    Timing,
    next_slot,
    timing_from_json,
    timing_to_json,
)
from actors.core.unique import Unique
from actors.core.value import value
from actors.store.port import ScheduleRecord

NOT_STORED: Final = ("id", "run_at", "idempotency_key")  # a schedule makes many jobs: these name one


@value(kw_only=True)
class ScheduleInfo:
    """A schedule as it can be looked at. `job_type` None: a plain callable of this process."""

    name: str
    expression: str
    tz: str
    job_type: str | None
    owner: str | None
    is_running: bool
    paused: bool
    run_count: int
    error_count: int
    last_run: datetime | None
    next_run: datetime | None
    last_error: str | None


def expression(timing: Timing) -> str:
    """The `when` of a timing in words that `schedule` understands or a person reads."""
    match timing.when:
        case CronExpression(text=text):
            return text
        case Every(seconds=seconds):
            return f"every {seconds:g} s"
        case At(when=when):
            return f"at {when.isoformat()}"


@value(kw_only=True)
class Coming:
    """When the first slot after `cursor` fires (microseconds); None: there is none."""

    cursor: int
    at: int | None


@attrs.define(kw_only=True)
class Stored:
    """A stored schedule: its row, and what its definition says."""

    record: ScheduleRecord
    timing: Timing
    type: str
    payload: dict[str, Any]
    options: Options
    coming: Coming | None = None

    @property
    def cursor(self) -> int:
        """Every slot up to this instant has been dealt with."""
        return self.record.cursor

    @staticmethod
    def read(record: ScheduleRecord) -> Stored:
        """Decode a row that `definition` made."""
        given = orjson.loads(record.definition)
        options = given["options"]
        if "retry" in options:
            options["retry"] = policy_from_json(options["retry"])
        if "unique" in options:
            options["unique"] = Unique(**options["unique"])
        return Stored(
            record=record,
            timing=timing_from_json(given["timing"]),
            type=given["type"],
            payload=given["payload"],
            options=cast("Options", options),
        )

    def job(self, registry: Registry) -> Job[Any]:
        """A fresh job for one slot; `UnknownType` or `BadPayload` when this program can't make it."""
        return registry.from_json(self.type, self.payload)

    def redefined(self, timing: Timing) -> ScheduleRecord:
        """The row with another timing."""
        text = definition(timing, self.type, self.payload, self.options)
        return attrs.evolve(self.record, definition=text)

    def info(self, now: int, is_running: bool) -> ScheduleInfo:
        """As it can be looked at."""
        record = self.record
        spent = self.timing.limit is not None and record.fired >= self.timing.limit
        coming = None if record.paused or spent else next_slot(self.timing, max(record.cursor, now))
        return ScheduleInfo(
            name=record.name,
            expression=expression(self.timing),
            tz=self.timing.tz,
            job_type=self.type,
            owner=self.options.get("owner"),
            is_running=is_running,
            paused=record.paused,
            run_count=record.fired,
            error_count=record.errors,
            last_run=None if record.last_run is None else moment(record.last_run),
            next_run=None if coming is None else moment(coming),
            last_error=record.last_error,
        )


def definition(timing: Timing, type: str, payload: dict[str, Any], options: Options) -> str:
    """The JSON text under which a schedule is kept; `BadOption` for options that can't be kept."""
    kept: dict[str, Any] = dict(options)
    for name in NOT_STORED:
        if name in kept:
            raise BadOption(name, kept[name], "nothing: a schedule makes many jobs, and this names one")
    if kept.get("retry") is not None:
        kept["retry"] = policy_to_json(kept["retry"])
    unique = kept.get("unique")
    if unique is not None:
        if callable(unique.key):
            raise BadOption("unique key", unique.key, "text or None: a function can't be kept with a schedule")
        states = None if unique.states is None else sorted(unique.states)
        kept["unique"] = {**attrs.asdict(unique), "states": states}
    kept["tags"] = list(kept["tags"]) if "tags" in kept else []
    given = {"timing": timing_to_json(timing), "type": type, "payload": payload, "options": kept}
    return orjson.dumps(given, option=orjson.OPT_SORT_KEYS).decode()


@attrs.define(kw_only=True, eq=False)
class Local:
    """A plain callable on a schedule: it runs in this process and is not stored."""

    name: str
    timing: Timing
    call: Callable[[], Awaitable[object]]
    cursor: int
    coming: Coming | None = None
    paused: bool = False
    fired: int = 0
    errors: int = 0
    last_run: int | None = None
    last_error: str | None = None
    scopes: list[trio.CancelScope] = attrs.Factory(list)  # of its runs that have not ended
    queued: int = 0  # slots that wait for the run before them

    def info(self, now: int) -> ScheduleInfo:
        """As it can be looked at."""
        spent = self.timing.limit is not None and self.fired >= self.timing.limit
        coming = None if self.paused or spent else next_slot(self.timing, max(self.cursor, now))
        return ScheduleInfo(
            name=self.name,
            expression=expression(self.timing),
            tz=self.timing.tz,
            job_type=None,
            owner=None,
            is_running=bool(self.scopes),
            paused=self.paused,
            run_count=self.fired,
            error_count=self.errors,
            last_run=None if self.last_run is None else moment(self.last_run),
            next_run=None if coming is None else moment(coming),
            last_error=self.last_error,
        )
