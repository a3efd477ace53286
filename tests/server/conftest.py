"""A real server on a real loopback socket; every answer is held against the OpenAPI document that the server itself
gives.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx2
import jsonschema
import orjson
import pytest
import trio

import actors
from actors import jobs
from actors.server import Application, ServerSettings, bind, serve, url_of
from actors.server.access import LOOK_AGAIN
from actors.server.calls import CALLS
from actors.server.openapi import openapi
from actors.server.tokens import make_token


@attrs.define
class Doors:
    """Lets the bodies of the test's jobs wait for the test."""

    open: trio.Event = attrs.Factory(trio.Event)
    started: trio.Event = attrs.Factory(trio.Event)


@attrs.frozen
class Point:
    x: int
    y: int = 0


def make_registry(doors: Doors) -> actors.Registry:
    made = actors.Registry()

    @made.job(retry=actors.Fixed(0.01))
    async def echo(text: str, times: int = 1) -> str:
        return text * times

    @made.job(max_attempts=2, retry=actors.Fixed(0.01))
    async def fail(ctx: actors.JobContext, why: str = "on purpose") -> None:
        raise ValueError(why)

    @made.job(priority="high")
    async def hold(ctx: actors.JobContext) -> str:
        ctx.progress(1, total=4)
        doors.started.set()
        await doors.open.wait()
        return "held"

    @made.job(type="odd-fields")
    async def odd(priority: int, data: dict[str, int], id: str = "") -> int:
        return priority

    @made.job(type="geo/place:1")
    async def place(at: Point, tags_of_mine: list[str] | None = None) -> int:
        return at.x

    made.include(jobs.registry(jobs.Settings(email_failure_rate=0.0, email_delay=(0.0, 0.0))))
    return made


@attrs.define
class Served:
    """A server, and a client that believes nothing: `call` checks status, media type and shape of every answer."""

    system: actors.System
    app: Application
    url: str
    http: httpx2.AsyncClient
    document: dict[str, Any]
    doors: Doors
    token: str | None = None
    tokens: dict[str, str] = attrs.Factory(dict)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    async def call(
        self, method: str, path: str, expected: int = 200, *, token: str | None = None, **more: Any
    ) -> httpx2.Response:
        headers = dict(more.pop("headers", {}))
        if (token or self.token) is not None:
            headers.setdefault("authorization", f"Bearer {token or self.token}")
        answer = await self.http.request(method, path, headers=headers, **more)
        assert answer.status_code == expected, (method, path, answer.status_code, answer.text[:1000])
        self.check(method, path, answer)
        return answer

    async def json(self, method: str, path: str, expected: int = 200, **more: Any) -> Any:
        return (await self.call(method, path, expected, **more)).json()

    def check(self, method: str, path: str, answer: httpx2.Response) -> None:
        if method == "HEAD":
            return
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == "application/problem+json"
            said = answer.json()
            assert said["status"] == answer.status_code
            assert said["error"] and said["title"] and said["type"].startswith("urn:actors:")
            self._validate({"$ref": "#/components/schemas/Problem"}, said)
            return
        operation = self._operation(method, path)
        if operation is not None:
            schema = operation["responses"][str(answer.status_code)]["content"]["application/json"]["schema"]
            self._validate(schema, answer.json())

    def _operation(self, method: str, path: str) -> Any:
        path = path.partition("?")[0]
        found = sorted(self.document["paths"], key=lambda one: ("{" in one, -one.count("/")))
        for template in found:
            if re.fullmatch(re.sub(r"\\\{\w+\\\}", ".+", re.escape(template)), path):
                operation = self.document["paths"][template].get(method.lower())
                if operation is not None:
                    return operation
        return None

    def _validate(self, schema: Any, given: Any) -> None:
        jsonschema.Draft202012Validator({**schema, "components": self.document["components"]}).validate(given)

    async def enqueue(self, type: str, **fields: Any) -> str:
        made = await self.json("POST", "/jobs", 202, json={"type": type, **fields})
        return str(made["jobId"])

    async def until(self, id: str, state: str) -> dict[str, Any]:
        """The job once it has reached `state`; the test's own deadline bounds the wait."""
        if state in ("completed", "dead", "cancelled"):
            try:
                await self.system.handle(id).result()
            except (actors.JobFailed, actors.JobCancelled):
                pass
        record: dict[str, Any] = await self.json("GET", f"/jobs/{id}")
        assert record["state"] == state, record
        return record

    async def new_token(self, owner: str, role: str = "user") -> str:
        text, token = make_token(owner, role, self.system.now())
        await self.system.set_setting(*token.setting)
        await trio.sleep(LOOK_AGAIN)
        return text

    async def raw(self, sent: bytes, *, end: bool = False) -> bytes:
        """All that comes back for these bytes, until the server closes the connection."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        async with stream:
            try:
                await stream.send_all(sent)
                if end:
                    await stream.send_eof()
            except trio.BrokenResourceError:
                pass
            got = b""
            try:
                async for chunk in stream:
                    got += chunk
            except trio.BrokenResourceError:
                pass
            return got


Serve = Callable[..., AbstractAsyncContextManager[Served]]


@asynccontextmanager
async def _served(
    store: str | actors.Store,
    *,
    registry: Callable[[Doors], actors.Registry] = make_registry,
    settings: ServerSettings = ServerSettings(),
    queues: Any = None,
    host: str = "127.0.0.1",
    admin: bool = False,
    within: float = 20,
) -> AsyncIterator[Served]:
    doors = Doors()
    made = registry(doors)
    sockets = bind(host, 0)
    url = url_of(sockets, host)
    ended = trio.Event()
    with trio.fail_after(within):
        async with trio.open_nursery() as nursery:
            async with actors.open_system(
                made, store=store, queues={"default": 2} if queues is None else queues, grace=1.0
            ) as system:
                app = Application(system, settings)
                await nursery.start(serve, app, sockets, ended)
                document = orjson.loads(orjson.dumps(openapi(CALLS, made, "0")))
                async with httpx2.AsyncClient(base_url=url, timeout=10.0, trust_env=False, verify=False) as client:
                    served = Served(system, app, url, client, document, doors)
                    if admin:
                        served.token = await served.new_token("root", "admin")
                    yield served
                    doors.open.set()
            ended.set()


@pytest.fixture
def serving() -> Serve:
    """`async with serving("memory:") as served`."""
    return _served


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Each test that asks for it runs over both stores."""
    return "memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/jobs.db"
