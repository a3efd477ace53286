"""The calls about jobs that are there: look, list, cancel, retry, promote."""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import Response

from actors.core.job import STATES, STATUS, JobRecord, State
from actors.server.ask import Ask, answer
from actors.server.call import AFTER, LIMIT, TEN, TEXT, YES, Call, Parameter, list_of, nullable, obj, ref, text_filter
from actors.server.query import STATES_PATTERN
from actors.server.wire import job_json, jobs_json, status_json

NOBODY: Final[dict[str, Any]] = {"jobs": [], "after": None}


async def find_jobs(ask: Ask) -> Response:
    """`GET /jobs`."""
    query = ask.query
    states, type, queue = query.states(), query.text("type"), query.text("queue")
    tag, owner = query.text("tag"), query.text("owner")
    limit, after = query.number("limit", 100), query.cursor()
    query.done()
    if not ask.caller.is_admin:
        if owner not in (None, ask.caller.owner):
            return answer(NOBODY)
        owner = ask.caller.owner
    page = await ask.system.find(states=states, type=type, queue=queue, tag=tag, owner=owner, limit=limit, after=after)
    return answer({"jobs": jobs_json(page.jobs, ask.system.registry), "after": page.after})


async def completed(ask: Ask) -> Response:
    """`GET /jobs/completed`."""
    return await _ended(ask, "completed")


async def failed(ask: Ask) -> Response:
    """`GET /jobs/failed`: the dead."""
    return await _ended(ask, "dead")


async def _ended(ask: Ask, state: State) -> Response:
    query = ask.query
    limit = query.number("limit", 10)
    query.done()
    owner = None if ask.caller.is_admin else ask.caller.owner
    page = await ask.system.find(states={state}, owner=owner, order="finished", limit=limit)
    return answer({"jobs": jobs_json(page.jobs, ask.system.registry)})


async def visible(ask: Ask) -> JobRecord:
    """The job that the path names, if it exists for this caller."""
    id = ask.path["id"]
    return ask.caller.check(await ask.system.get(id), id)


async def get_job(ask: Ask) -> Response:
    """`GET /jobs/{id}`."""
    ask.query.done()
    return answer(job_json(await visible(ask), ask.system.registry))


async def get_status(ask: Ask) -> Response:
    """`GET /jobs/{id}/status`."""
    ask.query.done()
    return answer({"success": True, "job": status_json(await visible(ask))})


async def cancel(ask: Ask) -> Response:
    """`DELETE /jobs/{id}`: 200 when it is cancelled, 202 when it runs and was asked to stop."""
    ask.query.done()
    await visible(ask)
    record = await ask.system.cancel(ask.path["id"])
    if record.state == "running":
        return answer(acted(record, "Job asked to stop"), 202)
    return answer(acted(record, "Job cancelled"))


async def retry(ask: Ask) -> Response:
    """`POST /jobs/{id}/retry`: dead or cancelled, from the start again."""
    ask.query.done()
    await visible(ask)
    return answer(acted(await ask.system.retry(ask.path["id"]), "Job queued again"))


async def promote(ask: Ask) -> Response:
    """`POST /jobs/{id}/promote`: scheduled, but now."""
    ask.query.done()
    await visible(ask)
    return answer(acted(await ask.system.promote(ask.path["id"]), "Job promoted"))


def acted(record: JobRecord, message: str) -> dict[str, Any]:
    """What the calls that change a job answer."""
    return {"success": True, "jobId": record.id, "state": record.state, "status": record.status, "message": message}


ACTED: Final = obj(
    {
        "success": YES,
        "jobId": TEXT,
        "state": {"enum": list(STATES)},
        "status": {"enum": sorted(set(STATUS.values()))},
        "message": TEXT,
    }
)
_PAGE: Final = obj({"jobs": list_of(ref("Job")), "after": nullable(TEXT)})
_STATUS: Final = obj(
    {
        "success": YES,
        "job": obj(
            {
                "id": TEXT,
                "state": {"enum": list(STATES)},
                "progress": {"type": "number", "minimum": 0, "maximum": 100},
                "data": {"type": "object"},
                "returnvalue": {},
            }
        ),
    }
)
_STATE: Final = Parameter(
    "state", {"type": "string", "pattern": STATES_PATTERN}, f"some of {', '.join(STATES)}, with commas between"
)
CALLS: Final = (
    Call(
        method="GET",
        path="/jobs",
        handler=find_jobs,
        summary="List jobs, newest first",
        tag="jobs",
        answer=_PAGE,
        query=(
            _STATE,
            text_filter("type", "the job type"),
            text_filter("queue", "the queue"),
            text_filter("tag", "one of its tags"),
            text_filter("owner", "whose it is (administrators)"),
            LIMIT,
            AFTER,
        ),
        errors=(422,),
    ),
    Call(
        method="GET",
        path="/jobs/completed",
        handler=completed,
        summary="The jobs that were completed last",
        tag="jobs",
        answer=obj({"jobs": list_of(ref("Job"))}),
        query=(TEN,),
        errors=(422,),
    ),
    Call(
        method="GET",
        path="/jobs/failed",
        handler=failed,
        summary="The jobs that died last",
        tag="jobs",
        answer=obj({"jobs": list_of(ref("Job"))}),
        query=(TEN,),
        errors=(422,),
    ),
    Call(
        method="GET",
        path="/jobs/{id}",
        handler=get_job,
        summary="One job, with all its errors",
        tag="jobs",
        answer=ref("Job"),
        errors=(404,),
    ),
    Call(
        method="DELETE",
        path="/jobs/{id}",
        handler=cancel,
        summary="Cancel a job, also a running one (202)",
        tag="jobs",
        answer=ACTED,
        errors=(404, 409),
    ),
    Call(
        method="GET",
        path="/jobs/{id}/status",
        handler=get_status,
        summary="A job's state, progress and result",
        tag="jobs",
        answer=_STATUS,
        errors=(404,),
    ),
    Call(
        method="POST",
        path="/jobs/{id}/retry",
        handler=retry,
        summary="Run a dead or cancelled job again",
        tag="jobs",
        answer=ACTED,
        errors=(404, 409),
    ),
    Call(
        method="POST",
        path="/jobs/{id}/promote",
        handler=promote,
        summary="Make a scheduled job ready now",
        tag="jobs",
        answer=ACTED,
        errors=(404, 409),
    ),
)
