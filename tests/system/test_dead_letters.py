"""Dead letters: what failed for good is looked at, searched, replayed one by one or in bulk, or deleted."""

from __future__ import annotations

import pytest
import trio

import actors


@pytest.fixture
def jobs() -> actors.Registry:
    made = actors.Registry()
    made.broken = True

    @made.job(max_attempts=2, retry=actors.Fixed(1))
    async def bad(n: int) -> int:
        if made.broken:
            raise ValueError(f"number {n}")
        return n

    @made.job(max_attempts=1)
    async def worse() -> None:
        raise OSError("disk")

    made.bad, made.worse = bad, worse
    return made


async def test_dead_letters_are_listed_newest_first_and_searched(opened, autojump_clock, jobs):
    async with opened(jobs, queues={"default": 4, "other": 1}) as system:
        ids = []
        for n in range(5):
            ids.append((await system.enqueue(jobs.bad(n), owner="ada" if n % 2 else "bob")).id)
            await trio.sleep(10)
        ids.append((await system.enqueue(jobs.worse(), queue="other")).id)
        await trio.sleep(10)
        letters = system.dead_letters
        page = await letters.list()
        assert [job.id for job in page.jobs] == ids[::-1]
        assert (
            page.jobs[1].payload == {"n": 4}
            and page.jobs[1].error.message == "number 4"
            and len(page.jobs[1].errors) == 2
        )
        first = await letters.list(limit=4)
        rest = await letters.list(limit=4, after=first.after)
        assert [job.id for job in (*first.jobs, *rest.jobs)] == ids[::-1] and rest.after is None
        for query, found in [
            ({"type": "worse"}, [5]),
            ({"queue": "other"}, [5]),
            ({"owner": "ada"}, [3, 1]),
            ({"text": "number 2"}, [2]),
            ({"text": "x"}, []),
        ]:
            assert [job.id for job in (await letters.list(**query)).jobs] == [ids[n] for n in found], query
        for wrong in ({"limit": 0}, {"limit": 100_000}, {"after": "nonsense"}):
            with pytest.raises(actors.BadOption):
                await letters.list(**wrong)


async def test_a_replay_starts_the_attempts_again_and_keeps_the_history(opened, autojump_clock, jobs):
    async with opened(jobs) as system:
        handle = await system.enqueue(jobs.bad(7))
        with pytest.raises(actors.JobFailed):
            await handle.result()
        payload = (await handle.record()).spec.payload
        replayed = await system.dead_letters.retry(handle.id)
        assert (replayed.state, replayed.attempt, replayed.finished_at) == ("pending", 0, None)
        with pytest.raises(actors.WrongState):  # a second time is refused
            await system.dead_letters.retry(handle.id)
        with pytest.raises(actors.JobFailed):
            await handle.result()
        record = await handle.record()
        assert (record.attempt, record.runs, len(record.errors)) == (2, 4, 4)
        jobs.broken = False
        await system.dead_letters.retry(handle.id)
        assert await handle.result() == 7
        record = await handle.record()
        assert (record.state, len(record.errors), record.spec.payload) == ("completed", 4, payload)
        assert (await system.stats()).dead == 2  # all that ever ended so
        with pytest.raises(actors.WrongState, match="is completed: it cannot be replayed"):
            await system.dead_letters.retry(handle.id)


async def test_all_that_match_are_replayed_once(opened, autojump_clock, jobs):
    async with opened(jobs, queues={"default": 20, "other": 1}) as system:
        await system.enqueue_many([jobs.bad(n) for n in range(30)], owner="ada")
        await system.enqueue_many([jobs.bad(n) for n in range(5)], owner="bob")
        await system.enqueue(jobs.worse(), queue="other")
        await trio.sleep(60)
        letters = system.dead_letters
        assert await letters.retry_all(owner="bob") == 5
        await trio.sleep(60)
        assert await letters.retry_all(type="worse", queue="default") == 0
        jobs.broken = False
        assert await letters.retry_all(type="bad") == 35
        await trio.sleep(60)
        assert [job.type for job in (await letters.list()).jobs] == ["worse"]
        assert await letters.retry_all() == 1  # it dies again, and is not replayed for ever
        assert (await system.stats()).completed == 35


async def test_a_dead_letter_can_be_deleted_and_nothing_else(opened, autojump_clock, jobs):
    async with opened(jobs) as system:
        dead = await system.enqueue(jobs.bad(1))
        with pytest.raises(actors.JobFailed):
            await dead.result()
        waiting = await system.enqueue(jobs.bad(2), delay=1000)
        with pytest.raises(actors.WrongState, match="is scheduled: it cannot be deleted"):
            await system.dead_letters.delete(waiting.id)
        await system.dead_letters.delete(dead.id)
        for ask in (
            dead.record,
            dead.result,
            lambda: system.dead_letters.delete(dead.id),
            lambda: system.dead_letters.retry(dead.id),
        ):
            with pytest.raises(actors.NotFound):
                await ask()
        stats = await system.stats()
        assert (stats.enqueued, stats.deleted, stats.dead) == (2, 1, 1)


async def test_who_waits_for_a_job_that_is_deleted_is_told(memory, autojump_clock, jobs):
    async with memory(jobs) as system:
        dead = await system.enqueue(jobs.bad(1))
        with pytest.raises(actors.JobFailed):
            await dead.result()
        await system.retry(dead.id)

        async def wait() -> None:
            with pytest.raises((actors.NotFound, actors.JobFailed)):
                await dead.result()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.sleep(30)
            await system.dead_letters.delete(dead.id)


async def test_dead_letters_survive_a_restart(opened, autojump_clock, jobs):
    async with opened(jobs) as system:
        handle = await system.enqueue(jobs.bad(1))
        with pytest.raises(actors.JobFailed) as failed:
            await handle.result()
    async with opened(jobs) as system:
        (letter,) = (await system.dead_letters.list()).jobs
        assert letter == failed.value.record or letter.errors == failed.value.errors
        jobs.broken = False
        await system.dead_letters.retry(letter.id)
        assert await system.handle(letter.id).result() == 1
