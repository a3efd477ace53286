"""The calls about schedules. Administrators see all; a user sees, makes and changes their own, under names of their
own.

A user's schedule `nightly` is kept as `owner:nightly`, so that the names that others chose can't be found out.
"""

from __future__ import annotations

from typing import Any, Final, cast
from urllib.parse import quote as percent_encode

from starlette.responses import Response

from actors import ScheduleInfo
from actors.core.errors import quote
from actors.server.access import Caller
from actors.server.ask import Ask, answer
from actors.server.call import COUNT, FLAG, TEXT, YES, Call, list_of, obj, ref
from actors.server.problems import FieldErrors, Problem, clip, not_found, wrong_fields
from actors.server.submission import OF_A_SCHEDULE, read_job, read_type
from actors.server.timings import TIMING, TIMING_SCHEMA, checked, read_timing
from actors.server.wire import task_json

_MARK: Final = ":"  # between a user's name and the name of the user's schedule


async def list_tasks(ask: Ask) -> Response:
    """`GET /scheduler`."""
    ask.query.done()
    tasks = [task_json(info, name) for name, info in (await _visible(ask)).items()]
    return answer({"isRunning": not ask.system.stopping, "taskCount": len(tasks), "tasks": tasks})


async def get_task(ask: Ask) -> Response:
    """`GET /scheduler/{name}`."""
    ask.query.done()
    return answer(task_json(await _find(ask), ask.path["name"]))


async def create(ask: Ask) -> Response:
    """`POST /scheduler`: a job on a schedule."""
    ask.query.done()
    body = await ask.object()
    errors = FieldErrors()
    name = body.get("name")
    if not isinstance(name, str) or not 0 < len(name) <= 100 or not name.isprintable() or set(name) & {"/", _MARK}:
        errors.add("name", f"expected 1 to 100 printable characters without / and {_MARK}, not {quote(name)}")
    if "schedule" not in body:
        errors.add("schedule", "required, but missing")
    fields = read_timing(body, errors)
    for other in body.keys() - TIMING.keys() - {"name", "type", "data", "options"}:
        errors.add(other, "unknown field")
    type = read_type(body, ask.system.registry)
    try:
        submission = read_job(type, body, ask.system.registry, OF_A_SCHEDULE, ask.settings.max_payload)
    except Problem as problem:
        if problem.status != 422:
            raise
        raise wrong_fields([*errors.found, *problem.errors]) from None
    errors.raise_if_any()
    kept_as = _kept_as(ask.caller, cast("str", name))
    if len(kept_as) > 100:
        raise Problem(
            422,
            "wrong-fields",
            "name: too long",
            errors=[("name", f"expected at most {100 - len(kept_as) + len(cast('str', name))} characters")],
        )
    if any(info.name == kept_as for info in await ask.system.schedules.list()):
        raise Problem(409, "conflict", f"A task named {clip(name)} is there already: PATCH changes it")
    options = submission.options
    if ask.caller.owner is not None:
        options["owner"] = ask.caller.owner
    when = fields.pop("when")
    handle = await checked(ask.system.schedule(kept_as, when, submission.job, **fields, **options))
    return answer(
        task_json(await handle.info(), cast("str", name)),
        201,
        {"Location": f"/scheduler/{percent_encode(cast('str', name), safe='')}"},
    )


async def run(ask: Ask) -> Response:
    """`POST /scheduler/{name}/run`: once, now."""
    ask.query.done()
    info = await _find(ask)
    await ask.system.schedules[info.name].run()
    return answer({"success": True, "task": ask.path["name"]})


async def change(ask: Ask) -> Response:
    """`PATCH /scheduler/{name}`: another timing, or `paused`."""
    ask.query.done()
    info = await _find(ask)
    body = await ask.object()
    errors = FieldErrors()
    fields = read_timing(body, errors)
    for other in body.keys() - TIMING.keys() - {"paused"}:
        errors.add(other, "unknown field")
    paused = body.get("paused")
    if "paused" in body and not isinstance(paused, bool):
        errors.add("paused", f"expected a boolean, not {quote(paused)}")
    errors.raise_if_any()
    handle = ask.system.schedules[info.name]
    if fields:
        await checked(handle.change(**fields))
    if paused is not None:
        await (handle.pause() if paused else handle.resume())
    return answer(task_json(await handle.info(), ask.path["name"]))


async def remove(ask: Ask) -> Response:
    """`DELETE /scheduler/{name}`; the jobs that it made stay."""
    ask.query.done()
    info = await _find(ask)
    await ask.system.schedules[info.name].remove()
    return answer({"success": True, "task": ask.path["name"]})


async def _visible(ask: Ask) -> dict[str, ScheduleInfo]:
    """The schedules that exist for this caller, by the names that the caller knows them by."""
    caller = ask.caller
    found = await ask.system.schedules.list()
    if caller.is_admin:
        return {info.name: info for info in found}
    return {info.name.removeprefix(_kept_as(caller, "")): info for info in found if info.owner == caller.owner}


async def _find(ask: Ask) -> ScheduleInfo:
    name = ask.path["name"]
    info = (await _visible(ask)).get(name)
    if info is None:
        raise not_found("schedule", name)
    return info


def _kept_as(caller: Caller, name: str) -> str:
    return name if caller.is_admin else f"{caller.owner}{_MARK}{name}"


_CREATE: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": r"^[^/:\x00-\x1f\x7f-\x9f]{1,100}$"},
        "type": ref("JobType"),
        "data": {"type": "object", "default": {}, "description": "the payload"},
        "options": ref("ScheduleOptions"),
        **TIMING_SCHEMA,
    },
    "required": ["name", "schedule", "type"],
    "additionalProperties": False,
    "allOf": [ref("TypeAndData")],
}
_CHANGE: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "paused": FLAG,
        **{name: {k: v for k, v in schema.items() if k != "default"} for name, schema in TIMING_SCHEMA.items()},
    },
    "additionalProperties": False,
}
_DONE: Final = obj({"success": YES, "task": TEXT})

CALLS: Final = (
    Call(
        method="GET",
        path="/scheduler",
        handler=list_tasks,
        summary="All schedules",
        tag="scheduler",
        answer=obj({"isRunning": FLAG, "taskCount": COUNT, "tasks": list_of(ref("Task"))}),
    ),
    Call(
        method="POST",
        path="/scheduler",
        handler=create,
        summary="Put a job on a schedule",
        tag="scheduler",
        status=201,
        answer=ref("Task"),
        body=_CREATE,
        errors=(400, 409, 413, 415, 422),
        example={
            "name": "nightly-cleanup",
            "schedule": "30 2 * * *",
            "tz": "Europe/Berlin",
            "type": "cleanup",
            "data": {"directory": "/tmp/old", "maxAgeDays": 7},
        },
    ),
    Call(
        method="POST",
        path="/scheduler/{name}/run",
        handler=run,
        summary="Run a schedule now",
        tag="scheduler",
        answer=_DONE,
        errors=(404, 409),
    ),
    Call(
        method="GET",
        path="/scheduler/{name}",
        handler=get_task,
        summary="One schedule",
        tag="scheduler",
        answer=ref("Task"),
        errors=(404,),
    ),
    Call(
        method="PATCH",
        path="/scheduler/{name}",
        handler=change,
        summary="Change, pause or resume a schedule",
        tag="scheduler",
        answer=ref("Task"),
        body=_CHANGE,
        errors=(400, 404, 413, 415, 422),
        example={"paused": True},
    ),
    Call(
        method="DELETE",
        path="/scheduler/{name}",
        handler=remove,
        summary="Remove a schedule",
        tag="scheduler",
        answer=_DONE,
        errors=(404,),
    ),
)
