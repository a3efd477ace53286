"""What a body can say and ask through its context."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import actors


async def test_progress_and_log_lines_are_kept_with_the_job(opened, autojump_clock):
    jobs = actors.Registry()

    @jobs.job()
    async def work(ctx: actors.JobContext) -> None:
        ctx.log("first")
        for done in range(1, 4):
            ctx.progress(done, total=4, message=f"{done} done")
        await trio.sleep(10)
        ctx.log("second\0\ud800")
        ctx.progress(5, 4)

    async with opened(jobs) as system:
        handle = await system.enqueue(work())
        await trio.sleep(5)
        record = await handle.record()
        assert record.progress is not None
        assert (record.progress.done, record.progress.total, record.progress.message, record.progress.percent) == (
            3,
            4,
            "3 done",
            75.0,
        )
        assert [line.text for line in record.log] == ["first"]
        version = record.version
        await handle.result()
        record = await handle.record()
        assert record.progress is not None and record.progress.percent == 100.0
        assert [(line.run, line.text) for line in record.log] == [(1, "first"), (1, "second\\0\\ud800")]
        assert record.version == version + 1  # what a body says bumps no version


async def test_what_a_body_says_last_is_kept_also_when_it_never_suspends(opened, autojump_clock):
    jobs = actors.Registry()

    @jobs.job(max_attempts=1)
    async def work(ctx: actors.JobContext) -> None:
        ctx.progress(1, 2)
        ctx.log("here")
        raise ValueError

    async with opened(jobs) as system:
        handle = await system.enqueue(work())
        with pytest.raises(actors.JobFailed):
            await handle.result()
        record = await handle.record()
        assert record.progress is not None and record.progress.percent == 50 and record.log[0].text == "here"


async def test_only_the_last_thousand_lines_are_kept_each_cut(opened, autojump_clock):
    jobs = actors.Registry()

    @jobs.job()
    async def chatty(ctx: actors.JobContext) -> None:
        for n in range(600):
            ctx.log(f"line {n}")
        await trio.sleep(1)
        for n in range(600, 1_500):
            ctx.log(f"line {n}")
        ctx.log("x" * 100_000)

    async with opened(jobs) as system:
        handle = await system.enqueue(chatty())
        await handle.result()
        log = (await handle.record()).log
        assert len(log) == 1_000
        assert log[-2].text == "line 1499" and log[0].text == "line 501"
        assert len(log[-1].text) == 8_000


@pytest.mark.parametrize(
    ("done", "total"), [(float("nan"), 1), (1, float("inf")), ("5", 10), (True, 1), (None, None), (10**400, None)]
)
async def test_progress_that_is_no_number_is_refused_in_the_body(memory, autojump_clock, done, total):
    jobs = actors.Registry()

    @jobs.job()
    async def work(ctx: actors.JobContext) -> str:
        with pytest.raises(actors.BadOption):
            ctx.progress(done, total)
        return "alive"

    async with memory(jobs) as system:
        assert await (await system.enqueue(work())).result() == "alive"


async def test_a_strange_progress_message_harms_nobody(opened, autojump_clock):
    jobs = actors.Registry()

    @jobs.job()
    async def work(ctx: actors.JobContext) -> None:
        ctx.progress(1, 2, message="\ud800 \0 " + "é" * 100_000)

    async with opened(jobs) as system:
        handle = await system.enqueue(work())
        await handle.result()
        progress = (await handle.record()).progress
        assert progress is not None and progress.message is not None and len(progress.message) <= 8_100


async def test_a_saved_state_is_durable_at_once_and_the_next_attempt_continues_there(opened, autojump_clock):
    jobs = actors.Registry()
    did: list[int] = []

    @jobs.job(max_attempts=5, retry=actors.Fixed(10))
    async def batch(ctx: actors.JobContext, items: int) -> int:
        for n in range(ctx.state["next"] if ctx.state else 0, items):
            did.append(n)
            await ctx.save({"next": n + 1})
            assert ctx.state == {"next": n + 1}
            if n in (2, 5):
                raise OSError("half way")
        return len(did)

    async with opened(jobs) as system:
        handle = await system.enqueue(batch(8))
        await trio.sleep(5)
        assert (await handle.record()).saved_json == '{"next":3}'
        assert await handle.result() == 8
    assert did == list(range(8))


async def test_a_state_that_is_not_json_is_refused_in_the_body(memory, autojump_clock):
    jobs = actors.Registry()

    @jobs.job()
    async def work(ctx: actors.JobContext) -> str:
        for state in ({1, 2}, float("nan"), 10**30, {"a": object()}, "x" * (1024 * 1024 + 1)):
            with pytest.raises(ValueError):
                await ctx.save(state)
        return "alive"

    async with memory(jobs) as system:
        assert await (await system.enqueue(work())).result() == "alive"


async def test_a_chain_is_committed_with_the_success_and_dropped_with_the_failure(opened, autojump_clock):
    jobs = actors.Registry()
    seen: list[str] = []

    @jobs.job()
    async def link(name: str) -> None:
        seen.append(name)

    @jobs.job(max_attempts=2, retry=actors.Fixed(10))
    async def parent(ctx: actors.JobContext) -> str:
        child = ctx.enqueue(link(f"child of run {ctx.fence}"))
        await trio.sleep(5)
        with pytest.raises(actors.NotFound):
            await child.record()  # not before the success
        if ctx.fence == 1:
            raise ValueError
        return child.id

    async with opened(jobs) as system:
        handle = await system.enqueue(parent(), owner="ada")
        child = await handle.result()
        await system.handle(child).result()
        assert seen == ["child of run 2"]
        assert (await system.get(child)).owner == "ada"
        assert (await system.stats()).enqueued == 2


async def test_now_enqueues_whatever_becomes_of_the_attempt(opened, autojump_clock):
    jobs = actors.Registry()
    seen: list[str] = []

    @jobs.job()
    async def link(name: str) -> None:
        seen.append(name)

    @jobs.job(max_attempts=1)
    async def parent(ctx: actors.JobContext) -> None:
        child = ctx.enqueue(link("at once"), now=True, priority="high")
        ctx.enqueue(link("with the success"))
        await child.result()
        raise ValueError

    async with opened(jobs) as system:
        handle = await system.enqueue(parent())
        with pytest.raises(actors.JobFailed):
            await handle.result()
        await system.queues["default"].drain()
    assert seen == ["at once"]


async def test_a_chain_is_exempt_from_the_limit_of_its_queue(opened, autojump_clock):
    jobs = actors.Registry()

    @jobs.job()
    async def link(n: int) -> None: ...

    @jobs.job()
    async def parent(ctx: actors.JobContext) -> None:
        for n in range(5):
            ctx.enqueue(link(n))
            ctx.enqueue(link(n), now=True)

    async with opened(jobs, queues={"default": actors.Queue(1, limit=1, when_full="reject")}) as system:
        await (await system.enqueue(parent())).result()
        await system.queues["default"].drain()
        assert (await system.stats()).completed == 11


async def test_a_bad_job_enqueued_by_a_body_is_the_bodys_error(memory, autojump_clock):
    jobs = actors.Registry()

    @jobs.job(max_attempts=1)
    async def parent(ctx: actors.JobContext) -> None:
        ctx.enqueue(parent(), delay=-1)

    async with memory(jobs) as system:
        handle = await system.enqueue(parent())
        with pytest.raises(actors.JobFailed, match="delay is -1"):
            await handle.result()


async def test_a_cancelled_parent_leaves_no_children(opened, autojump_clock):
    jobs = actors.Registry()

    @jobs.job()
    async def link() -> None: ...

    @jobs.job()
    async def parent(ctx: actors.JobContext) -> None:
        ctx.enqueue(link())
        await trio.sleep(100)

    async with opened(jobs) as system:
        handle = await system.enqueue(parent())
        await trio.sleep(1)
        await handle.cancel()
        with pytest.raises(actors.JobCancelled):
            await handle.result()
        assert (await system.stats()).enqueued == 1


async def test_resources_are_taken_out_by_type(memory, autojump_clock):
    class Pool: ...

    class Special(Pool): ...

    jobs = actors.Registry()
    pool, special = Pool(), Special()

    @jobs.job()
    async def work(ctx: actors.JobContext) -> str:
        assert ctx.resource(Pool) is pool
        assert ctx.resource(Special) is special
        with pytest.raises(LookupError, match="no resource of type int: open_system was given .*Pool, .*Special"):
            ctx.resource(int)
        return "ok"

    async with memory(jobs, resources=[pool, special]) as system:
        assert await (await system.enqueue(work())).result() == "ok"


async def test_middleware_wraps_every_run_the_first_registered_outermost(memory, autojump_clock):
    jobs = actors.Registry()
    seen: list[str] = []

    @jobs.job(max_attempts=2, retry=actors.Fixed(0))
    async def work(ctx: actors.JobContext, n: int) -> int:
        seen.append(f"body {ctx.fence}")
        if ctx.fence == 1:
            raise ValueError
        return n

    @jobs.middleware
    async def outer(ctx, run):
        seen.append("outer in")
        try:
            return await run() + 1
        finally:
            seen.append("outer out")

    @jobs.middleware
    async def inner(ctx, run):
        seen.append(f"inner {ctx.job.type}")
        return 10 * await run()

    @jobs.job()
    async def later() -> int:
        return 0

    program = actors.Registry()
    program.include(jobs)

    @program.job()
    async def unwrapped() -> int:
        return 7

    async with memory(program) as system:
        assert await (await system.enqueue(work(4))).result() == 41
        assert seen == [
            "outer in",
            "inner work",
            "body 1",
            "outer out",
            "outer in",
            "inner work",
            "body 2",
            "outer out",
        ]
        assert await (await system.enqueue(later())).result() == 1
        assert await (await system.enqueue(unwrapped())).result() == 7


async def test_middleware_that_fails_fails_the_attempt(memory, autojump_clock):
    jobs = actors.Registry()

    @jobs.middleware
    async def broken(ctx, run):
        raise RuntimeError("no transaction")

    @jobs.job(max_attempts=1)
    async def work() -> None: ...

    async with memory(jobs) as system:
        handle = await system.enqueue(work())
        with pytest.raises(actors.JobFailed, match="no transaction"):
            await handle.result()


async def test_authorize_is_asked_at_the_enqueue_and_again_before_the_run(opened, autojump_clock):
    jobs = actors.Registry()
    allowed = {"ada"}

    @jobs.job(authorize=lambda owner, payload: owner in allowed and payload.table != "secret")
    async def export(table: str) -> None: ...

    async with opened(jobs) as system:
        for owner, table in (("eve", "public"), ("ada", "secret"), (None, "public")):
            with pytest.raises(actors.Refused, match="may not enqueue export"):
                await system.enqueue(export(table), owner=owner)
        assert (await system.stats()).enqueued == 0
        await (await system.enqueue(export("public"), owner="ada")).result()
        late = await system.enqueue(export("public"), owner="ada", delay=10)
        allowed.clear()
        with pytest.raises(actors.JobFailed, match="may not run export"):
            await late.result()
        record = await late.record()
        assert (record.state, record.attempt, record.error.type if record.error else None) == ("dead", 0, "discarded")


async def test_an_authorize_that_raises_fails_the_attempt_and_the_worker_lives_on(memory, autojump_clock):
    jobs = actors.Registry()
    broken = False

    def ask(owner: str | None, payload: object) -> bool:
        if broken:
            raise ConnectionError("no directory")
        return True

    @jobs.job(authorize=ask, max_attempts=1)
    async def work() -> int:
        return 1

    async with memory(jobs) as system:
        handle = await system.enqueue(work(), delay=1)
        broken = True
        with pytest.raises(actors.JobFailed, match="no directory"):
            await handle.result()
        with pytest.raises(ConnectionError):
            await system.enqueue(work())
        broken = False
        assert await (await system.enqueue(work())).result() == 1


async def test_the_record_a_body_sees_is_its_own(memory, autojump_clock):
    jobs = actors.Registry()

    @jobs.job(max_attempts=3, retry=actors.Fixed(5))
    async def work(ctx: actors.JobContext) -> None:
        job = ctx.job
        assert (job.state, job.attempt, job.max_attempts, job.runs, job.owner, len(job.errors)) == (
            "running", ctx.fence - 1, 3, ctx.fence, "ada", ctx.fence - 1,
        )  # fmt: skip
        assert ctx.cancelled_because is None
        assert isinstance(ctx, actors.JobContext)
        if ctx.fence < 3:
            raise ValueError

    async with memory(jobs) as system:
        await (await system.enqueue(work(), owner="ada")).result()


async def test_each_body_has_its_own_cancel_scope(memory, autojump_clock):
    """A body may open nurseries, be cancelled inside them, and swallow that: nothing of it leaks into the next job."""
    jobs = actors.Registry()

    @jobs.job()
    async def work(n: int) -> int:
        with trio.move_on_after(1) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
        assert scope.cancelled_caught
        await wait_all_tasks_blocked()
        return n

    async with memory(jobs, queues={"default": 2}) as system:
        handles = await system.enqueue_many([work(n) for n in range(10)])
        assert [await handle.result() for handle in handles] == list(range(10))
