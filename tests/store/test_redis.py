"""`RedisStore` keeps the port's promises, on a real server."""

from __future__ import annotations

import random
import re
import uuid
from collections.abc import Callable
from functools import partial

import pytest
import trio

from actors.core.errors import StoreError
from actors.core.ids import IdMaker
from actors.core.job import NO_DETAILS, JobSpec, Standing
from actors.core.lifecycle import advance
from actors.store.port import Batch, Claim, Insert, Query, Write
from actors.store.redis import RedisStore, library
from actors.store.redis.rows import head_of, instant_of, pack_standing, stamp, tail
from actors.testing.conformance.walk import walk
from actors.testing.redis import RedisServer
from actors.testing.store import check_promise, check_store

NOW = 1_767_225_600_000_000
TYPES = frozenset({"a", "b"})


def _stores(url: str) -> tuple[Callable[[], RedisStore], Callable[[], RedisStore]]:
    last = ""

    def make() -> RedisStore:
        nonlocal last
        last = uuid.uuid4().hex
        return RedisStore(url, prefix=last)

    return make, lambda: RedisStore(url, prefix=last)


async def test_it_keeps_the_promises_of_the_port(redis_url: str) -> None:
    make, reopen = _stores(redis_url)
    await check_store(make, reopen=reopen)


async def test_many_more_walks(redis_url: str, request: pytest.FixtureRequest) -> None:
    make, reopen = _stores(redis_url)
    for seed in range(100, 300 if request.config.getoption("--redis") == "long" else 103):
        await check_promise(partial(walk, seed=seed, steps=80), make, reopen=reopen)


def _insert(ids: IdMaker, *, type: str = "a", queue: str = "q", priority: int = 1, run_at: int = NOW) -> Insert:
    spec = JobSpec(ids.make(NOW), type, "{}", queue, priority, 0, 3, None, NOW, None, NO_DETAILS)
    state = "pending" if run_at <= NOW else "scheduled"
    return Insert(spec=spec, standing=Standing(0, state, 0, 0, 0, 0, run_at, None, None, None))


async def _fill(store: RedisStore, ids: IdMaker, jobs: int, **fields) -> None:
    for tick in range(jobs // 2_000):
        inserts = [_insert(ids, **fields) for _ in range(2_000)]
        outcome = await store.commit("one", 10_000 + tick, Batch(now=NOW, inserts=inserts))
        assert not outcome.refused


async def test_a_page_looks_at_a_bounded_number_of_jobs(redis_url: str) -> None:
    store, ids = RedisStore(redis_url, prefix=uuid.uuid4().hex), IdMaker(random.Random(7))
    await store.open("one", NOW)
    rare = _insert(ids, type="b")
    await store.commit("one", 1, Batch(now=NOW, inserts=[rare]))
    await _fill(store, ids, 6_000)
    pages, query = 0, Query(type="b")
    found = []
    while True:
        page = await store.find(query)
        pages += 1
        found += page.jobs
        if page.after is None:
            break
        query = Query(type="b", after=page.after)
    assert [job.id for job in found] == [rare.spec.id]
    assert pages == 4, "a page looks at 2 000 jobs"
    await store.close("one")


async def test_two_systems_share_a_server(redis_url: str) -> None:
    ids = IdMaker(random.Random(7))
    stores = [RedisStore(redis_url, prefix=uuid.uuid4().hex) for _ in range(2)]
    for store in stores:
        await store.open("one", NOW)
    await stores[0].commit("one", 1, Batch(now=NOW, inserts=[_insert(ids)], settings={"paused/q": "1"}))
    claimed = await stores[1].commit("one", 1, Batch(now=NOW, claims=[Claim(queue="q", limit=9)], types=TYPES))
    assert (claimed.claimed, await stores[1].settings(), (await stores[1].counts()).accepted) == ([], {}, 0)
    for store in stores:
        await store.close("one")


async def test_two_releases_share_the_data(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ids, prefix = IdMaker(random.Random(7)), uuid.uuid4().hex
    old = RedisStore(redis_url, prefix=prefix)
    await old.open("old", NOW)
    with monkeypatch.context() as newer:
        newer.setattr(library, "NAME", library.NAME + "x")
        newer.setattr(library, "CODE", library.CODE.replace(library.NAME[:-1], library.NAME))
        new = RedisStore(redis_url, prefix=prefix)
        await new.open("new", NOW)
        await new.commit("new", 1, Batch(now=NOW, inserts=[_insert(ids)]))
    outcome = await old.commit("old", 1, Batch(now=NOW, claims=[Claim(queue="q", limit=1)], types=TYPES))
    assert len(outcome.claimed) == 1
    await old.close("old")
    await new.close("new")


async def test_the_data_of_a_newer_release_is_not_touched(redis_url: str) -> None:
    port, prefix = int(redis_url.rpartition(":")[2]), uuid.uuid4().hex
    server = RedisServer(port=port)
    server.ask("SET", f"{{{prefix}}}:schema", "99")
    store = RedisStore(redis_url, prefix=prefix)
    with pytest.raises(StoreError, match="newer release"):
        await store.open("one", NOW)
    with pytest.raises(StoreError, match="not open"):
        await store.counts()


async def test_a_library_that_the_server_lost_is_loaded_again() -> None:
    with RedisServer() as server:
        store, ids = RedisStore(server.url), IdMaker(random.Random(7))
        await store.open("one", NOW)
        server.ask("FUNCTION", "FLUSH")
        await store.commit("one", 1, Batch(now=NOW, inserts=[_insert(ids)]))
        assert (await store.counts()).accepted == 1
        await store.close("one")


async def test_what_a_server_lost_is_entered_again() -> None:
    """A holder goes on after its server was emptied (or an old replica took over)."""
    with RedisServer() as server:
        store, ids = RedisStore(server.url), IdMaker(random.Random(7))
        await store.open("one", NOW)
        await store.commit("one", 7, Batch(now=NOW, inserts=[_insert(ids)]))
        server.ask("FLUSHALL")
        await store.commit("one", 8, Batch(now=NOW, inserts=[_insert(ids)]))
        assert (await store.counts()).accepted == 1
        await store.close("one")


async def test_a_late_copy_of_a_call_changes_nothing(redis_url: str) -> None:
    """A call that waited in a socket while its tick was repeated elsewhere, and the next ones made."""
    store, ids = RedisStore(redis_url, prefix=uuid.uuid4().hex), IdMaker(random.Random(7))
    await store.open("one", NOW)
    for tick in (1, 2, 3):
        await store.commit("one", tick, Batch(now=NOW, inserts=[_insert(ids)]))
    claims = Batch(now=NOW, claims=[Claim(queue="q", limit=1)], types=TYPES)
    for late in (1, 2):
        with pytest.raises(StoreError, match="stale"):
            await store.commit("one", late, claims)
    assert (await store.counts()).now == {("q", 1, "pending"): 3}
    await store.close("one")


async def test_due_jobs_are_promoted_in_portions(redis_url: str) -> None:
    store, ids = RedisStore(redis_url, prefix=uuid.uuid4().hex), IdMaker(random.Random(7))
    await store.open("one", NOW)
    await _fill(store, ids, 4_000, run_at=NOW + 10)
    portions = []
    for tick in (20_000, 20_001, 20_002):
        outcome = await store.commit("one", tick, Batch(now=NOW + 10, list_promoted=True))
        portions.append((len(outcome.promoted), outcome.next_due))
    assert portions == [(2_000, NOW + 10), (2_000, None), (0, None)]
    await store.close("one")


def test_the_rows_of_python_and_lua_are_the_same() -> None:
    """Versions are compared as the beginnings of rows: whole numbers of every size must be packed alike.

    (That Lua packs them so is tried by the walks; this pins what Python does.)
    """
    for seq in (1, 127, 128, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 10**12 - 1):
        standing = Standing(seq, "running", seq % 300, 1, 1, 0, NOW, NOW, None, "h")
        assert pack_standing(standing).startswith(head_of(standing))
        assert not pack_standing(standing).startswith(
            head_of(Standing(seq, "running", 301, 1, 1, 0, NOW, NOW, None, "h"))
        )


async def test_versions_of_every_size_are_told_apart(redis_url: str) -> None:
    store, ids = RedisStore(redis_url, prefix=uuid.uuid4().hex), IdMaker(random.Random(7))
    await store.open("one", NOW)
    await store.commit("one", 1, Batch(now=NOW, inserts=[_insert(ids)]))
    claims = [Claim(queue="q", limit=1)]
    tick, seen = 2, []
    for _ in range(150):  # over the edges of msgpack's small numbers
        (job,) = (await store.commit("one", tick, Batch(now=NOW, claims=claims, types=TYPES))).claimed
        write = Write(job=job, after=advance(job, "give_back", NOW), step="give_back")
        outcome = await store.commit("one", tick + 1, Batch(now=NOW, writes=[write, write]))
        assert outcome.lost == {1}
        seen.append(job.version)
        tick += 2
    assert seen == list(range(1, 301, 2))
    await store.close("one")


def test_instants_sort_as_text() -> None:
    instants = [-(10**15), -1, 0, 1, 999, NOW - 1, NOW, NOW + 1, 8 * 10**15]
    assert sorted(map(stamp, instants)) == [stamp(at) for at in instants]
    assert [instant_of(stamp(at)) for at in instants] == instants
    assert sorted([tail(10, "a"), tail(9, "b"), tail(100, "c")]) == [tail(9, "b"), tail(10, "a"), tail(100, "c")]


def test_no_state_is_named_in_lua() -> None:
    from actors.core.job import STATES
    from actors.core.lifecycle import STEPS

    code = re.sub(r"--[^\n]*", "", library.CODE)
    words = set(re.findall(r"'([^']*)'", code))
    assert not words & set(STATES)
    assert not words & set(STEPS) - {"claim"}


async def test_an_audit_is_exact_while_others_commit(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes many calls, between which jobs come, move and go."""
    monkeypatch.setattr("actors.store.redis.store.COUNTED_AT_ONCE", 7)
    store, ids, draw = RedisStore(redis_url, prefix=uuid.uuid4().hex), IdMaker(random.Random(7)), random.Random(7)
    await store.open("one", NOW)
    held, ended, over = [], [], trio.Event()
    now, tick = NOW, 0

    async def churn() -> None:
        nonlocal now, tick
        while not over.is_set():
            now, tick = now + 10, tick + 1
            steps = ("complete", "give_back", "retry", "bury")
            chosen = [held.pop(draw.randrange(len(held))) for _ in range(min(len(held), 6))]
            writes = []
            for job in chosen:
                step = draw.choice(steps)
                after = advance(job, step, now, run_at=now + 50 if step == "retry" else None)
                writes.append(Write(job=job, after=after, step=step))
            gone = [ended.pop(draw.randrange(len(ended))) for _ in range(min(len(ended), 3))]
            new = [
                _insert(ids, queue=draw.choice("qr"), priority=draw.randrange(4), run_at=NOW + draw.choice((0, 50)))
                for _ in range(5)
            ]
            claims = [Claim(queue="q", limit=draw.randrange(5)), Claim(queue="r", limit=draw.randrange(5))]
            batch = Batch(now=now, inserts=new, writes=writes, deletes=gone, claims=claims, types=TYPES)
            outcome = await store.commit("one", tick, batch)
            held.extend(outcome.claimed)
            done = [write.job.id for write in writes if write.after.finished_at is not None]
            ended.extend((await store.get(done)).values())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(churn)
        audits = []
        while len(audits) < 12:
            if tick < 20:
                await trio.sleep(0.001)
                continue
            before = tick
            recount = await store.recount()
            assert dict(recount.jobs) == dict(recount.counts.now)
            assert recount.counts.accepted == sum(recount.jobs.values()) + recount.counts.deleted
            audits.append(tick - before)
        over.set()
    assert sum(audits) > 100, "commits came between"
    await store.close("one")


async def test_an_audit_that_nobody_ends_is_given_up(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.store.redis.store.COUNTED_AT_ONCE", 7)
    monkeypatch.setattr("actors.store.redis.store.AUDIT_PATIENCE", 0.0)
    store, ids = RedisStore(redis_url, prefix=uuid.uuid4().hex), IdMaker(random.Random(7))
    await store.open("one", NOW)
    await store.commit("one", 1, Batch(now=NOW, inserts=[_insert(ids) for _ in range(20)]))
    await store._call("audit", "left", 1, 7, 0)
    await trio.sleep(0.01)
    await store.commit("one", 2, Batch(now=NOW))
    assert await store._call("audit", "left", 0, 7, 0) == b"!lost"
    assert dict((await store.recount()).jobs) == {("q", 1, "pending"): 20}
    await store.close("one")
