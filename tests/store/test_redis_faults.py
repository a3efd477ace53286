"""A server that dies, hangs, is full, or whose line is cut: an uncertain commit is repeated, and happens once."""

from __future__ import annotations

import logging
import random
import shutil
import time
import uuid
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import pytest
import trio

from actors.core.errors import StoreBusy, StoreError, StoreFull
from actors.core.ids import IdMaker
from actors.core.job import NO_DETAILS, JobSpec, Standing
from actors.core.lifecycle import advance
from actors.store.port import Batch, Claim, Insert, Outcome, Write
from actors.store.redis import RedisStore
from actors.store.redis.durability import why_no_fsync
from actors.testing.redis import RedisServer, free_port

T = TypeVar("T")
NOW = 1_767_225_600_000_000
TYPES = frozenset({"a"})
PATIENCE = 30.0  # seconds that a loaded machine may take for anything
IDS = IdMaker(random.Random(7))


def _insert(payload: str = "{}") -> Insert:
    spec = JobSpec(IDS.make(NOW), "a", payload, "q", 1, 0, 3, None, NOW, None, NO_DETAILS)
    return Insert(spec=spec, standing=Standing(0, "pending", 0, 0, 0, 0, NOW, None, None, None))


def _batch(jobs: int = 3) -> Batch:
    return Batch(now=NOW, inserts=[_insert() for _ in range(jobs)], claims=[Claim(queue="q", limit=2)], types=TYPES)


async def _until_it_works(call: Callable[[], Awaitable[T]]) -> T:
    """As the queue does: again and again. (The server is another process, so there is nothing to wait for.)"""
    with trio.fail_after(PATIENCE):
        while True:
            try:
                return await call()
            except StoreBusy:
                await trio.sleep(0.02)


async def _conserved(store: RedisStore, accepted: int) -> None:
    recount = await store.recount()
    assert (recount.counts.accepted, sum(recount.jobs.values())) == (accepted, accepted)
    assert dict(recount.jobs) == dict(recount.counts.now)


async def test_a_line_that_is_cut_in_mid_call_loses_and_doubles_nothing(proxy) -> None:
    store = RedisStore(proxy.url, prefix=uuid.uuid4().hex)
    await store.open("one", NOW)
    for tick in range(1, 6):
        batch = _batch()
        proxy.cut_the_answer_to(b"_commit")
        with pytest.raises(StoreBusy):
            await store.commit("one", tick, batch)
        outcome = await _until_it_works(partial(store.commit, "one", tick, batch))
        assert (outcome.refused, len(outcome.claimed)) == ({}, 2)
        ended = [Write(job=job, after=advance(job, "complete", NOW), step="complete") for job in outcome.claimed]
        proxy.cut_the_answer_to(b"_report")
        with pytest.raises(StoreBusy):
            await store.commit("one", 100 * tick, Batch(now=NOW, writes=ended))
        # ticks only grow: the next one of this loop would be stale
        outcome = await _until_it_works(partial(store.commit, "one", 100 * tick, Batch(now=NOW, writes=ended)))
        assert outcome.lost == set()
        await store.close("one")
        await store.open("one", NOW)
    assert proxy.cuts == 10
    await _conserved(store, 15)
    counts = await store.counts()
    assert counts.ended == {("q", 1, "completed"): 10}
    await store.close("one")


async def test_what_was_answered_survives_the_death_of_the_server() -> None:
    with RedisServer() as server:
        store = RedisStore(server.url)
        await store.open("one", NOW)
        first = await store.commit("one", 1, _batch())
        server.kill()
        with pytest.raises(StoreBusy):
            await store.counts()
        server.start()
        await _until_it_works(store.counts)
        await _conserved(store, 3)
        again = await store.commit("one", 1, _batch())
        assert again == first, "the tick was not forgotten"
        outcome = await store.commit("one", 2, _batch())
        assert len(outcome.claimed) == 2
        await store.close("one")


async def test_another_process_repeats_its_tick_after_the_death_of_the_server() -> None:
    """What the store object remembers is no help here: the server must know."""
    with RedisServer() as server:
        store, batch = RedisStore(server.url), _batch()
        await store.open("one", NOW)
        first = await store.commit("one", 1, batch)
        server.kill()
        server.start()
        other = RedisStore(server.url)
        await other.open("one", NOW)
        assert await _until_it_works(partial(other.commit, "one", 1, batch)) == first
        await _conserved(other, 3)
        await other.close("one")
        await store.close("one")


async def test_a_server_that_is_absent_at_the_start_may_come(caplog: pytest.LogCaptureFixture) -> None:
    server = RedisServer(port=free_port())
    store = RedisStore(server.url)
    with caplog.at_level(logging.WARNING, "actors"):
        await store.open("one", NOW)
    assert "not there yet" in caplog.text
    with pytest.raises(StoreBusy):
        await store.commit("one", 1, _batch())
    with server:
        outcome = await _until_it_works(partial(store.commit, "one", 1, _batch()))
        assert len(outcome.claimed) == 2
        await store.close("one")


async def test_a_server_that_hangs_is_given_up_in_time_and_its_tick_happens_once() -> None:
    with RedisServer() as server:
        store = RedisStore(server.url, timeout=0.5)
        await store.open("one", NOW)
        batch = _batch()
        server.pause()
        began = time.monotonic()
        for _ in range(2):
            with pytest.raises(StoreBusy):
                await store.commit("one", 1, batch)
        assert time.monotonic() - began >= 1.0
        server.resume()
        outcome = await _until_it_works(partial(store.commit, "one", 1, batch))
        assert len(outcome.claimed) == 2
        for tick in range(2, 30):  # the copies that were left in sockets have come by then
            await store.commit("one", tick, Batch(now=NOW))
        await _conserved(store, 3)
        assert (await store.counts()).now == {("q", 1, "running"): 2, ("q", 1, "pending"): 1}
        await store.close("one")


async def test_a_cancelled_commit_is_waited_for_but_not_for_ever() -> None:
    with RedisServer() as server:
        store, batch = RedisStore(server.url, timeout=PATIENCE), _batch()
        await store.open("one", NOW)
        server.pause()
        with trio.fail_after(PATIENCE / 2), trio.CancelScope() as scope:
            scope.cancel()
            await store.commit("one", 1, batch)
        assert scope.cancelled_caught
        server.resume()
        outcome = await _until_it_works(partial(store.commit, "one", 1, batch))
        assert len(outcome.claimed) == 2
        await _conserved(store, 3)
        await store.close("one")


async def test_a_full_server_refuses_new_jobs_and_keeps_reports() -> None:
    with RedisServer({"maxmemory": "8mb", "maxmemory-policy": "noeviction"}) as server:
        store = RedisStore(server.url)
        await store.open("one", NOW)
        outcome = await store.commit("one", 1, _batch())
        tick = 2
        with pytest.raises(StoreFull):
            while tick < 1_000:
                inserts = [_insert('{"text": "' + "x" * 1_000 + '"}') for _ in range(100)]
                await store.commit("one", tick, Batch(now=NOW, inserts=inserts))
                tick += 1
        ended = [Write(job=job, after=advance(job, "complete", NOW), step="complete") for job in outcome.claimed]
        assert (await store.commit("one", tick, Batch(now=NOW, writes=ended))).lost == set()
        assert (await store.counts()).ended == {("q", 1, "completed"): 2}
        await store.close("one")


async def test_wrong_credentials_are_an_error_at_the_start() -> None:
    with RedisServer({"requirepass": "secret"}) as server:
        for url in (server.url, server.url.replace("//", "//:wrong@")):
            store = RedisStore(url)
            with pytest.raises(StoreError, match="credentials|NOAUTH|auth") as caught:
                await store.open("one", NOW)
            assert not isinstance(caught.value, StoreBusy)
        store = RedisStore(server.url.replace("//", "//:secret@"))
        await store.open("one", NOW)
        await store.close("one")


@pytest.mark.parametrize(
    ("settings", "doubt"),
    [({"appendonly": "no"}, "append-only"), ({"maxmemory-policy": "allkeys-lru"}, "allkeys-lru")],
    ids=["no log", "evicting"],
)
async def test_a_server_that_may_lose_jobs_is_warned_of_or_refused(
    settings: dict[str, str], doubt: str, caplog: pytest.LogCaptureFixture
) -> None:
    with RedisServer(settings) as server:
        with caplog.at_level(logging.WARNING, "actors"):
            store = RedisStore(server.url)
            await store.open("one", NOW)
            await store.close("one")
        assert doubt in caplog.text
        with pytest.raises(StoreError, match=doubt):
            await RedisStore(server.url, strict=True).open("one", NOW)


async def test_a_commit_waits_for_its_replica() -> None:
    quick = {"repl-diskless-sync-delay": "0"}
    with RedisServer(quick) as server, RedisServer({"replicaof": f"127.0.0.1 {server.port}"}) as replica:
        store, batch = RedisStore(server.url, replicas=1, timeout=0.5), _batch()
        await store.open("one", NOW)
        first: Outcome = await _until_it_works(partial(store.commit, "one", 1, _batch()))  # it may still be joining
        assert len(first.claimed) == 2
        replica.pause()
        for _ in range(2):  # nor is a repeat acknowledged, though it writes nothing new
            with pytest.raises(StoreBusy):
                await store.commit("one", 2, batch)
        replica.resume()
        outcome = await _until_it_works(partial(store.commit, "one", 2, batch))
        assert len(outcome.claimed) == 2
        replica.kill()
        with pytest.raises(StoreBusy):
            await store.commit("one", 3, _batch())
        await store.close("one")


async def test_a_commit_waits_for_the_disk() -> None:
    with RedisServer({"appendfsync": "everysec"}) as server:
        store = RedisStore(server.url, fsync=True)
        if b"unknown command" in server.ask("WAITAOF", "0", "0", "1"):  # Redis 7.0
            with pytest.raises(
                StoreError, match=r"fsync waits by WAITAOF, and it is Redis 7\.0.*expected 7\.2 or later"
            ):
                await store.open("one", NOW)
            return
        await store.open("one", NOW)
        assert len((await store.commit("one", 1, _batch())).claimed) == 2
        await store.close("one")


async def test_a_server_that_cannot_wait_for_its_disk_is_refused() -> None:
    """At the start: a commit would happen, and be repeated for ever."""
    with RedisServer({"appendonly": "no"}) as server:
        with pytest.raises(StoreError, match="expected appendonly yes"):
            await RedisStore(server.url, fsync=True).open("one", NOW)


def test_servers_without_waitaof_are_known_by_their_version() -> None:
    there = {"redis_version": "7.2.4", "aof_enabled": "1"}
    assert why_no_fsync(there) is None
    assert why_no_fsync({**there, "redis_version": "8.0.2"}) is None
    assert "it is Redis 7.0.15" in (why_no_fsync({**there, "redis_version": "7.0.15"}) or "")


async def test_after_the_server_went_back_in_time_a_report_does_not_touch_what_another_runs() -> None:
    """The other's claim has the same version: only where the job is tells."""
    with RedisServer({"appendfsync": "always"}) as server:
        store, log = RedisStore(server.url), server.directory / "appendonlydir"
        for holder in ("one", "two"):
            await store.open(holder, NOW)
        await store.commit("one", 1, Batch(now=NOW, inserts=[_insert(), _insert()]))
        past = shutil.copytree(log, server.directory / "past")
        claim = Batch(now=NOW, claims=[Claim(queue="q", limit=1)], types=TYPES)
        (lost,) = (await store.commit("one", 2, claim)).claimed
        server.kill()
        shutil.rmtree(log)
        past.rename(log)
        server.start()
        (found,) = (await _until_it_works(partial(store.commit, "two", 1, claim))).claimed
        assert (found.spec.id, found.standing.version) == (lost.spec.id, lost.standing.version)
        report = Write(job=lost, after=advance(lost, "complete", NOW), step="complete")
        assert (await store.commit("one", 3, Batch(now=NOW, writes=[report]))).lost == {0}
        assert (await store.get([found.spec.id]))[found.spec.id].standing == found.standing
        (mine,) = (await store.commit("one", 4, claim)).claimed
        ended = [Write(job=job, after=advance(job, "complete", NOW), step="complete") for job in (lost, mine)]
        assert (await store.commit("one", 5, Batch(now=NOW, writes=ended))).lost == {0}, "and it goes on to look"
        assert await store.vanished("one", NOW) == ["one"], "told once"
        assert await store.vanished("one", NOW) == []
        assert await store.vanished("two", NOW) == [], "which had been answered nothing that is lost"
        await _conserved(store, 2)
        for holder in ("one", "two"):
            await store.close(holder)


async def test_a_server_that_does_not_know_a_holder_any_more_but_its_jobs_has_forgotten_something() -> None:
    with RedisServer() as server:
        store = RedisStore(server.url, prefix="here")
        await store.open("one", NOW)
        assert len((await store.commit("one", 1, _batch())).claimed) == 2
        assert await store.vanished("one", NOW) == []
        assert server.ask("DEL", "{here}:holder:one") == b":1\r\n"
        await store.commit("one", 2, Batch(now=NOW))
        with trio.fail_after(PATIENCE):
            while not await store.wakeup("one"):
                pass
        assert await store.vanished("one", NOW) == ["one"]
        await store.close("one")
