"""Promises about claims: the first n in order, once each, of what this program knows and nobody has paused."""

from __future__ import annotations

import random
from functools import partial
from typing import Final

import trio

from actors.core.job import JobRecord, LogLine, Progress
from actors.core.lifecycle import advance
from actors.store.port import Claim, Insert, Note, Outcome
from actors.testing.conformance.rig import SECOND, TYPES, Check, Rig, equal, expect, failure


def place(job: JobRecord) -> tuple[int, int, int, int]:
    """Where a job stands among the ready jobs of its queue."""
    return -job.spec.priority, job.spec.front, job.standing.run_at, job.standing.seq


def _mixed(rig: Rig, rng: random.Random) -> Insert:
    return rig.job(
        queue=rng.choice(["q", "q", "r"]),
        type=rng.choice(sorted(TYPES)),
        priority=rng.choice([1, 1, 1, 0, 2, 3]),
        front=rng.choice([0, 0, 0, 0, -rig.now - rng.randrange(3)]),
        run_at=rig.now - rng.randrange(4),
    )


async def claims_come_in_order(rig: Rig) -> None:
    """A claim takes the first by priority downwards, front, run_at, seq, whatever the order and the batches
    they came in.
    """
    rng = random.Random(3)
    waiting: list[JobRecord] = []
    for _ in range(25):
        waiting += await rig.add(*(_mixed(rig, rng) for _ in range(rng.randrange(8))))
        queue, limit = rng.choice("qr"), rng.randrange(6)
        want = sorted((job for job in waiting if job.queue == queue), key=place)[:limit]
        claimed = await rig.claim(limit, queue=queue)
        equal([job.id for job in claimed], [job.id for job in want], f"the claim of {limit} from queue {queue}")
        waiting = [job for job in waiting if job not in want]
    for queue in "qr":
        want = sorted((job for job in waiting if job.queue == queue), key=place)
        claimed = await rig.claim(1_000, queue=queue)
        equal([job.id for job in claimed], [job.id for job in want], f"the claim of the rest of queue {queue}")
        equal(await rig.claim(1_000, queue=queue), [], "a claim of an empty queue")


async def those_that_come_back_keep_their_place(rig: Rig) -> None:
    """A job that is given back, lost, retried or replayed stands where its run_at and seq put it, not at the
    end.
    """
    jobs = await rig.add(*(rig.job(run_at=rig.now - 10 + n) for n in range(6)))
    claimed = await rig.claim(4)
    rig.now += 1
    await rig.commit(
        writes=[
            rig.write(claimed[2], "give_back"),
            rig.write(claimed[0], "lose"),
            rig.write(claimed[3], "retry", run_at=rig.now),
            rig.write(claimed[1], "bury"),
        ]
    )
    await rig.step(await rig.get(jobs[1].id), "replay")  # run_at is now, seq the second
    again = await rig.claim(10)
    equal(
        [job.id for job in again],
        [jobs[n].id for n in (0, 2, 4, 5, 1, 3)],
        "the order of those that came back",
    )


async def a_claim_is_the_step_of_the_core(rig: Rig) -> None:
    """A claimed job stands as `advance(job, "claim")` says, in the answer and in `get`, with its errors and
    its saved state.
    """
    job = await rig.running(queue="q")
    note = Note(
        id=job.id,
        run=1,
        saved="[1]",
        progress=Progress(done=1.0),
        log=(LogLine(at=rig.now, run=1, text="on"),),
    )
    await rig.commit(notes=[note])
    job = await rig.step(await rig.get(job.id), "retry", run_at=rig.now + 4, error=failure(1))
    rig.now += 5
    due = advance(job, "promote", rig.now)
    before = JobRecord(job.spec, due, job.result_json, job.errors, job.progress, job.log, job.saved_json)
    (claimed,) = await rig.claim()
    equal(claimed.spec, job.spec, "the spec of a claimed job")
    equal(claimed.standing, advance(before, "claim", rig.now, holder="one"), "the standing of a claimed job")
    equal(claimed.errors, (failure(1),), "the errors of a claimed job")
    equal(claimed.saved_json, "[1]", "the saved state of a claimed job")
    stored = await rig.get(job.id)
    equal(stored.standing, claimed.standing, "the stored standing")
    equal((stored.progress, stored.log), (before.progress, before.log), "the stored notes")


async def nothing_is_claimed_twice(rig: Rig) -> None:
    """However many claims of several holders run at once, each job goes to one of them."""
    await rig.open("two")
    await rig.add(*(rig.job() for _ in range(40)))
    outcomes: list[tuple[str, Outcome]] = []

    async def claim(holder: str) -> None:
        for _ in range(5):
            outcomes.append((holder, await rig.commit(holder=holder, claims=[Claim(queue="q", limit=3)] * 2)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(claim, "one"))
        nursery.start_soon(partial(claim, "two"))
    claimed = [(job.id, job.standing.holder) for holder, outcome in outcomes for job in outcome.claimed]
    equal(len(claimed), 40, "how many of 40 jobs 20 claims of 3 took")
    equal(len(dict(claimed)), 40, "how many different ones")
    for holder, outcome in outcomes:
        for job in outcome.claimed:
            equal(job.standing.holder, holder, "the holder of a claimed job")
            equal((await rig.get(job.id)).standing, job.standing, "the stored standing of a claimed job")


async def several_claims_share_a_batch(rig: Rig) -> None:
    """The claims of a batch are made one after the other, each from its queue and within its limit."""
    jobs = await rig.add(*(rig.job(queue=queue) for queue in ("q", "r", "q", "r", "q", "q")))
    claims = [Claim(queue=queue, limit=limit) for queue, limit in (("q", 1), ("r", 9), ("none", 9), ("q", 2), ("q", 0))]
    outcome = await rig.commit(claims=claims)
    equal([job.id for job in outcome.claimed], [jobs[n].id for n in (0, 1, 3, 2, 4)], "what was claimed")


async def a_job_can_start_in_the_commit_that_brings_it(rig: Rig) -> None:
    """What a batch inserts, gives back or lets come due can be claimed by the same batch."""
    job = await rig.running(queue="q")
    (due,) = await rig.add(rig.later(1, priority=3))
    rig.now += SECOND
    new = rig.job(priority=2)
    outcome = await rig.commit(writes=[rig.write(job, "give_back")], inserts=[new], claims=[Claim(queue="q", limit=5)])
    equal([job.id for job in outcome.claimed], [due.id, new.spec.id, job.id], "what was claimed")
    equal(outcome.claimed[2].runs, 2, "the runs of a job that was given back and claimed again")


async def what_leaves_is_not_claimed(rig: Rig) -> None:
    """What a batch cancels or deletes is not claimed by it, nor ever after."""
    jobs = await rig.add(*(rig.job() for _ in range(4)))
    outcome = await rig.commit(
        writes=[rig.write(jobs[0], "cancel")], deletes=[jobs[1]], claims=[Claim(queue="q", limit=1)]
    )
    equal([job.id for job in outcome.claimed], [jobs[2].id], "what was claimed")
    equal([job.id for job in await rig.claim(9)], [jobs[3].id], "what was claimed later")


async def unknown_types_are_left(rig: Rig) -> None:
    """A claim passes over types that are not in the batch's `types`; they keep their place for a program that
    knows them.
    """
    jobs = await rig.add(*(rig.job(type=type, priority=n % 2) for n, type in enumerate("abcabcabc")))
    mine = sorted((job for job in jobs if job.type != "a"), key=place)
    equal(await rig.claim(9, types=frozenset()), [], "what is claimed without types")
    equal(await rig.claim(9, types=frozenset({"z"})), [], "what is claimed of a type that no job has")
    claimed = await rig.claim(4, types=frozenset({"b", "c", "z"}))
    equal([job.id for job in claimed], [job.id for job in mine[:4]], "what was claimed of b and c")
    rest = sorted((job for job in jobs if job.type == "a" or job in mine[4:]), key=place)
    equal([job.id for job in await rig.claim(9)], [job.id for job in rest], "what was left")


async def a_paused_queue_gives_nothing(rig: Rig) -> None:
    """Nothing is claimed from a queue with the setting `paused/<queue>`, from the commit that sets it to the
    one that removes it.
    """
    await rig.open("two")
    jobs = await rig.add(*(rig.job() for _ in range(3)), rig.job(queue="r"), rig.job(queue="r"))
    claims = [Claim(queue="q", limit=1), Claim(queue="r", limit=1)]
    outcome = await rig.commit(settings={"paused/q": "1"}, claims=claims)
    equal([job.id for job in outcome.claimed], [jobs[3].id], "what was claimed with the pause")
    outcome = await rig.commit(holder="two", settings={"paused/z": "1", "other": "x"}, claims=claims)
    equal([job.id for job in outcome.claimed], [jobs[4].id], "what another holder claimed")
    outcome = await rig.commit(holder="two", inserts=[rig.job(priority=3)], claims=claims)
    equal(outcome.claimed, [], "what was claimed of a job that came later")
    outcome = await rig.commit(settings={"paused/q": None}, claims=[Claim(queue="q", limit=2)])
    equal(len(outcome.claimed), 2, "how many were claimed by the commit that ends the pause")
    equal(outcome.claimed[1].id, jobs[0].id, "the second that was claimed after the pause")


async def a_pause_survives(rig: Rig) -> None:
    """A pause holds for another store object on the same data (only for a store that persists)."""
    if not rig.persists:
        return
    await rig.add(rig.job())
    store = rig.another_store()
    await rig.open("two", store)
    await rig.commit(settings={"paused/q": ""})
    outcome = await rig.commit(holder="two", store=store, claims=[Claim(queue="q", limit=1)])
    equal(outcome.claimed, [], "what the other store object claimed")
    await rig.commit(holder="two", store=store, settings={"paused/q": None})
    equal(len(await rig.claim()), 1, "how many were claimed once the other one ended the pause")


async def nothing_starts_before_its_time(rig: Rig) -> None:
    """A scheduled job becomes pending at its `run_at` and not a microsecond sooner, as `advance(job,
    "promote")` says.
    """
    (job,) = await rig.add(rig.later(1))
    rig.now += SECOND - 1
    equal(await rig.claim(), [], "what is claimed a microsecond too soon")
    equal(await rig.get(job.id), job, "the job a microsecond too soon")
    rig.now += 1
    outcome = await rig.commit()
    equal(outcome.promoted, [], "what is listed as promoted unasked")
    due = await rig.get(job.id)
    equal(due.standing, advance(job, "promote", rig.now), "the standing of a promoted job")
    equal([job.id for job in await rig.claim()], [job.id], "what is claimed when it is due")


async def the_promoted_are_listed(rig: Rig) -> None:
    """With `list_promoted` the answer has every job that came due, pending, also those that the same commit
    claimed; and no other.
    """
    retried = await rig.step(await rig.running(), "retry", run_at=rig.now + SECOND, error=failure(1))
    jobs = await rig.add(
        *(rig.later(n, queue=queue) for n, queue in ((1, "q"), (1, "r"), (2, "q"))), rig.job(queue="s")
    )
    rig.now += SECOND
    outcome = await rig.commit(list_promoted=True, claims=[Claim(queue="q", limit=9)])
    want = {job.id: (job.spec, advance(job, "promote", rig.now)) for job in (retried, jobs[0], jobs[1])}
    got = {job.id: (job.spec, job.standing) for job in outcome.promoted}
    equal(got, want, "the promoted jobs")
    equal(len(outcome.promoted), 3, "how many were listed as promoted")
    equal([job.id for job in outcome.claimed], [jobs[0].id], "what was claimed")
    equal((await rig.commit(list_promoted=True)).promoted, [], "the promoted of the next commit")


async def the_next_due_is_told(rig: Rig) -> None:
    """`next_due` is the earliest `run_at` among the jobs that are scheduled after the commit; None when there
    is none.
    """
    equal((await rig.commit()).next_due, None, "next_due without jobs")
    first, second = rig.later(1), rig.later(2, queue="r", type="unknown")
    outcome = await rig.commit(inserts=[second, rig.job()])
    equal(outcome.next_due, rig.now + 2 * SECOND, "next_due")
    outcome = await rig.commit(inserts=[first], settings={"paused/q": "1"})
    equal(outcome.next_due, rig.now + SECOND, "next_due with an earlier one in a paused queue")
    outcome = await rig.commit(writes=[rig.write(await rig.get(first.spec.id), "cancel")])
    equal(outcome.next_due, rig.now + 2 * SECOND, "next_due when the earlier one was cancelled")
    job = await rig.running()
    outcome = await rig.commit(writes=[rig.write(job, "snooze", run_at=rig.now + 5)])
    equal(outcome.next_due, rig.now + 5, "next_due after a snooze")
    rig.now += 5
    equal((await rig.commit()).next_due, second.standing.run_at, "next_due when the snooze is over")
    outcome = await rig.commit(deletes=[await rig.get(second.spec.id)])
    equal(outcome.next_due, None, "next_due when the last was deleted")


async def many_stale_entries_do_not_hide_the_rest(rig: Rig) -> None:
    """After most of a long queue was cancelled or deleted the few that are left are claimed, in order."""
    jobs = await rig.add(*(rig.job(front=-n % 3 and -n) for n in range(300)))
    later = await rig.add(*(rig.later(1 + n % 5) for n in range(100)))
    await rig.commit(
        writes=[rig.write(job, "cancel") for n, job in enumerate(jobs + later) if n % 20 < 10],
        deletes=[job for n, job in enumerate(jobs + later) if 10 <= n % 20 < 19],
    )
    rig.now += 10 * SECOND
    left = sorted((job for n, job in enumerate(jobs + later) if n % 20 == 19), key=place)
    claimed = await rig.claim(1_000)
    equal([job.id for job in claimed], [job.id for job in left], "what is left to claim")
    expect(len(left) == 20, "the check left 20 jobs")


CHECKS: Final[tuple[Check, ...]] = (
    claims_come_in_order,
    those_that_come_back_keep_their_place,
    a_claim_is_the_step_of_the_core,
    nothing_is_claimed_twice,
    several_claims_share_a_batch,
    a_job_can_start_in_the_commit_that_brings_it,
    what_leaves_is_not_claimed,
    unknown_types_are_left,
    a_paused_queue_gives_nothing,
    a_pause_survives,
    nothing_starts_before_its_time,
    the_promoted_are_listed,
    the_next_due_is_told,
    many_stale_entries_do_not_hide_the_rest,
)
