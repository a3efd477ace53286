"""Records as the wire shows them: camelCase, times in UTC with a Z, the coarse `status` beside the `state`.

A payload is shown flat beside the record's own fields and under `data`; one whose fields collide with those is under
`data` only.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import attrs

from actors import ScheduleInfo
from actors.core.definition import JobDefinition
from actors.core.job import AttemptError, JobRecord, moment
from actors.core.registry import Registry
from actors.server.problems import clip

OPTION_NAMES: Final = (
    "priority",
    "maxAttempts",
    "delay",
    "runAt",
    "queue",
    "timeout",
    "uniqueKey",
    "tags",
    "description",
    "jobId",
)
_RECORD_NAMES: Final = (
    "id",
    "type",
    "status",
    "state",
    "priority",
    "queue",
    "attempts",
    "maxAttempts",
    "createdAt",
    "runAt",
    "startedAt",
    "completedAt",
    "duration",
    "progress",
    "result",
    "error",
    "errors",
    "owner",
    "description",
    "tags",
    "data",
)
RESERVED: Final = frozenset({*OPTION_NAMES, *_RECORD_NAMES, "options"})
"""Names that a payload field can't have at the top level of a body or a record."""


def time_text(when: datetime | None) -> str | None:
    """ISO 8601 in UTC with a Z and microseconds."""
    if when is None:
        return None
    return when.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


@lru_cache(maxsize=1024)
def collisions(definition: JobDefinition) -> tuple[str, ...]:
    """The payload fields of a type that take a name of the wire's: such a type is sent nested only."""
    return tuple(sorted(field.name for field in attrs.fields(definition.payload_class) if field.name in RESERVED))


def job_json(record: JobRecord, registry: Registry) -> dict[str, Any]:
    """The whole record."""
    data = record.payload
    definition = registry.find(record.type)
    is_flat = RESERVED.isdisjoint(data) and (definition is None or not collisions(definition))
    error = record.error
    own: dict[str, Any] = {
        "id": record.id,
        "type": record.type,
        "status": record.status,
        "state": record.state,
        "priority": record.priority,
        "queue": record.queue,
        "attempts": record.attempt,
        "maxAttempts": record.max_attempts,
        "createdAt": time_text(record.created_at),
        "runAt": time_text(record.run_at),
        "startedAt": time_text(record.started_at),
        "completedAt": time_text(record.finished_at),
        "duration": record.duration,
        "progress": progress(record),
        "result": record.result,
        "error": None if error is None else error_text(error),
        "errors": [error_json(each) for each in record.errors],
        "owner": record.owner,
        "description": record.description,
        "tags": list(record.tags),
        "data": data,
    }
    return {**data, **own} if is_flat else own


def jobs_json(records: Iterable[JobRecord], registry: Registry) -> list[dict[str, Any]]:
    """Many records."""
    return [job_json(record, registry) for record in records]


def status_json(record: JobRecord) -> dict[str, Any]:
    """The short answer of `GET /jobs/{id}/status`."""
    return {
        "id": record.id,
        "state": record.state,
        "progress": progress(record),
        "data": record.payload,
        "returnvalue": record.result,
    }


def progress(record: JobRecord) -> float:
    """0 to 100. What is completed is all done, whatever its body last said."""
    if record.state == "completed":
        return 100.0
    percent = None if record.progress is None else record.progress.percent
    return 0.0 if percent is None else round(percent, 2)


def error_text(error: AttemptError) -> str:
    """One line: the error's type and message."""
    return clip(f"{error.type}: {error.message}" if error.message else error.type, 1_000)


def error_json(error: AttemptError) -> dict[str, Any]:
    """One attempt's error; `children` are the members of an exception group."""
    made: dict[str, Any] = {
        "attempt": error.attempt,
        "type": error.type,
        "message": error.message,
        "traceback": error.traceback,
        "startedAt": None if error.started_at is None else time_text(moment(error.started_at)),
        "failedAt": None if error.failed_at is None else time_text(moment(error.failed_at)),
    }
    if error.children:
        made["children"] = [error_json(child) for child in error.children]
    return made


def dead_letter_json(record: JobRecord, registry: Registry) -> dict[str, Any]:
    """A dead job with its last error and the time it died."""
    error = record.error
    return {
        "job": job_json(record, registry),
        "error": None if error is None else error_text(error),
        "failedAt": time_text(record.finished_at),
    }


def task_json(info: ScheduleInfo, name: str) -> dict[str, Any]:
    """A schedule, under the name that this caller knows it by. `paused` is there while it is."""
    made: dict[str, Any] = {
        "name": name,
        "schedule": info.expression,
        "isRunning": info.is_running,
        "runCount": info.run_count,
        "errorCount": info.error_count,
        "lastRun": time_text(info.last_run),
        "nextRun": None if info.paused else time_text(info.next_run),
    }
    if info.last_error is not None:
        made["lastError"] = clip(info.last_error, 1_000)
    if info.paused:
        made["paused"] = True
    return made
