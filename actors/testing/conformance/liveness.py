"""Promises about holders: who is gone, who is told, and what two store objects see of each other."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import trio
import trio.testing

from actors.core.job import JobRecord
from actors.store.port import ScheduleRecord, Stop, Store
from actors.testing.conformance.rig import SECOND, Check, Rig, equal, expect, soon

LEASE: Final = 30.0


async def who_is_closed_has_vanished(rig: Rig) -> None:
    """A holder that closed while it held running jobs is among the vanished, to the others, until it holds
    none.
    """
    await rig.open("two")
    job, other = await rig.running("two"), await rig.running("two", queue="q")
    equal(await rig.store.vanished("one", rig.now), [], "the vanished while all are open")
    await rig.close("two")
    equal(await rig.store.vanished("one", rig.now), ["two"], "the vanished")
    equal((await rig.get(job.id)).standing, job.standing, "the job of a holder that is gone")
    await rig.step(job, "lose")
    equal(await rig.store.vanished("one", rig.now), ["two"], "the vanished while a job is left")
    await rig.step(other, "lose")
    equal(await rig.store.vanished("one", rig.now), [], "the vanished when its jobs were given back")


async def who_holds_nothing_has_not_vanished(rig: Rig) -> None:
    """Nobody is among the vanished without running jobs; and nobody to itself."""
    await rig.open("two")
    job = await rig.running("two")
    equal(await rig.store.vanished("two", rig.now), [], "the vanished, to itself")
    await rig.step(job, "complete", holder="two")
    await rig.close("two")
    equal(await rig.store.vanished("one", rig.now), [], "the vanished")


async def who_beats_has_not_vanished(rig: Rig) -> None:
    """A holder within its lease is never among the vanished; `beat` says when to beat again, and is not late
    for the lease.
    """
    equal(
        await rig.store.beat("one", rig.now, LEASE) > 0,
        True,
        "whether the pause until the next beat is positive",
    )
    await rig.open("two")
    job = await rig.running("two")
    for _ in range(5):
        for holder in ("one", "two"):
            pause = await rig.store.beat(holder, rig.now, LEASE)
            expect(
                0 < pause <= LEASE,
                f"with another holder the next beat is in {pause} s: expected at most {LEASE} s",
            )
        rig.now += round(pause * SECOND) - 1
        equal(await rig.store.vanished("one", rig.now), [], "the vanished while both beat in time")
    await rig.close("two")
    equal(await rig.store.vanished("one", rig.now), ["two"], "the vanished after it closed")
    pause = await rig.store.beat("one", rig.now, LEASE)
    expect(pause < math.inf, "with jobs of a vanished holder there is a next beat")
    equal((await rig.get(job.id)).state, "running", "the state of a job of one that is gone")


async def who_is_open_is_seen(rig: Rig) -> None:
    """`others` are the holders that are open, whether they hold jobs or not, in this store object or another one; who
    is closed is none of them.
    """
    equal(await rig.store.others("one", rig.now), [], "the others, when there are none")
    await rig.open("two")
    store = rig.another_store() if rig.persists else rig.store
    await rig.open("three", store)
    await rig.running("two")
    for holder, others in (("one", ["three", "two"]), ("two", ["one", "three"])):
        equal(sorted(await rig.store.others(holder, rig.now)), others, f"the others as seen by {holder}")
    await rig.close("two")
    await rig.close("three", store)
    equal(await rig.store.others("one", rig.now), [], "the others, when they have left")


async def a_closed_holder_can_open_again(rig: Rig) -> None:
    """Closing and opening leaves the data; a holder that opens again commits from any tick on."""
    (job,) = await rig.add(rig.job())
    await rig.open("two")
    await rig.close("one")
    await rig.open("one")
    equal(await rig.get(job.id), job, "a job after its enqueuer has opened again")
    outcome = await rig.store.commit("one", 1, rig.batch(inserts=[rig.job(id="mine")]))
    equal(outcome.refused, {}, "the refusals")
    expect(not await rig.gone("mine"), "the first tick after opening again was taken for a repeat")


async def the_vanished_are_seen_through_the_data(rig: Rig) -> None:
    """Who is served by another store object on the same data is alive while open there, and vanished once
    closed there.
    """
    if not rig.persists:
        return
    job, store = await _elsewhere(rig)
    await store.beat("two", rig.now, LEASE)
    equal(await rig.store.vanished("one", rig.now), [], "the vanished while it is open elsewhere")
    await rig.close("two", store)
    equal(await rig.store.vanished("one", rig.now), ["two"], "the vanished when it was closed elsewhere")
    await rig.step(job, "lose")
    equal(await rig.store.vanished("one", rig.now), [], "the vanished when its job was given back")


async def _elsewhere(rig: Rig) -> tuple[JobRecord, Store]:
    """A job that `two` runs, and the other store object that serves it."""
    store = rig.another_store()
    await rig.open("two", store)
    (job,) = await rig.add(rig.job())
    outcome = await rig.claim_through(store, "two")
    equal([claimed.id for claimed in outcome], [job.id], "what the other store object claimed")
    equal(await store.get([job.id]), await rig.store.get([job.id]), "the job, seen from both")
    return outcome[0], store


async def stops_and_late_reports_cross(rig: Rig) -> None:
    """A stop committed through one store object reaches the holder at another; a report loses to a write made
    through the other.
    """
    if not rig.persists:
        return
    job, store = await _elsewhere(rig)
    await rig.commit(stops=[Stop(id=job.id, reason="user")])
    outcome = await rig.commit(holder="two", store=store)
    equal(outcome.stops, [(job.id, "user")], "the stops of the other holder")
    await rig.step(await rig.get(job.id), "lose")
    outcome = await rig.commit(holder="two", store=store, writes=[rig.write(job, "complete")])
    equal((outcome.lost, outcome.stops), ({0}, [(job.id, "user")]), "what the late report lost, and the stops")


def _news(rig: Rig, job: JobRecord, store: Store) -> dict[str, Callable[[], Awaitable[object]]]:
    def commit(**parts: Any) -> Callable[[], Awaitable[object]]:
        return partial(rig.commit, holder="two", store=store, **parts)

    return {
        "a new job": commit(inserts=[rig.job(queue="new")]),
        "a scheduled job": commit(inserts=[rig.later(60)]),
        "a stop": commit(stops=[Stop(id=job.id, reason="user")]),
        "a setting": commit(settings={"a": "1"}),
        "a schedule": commit(schedules=[ScheduleRecord(name="s", definition="{}", cursor=0)]),
        "a forgotten schedule": commit(forget_schedules=["s"]),
        "a new holder": partial(rig.open, "three", store),
    }


async def news_wakes_those_who_wait(rig: Rig) -> None:
    """`wakeup` returns when another holder opens or commits a new job, a stop, a setting or a schedule while
    it waits.
    """
    await rig.open("two")
    job = await rig.running()
    for what, happen in _news(rig, job, rig.store).items():
        await _wakes(rig, what, happen)


async def news_from_elsewhere_wakes(rig: Rig) -> None:
    """So does what happens through another store object on the same data."""
    if not rig.persists:
        return
    store = rig.another_store()
    await rig.open("two", store)
    job = await rig.running()
    for what, happen in _news(rig, job, store).items():
        await _wakes(rig, what, happen)


async def _wakes(rig: Rig, what: str, happen: Callable[[], Awaitable[object]]) -> None:
    await _drain(rig)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(soon, f"the wake-up by {what}", partial(rig.store.wakeup, "one")))
        await trio.testing.wait_all_tasks_blocked()
        await happen()


async def news_is_not_missed(rig: Rig) -> None:
    """What happened since the last wake-up makes the next `wakeup` return, also when nobody was waiting then."""
    await rig.open("two")
    job = await rig.running()
    for what, happen in _news(rig, job, rig.store).items():
        await _drain(rig)
        await happen()
        await soon(f"the wake-up by {what} that came before", partial(rig.store.wakeup, "one"))


async def a_wait_can_be_cancelled(rig: Rig) -> None:
    """Cancelling `wakeup` loses nothing: the next one still returns for what comes after."""
    await rig.open("two")
    await _drain(rig)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.store.wakeup, "one")
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    await _wakes(rig, "a job after a cancelled wait", partial(rig.commit, holder="two", inserts=[rig.job()]))


async def _drain(rig: Rig) -> None:
    """Take the wake-ups that are due already; a store may give one for nothing, but not without end."""
    for _ in range(1_000):
        with trio.move_on_after(0.02) as scope:
            await rig.store.wakeup("one")
        if scope.cancelled_caught:
            return
    raise AssertionError("wakeup returned 1 000 times while nothing happened")


CHECKS: Final[tuple[Check, ...]] = (
    who_is_closed_has_vanished,
    who_holds_nothing_has_not_vanished,
    who_beats_has_not_vanished,
    who_is_open_is_seen,
    a_closed_holder_can_open_again,
    the_vanished_are_seen_through_the_data,
    stops_and_late_reports_cross,
    news_wakes_those_who_wait,
    news_from_elsewhere_wakes,
    news_is_not_missed,
    a_wait_can_be_cancelled,
)
