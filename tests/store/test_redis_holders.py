"""Who lives, by the server's clock; and who is told of news, also after the server was away."""

from __future__ import annotations

import random
import time
import uuid
from functools import partial

import pytest
import trio
import trio.testing

from actors.core.errors import LeaseLost
from actors.core.ids import IdMaker
from actors.core.job import NO_DETAILS, JobSpec, Standing
from actors.store.port import Batch, Claim, Insert
from actors.store.redis import RedisStore
from actors.testing.redis import RedisServer

NOW = 1_767_225_600_000_000
PATIENCE = 30.0  # seconds that a loaded machine may take for anything
IDS = IdMaker(random.Random(7))


def _batch(claims: int = 0) -> Batch:
    spec = JobSpec(IDS.make(NOW), "a", "{}", "q", 1, 0, 3, None, NOW, None, NO_DETAILS)
    insert = Insert(spec=spec, standing=Standing(0, "pending", 0, 0, 0, 0, NOW, None, None, None))
    return Batch(now=NOW, inserts=[insert], claims=[Claim(queue="q", limit=claims)], types=frozenset({"a"}))


async def _until(store: RedisStore, gone: list[str]) -> float:
    """Seconds until exactly these have vanished. (By a clock of another process: there is nothing to wait for.)"""
    began = time.monotonic()
    with trio.fail_after(PATIENCE):
        while await store.vanished("watcher", NOW) != gone:
            await trio.sleep(0.02)
    return time.monotonic() - began


async def test_who_is_silent_for_longer_than_its_lease_has_vanished(redis_url: str) -> None:
    prefix = uuid.uuid4().hex
    watcher, silent = RedisStore(redis_url, prefix=prefix), RedisStore(redis_url, prefix=prefix)
    await watcher.open("watcher", NOW)
    await silent.open("silent", NOW)
    await silent.commit("silent", 1, _batch(1))
    await silent.beat("silent", NOW, 1.0)
    await silent._heart.stop()  # as a process that was stopped
    assert await watcher.vanished("watcher", NOW) == []
    assert 0.5 < await _until(watcher, ["silent"]) < PATIENCE
    await silent.commit("silent", 2, Batch(now=NOW))  # a commit is a sign of life
    assert await watcher.vanished("watcher", NOW) == []
    await silent.close("silent")
    await watcher.close("watcher")


async def test_a_thread_beats_while_the_loop_is_held_up(redis_url: str) -> None:
    prefix = uuid.uuid4().hex
    watcher, busy = RedisStore(redis_url, prefix=prefix), RedisStore(redis_url, prefix=prefix)
    await watcher.open("watcher", NOW)
    await busy.open("busy", NOW)
    await busy.commit("busy", 1, _batch(1))
    await busy.beat("busy", NOW, 0.9)
    for _ in range(3):
        time.sleep(0.7)  # nobody else runs in this loop
        assert await watcher.vanished("watcher", NOW) == []
    assert await busy.beat("busy", NOW, 0.9) > 0
    await busy.close("busy")
    await watcher.close("watcher")


async def test_who_can_not_renew_its_lease_is_told_before_its_end() -> None:
    with RedisServer() as server:
        store = RedisStore(server.url, timeout=10.0)
        await store.open("one", NOW)
        lease = 1.5
        await store.beat("one", NOW, lease)
        await trio.sleep(0.1)
        server.pause()
        paused = time.monotonic()
        with pytest.raises(LeaseLost):
            while True:
                await trio.sleep(await store.beat("one", NOW, lease))
        if time.monotonic() - paused > lease:
            pytest.fail("it was told too late")
        server.resume()
        with trio.fail_after(PATIENCE):
            while True:  # the thread comes through again
                try:
                    await store.beat("one", NOW, lease)
                    break
                except LeaseLost:
                    await trio.sleep(0.05)
        await store.close("one")


async def test_the_thread_ends_with_the_last_holder(redis_url: str) -> None:
    import threading

    store = RedisStore(redis_url, prefix=uuid.uuid4().hex)
    for _ in range(5):
        for holder in ("one", "two"):
            await store.open(holder, NOW)
            await store.beat(holder, NOW, 30.0)
        assert sum(thread.name == "actors-heart" for thread in threading.enumerate()) == 1
        await store.close("one")
        await store.close("two")
        with trio.fail_after(PATIENCE):
            while any(thread.name == "actors-heart" for thread in threading.enumerate()):
                await trio.sleep(0.005)  # it has said that it is over; the rest is the interpreter's


async def test_news_comes_within_milliseconds(redis_url: str) -> None:
    prefix = uuid.uuid4().hex
    one, two = RedisStore(redis_url, prefix=prefix), RedisStore(redis_url, prefix=prefix)
    await one.open("one", NOW)
    await two.open("two", NOW)
    waits = []
    for tick in range(1, 12):
        await trio.sleep(0.01)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.wakeup, "one")
            await trio.sleep(0.01)
            began = time.perf_counter()
            await two.commit("two", tick, _batch())
        waits.append(time.perf_counter() - began)
    assert sorted(waits)[5] < 0.3, "well below the second after which it would look by itself"
    await one.close("one")
    await two.close("two")


async def test_news_comes_after_the_server_was_away() -> None:
    with RedisServer() as server:
        one, two = RedisStore(server.url), RedisStore(server.url)
        await one.open("one", NOW)
        await two.open("two", NOW)
        for tick in (1, 2):
            server.kill()
            server.start()
            with trio.fail_after(PATIENCE):
                while True:
                    try:
                        await two.commit("two", tick, _batch())
                        break
                    except Exception:
                        await trio.sleep(0.02)
                await one.wakeup("one")
        for tick in range(3, 6):  # and by messages again
            with trio.fail_after(PATIENCE):
                while True:
                    with trio.move_on_after(0.02) as scope:
                        await one.wakeup("one")
                    if scope.cancelled_caught:
                        break
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(one.wakeup, "one")
                    await trio.sleep(0.01)
                    await two.commit("two", tick, _batch())
        await one.close("one")
        await two.close("two")


async def test_a_message_that_is_lost_is_made_up_for_within_a_second(proxy) -> None:
    """The subscription is cut, and the commit made before it is back."""
    prefix = uuid.uuid4().hex
    one, two = RedisStore(proxy.url, prefix=prefix), RedisStore(proxy.url, prefix=prefix)
    await one.open("one", NOW)
    await two.open("two", NOW)
    with trio.fail_after(PATIENCE):
        while True:
            with trio.move_on_after(0.02) as scope:
                await one.wakeup("one")
            if scope.cancelled_caught:
                break
        one._hear = one._line._hear = lambda message: None  # its messages are lost for good
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.wakeup, "one")
            await trio.sleep(0.01)
            await two.commit("two", 1, _batch())
    await one.close("one")
    await two.close("two")


async def test_what_a_dead_holder_left_is_swept_once_it_holds_nothing(redis_url: str) -> None:
    prefix = uuid.uuid4().hex
    store = RedisStore(redis_url, prefix=prefix)
    server = RedisServer(port=int(redis_url.rpartition(":")[2]))
    await store.open("one", NOW)
    await store.open("dead", NOW)
    for holder, forgotten in (("dead", b"0"), ("one", b"1")):
        server.ask("ZADD", f"{{{prefix}}}:holders", "1" if holder == "dead" else "9999999999999", holder)
        await store.sweep(NOW)
        assert server.ask("EXISTS", f"{{{prefix}}}:holder:{holder}") == b":" + forgotten + b"\r\n"
    # it may have been asleep: it comes back by itself
    assert (await store.commit("dead", 5, _batch(1))).claimed
    await store.close("dead")
    await store.close("one")


async def test_opening_and_closing_from_any_task_in_any_order(redis_url: str) -> None:
    store = RedisStore(redis_url, prefix=uuid.uuid4().hex)

    async def live(holder: str, opened: trio.Event, leave: trio.Event) -> None:
        await store.open(holder, NOW)
        opened.set()
        await leave.wait()
        await store.close(holder)

    events = {holder: (trio.Event(), trio.Event()) for holder in ("a", "b", "c")}
    async with trio.open_nursery() as nursery:
        for holder, (opened, leave) in events.items():
            nursery.start_soon(partial(live, holder, opened, leave))
            await opened.wait()
        for holder in ("b", "a", "c"):
            await store.counts()
            events[holder][1].set()
            await trio.testing.wait_all_tasks_blocked()
