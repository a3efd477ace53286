"""The OpenAPI document is valid and whole; every call of the other files is held against it."""

from __future__ import annotations

from typing import Any

import jsonschema
import openapi_spec_validator
import orjson

import actors
from actors.server.calls import CALLS
from actors.server.openapi import openapi


async def test_the_document_is_valid_and_has_every_call(serving: Any) -> None:
    async with serving("memory:") as served:
        document = await served.json("GET", "/openapi.json")
    openapi_spec_validator.validate(document)
    assert document["openapi"].startswith("3.1")
    operations = {(method, path) for path, methods in document["paths"].items() for method in methods}
    assert operations == {(call.method.lower(), call.path.replace(":path", "")) for call in CALLS}
    ids = [one["operationId"] for methods in document["paths"].values() for one in methods.values()]
    assert len(ids) == len(set(ids))
    for methods in document["paths"].values():
        for operation in methods.values():
            assert operation["summary"] and "503" in operation["responses"] and "500" in operation["responses"]


def test_every_job_type_has_its_schema_under_a_name_of_its_own() -> None:
    jobs = actors.Registry()
    for name in ("a.b", "a/b", "a:b", "a_b", "Job", "Problem"):

        @jobs.job(type=name)
        async def body(x: int) -> None: ...

    document = orjson.loads(orjson.dumps(openapi(CALLS[:1], jobs, "0")))
    openapi_spec_validator.validate(document)
    kinds = document["components"]["schemas"]["Submission"]["anyOf"]
    assert {kind["properties"]["type"]["const"] for kind in kinds} == set(jobs)
    assert "attempts" in document["components"]["schemas"]["Job"]["properties"]


def test_a_system_without_types_has_a_document_too() -> None:
    openapi_spec_validator.validate(orjson.loads(orjson.dumps(openapi(CALLS[:1], actors.Registry(), "0"))))


async def test_what_the_document_calls_a_submission_is_what_is_accepted(serving: Any) -> None:
    async with serving("memory:") as served:
        schema = {"$ref": "#/components/schemas/Submission", "components": served.document["components"]}
        validator = jsonschema.Draft202012Validator(schema)
        await served.call("POST", "/queues/default/pause")
        for body in (
            {"type": "echo", "text": "x"},
            {"type": "echo", "text": "x", "priority": "low", "tags": ["a"], "delay": 1.5, "timeout": None},
            {"type": "echo", "data": {"text": "x"}},
            {"type": "echo", "data": {"text": "x"}, "options": {"jobId": "n-1"}},
            {"type": "hold"},
            {"type": "hold", "data": {}},
            {"type": "geo/place:1", "at": {"x": 1}},
            {"type": "odd-fields", "data": {"priority": 1, "data": {}}},
            {"type": "odd-fields", "priority": 1, "data": {}},
            {"type": "echo"},
            {"type": "echo", "text": 1},
            {"type": "echo", "text": "x", "id": "y"},
            {"type": "echo", "text": "x", "delay": -1},
            {"type": "echo", "text": "x", "timeout": 0},
            {"type": "echo", "data": {"text": "x"}, "queue": "q"},
            {"type": "nope"},
            {"type": "geo/place:1", "at": {"y": 1}},
            [],
        ):
            answer = await served.http.post("/jobs", json=body)
            assert (answer.status_code == 202) == validator.is_valid(body), (body, answer.text)
