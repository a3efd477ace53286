"""The memory store keeps every promise of the port, and those of its own: what a job costs, what is left
behind, when a lease ends.
"""

from __future__ import annotations

import gc
import math
import random
import tracemalloc
from functools import partial
from heapq import nsmallest
from unittest import mock

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.core.errors import BadOption, StoreError
from actors.core.job import NO_DETAILS, JobRecord, JobSpec, Standing
from actors.core.lifecycle import advance
from actors.store.memory import MemoryStore, lanes
from actors.store.memory.lanes import Ready
from actors.store.memory.rows import ID, Row
from actors.store.memory.shelf import Shelf
from actors.store.port import FIRST_LEASE, Batch, Claim, Insert, Query, Stop, Write
from actors.testing import check_store
from actors.testing.conformance.rig import Check
from actors.testing.conformance.walk import walk
from actors.testing.store import CHECKS, check_promise

NOW = 1_767_225_600_000_000
LEASE = 30.0
TYPES = frozenset({"t"})
FIRST = round(FIRST_LEASE * 1e6)
FORGOTTEN = 64_000  # bytes that may be left of the 3 000 jobs, 100 at a time, that came and went


@pytest.mark.parametrize("check", CHECKS, ids=[check.__name__ for check in CHECKS])
async def test_memory_keeps(check: Check) -> None:
    await check_promise(check, MemoryStore)


async def test_the_whole_suite_passes_as_its_users_call_it() -> None:
    await check_store(MemoryStore, seeds=range(10), steps=60)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(min_value=0))
async def test_memory_does_what_the_model_does_on_any_walk(seed: int) -> None:
    await check_promise(partial(walk, seed=seed, steps=40), MemoryStore)


def _insert(n: int, *, holder: str | None = None) -> Insert:
    spec = JobSpec(f"job-{n}", "t", "{}", "q", 1, 0, 3, None, NOW, None, NO_DETAILS)
    return Insert(spec=spec, standing=Standing(0, "pending", 0, 0, 0, 0, NOW, None, None, holder))


def _later(insert: Insert, micros: int) -> Insert:
    return attrs.evolve(insert, standing=attrs.evolve(insert.standing, state="scheduled", run_at=NOW + micros))


async def _hold(store: MemoryStore, holder: str, n: int = 0) -> None:
    batch = Batch(now=NOW, inserts=[_insert(n)], claims=[Claim(queue="q", limit=1)], types=TYPES)
    await store.commit(holder, 1, batch)


async def test_a_commit_runs_to_its_end_without_a_checkpoint() -> None:
    store = MemoryStore()
    await store.open("one", NOW)
    commit = store.commit("one", 1, Batch(now=NOW, inserts=[_insert(n) for n in range(10)]))
    with pytest.raises(StopIteration):
        commit.send(None)


async def test_a_holder_that_is_silent_beyond_its_lease_has_vanished() -> None:
    store = MemoryStore()
    for holder in ("one", "two"):
        await store.open(holder, NOW)
    await _hold(store, "two")
    assert await store.vanished("one", NOW + FIRST) == [], "it has never beaten, and may yet"
    assert await store.vanished("one", NOW + FIRST + 1) == ["two"]
    await store.beat("two", NOW, LEASE)
    assert await store.vanished("one", NOW + int(LEASE * 1e6)) == []
    assert await store.vanished("one", NOW + int(LEASE * 1e6) + 1) == ["two"]
    assert await store.vanished("two", NOW + int(LEASE * 1e6) + 1) == [], "nobody is gone to itself"
    await store.beat("two", NOW + 60_000_000, LEASE)
    assert await store.vanished("one", NOW + 61_000_000) == [], "it was silent, and is back"


async def test_a_lone_holder_need_not_beat() -> None:
    store = MemoryStore()
    await store.open("one", NOW)
    assert await store.beat("one", NOW, LEASE) == math.inf
    await _hold(store, "one")
    assert await store.beat("one", NOW, LEASE) == math.inf, "its own jobs are no reason"
    await store.open("two", NOW)
    assert await store.beat("one", NOW, LEASE) < LEASE / 2, "one beat may get lost"
    await _hold(store, "two", 1)
    await store.close("two")
    assert await store.beat("one", NOW, LEASE) < LEASE / 2, "there are jobs of one that is gone"


async def test_a_holder_that_closes_with_jobs_wakes_the_others() -> None:
    store = MemoryStore()
    for holder in ("one", "two"):
        await store.open(holder, NOW)
    await _hold(store, "two")
    await store.wakeup("one")
    await store.close("two")
    with trio.fail_after(5):
        await store.wakeup("one")


async def test_closing_ends_a_wait_and_a_closed_holder_is_told_so() -> None:
    store = MemoryStore()
    await store.open("one", NOW)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.wakeup, "one")
        await trio.testing.wait_all_tasks_blocked()
        await store.close("one")
    for call in (store.wakeup("one"), store.commit("one", 1, Batch(now=NOW))):
        with pytest.raises(StoreError, match="'one' is not open"):
            await call


def _distinct(n: int) -> Insert:
    # as in life: an id, an instant and a standing of its own, and everything else shared
    at = NOW + n
    spec = JobSpec(f"{n:036}", "t", "{}", "q", 1, 0, 3, None, at, None, NO_DETAILS)
    return Insert(spec=spec, standing=Standing(0, "pending", 0, 0, 0, 0, at, None, None, None))


async def test_jobs_at_rest_are_nothing_to_the_garbage_collector() -> None:
    many = 1_000
    store = MemoryStore()
    await store.open("one", NOW)
    gc.collect()
    before = len(gc.get_objects())
    for n in range(many):
        await store.commit("one", n, Batch(now=NOW, inserts=[_distinct(n), _later(_distinct(many + n), 1 + n)]))
    taken = await store.commit("one", many, Batch(now=NOW, claims=[Claim(queue="q", limit=many // 2)], types=TYPES))
    writes = [Write(job, advance(job, "complete", NOW + 1), "complete", "{}") for job in taken.claimed]
    await store.commit("one", many + 1, Batch(now=NOW, writes=writes))
    del taken, writes
    gc.collect()
    assert len(gc.get_objects()) - before < many / 10, "waiting, scheduled or finished: 2 000 jobs are there"


async def test_a_waiting_job_costs_at_most_700_bytes() -> None:
    many = 10_000
    store = MemoryStore()
    await store.open("one", NOW)
    gc.collect()
    gc.freeze()  # what is there already need not be looked at in every collection
    tracemalloc.start()
    try:
        for tick in range(many // 100):
            inserts = [_distinct(n) for n in range(tick * 100, tick * 100 + 100)]
            await store.commit("one", tick, Batch(now=NOW, inserts=inserts))
        await store.commit("one", many, Batch(now=NOW))
        inserts = []
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.unfreeze()
    assert (await store.counts()).accepted == many
    assert held / many <= 700


async def test_a_finished_and_deleted_history_is_forgotten() -> None:
    store = MemoryStore()
    await store.open("one", NOW)
    gc.collect()
    gc.freeze()  # what is there already need not be looked at in every collection
    tracemalloc.start()
    try:
        sizes = []
        for tick in range(30):
            n = tick * 100
            batch = Batch(
                now=NOW,
                inserts=[_insert(n + k) for k in range(100)],
                claims=[Claim(queue="q", limit=100)],
                types=TYPES,
            )
            claimed = (await store.commit("one", 5 * tick, batch)).claimed
            stops = [Stop(id=job.id, reason="user") for job in claimed]
            await store.commit("one", 5 * tick + 1, Batch(now=NOW, stops=stops))
            back = [Write(job=job, after=advance(job, "retry", NOW, run_at=NOW + 9), step="retry") for job in claimed]
            await store.commit("one", 5 * tick + 2, Batch(now=NOW, writes=back))
            jobs = (await store.get([job.id for job in claimed])).values()
            ends = [Write(job=job, after=advance(job, "cancel", NOW), step="cancel") for job in jobs]
            await store.commit("one", 5 * tick + 3, Batch(now=NOW, writes=ends))
            done = list((await store.get([job.id for job in claimed])).values())
            await store.commit("one", 5 * tick + 4, Batch(now=NOW, deletes=done))
            del batch, claimed, stops, back, jobs, ends, done
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
        gc.unfreeze()
    assert (await store.find(Query())).jobs == []
    assert max(sizes) < FORGOTTEN


async def test_what_was_called_off_while_it_waited_is_forgotten() -> None:
    store = MemoryStore()
    await store.open("one", NOW)
    first = [_insert(-1), _insert(-2)]
    first = [first[0], _later(first[1], 1)]
    await store.commit("one", -1, Batch(now=NOW, inserts=first))
    gc.collect()
    gc.freeze()  # what is there already need not be looked at in every collection
    tracemalloc.start()
    try:
        sizes = []
        for tick in range(30):
            inserts = [_insert(tick * 100 + k) for k in range(100)]
            inserts = [_later(insert, 9) if n % 2 else insert for n, insert in enumerate(inserts)]
            await store.commit("one", 3 * tick, Batch(now=NOW, inserts=inserts))
            jobs = list((await store.get([insert.spec.id for insert in inserts])).values())
            writes = [Write(job=job, after=advance(job, "cancel", NOW), step="cancel") for job in jobs]
            await store.commit("one", 3 * tick + 1, Batch(now=NOW, writes=writes))
            jobs = list((await store.get([insert.spec.id for insert in inserts])).values())
            await store.commit("one", 3 * tick + 2, Batch(now=NOW, deletes=jobs))
            inserts, jobs, writes = [], [], []
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
        gc.unfreeze()
    assert len((await store.find(Query())).jobs) == 2, "those that stand in front of all that was called off"
    assert max(sizes) < FORGOTTEN


async def test_the_collector_does_not_walk_jobs_that_only_wait() -> None:
    store, jobs = MemoryStore(), 20_000
    await store.open("one", NOW)
    await store.commit("one", 1, Batch(now=NOW, inserts=[_insert(n) for n in range(jobs)]))
    gc.collect()
    gc.collect()  # a dictionary is let alone once its rows are
    batch = Batch(now=NOW, types=TYPES, claims=[Claim(queue="q", limit=100)])
    outcome = await store.commit("one", 2, batch)
    assert [job.id for job in outcome.claimed] == [f"job-{n}" for n in range(100)]
    shelf = store._jobs.shelf
    walked = [shard for shard in shelf.shards if gc.is_tracked(shard)]
    assert len(walked) <= 2 and len(shelf.shards) == 20, "those among which something moved"
    assert not gc.is_tracked(shelf.numbers)


async def test_a_cursor_of_the_other_order_is_refused() -> None:
    store = MemoryStore()
    await store.open("one", NOW)
    await store.commit("one", 1, Batch(now=NOW, inserts=[_insert(0), _insert(1)]))
    page = await store.find(Query(limit=1))
    with pytest.raises(BadOption, match="the cursor of a page of the order finished"):
        await store.find(Query(order="finished", after=page.after))


def _record(n: int, priority: int, type: str, front: int, run_at: int) -> JobRecord:
    spec = JobSpec(f"job-{n}", type, "{}", "q", priority, front, 3, None, NOW, None, NO_DETAILS)
    return JobRecord(spec, Standing(n, "pending", 0, 0, 0, 0, run_at, None, None, None))


def _row(shelf: Shelf, id: str) -> Row:
    row = shelf.row(id)
    assert row is not None
    return row


PUSH = st.tuples(
    st.just("push"),
    st.sampled_from([1, 1, 1, 0, 2, 3]),
    st.sampled_from("aaab"),
    st.sampled_from([0, 0, 0, -1, -2]),
    st.integers(0, 20),
)
TAKE = st.tuples(st.just("take"), st.integers(1, 5), st.sampled_from(["a", "b", "ab"]), st.just(0), st.just(0))
LEAVE = st.tuples(st.just("leave"), st.integers(0, 500), st.just(""), st.just(0), st.integers(1, 8))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(PUSH, PUSH, LEAVE, TAKE), max_size=300))
def test_the_ready_jobs_are_taken_in_order_and_little_is_left_behind(
    moves: list[tuple[str, int, str, int, int]],
) -> None:
    with mock.patch.multiple(lanes, SLACK=2, WORN=3):  # so that short histories are swept out too
        _follow(moves)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(min_value=0))
def test_a_lane_that_was_mostly_called_off_is_still_in_order(seed: int) -> None:
    rng = random.Random(seed)
    pushes = [("push", 1, "a", 0, rng.randrange(1_000)) for _ in range(80)]
    leaves = [("leave", rng.randrange(500), "", 0, 1) for _ in range(60)]
    _follow([*pushes, *leaves, *[("take", 1, "a", 0, 0)] * 20])


def _follow(moves: list[tuple[str, int, str, int, int]]) -> None:
    ready, current = Ready(), Shelf()
    for n, (move, number, text, front, run_at) in enumerate(moves):
        if move == "push":
            current[f"job-{n}"] = _record(n, number, text, front, run_at)
            ready.push(_row(current, f"job-{n}"))
        elif move == "leave":
            for id in list(current)[number % (len(current) or 1) :][:run_at]:
                row = _row(current, id)
                del current[id]
                ready.leave(row, current)
        elif move == "take":
            taken = [row[ID] for level in ready.take(number, frozenset(text), current) for row in level]
            known = [job for job in current.values() if job.type in text]
            want = nsmallest(
                number,
                known,
                key=lambda job: (-job.spec.priority, job.spec.front, job.standing.run_at, job.standing.seq),
            )
            assert taken == [job.id for job in want]
            for job in want:
                del current[job.id]
        assert len(ready) <= 2 * len(current) + (lanes.SLACK + 1) * 4 * 2, "four priorities, two types"
