"""The shapes that answers share, as JSON Schema: components of the OpenAPI document."""

from __future__ import annotations

from typing import Any, Final

from actors.core.job import PRIORITIES, STATES, STATUS
from actors.server.call import COUNT, FLAG, NUMBER, TEXT, TIME, Schema, list_of, nullable, obj

_ERROR: Final[dict[str, Any]] = dict(
    obj(
        {
            "attempt": COUNT,
            "type": TEXT,
            "message": TEXT,
            "traceback": TEXT,
            "startedAt": nullable(TIME),
            "failedAt": nullable(TIME),
            "children": {"type": "array", "items": {"type": "object"}, "description": "of an exception group"},
        },
        optional=("children",),
    )
)
JOB: Final[Schema] = {
    **obj(
        {
            "id": TEXT,
            "type": TEXT,
            "status": {"enum": sorted(set(STATUS.values()))},
            "state": {"enum": list(STATES)},
            "priority": {"enum": list(PRIORITIES)},
            "queue": TEXT,
            "attempts": {**COUNT, "description": "failures and timeouts so far"},
            "maxAttempts": COUNT,
            "createdAt": TIME,
            "runAt": TIME,
            "startedAt": nullable(TIME),
            "completedAt": nullable(TIME),
            "duration": nullable(NUMBER),
            "progress": {"type": "number", "minimum": 0, "maximum": 100},
            "result": {},
            "error": {**nullable(TEXT), "description": "the last"},
            "errors": list_of(_ERROR),
            "owner": nullable(TEXT),
            "description": nullable(TEXT),
            "tags": list_of(TEXT),
            "data": {
                "type": "object",
                "description": "the payload; its fields are beside these, too, where no name is taken",
            },
        }
    ),
    "additionalProperties": True,
}
PROBLEM: Final[Schema] = {
    **obj(
        {
            "type": {"type": "string", "format": "uri-reference"},
            "title": TEXT,
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": TEXT,
            "error": {"type": "string", "description": "the short text"},
            "errors": list_of(obj({"field": TEXT, "message": TEXT})),
            "registeredTypes": list_of(TEXT),
        },
        optional=("errors", "registeredTypes"),
    ),
    "description": "RFC 9457",
}
TASK: Final = obj(
    {
        "name": TEXT,
        "schedule": TEXT,
        "isRunning": FLAG,
        "runCount": COUNT,
        "errorCount": COUNT,
        "lastRun": nullable(TIME),
        "nextRun": nullable(TIME),
        "lastError": TEXT,
        "paused": FLAG,
    },
    optional=("lastError", "paused"),
)
QUEUE: Final = obj(
    {
        "name": TEXT,
        "workers": COUNT,
        "active": COUNT,
        "paused": FLAG,
        "limit": nullable(COUNT),
        "pending": COUNT,
        "scheduled": COUNT,
        "running": COUNT,
        "completed": COUNT,
        "failed": COUNT,
        "cancelled": COUNT,
    }
)
