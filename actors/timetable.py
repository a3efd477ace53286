"""What the scheduler knows of each schedule: stored ones (a job, kept in the store) and plain callables (kept by this
process).
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any, Final, Protocol, cast

import attrs
import orjson

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
    fire_time,
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


class Watched(Protocol):
    """A schedule that somebody looks after, stored or not."""

    timing: Timing
    coming: Coming | None

    @property
    def name(self) -> str:
        """The schedule's name."""
        ...

    @property
    def cursor(self) -> int:
        """Every slot up to this instant has been dealt with."""
        ...


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
    def name(self) -> str:
        """The schedule's name."""
        return self.record.name

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


def until(schedule: Watched, slot: int | None, now: int) -> float:
    """Seconds until `slot` fires, remembered: a pass costs nothing for a schedule whose time has not come."""
    at = None if slot is None else fire_time(schedule.name, schedule.timing, slot)
    schedule.coming = Coming(cursor=schedule.cursor, at=at)
    return math.inf if at is None else max(0.0, (at - now) / 1e6)


def quiet(schedule: Watched, now: int) -> float | None:
    """Seconds until the slot that was found the last time; None when it is time to look for due slots."""
    coming = schedule.coming
    if coming is None or coming.cursor != schedule.cursor or (coming.at is not None and coming.at <= now):
        return None
    return math.inf if coming.at is None else (coming.at - now) / 1e6
