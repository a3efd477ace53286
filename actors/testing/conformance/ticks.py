"""Promises about ticks: a commit that may or may not have happened can be repeated, and happens once."""

from __future__ import annotations

from functools import partial
from typing import Final

import trio

from actors.store.port import Batch, Claim, Outcome, Refusal, ScheduleMove, ScheduleRecord, SlotRecord, Stop
from actors.testing.conformance.rig import SECOND, START, Check, Rig, equal
from actors.testing.conformance.tallies import present


async def _rich(rig: Rig) -> tuple[Batch, Outcome]:
    """A batch in which everything happens, as the next tick of `one`, and its outcome."""
    jobs = [await rig.running() for _ in range(3)]
    stale = await rig.running(queue="stale")
    await rig.step(stale, "give_back")
    await rig.add(rig.later(1), rig.job(id="mine"), rig.job())
    await rig.commit(schedules=[ScheduleRecord(name="s", definition="{}", cursor=START)])
    rig.now += SECOND
    slots = (SlotRecord(slot=START + 1, job="j"),)
    batch = rig.batch(
        settings={"a": "1"},
        schedule_moves=[
            ScheduleMove(name="s", expect=START, cursor=START + 1, slots=slots, fired_at=rig.now),
            ScheduleMove(name="s", expect=START, cursor=START + 2),
        ],
        writes=[rig.write(jobs[0], "complete", result="1"), rig.write(stale, "complete")],
        inserts=[rig.job(), rig.job(id="mine", payload="[]"), rig.later(5)],
        stops=[Stop(id=jobs[1].id, reason="user")],
        deletes=[jobs[2], stale],
        claims=[Claim(queue="q", limit=3)],
        list_promoted=True,
    )
    outcome = await rig.store.commit("one", rig.tick("one"), batch)
    equal((outcome.lost, outcome.lost_moves, outcome.undeleted), ({1}, {1}, {1}), "what was lost")
    equal(outcome.refused, {1: Refusal("conflict", "mine", "pending")}, "the refusals")
    equal((len(outcome.claimed), len(outcome.promoted)), (3, 1), "how many were claimed and promoted")
    equal(
        (outcome.stops, outcome.next_due),
        ([(jobs[1].id, "user")], rig.now + 5 * SECOND),
        "the stops and next_due",
    )
    return batch, outcome


async def _image(rig: Rig) -> object:
    counts = await rig.store.counts()
    ids = list(await rig.states())
    return (
        await rig.store.get(ids),
        present(counts.now),
        present(counts.ended),
        (counts.accepted, counts.deleted),
        await rig.store.schedules(),
        await rig.store.slots("s"),
        await rig.store.settings(),
    )


async def a_repeated_tick_happens_once(rig: Rig) -> None:
    """A repeat of the last tick answers as the first time and changes nothing: nothing is inserted, written
    or claimed twice.
    """
    batch, first = await _rich(rig)
    before = await _image(rig)
    for _ in range(2):
        again = await rig.store.commit("one", rig.last_tick("one"), batch)
        equal(again, first, "the outcome of a repeat")
        equal(await _image(rig), before, "the store after a repeat")


async def a_tick_belongs_to_its_holder(rig: Rig) -> None:
    """Another holder's commits, also those with the same number, do not come between a tick and its repeat."""
    await rig.open("two")
    batch, first = await _rich(rig)
    number = rig.last_tick("one")
    other = await rig.store.commit("two", number, rig.batch(inserts=[rig.job()], claims=[Claim(queue="q", limit=1)]))
    equal(len(other.claimed), 1, "how many the other holder claimed")
    before = await _image(rig)
    equal(await rig.store.commit("one", number, batch), first, "the outcome of a repeat")
    equal(await _image(rig), before, "the store after a repeat")


async def the_next_tick_is_no_repeat(rig: Rig) -> None:
    """The same parts under the next number are another commit."""
    inserts = [rig.job()]
    await rig.commit(inserts=inserts)
    outcome = await rig.commit(claims=[Claim(queue="q", limit=1)])
    equal(len(outcome.claimed), 1, "how many were claimed")
    outcome = await rig.commit(claims=[Claim(queue="q", limit=1)])
    equal(outcome.claimed, [], "what the next tick claimed")


async def a_repeat_is_known_after_reopening(rig: Rig) -> None:
    """A holder that opens another store object on the same data can repeat its tick there (only for a store
    that persists).
    """
    if not rig.persists:
        return
    batch, first = await _rich(rig)
    before = await _image(rig)
    store = rig.another_store()
    await rig.open("one", store)
    again = await store.commit("one", rig.last_tick("one"), batch)
    equal(again, first, "the outcome of a repeat through another store object")
    rig.store = store
    equal(await _image(rig), before, "the store after the repeat")
    # what was refused stays so, though nothing speaks against it any more
    (taken,) = await rig.add(rig.job(id="taken"))
    batch = rig.batch(inserts=[rig.job(id="taken")])
    first = await store.commit("one", rig.tick("one"), batch)
    await rig.open("two", store)
    await rig.commit(holder="two", deletes=[taken])
    store = rig.store = rig.another_store()
    await rig.open("one", store)
    again = await store.commit("one", rig.last_tick("one"), batch)
    equal(again.refused, first.refused, "the refusals of a repeat through another store object")
    equal(await rig.gone("taken"), True, "whether the job that was refused is absent after the repeat")


async def a_cancelled_commit_is_not_torn(rig: Rig) -> None:
    """A commit that is cancelled is not applied at all, or is applied whole and answers; a repeat of its tick leaves it
    done once.
    """
    for patience in range(8):
        jobs = [rig.job(queue=f"{patience}") for _ in range(20)]
        batch = rig.batch(inserts=jobs, claims=[Claim(queue=f"{patience}", limit=5)])
        number = rig.tick("one")
        answers: list[Outcome] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(_commit_into, answers, rig, number, batch))
            for _ in range(patience):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        there = await rig.store.get([job.spec.id for job in jobs])
        equal(len(there), 20 * len(answers), "how many of 20 jobs were inserted by a cancelled commit")
        outcome = await rig.store.commit("one", number, batch)
        equal((outcome.refused, len(outcome.claimed)), ({}, 5), "what a repeat of it refused and claimed")
        equal([outcome for _ in answers], answers, "the answer of the repeat and that of the cancelled commit")
        states = [job.state for job in (await rig.store.get([job.spec.id for job in jobs])).values()]
        equal((states.count("running"), len(states)), (5, 20), "how many jobs run, of how many")


async def _commit_into(answers: list[Outcome], rig: Rig, number: int, batch: Batch) -> None:
    answers.append(await rig.store.commit("one", number, batch))


CHECKS: Final[tuple[Check, ...]] = (
    a_repeated_tick_happens_once,
    a_tick_belongs_to_its_holder,
    the_next_tick_is_no_repeat,
    a_repeat_is_known_after_reopening,
    a_cancelled_commit_is_not_torn,
)
