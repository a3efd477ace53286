"""Health, for probes: no token needed, and nothing told but whether it is well. The audit is for administrators."""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import Response

from actors import Audit
from actors.core.job import STATES
from actors.server.access import forbidden
from actors.server.ask import Ask, answer
from actors.server.call import COUNT, FLAG, TEXT, Call, Parameter, list_of, obj
from actors.server.problems import RETRY_AFTER, Problem

AUDIT_PATIENCE: Final = 12.0  # times the usual: an audit walks all jobs


async def alive(ask: Ask) -> Response:
    """`GET /healthz`: a message goes round through every actor but the busy workers. 503 when it is late.

    `degraded` is alive: the process needs help, not to be killed.
    """
    query = ask.query
    wants_audit = query.flag("audit")
    query.done()
    if wants_audit and not (await ask.identify()).is_admin:
        raise forbidden()
    health = await ask.system.health()
    if health.status == "unresponsive":
        raise Problem(503, "late", "Not every actor answers", headers={"Retry-After": RETRY_AFTER})
    said: dict[str, Any] = {"status": health.status}
    if health.reasons:
        said["reasons"] = list(health.reasons)
    if wants_audit:
        ask.be_patient(AUDIT_PATIENCE)
        said["audit"] = audit_as_json(await ask.system.audit())
    return answer(said)


async def ready(ask: Ask) -> Response:
    """`GET /readyz`: alive, and the store takes commits."""
    ask.query.done()
    await ask.system.ping()
    await ask.system.check_store()
    return answer({"status": "ready"})


def audit_as_json(audit: Audit) -> dict[str, Any]:
    """An audit as JSON values."""
    return {
        "ok": audit.ok,
        "accepted": audit.accepted,
        "deleted": audit.deleted,
        "states": dict(audit.states),
        "checked": audit.checked,
        "found": audit.found,
        "problems": list(audit.problems),
    }


_AUDIT: Final = obj(
    {
        "ok": FLAG,
        "accepted": COUNT,
        "deleted": COUNT,
        "states": obj(dict.fromkeys(STATES, COUNT)),
        "checked": COUNT,
        "found": COUNT,
        "problems": list_of(TEXT),
    }
)
CALLS: Final = (
    Call(
        method="GET",
        path="/healthz",
        handler=alive,
        summary="Whether every actor answers",
        tag="health",
        answer=obj(
            {"status": {"enum": ["ok", "degraded"]}, "reasons": list_of(TEXT), "audit": _AUDIT},
            optional=("reasons", "audit"),
        ),
        query=(
            Parameter(
                "audit",
                {"type": "string", "enum": ["0", "1"]},
                "1: count all jobs again, and say whether that adds up; for administrators",
            ),
        ),
        access="anyone",
        errors=(401, 403),
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
