"""Registering job types: both spellings, what can't be one and why, calling, including, middleware."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import attrs
import pytest

import actors
from actors.core.definition import Call, JobType
from actors.core.errors import BadOption, BadPayload, RegistrationError, UnknownType
from actors.core.registry import Registry
from actors.core.retry import Exponential, Fixed

if TYPE_CHECKING:
    from decimal import Decimal


@pytest.fixture
def jobs() -> Registry:
    return Registry()


def test_a_function_becomes_a_job_type_and_calling_it_makes_a_job(jobs):
    @jobs.job()
    async def send(to: str, name: str = "you", *, copies: int = 1) -> None: ...

    assert isinstance(send, JobType) and send.name == "send"
    job = send("a", copies=2)
    assert isinstance(job, Call) and (job.payload.to, job.payload.name, job.payload.copies) == ("a", "you", 2)
    assert jobs["send"].encode(job.payload) == '{"to":"a","name":"you","copies":2}'
    assert jobs.resolve(job) == (jobs["send"], job.payload)
    assert "send" in repr(send) and "send" in repr(job)


def test_a_class_comes_back_unchanged(jobs):
    @attrs.frozen
    class Mail:
        to: str

        async def execute(self, ctx: actors.JobContext) -> None: ...

    assert jobs.job(type="mail")(Mail) is Mail
    definition, payload = jobs.resolve(Mail("a"))
    assert definition is jobs["mail"] and payload == Mail("a")
    assert jobs.from_json("mail", {"to": "b"}) == Mail("b")


def test_a_context_is_no_payload(jobs):
    @jobs.job()
    async def first(ctx: actors.JobContext, n: int) -> None: ...

    @jobs.job()
    async def nothing(context: actors.JobContext) -> None: ...

    assert jobs["first"].fields == ("n",) and jobs["first"].takes_ctx
    assert jobs["nothing"].fields == () and jobs["nothing"].encode(nothing().payload) == "{}"
    with pytest.raises(RegistrationError, match="field 'ctx': JobContext can't be turned into JSON"):

        @jobs.job()
        async def second(n: int, ctx: actors.JobContext) -> None: ...


def test_a_registry_answers_what_it_has(jobs):
    @jobs.job()
    async def b(n: int) -> None: ...

    @jobs.job(type="a.b/c:d-e")
    async def a() -> None: ...

    assert list(jobs) == ["a.b/c:d-e", "b"] and len(jobs) == 2 and "b" in jobs and "c" not in jobs and 5 not in jobs
    assert jobs.types == {"a.b/c:d-e", "b"} and jobs.find("c") is None
    assert jobs["a.b/c:d-e"].encode(a().payload) == "{}"
    for wrong in ("c", "", None, 5, ["b"], "x" * 10_000):
        with pytest.raises(UnknownType, match=r"registered types \(a.b/c:d-e, b\)") as unknown:
            jobs[wrong]
        assert len(str(unknown.value)) < 250 and unknown.value.registered == ["a.b/c:d-e", "b"]
        with pytest.raises(UnknownType):
            jobs.from_json(wrong, {})


def test_registering_a_type_twice_says_where_the_first_one_is(jobs):
    @jobs.job()
    async def work() -> None: ...

    with pytest.raises(RegistrationError, match=r"job type 'work' is registered already, as .*test_registry.*work"):

        @jobs.job(type="work")
        async def other() -> None: ...

    assert len(jobs) == 1


@attrs.frozen
class NoExecute:
    n: int


@attrs.frozen
class ExecuteTakesMore:
    async def execute(self, ctx: object, more: object) -> None: ...


@attrs.frozen
class ExecuteIsData:
    execute: int = 5


class NoAttrs:
    async def execute(self, ctx: object) -> None: ...


async def positional_only(n: int, /) -> None: ...
async def stars(*args: int) -> None: ...
async def double_stars(**more: int) -> None: ...
async def unresolved(n: Decimal) -> None: ...
async def misspelt(n: Nonsense) -> None: ...  # noqa: F821


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (NoExecute, "class NoExecute has no execute"), (ExecuteTakesMore, r"must take \(self, ctx\)"), (ExecuteIsData, "execute"),
        (NoAttrs, "class NoAttrs is no attrs class: decorate it with @attrs.frozen"), (positional_only, "named parameters only"), (stars, "named parameters only"),
        (double_stars, "named parameters only"), (unresolved, "'Decimal' is not defined"), (misspelt, "'Nonsense' is not defined"),
    ],
)  # fmt: skip
def test_what_can_not_be_a_job_type_says_why(jobs, body: Any, says: str):
    with pytest.raises(RegistrationError, match=says):
        jobs.job()(body)
    assert len(jobs) == 0


@pytest.mark.parametrize("body", [5, "work", None, [1]])
def test_what_is_no_body_at_all_says_so(jobs, body: Any):
    with pytest.raises(RegistrationError, match="expected a function or an attrs class"):
        jobs.job(type="x")(body)
    with pytest.raises((RegistrationError, TypeError)):
        jobs.job()(body)


@pytest.mark.parametrize("name", ["", " ", "a b", "-a", "ä", "x" * 101, "a\n", "\ud800", 5, "a\0"])
def test_a_bad_name_is_refused(jobs, name: Any):
    with pytest.raises(RegistrationError, match="1 to 100 letters"):

        @jobs.job(type=name)
        async def work() -> None: ...


@attrs.frozen
class Inner:
    inside: object


@pytest.mark.parametrize(
    ("kind", "where"),
    [
        (bytes, "bytes"), (complex, "complex"), (set[bytes], "bytes"), (dict[int, str], "keys that are no strings"), (list[complex] | None, "complex"),
        (Literal[b"x"], "is not JSON"), (type, "type"), (Registry, "Registry"), (tuple[int, bytes], "bytes"), (range, "range"), (memoryview, "memoryview"),
    ],
)  # fmt: skip
def test_a_field_type_that_can_not_be_json_says_which_and_where(jobs, kind: Any, where: str):
    async def work(n, other) -> None: ...

    work.__annotations__ = {"n": int, "other": kind}
    with pytest.raises(RegistrationError, match=rf"job type 'work', field 'other': .*{where}"):
        jobs.job()(work)

    with pytest.raises(RegistrationError, match=rf"field 'deep': Payload.other: .*{where}"):
        payload = attrs.make_class("Payload", {"n": attrs.field(type=int), "other": attrs.field(type=kind)})

        async def nested(deep) -> None: ...

        nested.__annotations__ = {"deep": list[payload]}
        jobs.job()(nested)
    assert len(jobs) == 0


@pytest.mark.parametrize(
    ("option", "bad"),
    [
        *[("queue", given) for given in ("", "a b", None, 5)], *[("priority", given) for given in ("urgent", 1, None)],
        *[("max_attempts", given) for given in (0, -1, True, 1.5, "3", 10**9, None)], *[("timeout", given) for given in (0, -1, math.nan, math.inf, "5", True)],
        *[("retry", given) for given in ("fixed", 5, None)], *[("retry_on", given) for given in (("ValueError",), (5,), (ValueError(),), ValueError, "x", 5)],
        *[("give_up_on", given) for given in ((int,), ValueError)], *[("unique", given) for given in ("key", True, {})],
        *[("run_in", given) for given in ("thread", "process", "fiber", 5)], *[("description", given) for given in (5, "\ud800", "x" * 10_000)],
        *[("tags", given) for given in ("word", [5], [""], ["\ud800"], ["t"] * 21)], *[("authorize", given) for given in (True, "admin")],
    ],
    ids=lambda given: repr(given)[:20],
)  # fmt: skip
def test_a_bad_option_of_a_type_is_refused_where_it_is_written(jobs, option: str, bad: Any):
    async def work() -> None: ...

    with pytest.raises(BadOption) as refused:
        jobs.job(**{option: bad})(work)
    assert refused.value.option.startswith(option.split("_")[0])
    assert len(jobs) == 0


def test_a_plain_function_runs_in_a_thread_and_says_when_it_is_told_otherwise(jobs):
    @jobs.job()
    def plain() -> None: ...

    assert jobs["plain"].options.run_in == "thread"
    with pytest.raises(BadOption, match="thread, as the body is a plain def"):
        jobs.job(type="named", run_in="trio")(lambda: None)


def test_options_are_kept_with_the_type(jobs):
    unique = actors.Unique()

    @jobs.job(
        queue="q",
        priority="high",
        max_attempts=7,
        timeout=3,
        retry=Fixed(1),
        retry_on=(OSError,),
        unique=unique,
        description="d",
        tags=["a", "b", "a"],
    )
    async def work() -> None: ...

    options = jobs["work"].options
    assert (options.queue, options.priority, options.max_attempts, options.timeout, options.retry) == (
        "q",
        "high",
        7,
        3,
        Fixed(1),
    )
    assert (options.retry_on, options.unique, options.description, options.tags) == (
        (OSError,),
        unique,
        "d",
        ("a", "b"),
    )
    with pytest.raises(RegistrationError, match="'<lambda>'"):
        jobs.job()(lambda: None)
    jobs.job(type="named")(lambda: None)
    assert jobs["named"].options.retry == Exponential()


def test_a_wrong_call_says_what_the_function_would_have_said(jobs):
    @jobs.job()
    async def send(to: str, name: str = "x") -> None: ...

    for call, says in (
        (lambda: send(), r"send\(\) missing 1 required positional argument: 'to'"),
        (lambda: send("a", "b", "c"), r"send\(\) takes .* 3|send\(\) takes from"),
        (lambda: send("a", nome="b"), r"send\(\) got an unexpected keyword argument 'nome'"),
        (lambda: send("a", to="b"), r"send\(\) got multiple values for argument 'to'"),
    ):
        with pytest.raises(TypeError, match=says):
            call()


def test_what_is_no_job_says_what_to_do(jobs):
    @jobs.job()
    async def send(to: str) -> None: ...

    @jobs.job()
    @attrs.frozen
    class Mail:
        async def execute(self, ctx: actors.JobContext) -> None: ...

    for uncalled, name in ((send, "send"), (Mail, "Mail")):
        with pytest.raises(
            TypeError, match=rf"{name} is a job type, not a job: call it, as in enqueue\({name}\(\.\.\.\)\)"
        ):
            jobs.resolve(uncalled)
    for strange in (5, None, "send", lambda: None, object()):
        with pytest.raises(TypeError, match="expected a job"):
            jobs.resolve(strange)
    with pytest.raises(UnknownType, match="'NoAttrs'"):
        jobs.resolve(NoAttrs())


def test_registries_merge(jobs):
    module = Registry()

    @module.job()
    async def send(to: str) -> None: ...

    @module.job()
    @attrs.frozen
    class Mail:
        async def execute(self, ctx: actors.JobContext) -> None: ...

    jobs.include(module)
    jobs.include(module)  # again is no harm
    assert set(jobs) == {"send", "Mail"}
    assert jobs.resolve(send("a"))[0].name == "send" and jobs.resolve(Mail())[0].name == "Mail"
    assert jobs.from_json("send", {"to": "x"}).payload.to == "x"

    other = Registry()

    @other.job(type="fresh")
    async def fresh() -> None: ...

    @other.job(type="send")
    async def another(to: int) -> None: ...

    with pytest.raises(RegistrationError, match="job type 'send' is registered already"):
        jobs.include(other)
    assert "fresh" not in jobs  # nothing is added
    with pytest.raises(UnknownType):
        jobs.resolve(another(1))  # the same name, another job


def test_middleware_wraps_what_is_registered_before_and_after_the_first_outermost(jobs):
    @jobs.job()
    async def before() -> None: ...

    @jobs.middleware
    async def one(ctx, run):
        return await run()

    @jobs.middleware
    async def two(ctx, run):
        return await run()

    @jobs.job()
    @attrs.frozen
    class After:
        async def execute(self, ctx: actors.JobContext) -> None: ...

    assert jobs["before"].middleware == jobs["After"].middleware == (one, two)
    assert jobs.resolve(before())[0].middleware == jobs.resolve(After())[0].middleware == (one, two)


def test_an_included_registry_keeps_its_own_middleware_also_when_it_comes_later(jobs):
    module = Registry()

    @module.job()
    async def work() -> None: ...

    jobs.include(module)

    @module.middleware
    async def late(ctx, run):
        return await run()

    @jobs.middleware
    async def mine(ctx, run):
        return await run()

    assert module["work"].middleware == (late,)
    assert jobs["work"].middleware == (late,)


def test_a_default_that_is_changed_in_one_run_is_whole_in_the_next(jobs):
    """Python shares a mutable default; a queue of jobs must not."""

    @jobs.job()
    async def collect(into: list[int] = []) -> None: ...

    definition = jobs["collect"]
    definition.decode("{}").into.append(5)
    assert definition.decode("{}").into == []


def test_a_default_of_the_wrong_type_is_found_at_the_enqueue(jobs):
    @jobs.job()
    async def work(n: int = None) -> None: ...  # type: ignore[assignment]

    with pytest.raises(BadPayload, match="n: expected an integer, not null"):
        jobs["work"].encode(work().payload)


def test_parameters_with_difficult_names(jobs):
    @jobs.job()
    async def work(type: str, id: int, _hidden: int, in_: str = "", execute: int = 1) -> None: ...

    payload = work("t", 1, 2, in_="x").payload
    text = jobs["work"].encode(payload)
    assert jobs["work"].decode(text) == payload


def test_a_parameter_that_no_class_can_have_is_refused(jobs):
    def work(self: int) -> None: ...

    def other(n: int, __dunder: int) -> None: ...

    for body in (work, other):
        with pytest.raises(RegistrationError, match="expected another name"):
            jobs.job()(body)
