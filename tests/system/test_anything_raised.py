"""A job may raise anything and return anything: the attempt fails, the worker lives on, and what is kept of it can be read."""

from __future__ import annotations

import math
import uuid

import pytest
import trio

import actors


class Hostile(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


class MoreHostile(BaseException):
    def __str__(self) -> str:
        raise SystemExit(5)

    __repr__ = __str__


class MostHostile(BaseException):
    def __str__(self) -> str:
        raise self

    __repr__ = __str__


class Sub(str):
    def encode(self, *given):  # type: ignore[override]
        raise RuntimeError

    def __len__(self) -> int:
        raise RuntimeError


class Returns(Exception):
    def __str__(self) -> str:
        return Sub("text")


class NoString(Exception):
    def __str__(self) -> str:
        return 5  # type: ignore[return-value]


class Odd(BaseException): ...


def deep(levels: int) -> BaseException:
    error: BaseException = ValueError("core")
    for _ in range(levels):
        error = BaseExceptionGroup("level", [error, KeyError()])
    return error


def looped() -> BaseException:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    return one


def cancelled() -> BaseException:
    return trio.Cancelled._create(source="explicit")


RAISED = {
    "SystemExit": lambda: SystemExit(3),
    "KeyboardInterrupt": KeyboardInterrupt,
    "GeneratorExit": GeneratorExit,
    "StopIteration": StopIteration,
    "StopAsyncIteration": StopAsyncIteration,
    "RecursionError": RecursionError,
    "MemoryError": MemoryError,
    "a BaseException": Odd,
    "a group of a thousand": lambda: BaseExceptionGroup("many", [SystemExit(n) for n in range(1_000)]),
    "a deep group": lambda: deep(60),
    "str() raises": Hostile,
    "str() ends the program": MoreHostile,
    "str() raises itself": MostHostile,
    "str() is odd": Returns,
    "str() is no string": NoString,
    "a group with a hostile member": lambda: BaseExceptionGroup("x", [MostHostile(), Hostile()]),
    "10 MB": lambda: ValueError("x" * 10_000_000),
    "surrogates": lambda: ValueError("\ud800 \0 \U0001f600"),
    "a loop of causes": looped,
    "a hand-made Cancelled": cancelled,
    "a group with a hand-made Cancelled": lambda: BaseExceptionGroup("x", [cancelled(), ValueError()]),
    "an empty error": ValueError,
    "a stopped system": lambda: actors.ShuttingDown("not really"),
    "a bad payload": lambda: actors.BadPayload("x", [("a", "b")]),
    "a queue that is full": lambda: actors.QueueFull("x", 1),
    "a failed job": lambda: actors.JobTimeout(5),
}


@pytest.mark.parametrize("what", RAISED)
@pytest.mark.parametrize("suspended", [False, True], ids=["at once", "later"])
async def test_whatever_a_body_raises_fails_the_attempt_and_the_worker_lives_on(
    opened, autojump_clock, what, suspended
):
    jobs = actors.Registry()

    @jobs.job(max_attempts=2, retry=actors.Fixed(1))
    async def bad() -> None:
        if suspended:
            await trio.sleep(1)
        raise RAISED[what]()

    @jobs.job()
    async def good() -> int:
        return 1

    async with opened(jobs, queues={"default": 1}) as system:
        with system.events() as events:
            handle = await system.enqueue(bad())
            with trio.fail_after(60), pytest.raises(actors.JobFailed) as failed:
                await handle.result()
            assert await (await system.enqueue(good())).result() == 1
            record = await handle.record()
            assert (record.state, record.attempt, record.runs, len(record.errors)) == ("dead", 2, 2, 2)
            for error in record.errors:
                assert error.type
                assert len(error.message) <= 8_100 and len(error.traceback) <= 8_100
                assert len(error.children) <= 50
                error.to_json().encode()
            assert len(str(failed.value)) < 20_000
            assert (await system.stats()).running == 0
            assert len(system.workers()) == 1
            assert (await anext(events)).name == "job:queued"


async def test_an_exception_group_is_kept_as_a_tree(opened, autojump_clock):
    jobs = actors.Registry()

    @jobs.job(max_attempts=1)
    async def bad() -> None:
        raise ExceptionGroup("both", [ValueError("left"), ExceptionGroup("inner", [KeyError("right")])])

    async with opened(jobs) as system:
        handle = await system.enqueue(bad())
        with pytest.raises(actors.JobFailed):
            await handle.result()
        error = (await handle.record()).error
    assert error is not None
    assert (error.type, [child.type for child in error.children]) == (
        "ExceptionGroup",
        ["ValueError", "ExceptionGroup"],
    )
    assert error.children[1].children[0].type == "KeyError"


def circular() -> list[object]:
    loop: list[object] = []
    loop.append(loop)
    return loop


def nested(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


RETURNED = {
    "a set": lambda: {1, 2}, "an object": object, "NaN": lambda: math.nan, "infinity": lambda: {"a": [math.inf]}, "10**30": lambda: 10**30,
    "a circular list": circular, "a deep list": lambda: nested(100_000), "33 levels": lambda: nested(33), "bytes": lambda: b"x",
    "a surrogate": lambda: "\ud800", "NUL": lambda: "\0", "keys that are numbers": lambda: {1: 2}, "2 MB": lambda: "x" * 2_000_000,
    "a UUID": uuid.uuid4, "a function": lambda: print, "a class": lambda: int,
}  # fmt: skip


@pytest.mark.parametrize("what", RETURNED)
async def test_what_is_not_json_fails_the_attempt_and_the_worker_lives_on(opened, autojump_clock, what):
    jobs = actors.Registry()

    @jobs.job(max_attempts=1)
    async def bad():
        return RETURNED[what]()

    @jobs.job()
    async def good() -> int:
        return 1

    async with opened(jobs, queues={"default": 1}) as system:
        handle = await system.enqueue(bad())
        with pytest.raises(actors.JobFailed, match="the job returned"):
            await handle.result()
        record = await handle.record()
        assert record.error is not None and record.error.type == "BadResult" and record.result is None
        assert len(record.error.message) < 500
        assert await (await system.enqueue(good())).result() == 1


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -(2**63),
        2**63 - 1,
        0.1,
        1e308,
        "",
        "é\U0001f600",
        [],
        {},
        {"a": [1, {"b": None}]},
        (1, 2),
        nested(32),
    ],
)
async def test_what_is_json_comes_back_as_it_was(opened, autojump_clock, value):
    jobs = actors.Registry()

    @jobs.job()
    async def give():
        return value

    async with opened(jobs) as system:
        given = await (await system.enqueue(give())).result()
        assert given == (list(value) if isinstance(value, tuple) else value)
        assert type(given) is type(value) or isinstance(value, tuple)


@pytest.mark.parametrize(
    "policy",
    [lambda attempt, error: 1 / 0, lambda attempt, error: "soon", lambda attempt, error: math.nan, lambda *given: -5],
)
async def test_a_back_off_that_misbehaves_costs_no_job(memory, autojump_clock, policy):
    jobs = actors.Registry()

    @jobs.job(max_attempts=2, retry=policy)
    async def bad() -> None:
        raise ValueError

    async with memory(jobs) as system:
        handle = await system.enqueue(bad())
        with pytest.raises(actors.JobFailed):
            await handle.result()
        assert (await handle.record()).runs == 2


async def test_a_back_off_that_says_none_gives_up(memory, autojump_clock):
    jobs = actors.Registry()

    @jobs.job(max_attempts=10, retry=lambda attempt, error: 5.0 if attempt < 3 else None)
    async def bad() -> None:
        raise ValueError

    async with memory(jobs) as system:
        handle = await system.enqueue(bad())
        with pytest.raises(actors.JobFailed):
            await handle.result()
        record = await handle.record()
        assert (record.state, record.runs, record.attempt) == ("dead", 3, 3)


@pytest.mark.parametrize(
    "what",
    [
        "SystemExit",
        "GeneratorExit",
        "a hand-made Cancelled",
        "str() raises itself",
        "a group with a hand-made Cancelled",
        "an empty error",
    ],
)
async def test_whatever_a_callable_on_a_schedule_raises_the_scheduler_lives_on(memory, autojump_clock, what):
    called = 0

    async def bad() -> None:
        nonlocal called
        called += 1
        raise RAISED[what]()

    async with memory(actors.Registry()) as system:
        await system.schedule("bad", actors.Every(10), bad)
        await trio.sleep(35)
        assert called == 3
        info = await system.schedules["bad"].info()
        assert (info.run_count, info.error_count, info.is_running) == (3, 3, False)
        assert info.last_error


async def test_an_authorize_that_raises_harms_no_schedule(memory, autojump_clock):
    jobs = actors.Registry()
    asked = 0

    def ask(owner: str | None, payload: object) -> bool:
        nonlocal asked
        asked += 1
        if asked > 1:
            raise ConnectionError("no directory")
        return True

    @jobs.job(authorize=ask)
    async def work() -> None: ...

    async with memory(jobs) as system:
        await system.schedule("s", actors.Every(10), work())
        await trio.sleep(35)
        await system.ping()
        assert asked >= 4
