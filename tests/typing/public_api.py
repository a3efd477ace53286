"""Types only, never run: what mypy --strict and pyright must accept and refuse. An ignore that is not needed is an error too."""

from __future__ import annotations

from typing import Any, assert_type

import attrs

import actors

jobs = actors.Registry()


@jobs.job(max_attempts=3)
async def send(to: str, name: str = "you") -> None: ...


@jobs.job()
async def crawl(ctx: actors.JobContext, url: str) -> int:
    return len(url)


@jobs.job()
def plain(number: int) -> str:
    return str(number)


@jobs.job()
def plain_with_context(ctx: actors.JobContext, number: int) -> str:
    return str(number)


@jobs.job(type="annotate", priority="high", timeout=300, retry=actors.Exponential(2.0))
@attrs.frozen
class Annotate:
    items: list[str]

    async def execute(self, ctx: actors.JobContext) -> dict[str, int]:
        return {"processed": len(self.items)}


async def what_is_right(system: actors.System) -> None:
    assert_type(await (await system.enqueue(crawl("https://example.org"), delay=5.0)).result(), int)
    assert_type(await (await system.enqueue(plain(number=3))).result(), str)
    assert_type(await (await system.enqueue(plain_with_context(3), priority="low")).result(), str)
    assert_type(await (await system.enqueue(Annotate(items=["x"]))).result(), dict[str, int])
    assert_type(await system.enqueue_many([crawl("a"), crawl("b")]), list[actors.JobHandle[int]])
    handle: actors.JobHandle[None] = await system.enqueue(send("a@example.com"))
    assert_type(Annotate(items=[]).items, list[str])
    assert_type(await system.get(handle.id), actors.JobRecord)
    assert_type(system.handle("17"), actors.JobHandle[Any])
    await system.schedule(
        "nightly", "0 2 * * *", send("a@example.com"), tz="Europe/Berlin", overlap="skip", queue="mail"
    )
    await system.schedule("often", actors.Every(5), system.ping)
    async for event in system.events():
        assert_type(event, actors.Event)


async def inside_a_body(ctx: actors.JobContext) -> None:
    assert_type(ctx.enqueue(crawl("next"), now=True), actors.JobHandle[int])
    assert_type(ctx.resource(bytes), bytes)
    assert_type(ctx.job.attempt, int)


async def what_is_refused(system: actors.System) -> None:
    await system.enqueue(Annotate)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await system.enqueue(send)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await system.enqueue(send(3))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await system.enqueue(send())  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await system.enqueue(send("a"), dely=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await system.enqueue(send("a"), priority="urgent")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await system.enqueue(Annotate(items=[1]))  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    _: int = await (await system.enqueue(plain(3))).result()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    system.registry = jobs
    actors.open_system(jobs)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    actors.Fixed("3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@jobs.job(prioritty="high")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
async def misspelt() -> None: ...
