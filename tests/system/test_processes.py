"""Several systems on one store, as several processes of one program: who dies is missed, who lives is left alone, strangers' jobs too."""

from __future__ import annotations

import pytest
import trio

import actors
from actors.core.lifecycle import MAX_CRASHES


@pytest.fixture
def jobs() -> actors.Registry:
    made = actors.Registry()
    made.runs = []

    @made.job(max_attempts=1)
    async def work(ctx: actors.JobContext, seconds: float = 0.0) -> int:
        made.runs.append(ctx.job.id)
        await trio.sleep(seconds)
        return ctx.fence

    made.work = work
    return made


async def test_two_systems_share_the_work_and_no_job_runs_twice(opened, autojump_clock, jobs):
    async with opened(jobs, queues={"default": 3}) as one, opened(jobs, queues={"default": 3}) as two:
        handles = await one.enqueue_many([jobs.work(2) for _ in range(60)])
        await trio.sleep(100)
        assert len(jobs.runs) == len(set(jobs.runs)) == 60
        by = [sum(worker.processed for worker in system.workers()) for system in (one, two)]
        assert min(by) >= 20
        for handle in handles:
            assert await two.handle(handle.id).result() >= 1


async def test_the_jobs_of_a_process_that_died_are_run_by_another(opened, store, autojump_clock, jobs, mortal):
    dying = mortal(store)
    async with trio.open_nursery() as nursery:

        async def first() -> None:
            async with opened(jobs, store=dying, queues={"default": 5}, lease=10.0, grace=0.0) as system:
                await system.enqueue_many([jobs.work(100) for _ in range(3)])
                await trio.sleep_forever()

        async with opened(jobs, queues={"default": 5}, lease=10.0) as living:
            await living.queues["default"].pause()
            nursery.start_soon(first)
            await trio.sleep(1)
            await living.queues["default"].resume()
            own = await living.enqueue(jobs.work(200))
            await trio.sleep(2)
            assert (await living.stats()).running == 4
            dying.dead = True
            nursery.cancel_scope.cancel()
            died = trio.current_time()
            with trio.CancelScope(shield=True):
                while len(jobs.runs) < 7:
                    await trio.sleep(0.5)
                    assert trio.current_time() - died < 15  # its lease, and a look
                await living.queues["default"].drain()
                lost = [job for job in (await living.find()).jobs if job.id != own.id]
                assert [(job.state, job.result, job.attempt, job.crashes, job.runs) for job in lost] == [
                    ("completed", 2, 0, 1, 2)
                ] * 3
                assert {error.type for job in lost for error in job.errors} == {"worker_died"}
                assert await own.result() == 1  # who lives is left alone
                assert (await living.get(own.id)).crashes == 0


async def test_a_system_that_was_alone_for_long_is_not_taken_for_dead_when_another_opens(opened, autojump_clock, jobs):
    async with opened(jobs, lease=10.0) as one:
        handle = await one.enqueue(jobs.work(5_000))
        await trio.sleep(1_000)
        async with opened(jobs, lease=10.0) as two:
            await trio.sleep(100)
            record = await two.get(handle.id)
            assert (record.state, record.runs, record.crashes) == ("running", 1, 0)
        assert await handle.result() == 1
    assert len(jobs.runs) == 1


async def test_a_running_job_of_a_process_that_died_survives_it_alone(opened, store, autojump_clock, jobs, mortal):
    """The only process dies; the next one that opens finds its job."""
    dying = mortal(store)
    with trio.CancelScope() as scope:
        async with opened(jobs, store=dying, lease=10.0, grace=0.0) as system:
            handle = await system.enqueue(jobs.work(1))
            await trio.sleep(0.5)
            dying.dead = True
            scope.cancel()
            await trio.sleep_forever()
    async with opened(jobs, lease=10.0) as system:
        with trio.fail_after(60):
            assert await system.handle(handle.id).result() == 2


async def test_a_job_that_was_cancelled_when_its_process_died_is_not_run_again(
    opened, store, autojump_clock, jobs, mortal
):
    dying = mortal(store)
    async with opened(jobs, queues={}, lease=10.0) as other:
        with trio.CancelScope() as scope:
            async with opened(jobs, store=dying, lease=10.0, grace=0.0) as system:
                handle = await system.enqueue(jobs.work(1000))
                await trio.sleep(0.5)
                dying.dead = True
                scope.cancel()
                await trio.sleep_forever()
        assert (await other.cancel(handle.id)).state == "running"
        await trio.sleep(60)
        assert (await other.get(handle.id)).state == "cancelled"
    async with opened(jobs) as system:
        await trio.sleep(60)
        assert (await system.get(handle.id)).state == "cancelled"
    assert len(jobs.runs) == 1


class Between:
    """A store in front of which something happens just before the commit of a step."""

    def __init__(self, store, step, happen):
        self._store, self._step, self._happen = store, step, happen

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def commit(self, holder, tick, batch):
        if any(write.step == self._step for write in batch.writes):
            await self._happen()
        return await self._store.commit(holder, tick, batch)


@pytest.mark.parametrize("step", ["retry", "snooze"])
@pytest.mark.parametrize("goes", [False, True], ids=["stays", "goes"])
async def test_a_cancel_that_crosses_the_report_of_a_failure_is_not_lost(opened, store, autojump_clock, step, goes):
    jobs = actors.Registry()
    runs = []

    @jobs.job(max_attempts=3, retry=actors.Fixed(3600.0))
    async def falls() -> None:
        runs.append(trio.current_time())
        await trio.sleep(1)
        raise ValueError if step == "retry" else actors.Snooze(3600)

    async with opened(jobs, queues={}) as other:

        async def cancel() -> None:
            assert (await other.cancel(handle.id)).state == "running"
            if goes:  # nobody is left to hear of it before the job comes back
                other.stop()
                leaving.cancel()

        with trio.CancelScope() as leaving:
            async with opened(jobs, store=Between(store, step, cancel)) as system:
                handle = await system.enqueue(falls())
                with trio.fail_after(2), pytest.raises(actors.JobCancelled):  # not only when its retry is due
                    await handle.result()
    async with opened(jobs) as system:
        await trio.sleep(10_000)
        assert (await system.get(handle.id)).state == "cancelled"
    assert len(runs) == 1


async def test_a_job_that_takes_its_processes_with_it_stops(opened, store, autojump_clock, jobs, mortal):
    handle = None
    for death in range(MAX_CRASHES + 2):
        dying = mortal(store)
        with trio.CancelScope() as scope:
            async with opened(jobs, store=dying, lease=1.0, grace=0.0) as system:
                if handle is None:
                    handle = await system.enqueue(jobs.work(1000))
                await trio.sleep(5)
                dying.dead = True
                scope.cancel()
                await trio.sleep_forever()
        await trio.sleep(10)
    assert handle is not None
    async with opened(jobs, lease=1.0) as system:
        await trio.sleep(20)
        record = await system.get(handle.id)
        assert (record.state, record.crashes, record.attempt) == ("dead", MAX_CRASHES, 0)
        assert record.error is not None and record.error.type == "worker_died"
        assert len(jobs.runs) == MAX_CRASHES
        assert (await system.retry(handle.id)).crashes == 0


async def test_a_late_report_changes_nothing(opened, store, autojump_clock, jobs, mortal):
    """A process that was silent for longer than its lease comes back: its job runs elsewhere, and its word is refused."""
    silent = mortal(store)
    async with (
        opened(jobs, queues={"default": 2}, lease=5.0) as other,
        opened(jobs, store=silent, queues={"default": 1}, lease=5.0) as zombie,
    ):
        await other.queues["default"].pause()
        await zombie.queues["default"].resume()
        other.queues["default"].set_workers(0)
        handle = await zombie.enqueue(jobs.work(30))
        await trio.sleep(2)
        assert (await handle.record()).state == "running"
        silent.dead = True
        other.queues["default"].set_workers(2)
        await trio.sleep(20)
        record = await other.get(handle.id)
        assert (record.state, record.runs, record.standing.holder, record.crashes) == ("running", 2, other.holder, 1)
        silent.dead = False
        await trio.sleep(10)  # the zombie has spoken
        assert (await other.get(handle.id)) == record
        await trio.sleep(50)
        record = await other.get(handle.id)
        assert (record.state, record.result, record.runs) == ("completed", 2, 2)
        assert ((await zombie.health()).late_reports, other.late_reports) == (1, 0)


async def test_a_type_that_a_program_does_not_know_is_left_for_others(opened, autojump_clock, jobs):
    both = actors.Registry()
    both.include(jobs)

    @both.job()
    async def newer() -> int:
        return 7

    async with opened(both, queues={}) as system:
        first = await system.enqueue(newer(), priority="critical")
        known = await system.enqueue(jobs.work())
    async with opened(jobs) as older:
        assert await older.handle(known.id).result() == 1
        await trio.sleep(60)
        assert (await older.get(first.id)).state == "pending"
        async with opened(both) as system:
            assert await system.handle(first.id).result() == 7


async def test_a_payload_that_can_not_be_decoded_is_dead_at_once(opened, autojump_clock):
    old, new = actors.Registry(), actors.Registry()

    @old.job(type="work", max_attempts=5)
    async def before(name: str) -> None: ...

    @new.job(type="work", max_attempts=5)
    async def after(name: str, size: int) -> None: ...

    async with opened(old, queues={}) as system:
        handle = await system.enqueue(before("x"))
    async with opened(new) as system:
        with pytest.raises(actors.JobFailed, match="size: required, but missing"):
            await system.handle(handle.id).result()
        record = await system.get(handle.id)
        assert (record.state, record.attempt, record.runs) == ("dead", 0, 1)
        assert record.error is not None and record.error.type == "bad_payload"
    async with opened(old) as system:  # rolled back: it can be replayed
        await system.dead_letters.retry(handle.id)
        await system.handle(handle.id).result()


async def test_a_store_that_fails_for_a_while_loses_nothing(memory, autojump_clock, jobs):
    from actors.store.memory import MemoryStore

    class Failing(MemoryStore):
        mode: str | None = None

        async def commit(self, holder, tick, batch):
            if self.mode == "before":
                raise actors.StoreBusy("locked")
            outcome = await super().commit(holder, tick, batch)
            if self.mode == "after":
                raise actors.StoreError("was it committed?")
            return outcome

        async def get(self, ids):
            if self.mode is not None:
                raise actors.StoreBusy("locked")
            return await super().get(ids)

        beat = _failing("beat")
        schedules = _failing("schedules")

    store = Failing()
    async with memory(jobs, store=store, queues={"default": 3}) as system:
        await system.schedule("s", actors.Every(3), jobs.work())
        for mode in ("before", "after"):
            handles = await system.enqueue_many([jobs.work(1) for _ in range(6)])
            store.mode = mode
            late: list[actors.JobHandle[int]] = []

            async def enqueue() -> None:
                late.append(await system.enqueue(jobs.work(1)))

            async with trio.open_nursery() as nursery:
                for _ in range(4):
                    nursery.start_soon(enqueue)
                await trio.sleep(10)
                assert not late  # nothing is acknowledged before its commit
                store.mode = None
            for handle in (*handles, *late):
                assert await handle.result() >= 1
        await system.schedules["s"].pause()
        await system.queues["default"].drain()
        stats = await system.stats()
        assert len(jobs.runs) == len(set(jobs.runs)) == stats.completed == stats.enqueued
        assert (await system.schedules["s"].info()).run_count == stats.enqueued - 20


def _failing(name: str):
    async def method(self, *given):
        from actors.store.memory import MemoryStore

        if self.mode is not None:
            raise actors.StoreBusy("locked")
        return await getattr(MemoryStore, name)(self, *given)

    return method


async def test_a_full_disk_refuses_new_jobs_and_keeps_the_reports(memory, autojump_clock, jobs):
    from actors.store.memory import MemoryStore

    class Full(MemoryStore):
        full = False

        async def commit(self, holder, tick, batch):
            if self.full and batch.inserts:
                raise actors.StoreFull("no space left")
            return await super().commit(holder, tick, batch)

    store = Full()
    async with memory(jobs, store=store) as system:
        running = await system.enqueue(jobs.work(5))
        await trio.sleep(1)
        store.full = True
        with trio.fail_after(3), pytest.raises(actors.StoreFull):
            await system.enqueue(jobs.work())
        assert await running.result() == 1
        store.full = False
        assert await (await system.enqueue(jobs.work())).result() == 1
        assert (await system.stats()).enqueued == 2


async def test_a_full_disk_begins_nothing_and_is_looked_at_again(memory, autojump_clock, jobs):
    from actors.store.memory import MemoryStore

    class Full(MemoryStore):
        full = False

        async def commit(self, holder, tick, batch):
            if self.full and (batch.inserts or batch.claims):
                raise actors.StoreFull("no space left")
            return await super().commit(holder, tick, batch)

    store = Full()
    async with memory(jobs, store=store, queues={"default": 2}) as system:
        first = await system.enqueue_many([jobs.work(5) for _ in range(2)])
        rest = await system.enqueue_many([jobs.work(5) for _ in range(2)])
        await trio.sleep(1)
        store.full = True
        await trio.sleep(10)
        assert [(await one.record()).state for one in (*first, *rest)] == ["completed"] * 2 + ["pending"] * 2
        store.full = False
        await trio.sleep(2)  # nobody says that there is room again
        assert [(await one.record()).state for one in rest] == ["running"] * 2


@pytest.mark.parametrize("step", [3_600, -3_600])
async def test_a_step_of_the_wall_clock_takes_no_ones_jobs(opened, store, autojump_clock, step):
    jobs = actors.Registry()
    clock = actors.TrioClock(patience=1.0)

    @jobs.job()
    async def long() -> None:
        await trio.sleep(120)

    async with opened(jobs, clock=clock, lease=10.0), opened(jobs, clock=clock, lease=10.0) as other:
        handle = await other.enqueue(long())
        for _ in range(20):  # who beats first sees the other's lease run out, if it is by this clock
            await trio.sleep(4)
            clock.step(step)
        await handle.result()
        record = await handle.record()
    assert (record.runs, record.crashes) == (1, 0)


async def test_the_jobs_of_a_process_that_died_before_its_first_beat_are_run_by_another(
    opened, store, autojump_clock, mortal
):
    jobs, runs = actors.Registry(), list[int]()

    @jobs.job()
    async def work(ctx: actors.JobContext) -> None:
        runs.append(ctx.fence)
        if ctx.fence == 1:
            await trio.sleep_forever()

    async def fails(*given: object) -> float:
        raise actors.StoreError("gone for a moment")

    failing = mortal(store)
    failing.beat = fails
    with trio.CancelScope() as dying:
        async with opened(jobs, store=failing) as system:
            handle = await system.enqueue(work())
            await trio.sleep(0.1)
            failing.dead = True
            dying.cancel()
    with trio.fail_after(120):
        async with opened(jobs) as system:
            await system.handle(handle.id).result()
    assert runs == [1, 2]


@pytest.mark.parametrize("lost", [actors.StoreError, actors.StoreSilent])
async def test_a_full_store_after_an_uncertain_commit_refuses_nothing_that_is_there(memory, autojump_clock, jobs, lost):
    from actors.store.memory import MemoryStore

    class Failing(MemoryStore):
        left: list[type[actors.StoreError]] = []

        async def commit(self, holder, tick, batch):
            error = self.left.pop(0) if self.left else None
            if error is actors.StoreFull:
                raise error("no room")
            outcome = await super().commit(holder, tick, batch)
            if error is not None:
                raise error("was it committed?")
            return outcome

    store = Failing()
    async with memory(jobs, store=store, queues={}) as system:
        store.left = [lost, actors.StoreFull]
        handle = await system.enqueue(jobs.work())
        assert (handle.created, (await system.stats()).enqueued) == (True, 1)
