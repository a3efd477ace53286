"""The calls about queues, for administrators: look, pause, resume, change the number of workers."""

from __future__ import annotations

from typing import Any, Final, cast

from starlette.responses import Response

from actors import QueueInfo
from actors.core.errors import NotFound, quote
from actors.server.ask import Ask, answer
from actors.server.call import FLAG, TEXT, YES, Call, list_of, obj, ref
from actors.server.problems import FieldErrors, Problem, clip, not_found

MOST_WORKERS: Final = 10_000


async def list_queues(ask: Ask) -> Response:
    """`GET /queues`."""
    ask.query.done()
    return answer({"queues": [queue_json(info) for info in await ask.system.queues.list()]})


async def pause(ask: Ask) -> Response:
    """`POST /queues/{name}/pause`: nothing of it is claimed any more, in any process."""
    ask.query.done()
    name = (await _find(ask)).name
    await ask.system.queues[name].pause()
    return answer({"success": True, "queue": name, "paused": True})


async def resume(ask: Ask) -> Response:
    """`POST /queues/{name}/resume`."""
    ask.query.done()
    name = (await _find(ask)).name
    await ask.system.queues[name].resume()
    return answer({"success": True, "queue": name, "paused": False})


async def change(ask: Ask) -> Response:
    """`PATCH /queues/{name}`: how many workers this process has for it."""
    ask.query.done()
    name = (await _find(ask)).name
    body = await ask.object()
    errors = FieldErrors()
    workers = body.get("workers")
    if "workers" not in body:
        errors.add("workers", "required, but missing")
    elif not isinstance(workers, int) or isinstance(workers, bool) or not 0 <= workers <= MOST_WORKERS:
        errors.add("workers", f"expected a whole number from 0 to {MOST_WORKERS}, not {quote(workers)}")
    for other in body.keys() - {"workers"}:
        errors.add(other, "unknown field")
    errors.raise_if_any()
    try:
        ask.system.queues[name].set_workers(cast("int", workers))
    except NotFound:
        said = f"This process has no workers for queue {clip(name)}: start it with --queue NAME=N"
        raise Problem(409, "not-served", said) from None
    return answer(queue_json(await ask.system.queues[name].info()))


async def _find(ask: Ask) -> QueueInfo:
    name = ask.path["name"]
    for info in await ask.system.queues.list():
        if info.name == name:
            return info
    raise not_found("queue", name)


def queue_json(info: QueueInfo) -> dict[str, Any]:
    """A queue: `workers` and `active` are this process's."""
    return {
        "name": info.name,
        "workers": info.workers,
        "active": info.active,
        "paused": info.paused,
        "limit": info.limit,
        "pending": info.stats.pending,
        "scheduled": info.stats.scheduled,
        "running": info.stats.running,
        "completed": info.stats.completed,
        "failed": info.stats.dead,
        "cancelled": info.stats.cancelled,
    }


_CHANGE: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"workers": {"type": "integer", "minimum": 0, "maximum": MOST_WORKERS}},
    "required": ["workers"],
    "additionalProperties": False,
}
_DONE: Final = obj({"success": YES, "queue": TEXT, "paused": FLAG})

CALLS: Final = (
    Call(
        method="GET",
        path="/queues",
        handler=list_queues,
        summary="All queues",
        tag="queues",
        answer=obj({"queues": list_of(ref("Queue"))}),
        access="admin",
    ),
    Call(
        method="POST",
        path="/queues/{name:path}/pause",
        handler=pause,
        summary="Start no more jobs of a queue, in any process",
        tag="queues",
        answer=_DONE,
        access="admin",
        errors=(404,),
    ),
    Call(
        method="POST",
        path="/queues/{name:path}/resume",
        handler=resume,
        summary="Start jobs of a queue again",
        tag="queues",
        answer=_DONE,
        access="admin",
        errors=(404,),
    ),
    Call(
        method="PATCH",
        path="/queues/{name:path}",
        handler=change,
        summary="Change how many workers this process has for a queue",
        tag="queues",
        answer=ref("Queue"),
        body=_CHANGE,
        access="admin",
        errors=(400, 404, 409, 413, 415, 422),
        example={"workers": 8},
    ),
)
