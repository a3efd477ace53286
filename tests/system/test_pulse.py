"""A body that holds the event loop up is noticed, by a thread, on real time: who it is, where, and how long it took."""

from __future__ import annotations

import time

import trio

import actors


async def test_a_body_that_blocks_the_loop_is_named_with_its_stack(caplog):
    jobs = actors.Registry()

    @jobs.job(max_attempts=1, tags=["slow"])
    async def hold_the_loop_up() -> None:
        await trio.lowlevel.checkpoint()
        time.sleep(1.8)

    async with actors.open_system(jobs, store="memory:") as system:
        assert (await system.health()).status == "ok"
        events = system.events()
        handle = await system.enqueue(hold_the_loop_up(), owner="ada")
        with trio.fail_after(10):
            async for event in events:
                if event.name == "loop_blocked":
                    break
        assert (event.job, event.type, event.owner) == (handle.id, "hold_the_loop_up", "ada")
        assert "time.sleep(1.8)" in event.data["stack"] and event.data["seconds"] >= 1.0
        await handle.result()
        health = await system.health()
        assert health.status == "degraded" and "the event loop was held up" in health.reasons[0]
        assert handle.id not in health.reasons[0], "health is open to anyone"
    (record,) = [record for record in caplog.records if record.message.startswith("loop_blocked")]
    assert record.job == handle.id and "time.sleep(1.8)" in record.stack


async def test_a_loop_that_others_hold_up_is_told_without_a_job():
    async with actors.open_system(actors.Registry(), store="memory:", queues={}) as system:
        events = system.events()
        time.sleep(1.8)
        with trio.fail_after(10):
            event = await anext(events)
        assert (event.name, event.job) == ("loop_blocked", None)
        assert "time.sleep(1.8)" in event.data["stack"]


async def test_bodies_that_wait_or_sit_in_threads_hold_nothing_up():
    jobs = actors.Registry()

    @jobs.job()
    def in_a_thread() -> None:
        time.sleep(1.8)

    async with actors.open_system(jobs, store="memory:") as system:
        await (await system.enqueue(in_a_thread())).result()
        assert (await system.health()).status == "ok"


async def test_an_actor_that_does_not_answer_is_told_also_in_the_minute_after_a_blocked_loop(monkeypatch):
    async with actors.open_system(actors.Registry(), store="memory:", queues={}) as system:
        events = system.events()
        time.sleep(1.8)
        await anext(events)
        assert (await system.health()).status == "degraded"
        monkeypatch.setattr("actors.system.ANSWER_WITHIN", 0.1)
        monkeypatch.setattr(system, "ping", trio.sleep_forever)
        assert (await system.health()).status == "unresponsive"
