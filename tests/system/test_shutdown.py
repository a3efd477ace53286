"""Leaving the block is the shutdown: running jobs finish within the grace or are given back, the report adds up, nothing hangs."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import actors
from actors.store.memory import MemoryStore
from actors.store.port import Batch, Outcome


@pytest.fixture
def jobs() -> actors.Registry:
    made = actors.Registry()

    @made.job()
    async def work(seconds: float) -> str:
        await trio.sleep(seconds)
        return "done"

    made.work = work
    return made


async def test_running_jobs_finish_within_the_grace_and_the_rest_waits(opened, autojump_clock, jobs):
    async with opened(jobs, queues={"default": 2}, grace=10.0) as system:
        handles = await system.enqueue_many([jobs.work(3)] * 5)
        await trio.sleep(1)
        began = trio.current_time()
    assert trio.current_time() - began == pytest.approx(2, abs=0.1)  # as soon as the last one ends
    assert system.report == actors.ShutdownReport(finished=2)
    assert system.stopping
    async with opened(jobs, queues={}) as later:
        states = [(await later.get(handle.id)).state for handle in handles]
        assert states == ["completed"] * 2 + ["pending"] * 3
        assert (await later.stats()).running == 0


async def test_what_the_grace_cuts_short_is_given_back_free_of_charge(opened, autojump_clock):
    jobs = actors.Registry()
    because: list[object] = []

    @jobs.job(max_attempts=1)
    async def work(ctx: actors.JobContext) -> int:
        if ctx.fence == 1:
            try:
                await trio.sleep(1000)
            finally:
                because.append(ctx.cancelled_because)
        return ctx.fence

    async with opened(jobs, grace=5.0) as system:
        handle = await system.enqueue(work())
        await trio.sleep(1)
        began = trio.current_time()
    assert trio.current_time() - began == pytest.approx(5, abs=0.1)
    assert system.report == actors.ShutdownReport(given_back=1)
    assert because == ["shutdown"]
    async with opened(jobs) as system:
        assert await system.handle(handle.id).result() == 2
        record = await system.get(handle.id)
        assert (record.attempt, record.crashes, record.runs, record.errors) == (0, 0, 2, ())


async def test_the_report_adds_up(opened, autojump_clock):
    jobs = actors.Registry()

    @jobs.job(max_attempts=1)
    async def work(kind: str) -> None:
        if kind == "deaf":
            with trio.CancelScope(shield=True):
                await trio.sleep(8)
        if kind == "bad":
            await trio.sleep(2)
            raise ValueError
        await trio.sleep(2 if kind == "good" else 1000)

    async with opened(jobs, queues={"default": 20}, grace=5.0) as system:
        handles = {}
        for kind in ("good", "good", "good", "bad", "slow", "slow", "user", "deaf"):
            handles[kind] = await system.enqueue(work(kind))
        await trio.sleep(1)
        await wait_all_tasks_blocked()
        await handles["user"].cancel()
    report = system.report
    assert report is not None
    assert report.finished + report.given_back + report.cancelled == 8 - (1 if report.cancelled == 0 else 0)
    assert (report.finished, report.given_back) == (4, 3)
    async with opened(jobs, queues={}) as later:
        stats = await later.stats()
        assert (stats.completed, stats.dead, stats.cancelled, stats.pending, stats.running) == (3, 1, 1, 3, 0)


async def test_nothing_is_claimed_after_the_shutdown_began(opened, autojump_clock, jobs):
    async with opened(jobs, queues={"default": 2}, grace=50.0) as system:
        await system.enqueue_many([jobs.work(10)] * 2)
        await trio.sleep(1)
        await system.enqueue_many([jobs.work(0)] * 10)
        await system.enqueue(jobs.work(0), delay=2)
    async with opened(jobs, queues={}) as later:
        stats = await later.stats()
        assert (stats.completed, stats.pending + stats.scheduled, stats.running) == (2, 11, 0)


async def test_an_exception_in_the_block_leaves_as_itself_and_gives_back_at_once(opened, autojump_clock, jobs):
    class Mine(Exception): ...

    error = Mine("as itself")
    began = trio.current_time()
    with pytest.raises(Mine) as raised:
        async with opened(jobs, grace=500.0) as system:
            handle = await system.enqueue(jobs.work(1000))
            await trio.sleep(1)
            raise error
    assert raised.value is error
    assert trio.current_time() - began < 3
    assert system.report == actors.ShutdownReport(given_back=1)
    async with opened(jobs, queues={}) as later:
        assert (await later.get(handle.id)).state == "pending"


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), SystemExit(3), ExceptionGroup("two", [ValueError(), KeyError()]), GeneratorExit()]
)
async def test_whatever_the_block_raises_leaves_as_itself(memory, autojump_clock, jobs, error):
    caught: BaseException | None = None
    try:
        async with memory(jobs):
            raise error
    except BaseException as raised:
        caught = raised
    assert caught is error


async def test_a_cancellation_from_outside_gives_everything_back_at_once(opened, autojump_clock, jobs):
    began = trio.current_time()
    with trio.move_on_after(2) as scope:
        async with opened(jobs, queues={"default": 3}, grace=500.0) as system:
            await system.enqueue_many([jobs.work(1000)] * 5)
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert trio.current_time() - began < 3.5
    assert system.report == actors.ShutdownReport(given_back=3)
    async with opened(jobs, queues={}) as later:
        stats = await later.stats()
        assert (stats.pending, stats.running) == (5, 0)


async def test_a_cancellation_during_the_grace_ends_it(opened, autojump_clock, jobs):
    began = trio.current_time()
    with trio.move_on_after(10):
        async with opened(jobs, grace=500.0) as system:
            await system.enqueue(jobs.work(1000))
            await trio.sleep(1)
    assert trio.current_time() - began < 12
    assert system.report == actors.ShutdownReport(given_back=1)


async def test_the_grace_is_read_when_the_shutdown_begins(memory, autojump_clock, jobs):
    async with memory(jobs, grace=500.0) as system:
        await system.enqueue(jobs.work(1000))
        await trio.sleep(1)
        system.grace = 0.5
        began = trio.current_time()
    assert trio.current_time() - began < 1
    assert system.report == actors.ShutdownReport(given_back=1)


async def test_run_is_for_programs_that_own_the_nursery(opened, store, clock, autojump_clock, jobs):
    async with trio.open_nursery() as nursery:
        system = await nursery.start(partial(actors.run, jobs, store=store, clock=clock, grace=5.0))
        assert await (await system.enqueue(jobs.work(1))).result() == "done"
        last = await system.enqueue(jobs.work(3))
        await trio.sleep(1)
        system.stop()
    assert system.report == actors.ShutdownReport(finished=1)
    async with trio.open_nursery() as nursery:
        system = await nursery.start(partial(actors.run, jobs, store=store, clock=clock, grace=500.0))
        assert (await system.get(last.id)).state == "completed"
        await system.enqueue(jobs.work(1000))
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert system.report == actors.ShutdownReport(given_back=1)


def asks(system: actors.System, jobs: actors.Registry) -> list[object]:
    async def sync(call):
        return call()

    return [
        lambda: system.enqueue(jobs.work(0)), lambda: system.enqueue_many([jobs.work(0)]), lambda: system.enqueue_batch([(jobs.work(0), {})]),
        lambda: system.cancel("x"), lambda: system.retry("x"), lambda: system.promote("x"),
        lambda: system.schedule("s", "@daily", jobs.work(0)), lambda: system.schedules["s"].info(), lambda: system.schedules["s"].run(),
        lambda: system.schedules.list(), lambda: system.queues["default"].pause(), lambda: sync(lambda: system.queues["default"].set_workers(9)),
        lambda: system.dead_letters.list(), lambda: system.dead_letters.retry("x"), lambda: system.dead_letters.retry_all(),
        lambda: system.set_setting("k", "v"), system.ping, system.check_store, lambda: sync(system.events),
        lambda: system.get("x"), system.find, system.stats, system.settings, lambda: system.handle("x").record(),
        lambda: system.handle("x").result(), lambda: system.queues["default"].info(), system.queues.list, lambda: system.queues["default"].drain(),
    ]  # fmt: skip


async def test_asks_after_the_end_raise_shutting_down(opened, autojump_clock, jobs):
    async with opened(jobs) as system:
        pass
    for ask in asks(system, jobs):
        with trio.fail_after(5), pytest.raises(actors.ShuttingDown):
            await ask()


@pytest.mark.parametrize("moment", ["before", "during", "after"])
async def test_asks_around_the_end_are_answered_or_refused_but_never_hang(opened, autojump_clock, jobs, moment):
    """Asked by tasks that outlive the block, in the tick in which it is left, in the grace, and just after."""
    ended: list[object] = []

    async def try_(ask: object, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        try:
            with trio.fail_after(60):
                await ask()
        except (actors.ShuttingDown, actors.NotFound, actors.StoreError) as error:
            ended.append(error)
        else:
            ended.append(None)

    async with trio.open_nursery() as nursery:
        async with opened(jobs, grace=5.0) as system:
            await system.enqueue(jobs.work(3))
            await trio.sleep(1)
            todo = asks(system, jobs)
            if moment == "before":
                for ask in todo:
                    await nursery.start(try_, ask)
            if moment == "during":

                async def later() -> None:
                    await trio.sleep(1)
                    for ask in todo:
                        await nursery.start(try_, ask)

                nursery.start_soon(later)
        if moment == "after":
            for ask in todo:
                await nursery.start(try_, ask)
    assert len(ended) == len(todo)


async def test_who_waits_for_a_result_at_the_end_is_told(opened, autojump_clock, jobs):
    told: list[BaseException] = []

    async def wait(handle: actors.JobHandle[str]) -> None:
        try:
            with trio.fail_after(60):
                await handle.result()
        except actors.ActorsError as error:
            told.append(error)

    async with trio.open_nursery() as nursery, opened(jobs, grace=1.0) as system:
        for seconds in (1000, 2000):
            nursery.start_soon(wait, await system.enqueue(jobs.work(seconds)))
        await trio.sleep(1)
    assert [type(error) for error in told] == [actors.ShuttingDown] * 2


async def test_who_waits_for_room_at_the_end_is_told(opened, autojump_clock, jobs):
    told: list[BaseException] = []

    async def enqueue(system: actors.System) -> None:
        try:
            with trio.fail_after(60):
                await system.enqueue(jobs.work(0))
        except actors.ActorsError as error:
            told.append(error)

    async with trio.open_nursery() as nursery:
        async with opened(jobs, queues={"default": actors.Queue(1, limit=1)}, grace=1.0) as system:
            await system.enqueue(jobs.work(100))
            await trio.sleep(1)
            await system.enqueue(jobs.work(100))
            nursery.start_soon(enqueue, system)
            await trio.sleep(1)
    assert [type(error) for error in told] == [actors.ShuttingDown]
    async with opened(jobs, queues={}) as later:
        assert (await later.stats()).enqueued == 2


async def test_a_body_that_ignores_the_shutdown_is_named_in_the_report(memory, autojump_clock):
    jobs = actors.Registry()

    @jobs.job()
    async def deaf() -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(60)

    async with memory(jobs, grace=2.0) as system:
        handle = await system.enqueue(deaf())
        await wait_all_tasks_blocked()
    report = system.report
    assert report is not None and report.finished + report.given_back == 1
    assert report.stuck == (handle.id,)


async def test_a_callable_schedule_ends_with_the_system(memory, autojump_clock, jobs):
    stopped: list[str] = []

    async def forever() -> None:
        try:
            await trio.sleep_forever()
        finally:
            stopped.append("yes")

    async with memory(jobs, grace=2.0) as system:
        await system.schedule("local", actors.Every(1), forever)
        await trio.sleep(5)
    assert stopped == ["yes"]


async def test_many_open_and_close_cycles_leave_nothing_behind(opened, autojump_clock, jobs):
    before = trio.lowlevel.current_statistics().tasks_living
    for _ in range(20):
        async with opened(jobs) as system:
            await (await system.enqueue(jobs.work(0))).result()
    assert trio.lowlevel.current_statistics().tasks_living == before
    async with opened(jobs) as system:
        assert (await system.stats()).completed == 20


async def test_a_store_that_can_not_be_opened_says_so(autojump_clock, tmp_path, jobs):
    with pytest.raises(actors.StoreError):
        async with actors.open_system(jobs, store=f"sqlite:///{tmp_path}/no/such/directory/jobs.db"):
            pass


async def test_an_opening_can_be_cancelled_though_the_store_hangs(store, autojump_clock, jobs):
    class Hangs:
        """Opens and closes, and answers nothing else."""

        open, close = store.open, store.close

        def __getattr__(self, name: str) -> Any:
            return self.call

        async def call(self, *given: Any) -> None:
            await trio.sleep_forever()

    with trio.move_on_after(60) as waiting:
        with trio.move_on_after(5):
            async with actors.open_system(jobs, store=Hangs(), clock=actors.TrioClock()):
                raise AssertionError("it can't be open")
    assert not waiting.cancelled_caught
    assert trio.current_time() <= 5.0 + 1.0 + 0.1


async def test_a_store_that_hangs_at_its_closing_can_not_hold_the_exit(opened, store, autojump_clock, jobs):
    class Hangs:
        """Never lets go."""

        def __getattr__(self, name: str) -> Any:
            return getattr(store, name)

        async def close(self, holder: str) -> None:
            await trio.sleep_forever()

    with trio.move_on_after(60) as waiting:
        async with opened(jobs, store=Hangs(), grace=5.0):
            pass
    assert not waiting.cancelled_caught
    assert trio.current_time() <= 5.0 + 1.0 + 0.1


async def test_a_commit_that_outlasts_the_shutdown_raises_nothing(memory, autojump_clock, jobs):
    class Held(MemoryStore):
        held = False

        async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
            outcome = await super().commit(holder, tick, batch)
            if self.held:
                with trio.CancelScope(shield=True):  # a commit is not torn
                    await trio.sleep(10)
            return outcome

    store = Held()
    async with memory(jobs, store=store, grace=0.0) as system:
        handle = await system.enqueue(jobs.work(100))
        await wait_all_tasks_blocked()
        store.held = True
    assert system.report is not None
    assert (await store.get([handle.id]))[handle.id].state == "pending"


async def test_a_stop_on_a_full_disk_waits_for_its_grace_at_rest(memory, autojump_clock, jobs):
    class Full(MemoryStore):
        full = False

        async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
            if self.full and batch.inserts:
                raise actors.StoreFull("no space left")
            return await super().commit(holder, tick, batch)

    class Counted(actors.TrioClock):
        asked = 0

        def now(self) -> int:
            self.asked += 1
            assert self.asked < 5_000, "the queue looks at the clock without end"
            return super().now()

    store = Full()
    async with memory(jobs, store=store, clock=Counted(), grace=10.0) as system:
        await system.enqueue(jobs.work(8))
        await trio.sleep(1)
        store.full = True
        with pytest.raises(actors.StoreFull):
            await system.enqueue(jobs.work(1))
    assert system.report == actors.ShutdownReport(finished=1)
