"""The calls about dead letters: list and search, run again one by one or in bulk, delete. Users see and touch their
own.
"""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import Response

from actors.core.errors import BadOption
from actors.server.ask import Ask, answer
from actors.server.call import (
    AFTER,
    COUNT,
    LIMIT,
    TEXT,
    TIME,
    YES,
    Call,
    list_of,
    nullable,
    obj,
    ref,
    text_filter,
)
from actors.server.calls.jobs import ACTED, acted, visible
from actors.server.problems import FieldErrors
from actors.server.query import LONGEST
from actors.server.wire import dead_letter_json

BULK_PATIENCE: Final = 12.0  # times the usual: 500 are replayed per commit


async def list_dead(ask: Ask) -> Response:
    """`GET /dead-letters`: the newest death first."""
    query = ask.query
    type, queue, owner, text = query.text("type"), query.text("queue"), query.text("owner"), query.text("text")
    limit, after = query.number("limit", 100), query.cursor()
    query.done()
    if not ask.caller.is_admin:
        if owner not in (None, ask.caller.owner):
            return answer({"deadLetters": [], "after": None})
        owner = ask.caller.owner
    page = await ask.system.dead_letters.list(limit=limit, after=after, type=type, queue=queue, owner=owner, text=text)
    letters = [dead_letter_json(record, ask.system.registry) for record in page.jobs]
    return answer({"deadLetters": letters, "after": page.after})


async def retry_one(ask: Ask) -> Response:
    """`POST /dead-letters/{id}/retry`."""
    ask.query.done()
    await visible(ask)
    return answer(acted(await ask.system.dead_letters.retry(ask.path["id"]), "Job queued again"))


async def retry_all(ask: Ask) -> Response:
    """`POST /dead-letters/retry`: all that match the body's `type`, `queue` and `owner`; without a body all."""
    ask.query.done()
    body = await ask.optional_object()
    errors = FieldErrors()
    filters: dict[str, str | None] = {"type": None, "queue": None, "owner": None}
    for name, given in body.items():
        if name not in filters:
            errors.add(name, "unknown field")
        elif not isinstance(given, str) or not 0 < len(given) <= LONGEST:
            errors.add_option(BadOption(name, given, f"1 to {LONGEST} characters"))
        else:
            filters[name] = given
    errors.raise_if_any()
    if not ask.caller.is_admin:
        if filters["owner"] not in (None, ask.caller.owner):
            return answer({"success": True, "retried": 0})
        filters["owner"] = ask.caller.owner
    ask.be_patient(BULK_PATIENCE)
    retried = await ask.system.dead_letters.retry_all(
        type=filters["type"], queue=filters["queue"], owner=filters["owner"]
    )
    return answer({"success": True, "retried": retried})


async def delete(ask: Ask) -> Response:
    """`DELETE /dead-letters/{id}`: forgotten for good."""
    ask.query.done()
    await visible(ask)
    await ask.system.dead_letters.delete(ask.path["id"])
    return answer({"success": True, "jobId": ask.path["id"]})


_LETTER: Final = obj({"job": ref("Job"), "error": nullable(TEXT), "failedAt": nullable(TIME)})
_FILTERS: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        name: {"type": "string", "minLength": 1, "maxLength": LONGEST} for name in ("type", "queue", "owner")
    },
    "additionalProperties": False,
}
CALLS: Final = (
    Call(
        method="GET",
        path="/dead-letters",
        handler=list_dead,
        summary="The jobs that failed for good, newest first",
        tag="dead letters",
        answer=obj({"deadLetters": list_of(_LETTER), "after": nullable(TEXT)}),
        query=(
            text_filter("type", "the job type"),
            text_filter("queue", "the queue"),
            text_filter("owner", "whose it is (administrators)"),
            text_filter("text", "a part of the id, the type or the error"),
            LIMIT,
            AFTER,
        ),
        errors=(422,),
    ),
    Call(
        method="POST",
        path="/dead-letters/retry",
        handler=retry_all,
        summary="Run all dead letters that match again",
        tag="dead letters",
        answer=obj({"success": YES, "retried": COUNT}),
        body=_FILTERS,
        body_required=False,
        errors=(400, 413, 415, 422),
    ),
    Call(
        method="POST",
        path="/dead-letters/{id}/retry",
        handler=retry_one,
        summary="Run a dead letter again, its attempts counted from 0",
        tag="dead letters",
        answer=ACTED,
        errors=(404, 409),
    ),
    Call(
        method="DELETE",
        path="/dead-letters/{id}",
        handler=delete,
        summary="Forget a dead letter for good",
        tag="dead letters",
        answer=obj({"success": YES, "jobId": TEXT}),
        errors=(404, 409),
    ),
)
