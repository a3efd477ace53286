"""A job's life on simulated time: it runs, fails, waits its back-off, is retried, and ends."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

import attrs
import pytest
import trio

import actors


async def test_a_job_that_fails_twice_is_retried_after_its_back_off_and_succeeds(opened, autojump_clock):
    jobs = actors.Registry()
    starts: list[float] = []

    @jobs.job(retry=actors.Exponential(2.0, jitter="none"))
    async def flaky(name: str) -> str:
        starts.append(trio.current_time())
        if len(starts) < 3:
            raise OSError(f"no {name}")
        return name.upper()

    began = time.perf_counter()
    async with opened(jobs) as system:
        handle = await system.enqueue(flaky("line"))
        assert await handle.result() == "LINE"
        record = await handle.record()
    assert time.perf_counter() - began < 2.0
    assert [round(late - early, 3) for early, late in zip(starts, starts[1:], strict=False)] == [2.0, 4.0]
    assert (record.state, record.status, record.attempt, record.runs, record.crashes) == (
        "completed",
        "completed",
        2,
        3,
        0,
    )
    assert [(error.attempt, error.type, error.message) for error in record.errors] == [
        (1, "OSError", "no line"),
        (2, "OSError", "no line"),
    ]
    assert "raise OSError" in record.errors[0].traceback
    assert record.errors[0].failed_at is not None and record.errors[0].started_at is not None
    assert record.result == "LINE" and record.payload == {"name": "line"}
    assert record.created_at < record.started_at <= record.finished_at
    assert record.duration == 0.0


async def test_a_week_of_retries_takes_no_time(memory, autojump_clock):
    jobs = actors.Registry()
    starts: list[float] = []

    @jobs.job(retry=actors.Fixed(600.0), max_attempts=1_008)
    async def hopeless() -> None:
        starts.append(trio.current_time())
        raise ValueError

    began = time.perf_counter()
    async with memory(jobs) as system:
        handle = await system.enqueue(hopeless())
        with pytest.raises(actors.JobFailed) as failed:
            await handle.result()
    assert time.perf_counter() - began < 3.0
    assert starts[-1] - starts[0] == pytest.approx(timedelta(days=7).total_seconds() - 600, abs=1)
    assert len(failed.value.errors) == len(starts) == failed.value.record.attempt == 1_008


async def test_a_job_out_of_attempts_is_dead_with_every_error(opened, autojump_clock):
    jobs = actors.Registry()

    @jobs.job(max_attempts=2, retry=actors.Fixed(1.0))
    async def bad(ctx: actors.JobContext) -> None:
        raise ValueError(f"attempt {ctx.job.attempt}")

    async with opened(jobs) as system:
        handle = await system.enqueue(bad())
        with pytest.raises(actors.JobFailed, match=r"is dead after 2 of 2 attempts: ValueError: attempt 1") as failed:
            await handle.result()
        record = await handle.record()
        assert failed.value.record == record
        assert [error.message for error in record.errors] == ["attempt 0", "attempt 1"]
        assert (record.state, record.status, record.holder if hasattr(record, "holder") else None) == (
            "dead",
            "failed",
            None,
        )
        assert record.standing.holder is None and record.finished_at is not None
        assert (await system.stats()).dead == 1


async def test_no_retry_starts_before_its_back_off(memory, autojump_clock):
    jobs = actors.Registry()
    seen: list[tuple[float, float]] = []

    @jobs.job(max_attempts=8, retry=actors.Exponential(1.0, jitter="full", cap=20.0))
    async def bad(ctx: actors.JobContext) -> None:
        error = ctx.job.error
        if error is not None and error.failed_at is not None:
            waited = (ctx.job.started_at.timestamp() * 1e6 - error.failed_at) / 1e6
            seen.append((waited, min(20.0, 2.0 ** (ctx.job.attempt - 1))))
            assert ctx.job.started_at >= ctx.job.run_at
        raise ValueError

    async with memory(jobs) as system:
        for handle in await system.enqueue_many([bad() for _ in range(20)]):
            with pytest.raises(actors.JobFailed):
                await handle.result()
    assert len(seen) == 140
    assert all(-1e-6 <= waited <= longest + 1e-3 for waited, longest in seen)
    assert max(waited / longest for waited, longest in seen) > 0.9
    assert min(waited / longest for waited, longest in seen) < 0.1


async def test_a_class_job_runs_with_its_fields(opened, autojump_clock):
    jobs = actors.Registry()

    @jobs.job(type="annotate-batch", priority="high")
    @attrs.frozen
    class Annotate:
        items: list[str]
        since: datetime | None = None

        async def execute(self, ctx: actors.JobContext) -> dict[str, int]:
            assert ctx.job.type == "annotate-batch"
            return {"processed": len(self.items)}

    async with opened(jobs) as system:
        handle = await system.enqueue(Annotate(items=["x", "y"]))
        assert await handle.result() == {"processed": 2}
        assert (await handle.record()).priority == "high"


async def test_ready_jobs_start_by_priority_then_front_newest_first_then_time_then_age(opened, autojump_clock):
    jobs = actors.Registry()
    ran: list[str] = []

    @jobs.job()
    async def block() -> None:
        await trio.sleep(100)

    @jobs.job()
    async def note(name: str) -> None:
        ran.append(name)

    async with opened(jobs, queues={"default": 1}) as system:
        await system.enqueue(block())
        await trio.sleep(1)
        await system.enqueue(note("delayed"), delay=10)
        for name in ("low", "normal", "high", "critical"):
            await system.enqueue(note(name), priority=name)
        await system.enqueue(note("normal 2"))
        await system.enqueue(note("front 1"), front=True)
        await trio.sleep(1)
        await system.enqueue(note("front 2"), front=True)
        await system.enqueue(note("low front"), front=True, priority="low")
        await system.queues["default"].drain()
    assert ran == ["critical", "high", "front 2", "front 1", "normal", "normal 2", "delayed", "low front", "low"]


async def test_nothing_starts_before_its_time(opened, autojump_clock):
    jobs = actors.Registry()
    started: dict[str, float] = {}

    @jobs.job()
    async def note(name: str) -> None:
        started[name] = trio.current_time()

    async with opened(jobs) as system:
        zero = trio.current_time()
        late = await system.enqueue(note("delay"), delay=3.5)
        await system.enqueue(note("run_at"), run_at=system.now() + timedelta(hours=2))
        await system.enqueue(note("past"), run_at=system.now() - timedelta(hours=2))
        assert (await late.record()).state == "scheduled"
        await trio.sleep(3 * 3600)
    assert {name: round(at - zero, 3) for name, at in started.items()} == {"past": 0.0, "delay": 3.5, "run_at": 7200.0}


async def test_a_snooze_costs_no_attempt(opened, autojump_clock):
    jobs = actors.Registry()
    starts: list[float] = []

    @jobs.job(max_attempts=1)
    async def wait(ctx: actors.JobContext) -> int:
        starts.append(trio.current_time())
        if ctx.fence < 4:
            raise actors.Snooze(60)
        return ctx.fence

    async with opened(jobs) as system:
        handle = await system.enqueue(wait())
        assert await handle.result() == 4
        record = await handle.record()
    assert (record.attempt, record.runs, record.errors) == (0, 4, ())
    assert starts[-1] - starts[0] == pytest.approx(180, abs=0.01)


async def test_a_discard_gives_up_at_once_and_keeps_the_reason(opened, autojump_clock):
    jobs = actors.Registry()

    @jobs.job(max_attempts=5)
    async def give_up() -> None:
        raise actors.Discard("the customer is gone")

    async with opened(jobs) as system:
        handle = await system.enqueue(give_up())
        with pytest.raises(actors.JobFailed, match="the customer is gone"):
            await handle.result()
        record = await handle.record()
    assert (record.state, record.attempt, record.runs) == ("dead", 0, 1)
    assert [(error.type, error.message) for error in record.errors] == [("discarded", "the customer is gone")]


async def test_a_job_can_cancel_itself(opened, autojump_clock):
    jobs = actors.Registry()

    @jobs.job()
    async def stop() -> None:
        raise actors.Cancel("not needed")

    async with opened(jobs) as system:
        handle = await system.enqueue(stop())
        with pytest.raises(actors.JobCancelled):
            await handle.result()
        record = await handle.record()
    assert (record.state, record.attempt) == ("cancelled", 0)


async def test_a_retry_after_is_waited_for_and_costs_an_attempt(opened, autojump_clock):
    jobs = actors.Registry()
    starts: list[float] = []

    @jobs.job(max_attempts=3)
    async def busy(ctx: actors.JobContext) -> None:
        starts.append(trio.current_time())
        raise actors.Retry(after=90, reason="429")

    async with opened(jobs) as system:
        handle = await system.enqueue(busy())
        with pytest.raises(actors.JobFailed):
            await handle.result()
        record = await handle.record()
    assert [round(late - early) for early, late in zip(starts, starts[1:], strict=False)] == [90, 90]
    assert record.attempt == 3 and record.error is not None and record.error.message == "429"


async def test_an_outcome_raised_inside_a_nursery_means_the_same(memory, autojump_clock):
    jobs = actors.Registry()

    @jobs.job()
    async def nested() -> None:
        async def child() -> None:
            raise actors.Discard("from a child")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
            nursery.start_soon(trio.sleep_forever)

    async with memory(jobs) as system:
        handle = await system.enqueue(nested())
        with pytest.raises(actors.JobFailed, match="from a child"):
            await handle.result()
        assert (await handle.record()).runs == 1


async def test_retry_on_and_give_up_on_decide_by_class(memory, autojump_clock):
    jobs = actors.Registry()

    @jobs.job(max_attempts=4, retry=actors.Fixed(1), retry_on=(OSError,))
    async def only_os(kind: str) -> None:
        raise {"os": ConnectionError, "value": ValueError}[kind]("no")

    @jobs.job(max_attempts=4, retry=actors.Fixed(1), give_up_on=(LookupError,))
    async def not_lookup(kind: str) -> None:
        raise {"key": KeyError, "value": ValueError}[kind]("no")

    async with memory(jobs) as system:
        runs = {}
        for job in (only_os("os"), only_os("value"), not_lookup("key"), not_lookup("value")):
            handle = await system.enqueue(job)
            with pytest.raises(actors.JobFailed):
                await handle.result()
            runs[str(job.payload)] = (await handle.record()).runs
    assert list(runs.values()) == [4, 1, 1, 4]


async def test_what_an_enqueue_says_beats_what_the_type_says(opened, autojump_clock):
    jobs = actors.Registry()

    @jobs.job(
        queue="other",
        priority="low",
        max_attempts=9,
        timeout=1,
        description="type",
        tags=["a"],
        retry=actors.Fixed(1000),
    )
    async def bad() -> None:
        raise ValueError

    async with opened(jobs, queues={"default": 1, "other": 1}) as system:
        plain = await (await system.enqueue(bad(), delay=1000)).record()
        assert (plain.queue, plain.priority, plain.max_attempts, plain.timeout) == ("other", "low", 9, 1.0)
        assert (plain.description, plain.tags, plain.owner) == ("type", ("a",), None)
        began = trio.current_time()
        handle = await system.enqueue(
            bad(), queue="default", priority="critical", max_attempts=2, timeout=5, retry=actors.Steps([7]),
            description="mine", tags=["b", "c"], owner="ada",
        )  # fmt: skip
        with pytest.raises(actors.JobFailed):
            await handle.result()
        assert trio.current_time() - began == pytest.approx(7, abs=0.01)
        record = await handle.record()
        assert (record.queue, record.priority, record.max_attempts, record.timeout) == ("default", "critical", 2, 5.0)
        assert (record.description, record.tags, record.owner) == ("mine", ("b", "c"), "ada")


async def test_concurrency_is_the_number_of_workers(memory, autojump_clock):
    jobs = actors.Registry()
    running, most = 0, 0

    @jobs.job()
    async def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await trio.sleep(1)
        running -= 1

    async with memory(jobs, queues={"default": 7}) as system:
        began = trio.current_time()
        await system.enqueue_many([work() for _ in range(70)])
        await system.queues["default"].drain()
    assert most == 7
    assert trio.current_time() - began == pytest.approx(10, abs=0.2)


async def test_a_system_without_queues_only_enqueues_and_reads(opened, autojump_clock):
    jobs = actors.Registry()

    @jobs.job()
    async def work() -> int:
        return 1

    async with opened(jobs, queues={}) as system:
        handle = await system.enqueue(work())
        await trio.sleep(100)
        assert (await handle.record()).state == "pending"
        assert system.workers() == []
    async with opened(jobs) as system:
        assert await system.handle(handle.id).result() == 1


async def test_what_is_kept_survives_a_restart(opened, autojump_clock):
    jobs = actors.Registry()

    @jobs.job(max_attempts=2, retry=actors.Fixed(3600))
    async def bad(n: int) -> None:
        raise ValueError(n)

    @jobs.job()
    async def good(n: int) -> int:
        return n

    async with opened(jobs) as system:
        one, two = await system.enqueue(bad(1)), await system.enqueue(good(2))
        assert await two.result() == 2
        await trio.sleep(10)
        before = [await one.record(), await two.record()]
        counts = await system.stats()
    async with opened(jobs) as system:
        assert [await system.get(one.id), await system.get(two.id)] == before
        assert await system.stats() == counts
        with pytest.raises(actors.JobFailed):
            await system.handle(one.id).result()
        assert len((await system.get(one.id)).errors) == 2


async def test_looking_finds_by_every_word(opened, autojump_clock):
    jobs = actors.Registry()

    @jobs.job()
    async def work(n: int) -> None: ...

    @jobs.job(max_attempts=1)
    async def bad() -> None:
        raise ValueError("strange words")

    async with opened(jobs, queues={"default": 2, "other": 1}) as system:
        a = await system.enqueue(work(1), owner="ada", tags=["red"])
        b = await system.enqueue(work(2), queue="other", delay=1000)
        c = await system.enqueue(bad(), owner="bob")
        await system.queues["default"].drain()
        for query, found in [
            ({}, [c, b, a]), ({"states": ["completed"]}, [a]), ({"states": ["completed", "dead"]}, [c, a]), ({"type": "work"}, [b, a]),
            ({"queue": "other"}, [b]), ({"tag": "red"}, [a]), ({"owner": "bob"}, [c]), ({"text": "strange"}, [c]), ({"text": a.id}, [a]),
            ({"order": "finished"}, [c, a]), ({"owner": "nobody"}, []),
        ]:  # fmt: skip
            page = await system.find(**query)
            ids = [job.id for job in page.jobs]
            assert sorted(ids) == sorted(handle.id for handle in found), query
            if query.get("order") != "finished":
                assert ids == [handle.id for handle in found], query
            assert page.after is None
        first = await system.find(limit=2)
        assert first.after is not None
        rest = await system.find(limit=2, after=first.after)
        assert [job.id for job in (*first.jobs, *rest.jobs)] == [c.id, b.id, a.id]
        for wrong in (
            {"limit": 0},
            {"limit": 10**6},
            {"limit": True},
            {"states": ["failed"]},
            {"order": "oldest"},
            {"after": "nonsense"},
        ):
            with pytest.raises(actors.BadOption):
                await system.find(**wrong)


async def test_health_round_trips_every_actor(opened, autojump_clock):
    async with opened(actors.Registry()) as system:
        with trio.fail_after(1):
            await system.ping()
            await system.check_store()
        await system.set_setting("token/1", "hash")
        assert (await system.settings())["token/1"] == "hash"
        await system.set_setting("token/1", None)
        assert "token/1" not in await system.settings()
