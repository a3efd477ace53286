"""The calls about job types: which there are, and what each one's payload must look like."""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import Response

from actors.core.definition import JobDefinition
from actors.core.retry import policy_to_json
from actors.server.ask import Ask, answer
from actors.server.call import TEXT, Call, list_of, nullable, obj
from actors.server.problems import Problem, clip
from actors.server.schema import payload_schema
from actors.server.wire import collisions


async def list_types(ask: Ask) -> Response:
    """`GET /types`."""
    ask.query.done()
    return answer({"types": list(ask.system.registry)})


async def get_type(ask: Ask) -> Response:
    """`GET /types/{type}`."""
    ask.query.done()
    definition = ask.system.registry.find(ask.path["type"])
    if definition is None:
        said = f"Unknown job type: {clip(ask.path['type'])}"
        raise Problem(404, "unknown-type", said, registeredTypes=list(ask.system.registry))
    return answer(type_json(definition))


def type_json(definition: JobDefinition) -> dict[str, Any]:
    """A type: the JSON Schema of its payload, its defaults, and whether its fields may be sent beside the options."""
    options = definition.options
    return {
        "type": definition.name,
        "description": options.description,
        "form": "nested" if collisions(definition) else "flat",
        "schema": {"$schema": "https://json-schema.org/draft/2020-12/schema", **payload_schema(definition)},
        "defaults": {
            "queue": options.queue,
            "priority": options.priority,
            "maxAttempts": options.max_attempts,
            "timeout": options.timeout,
            "tags": list(options.tags),
            "retry": _policy(options.retry),
        },
    }


def _policy(policy: Any) -> dict[str, Any]:
    if hasattr(type(policy), "__attrs_attrs__"):
        return policy_to_json(policy)
    return {"policy": "custom"}


_TYPE: Final = obj(
    {
        "type": TEXT,
        "description": nullable(TEXT),
        "form": {"enum": ["flat", "nested"]},
        "schema": {"type": "object", "description": "JSON Schema (2020-12) of the payload"},
        "defaults": {"type": "object"},
    }
)
CALLS: Final = (
    Call(
        method="GET",
        path="/types",
        handler=list_types,
        summary="The job types that this server knows",
        tag="types",
        answer=obj({"types": list_of(TEXT)}),
    ),
    Call(
        method="GET",
        path="/types/{type:path}",
        handler=get_type,
        summary="A job type: the JSON Schema of its payload, and its defaults",
        tag="types",
        answer=_TYPE,
        errors=(404,),
    ),
)
