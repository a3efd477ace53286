"""The OpenAPI 3.1 document: every call with its answers, and the schemas of all registered job types."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final

from actors.core.definition import JobDefinition
from actors.core.job import PRIORITIES
from actors.core.registry import Registry
from actors.server.call import TEXT, TIME, Call, ref
from actors.server.problems import MEDIA_TYPE
from actors.server.schema import payload_schema
from actors.server.schemas import JOB, PROBLEM, QUEUE, TASK
from actors.server.submission import NESTED
from actors.server.wire import collisions

Schema = Mapping[str, Any]
_PARAMETER: Final = re.compile(r"\{(\w+)(:path)?\}")
_SECONDS: Final[Schema] = {"type": "number", "minimum": 0, "maximum": 316_224_000}

OPTIONS: Final[Mapping[str, Schema]] = {
    "priority": {"enum": list(PRIORITIES)},
    "maxAttempts": {"type": "integer", "minimum": 1, "maximum": 1_000_000},
    "delay": {**_SECONDS, "description": "seconds; excludes runAt"},
    "runAt": {**TIME, "description": "not before this time, with a zone"},
    "queue": {"type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,99}$"},
    "timeout": {
        **_SECONDS,
        "exclusiveMinimum": 0,
        "type": ["number", "null"],
        "description": "seconds for one attempt",
    },
    "uniqueKey": {
        "type": "string",
        "minLength": 1,
        "maxLength": 200,
        "description": "while a job of this type has this key and is unfinished, another one is not made",
    },
    "tags": {"type": "array", "items": {"type": "string", "minLength": 1, "maxLength": 100}, "maxItems": 20},
    "description": {"type": ["string", "null"], "maxLength": 1_000},
    "jobId": {
        "type": "string",
        "pattern": "^[A-Za-z0-9][A-Za-z0-9._:@+-]{0,127}$",
        "description": "your own id: repeating the call is safe",
    },
}
_ABOUT: Final = (
    "Jobs are kept safe, run later, retried with back-off; the hopeless ones are kept to be looked at. "
    "Bodies are strict JSON in UTF-8: no key twice, no NaN, integers within 64 bits, numbers in range, no NUL and no "
    "lone surrogate, 32 levels at most; anything else is a 400 whatever a schema says."
)
_ONE_JOB_ONLY: Final = ("delay", "runAt", "jobId")


def openapi(calls: Iterable[Call], registry: Registry, version: str) -> dict[str, Any]:
    """The document for these calls and job types."""
    paths: dict[str, dict[str, Any]] = {}
    for call in calls:
        path = _PARAMETER.sub(r"{\1}", call.path)
        paths.setdefault(path, {})[call.method.lower()] = _operation(call)
    schemas: dict[str, Any] = {
        "Job": JOB,
        "Task": TASK,
        "Queue": QUEUE,
        "Problem": PROBLEM,
        "Options": _object(OPTIONS),
        "ScheduleOptions": _object({name: schema for name, schema in OPTIONS.items() if name not in _ONE_JOB_ONLY}),
        "JobType": {"type": "string", "enum": list(registry)} if len(registry) else TEXT,
    }
    submissions: list[Schema] = []
    for definition in (registry[name] for name in registry):
        submissions.extend(_submissions(definition, schemas))
    schemas["Submission"] = {"anyOf": submissions} if submissions else {"type": "object"}
    schemas["TypeAndData"] = _types_and_data(submissions)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "trio-actors",
            "version": version,
            "description": _ABOUT,
        },
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "servers": [{"url": "/"}],
        "security": [{"token": []}, {}],
        "tags": [{"name": tag} for tag in dict.fromkeys(call.tag for call in calls)],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "from `actors token create`; a server without tokens serves this machine only",
                }
            },
        },
    }


def _operation(call: Call) -> dict[str, Any]:
    made: dict[str, Any] = {"summary": call.summary, "operationId": _operation_id(call), "tags": [call.tag]}
    if call.access == "admin":
        made["description"] = "For administrators."
    parameters: list[Schema] = [
        {"name": name, "in": "path", "required": True, "schema": TEXT} for name, _ in _PARAMETER.findall(call.path)
    ]
    parameters += [
        {"name": each.name, "in": "query", "required": False, "schema": each.schema, "description": each.description}
        for each in call.query
    ]
    if call.method == "POST" and call.path in ("/jobs", "/jobs/batch"):
        parameters.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "schema": {"type": "string", "pattern": "^[!-~](?:[ -~]{0,198}[!-~])?$"},
                "description": "a repeat with the same key and body answers with the same job, for 24 hours",
            }
        )
    if parameters:
        made["parameters"] = parameters
    if call.body is not None:
        content: dict[str, Any] = {"schema": call.body}
        if call.example is not None:
            content["example"] = call.example
        made["requestBody"] = {"required": call.body_required, "content": {"application/json": content}}
    made["responses"] = _responses(call)
    if call.access == "anyone":
        made["security"] = []
    return made


def _operation_id(call: Call) -> str:
    words = re.findall(r"[a-z]+", _PARAMETER.sub(lambda found: f"by/{found[1]}", call.path))
    return call.method.lower() + "".join(word.capitalize() for word in words or ["index"])


def _responses(call: Call) -> dict[str, Any]:
    made: dict[str, Any] = {
        str(call.status): {
            "description": HTTPStatus(call.status).phrase,
            "content": {"application/json": {"schema": call.answer}},
        }
    }
    if call.status in (201, 202) and call.path != "/jobs/batch":
        made[str(call.status)]["headers"] = {"Location": {"schema": TEXT, "description": "where it can be looked at"}}
    if call.method == "DELETE" and call.path == "/jobs/{id}":
        made["202"] = {**made["200"], "description": "It runs, and was asked to stop"}
    always = {500, 503} if call.access == "anyone" else {401, 403, 422, 500, 503}
    if call.query or call.access != "anyone":
        always |= {400, 422}  # a query string that is none, and one that says what is not asked for
    if call.access == "caller":
        always -= {403}
    if call.method != "GET":
        always |= {403, 408}
    for status in sorted(always | set(call.errors)):
        problem = {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {"schema": ref("Problem")}}}
        if status in (429, 503):
            problem["headers"] = {"Retry-After": {"schema": TEXT, "description": "seconds"}}
        if status == 401:
            problem["headers"] = {"WWW-Authenticate": {"schema": TEXT}}
        made[str(status)] = problem
    return made


def _submissions(definition: JobDefinition, schemas: dict[str, Any]) -> Iterable[Schema]:
    name = re.sub(r"[^A-Za-z0-9._-]", "_", definition.name)
    while f"{name}.payload" in schemas:  # two names that differ in a character which a component's name can't have
        name += "_"
    nested_in = f"{name}.payload."
    payload = payload_schema(definition, refs=f"#/components/schemas/{nested_in}")
    for inner, schema in payload.pop("$defs", {}).items():
        schemas[nested_in + inner] = schema
    schemas[f"{name}.payload"] = payload
    type = {"const": definition.name}
    nested = {
        "title": f"{definition.name} (nested)",
        "type": "object",
        "properties": {"type": type, "data": ref(f"{name}.payload"), "options": ref("Options")},
        "required": ["type", "data"] if payload.get("required") else ["type"],
        "additionalProperties": False,
    }
    if definition.options.description:
        nested["description"] = definition.options.description
    if collisions(definition):
        return [nested]
    flat = {
        **nested,
        "title": definition.name,
        "properties": {"type": type, **payload["properties"], **OPTIONS},
        "required": ["type", *payload.get("required", [])],
    }
    return [flat, nested]


def _types_and_data(submissions: Iterable[Schema]) -> Schema:
    """The payload that goes with each type, of what is sent nested."""
    found: list[Schema] = [
        {"properties": {name: one["properties"][name] for name in ("type", "data")}, "required": one["required"]}
        for one in submissions
        if one["properties"].keys() == NESTED
    ]
    return {"anyOf": found} if found else {}


def _object(properties: Mapping[str, Schema]) -> Schema:
    return {"type": "object", "properties": dict(properties), "additionalProperties": False}
