"""The calls that make jobs: one, or many at a time."""

from __future__ import annotations

from typing import Any, Final

import trio
from starlette.responses import Response

from actors.core.errors import ActorsError
from actors.core.job import PRIORITIES
from actors.core.options import Options
from actors.server.ask import IN_PLACE, Ask, answer
from actors.server.call import TEXT, YES, Call, list_of, obj, ref
from actors.server.problems import Problem, clip, problem_of
from actors.server.submission import Submission, read_submission

LONGEST_KEY: Final = 200  # characters of an Idempotency-Key
BATCH_PATIENCE: Final = 6.0  # times the usual
BREATH: Final = 100  # items of a batch that are read between two turns of the loop


async def enqueue(ask: Ask) -> Response:
    """`POST /jobs`."""
    key = _idempotency_key(ask)
    body = await ask.json()
    long = int(ask.headers.get("content-length") or IN_PLACE) >= IN_PLACE
    submission = read_submission(body, ask.system.registry, max_payload=ask.settings.max_payload if long else None)
    handle = await ask.system.enqueue(submission.job, **_options(ask, submission, key))
    type, priority = submission.type, _priority(ask, submission)
    if not handle.created:  # a repeat, or a unique key that is taken: the job that is there may differ
        record = await ask.system.get(handle.id)
        type, priority = record.type, record.priority
    made = {
        "success": True,
        "jobId": handle.id,
        "type": type,
        "priority": priority,
        "status": "queued",
        "message": "Job queued for processing",
    }
    return answer(made, 202, {"Location": f"/jobs/{handle.id}"})


async def enqueue_batch(ask: Ask) -> Response:
    """`POST /jobs/batch`: good ones in one transaction, each bad one with its error, in the order of the body."""
    key = _idempotency_key(ask)
    body = await ask.json(ask.settings.batch_max_body)
    if not isinstance(body, list):
        raise Problem(422, "wrong-fields", "expected a list of jobs", errors=[("", "expected a list")])
    if len(body) > ask.settings.max_batch:
        most = ask.settings.max_batch
        raise Problem(413, "batch-too-long", f"The batch has {len(body)} jobs: expected at most {most}", maxJobs=most)
    ask.be_patient(BATCH_PATIENCE)
    answers: list[dict[str, Any]] = [{} for _ in body]
    places: list[int] = []
    items: list[tuple[Any, Options]] = []
    for place, given in enumerate(body):
        if place % BREATH == BREATH - 1:
            await trio.lowlevel.checkpoint()
        try:
            submission = read_submission(given, ask.system.registry, max_payload=ask.settings.max_payload)
        except Problem as problem:
            answers[place] = _failed(problem)
            continue
        places.append(place)
        items.append((submission.job, _options(ask, submission, None if key is None else f"{key}#{place}")))
    handles = await ask.system.enqueue_batch(items) if items else []
    for place, handle in zip(places, handles, strict=True):
        if isinstance(handle, ActorsError):
            answers[place] = _failed(problem_of(handle))
        else:
            answers[place] = {"jobId": handle.id, "status": "enqueued"}
    return answer({"jobs": answers}, 202)


def _failed(problem: Problem) -> dict[str, Any]:
    said = problem.detail if problem.errors else problem.error
    return {"error": clip(said, 300), "status": "failed"}


def _idempotency_key(ask: Ask) -> str | None:
    if "idempotency-key" not in ask.headers:
        return None
    given = ask.headers.getlist("idempotency-key")
    if len(given) > 1 or not 0 < len(given[0]) <= LONGEST_KEY or not (given[0].isascii() and given[0].isprintable()):
        said = f"expected one header of 1 to {LONGEST_KEY} printable ASCII characters"
        raise Problem(422, "wrong-fields", f"Idempotency-Key: {said}", errors=[("Idempotency-Key", said)])
    return given[0]


def _options(ask: Ask, submission: Submission, key: str | None) -> Options:
    options = submission.options
    if ask.caller.owner is not None:
        options["owner"] = ask.caller.owner
    if key is not None:
        options["idempotency_key"] = key
    return options


def _priority(ask: Ask, submission: Submission) -> str:
    return submission.options.get("priority") or ask.system.registry[submission.type].options.priority


_QUEUED: Final = obj(
    {
        "success": YES,
        "jobId": TEXT,
        "type": TEXT,
        "priority": {"enum": list(PRIORITIES)},
        "status": {"const": "queued"},
        "message": TEXT,
    }
)
_BATCH: Final = obj(
    {
        "jobs": list_of(
            {
                "oneOf": [
                    obj({"jobId": TEXT, "status": {"const": "enqueued"}}),
                    obj({"error": TEXT, "status": {"const": "failed"}}),
                ]
            }
        )
    }
)
_EXAMPLE: Final = {"type": "send_email", "to": "test@example.com", "subject": "Test", "body": "Hello World"}

CALLS: Final = (
    Call(
        method="POST",
        path="/jobs",
        handler=enqueue,
        summary="Enqueue a job",
        tag="jobs",
        status=202,
        answer=_QUEUED,
        body=ref("Submission"),
        errors=(400, 409, 413, 415, 422, 429, 507),
        example=_EXAMPLE,
    ),
    Call(
        method="POST",
        path="/jobs/batch",
        handler=enqueue_batch,
        summary="Enqueue many jobs",
        tag="jobs",
        status=202,
        answer=_BATCH,
        body=list_of(ref("Submission")),
        errors=(400, 413, 415, 422, 507),
        example=[_EXAMPLE, {**_EXAMPLE, "to": "other@example.com", "priority": "low", "delay": 60}],
    ),
)
