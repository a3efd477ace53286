"""`GET /jobs/stats`: the whole system for administrators; for a user the same answer as if no one else's jobs
existed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, Final

from starlette.responses import Response

from actors.core.job import PRIORITIES, JobRecord
from actors.server.ask import Ask, answer
from actors.server.call import COUNT, FLAG, TEXT, TIME, Call, list_of, nullable, obj
from actors.server.wire import time_text

PAGE: Final = 1_000
PATIENCE: Final = 6.0  # times the usual
MOST: Final = 100_000  # of a user's jobs that one call counts: the store has no counters per owner
_SIX: Final = ("pending", "scheduled", "running", "completed", "dead", "cancelled")


async def stats(ask: Ask) -> Response:
    """`GET /jobs/stats`."""
    ask.query.done()
    return answer(await (_all(ask) if ask.caller.is_admin else _own(ask)))


async def _all(ask: Ask) -> dict[str, Any]:
    system = ask.system
    counted = await system.stats()
    workers = [
        {
            "workerId": worker.id,
            "queue": worker.queue,
            "isRunning": not system.stopping,
            "activeJobs": 0 if worker.job is None else 1,
            "processedJobs": worker.processed,
            "jobId": worker.job,
        }
        for worker in system.workers()
    ]
    return {
        "queue": _queue(
            {state: getattr(counted, state) for state in _SIX},
            {word: counted.priorities[word].pending if word in counted.priorities else 0 for word in PRIORITIES},
            counted.enqueued,
        ),
        "worker": {
            "workerId": system.holder,
            "isRunning": not system.stopping,
            "activeJobs": sum(worker["activeJobs"] for worker in workers),
            "processedJobs": sum(worker["processedJobs"] for worker in workers),
            "lateReports": system.late_reports,
            "timestamp": time_text(system.now()),
        },
        "workers": workers,
        "queues": {
            name: _states({state: getattr(of_queue, state) for state in _SIX})
            for name, of_queue in counted.queues.items()
        },
    }


async def _own(ask: Ask) -> dict[str, Any]:
    ask.be_patient(PATIENCE)
    states: Counter[str] = Counter()
    ready: Counter[str] = Counter()
    queues: dict[str, Counter[str]] = {}
    async for record in own_jobs(ask):
        states[record.state] += 1
        ready[record.priority] += record.state == "pending"
        queues.setdefault(record.queue, Counter())[record.state] += 1
    return {
        "queue": _queue(states, ready, states.total()),
        "worker": {
            "workerId": ask.system.holder,
            "isRunning": not ask.system.stopping,
            "activeJobs": states["running"],
            "processedJobs": states["completed"] + states["dead"],
            "timestamp": time_text(ask.system.now()),
        },
        "workers": [],
        "queues": {name: _states(of_queue) for name, of_queue in sorted(queues.items())},
    }


async def own_jobs(ask: Ask) -> AsyncIterator[JobRecord]:
    """The caller's own jobs, newest first; the newest `MOST` of them."""
    after: str | None = None
    seen = 0
    while seen < MOST:
        page = await ask.system.find(owner=ask.caller.owner, limit=PAGE, after=after)
        for record in page.jobs:
            yield record
        seen += len(page.jobs)
        if (after := page.after) is None:
            return


def _queue(states: Any, ready: Any, enqueued: int) -> dict[str, Any]:
    processed = states["completed"] + states["dead"]
    rate = f"{states['completed'] / processed * 100:.1f}" if processed else "0.0"
    return {
        "pending": {
            "total": states["pending"],
            "critical": ready["critical"],
            "high": ready["high"],
            "normal": ready["normal"],
            "low": ready["low"],
        },
        "scheduled": states["scheduled"],
        "running": states["running"],
        "completed": states["completed"],
        "failed": states["dead"],
        "cancelled": states["cancelled"],
        "enqueued": enqueued,
        "processed": processed,
        "successRate": rate,
    }


def _states(states: Any) -> dict[str, int]:
    return {
        "pending": states["pending"],
        "scheduled": states["scheduled"],
        "running": states["running"],
        "completed": states["completed"],
        "failed": states["dead"],
        "cancelled": states["cancelled"],
    }


_FIVE: Final = dict.fromkeys(("scheduled", "running", "completed", "failed", "cancelled"), COUNT)
_WORKER: Final = {"workerId": TEXT, "isRunning": FLAG, "activeJobs": COUNT, "processedJobs": COUNT}
ANSWER: Final = obj(
    {
        "queue": obj(
            {
                "pending": obj(dict.fromkeys(("total", "critical", "high", "normal", "low"), COUNT)),
                **_FIVE,
                "enqueued": COUNT,
                "processed": COUNT,
                "successRate": {"type": "string", "pattern": r"^[0-9]+\.[0-9]$"},
            }
        ),
        "worker": obj({**_WORKER, "lateReports": COUNT, "timestamp": TIME}, optional=("lateReports",)),
        "workers": list_of(obj({**_WORKER, "queue": TEXT, "jobId": nullable(TEXT)})),
        "queues": {"type": "object", "additionalProperties": obj({"pending": COUNT, **_FIVE})},
    }
)
CALLS: Final = (
    Call(
        method="GET",
        path="/jobs/stats",
        handler=stats,
        summary="How many jobs there are, and how they ended",
        tag="jobs",
        answer=ANSWER,
    ),
)
