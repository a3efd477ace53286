"""Calls that come late or twice, and answers that do not come: what the simulation has found, without its storm."""

from __future__ import annotations

import random
import uuid

import pytest
import trio
from coredis import exceptions

from actors.core.errors import StoreBusy, StoreError, StoreFull, StoreSilent
from actors.core.ids import IdMaker
from actors.core.job import NO_DETAILS, JobSpec, Standing
from actors.core.lifecycle import advance
from actors.store.port import Batch, Claim, Insert, Write
from actors.store.redis import RedisStore
from actors.store.redis.faults import store_error
from actors.store.redis.library import SCHEMA
from actors.store.redis.store import _Holder

NOW = 1_767_225_600_000_000
IDS = IdMaker(random.Random(11))


def _batch() -> Batch:
    spec = JobSpec(IDS.make(NOW), "a", "{}", "q", 1, 0, 3, None, NOW, None, NO_DETAILS)
    insert = Insert(spec=spec, standing=Standing(0, "pending", 0, 0, 0, 0, NOW, None, None, None))
    return Batch(now=NOW, inserts=[insert], claims=[Claim(queue="q", limit=1)], types=frozenset({"a"}))


async def test_a_repeat_gives_no_job_that_another_has_by_now(redis_url: str) -> None:
    prefix = uuid.uuid4().hex
    silent, other = RedisStore(redis_url, prefix=prefix), RedisStore(redis_url, prefix=prefix)
    await silent.open("silent", NOW)
    await other.open("other", NOW)
    batch = _batch()
    (job,) = (await silent.commit("silent", 1, batch)).claimed
    lost = Write(job=job, after=advance(job, "lose", NOW), step="lose")
    taken = Batch(now=NOW, writes=[lost], claims=[Claim(queue="q", limit=1)], types=batch.types)
    assert [one.id for one in (await other.commit("other", 1, taken)).claimed] == [job.id]
    again = RedisStore(redis_url, prefix=prefix)  # one that does not remember the answer, as if it had been lost
    await again.open("silent", NOW)
    assert (await again.commit("silent", 1, batch)).claimed == []
    for store, holder in ((again, "silent"), (silent, "silent"), (other, "other")):
        await store.close(holder)


async def test_a_late_copy_of_an_enrolment_undoes_no_goodbye(redis_url: str) -> None:
    prefix = uuid.uuid4().hex
    watcher, gone = RedisStore(redis_url, prefix=prefix), RedisStore(redis_url, prefix=prefix)
    await watcher.open("watcher", NOW)
    await gone.open("gone", NOW)
    opening = gone._holders["gone"].opening
    await gone.commit("gone", 1, _batch())
    await gone.close("gone")
    await watcher._call("enroll", "gone", 30_000, SCHEMA, opening)
    assert await watcher.vanished("watcher", NOW) == ["gone"]
    again = RedisStore(redis_url, prefix=prefix)
    await again.open("gone", NOW)
    await watcher._call("dismiss", "gone", opening, 60)  # nor does a late goodbye end what came after it
    assert await watcher.vanished("watcher", NOW) == []
    await again.close("gone")
    await watcher.close("watcher")


async def test_a_second_copy_of_an_enrolment_is_no_sign_of_life(redis_url: str) -> None:
    prefix = uuid.uuid4().hex
    watcher, dead = RedisStore(redis_url, prefix=prefix), RedisStore(redis_url, prefix=prefix)
    await watcher.open("watcher", NOW)
    await dead.open("dead", NOW)
    await dead.commit("dead", 1, _batch())
    await dead._call("beat", "dead", 1)
    with trio.fail_after(30):
        while await watcher.vanished("watcher", NOW) != ["dead"]:
            await trio.sleep(0.01)  # by the server's clock: there is nothing to wait for
    await watcher._call("enroll", "dead", 60_000, SCHEMA, dead._holders["dead"].opening)
    assert await watcher.vanished("watcher", NOW) == ["dead"]
    await dead.close("dead")
    await watcher.close("watcher")


async def test_a_refusal_after_a_silence_is_no_refusal(monkeypatch: pytest.MonkeyPatch, autojump_clock) -> None:
    """What was asked before may have happened: the queue must not tell its callers that nothing was kept."""
    store = RedisStore("redis://127.0.0.1:1", inline=True)
    asked = 0

    async def call(function: str, *arguments: object, **options: object) -> bytes:
        nonlocal asked
        asked += 1
        if asked == 1:
            await trio.sleep_forever()
        raise StoreFull("OOM")

    monkeypatch.setattr(store, "_call", call)
    store._holders["one"] = _Holder()
    with pytest.raises(StoreSilent):
        await store.commit("one", 1, _batch())
    with pytest.raises(StoreFull):
        await store.commit("one", 2, _batch())


def test_only_what_was_certainly_not_done_is_told_as_such() -> None:
    silent: list[BaseException] = [
        trio.TooSlowError(),
        exceptions.ConnectionError("reset"),
        exceptions.ReplicationError("FCALL", 1, 1_000),
        OSError("gone"),
    ]
    refused: list[BaseException] = [
        exceptions.BusyLoadingError("loading"),
        exceptions.ReadOnlyError("replica"),
        exceptions.ResponseError("CLUSTERDOWN"),
    ]
    assert all(isinstance(store_error(error, "it"), StoreSilent) for error in silent)
    errors: list[StoreError] = [store_error(error, "it") for error in refused]
    assert all(isinstance(error, StoreBusy) and not isinstance(error, StoreSilent) for error in errors)
