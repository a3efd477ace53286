"""Health, for probes: no token needed, and nothing told but whether it is well."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from actors.server.ask import Ask, answer
from actors.server.call import Call, obj


async def alive(ask: Ask) -> Response:
    """`GET /healthz`: a message goes round through every actor but the busy workers. 503 when it is late."""
    await ask.system.ping()
    return answer({"status": "ok"})


async def ready(ask: Ask) -> Response:
    """`GET /readyz`: alive, and the store takes commits."""
    await ask.system.ping()
    await ask.system.check_store()
    return answer({"status": "ready"})


CALLS: Final = (
    Call(
        method="GET",
        path="/healthz",
        handler=alive,
        summary="Whether every actor answers",
        tag="health",
        answer=obj({"status": {"const": "ok"}}),
        access="anyone",
    ),
    Call(
        method="GET",
        path="/readyz",
        handler=ready,
        summary="Whether the store takes jobs, too",
        tag="health",
        answer=obj({"status": {"const": "ready"}}),
        access="anyone",
    ),
)
