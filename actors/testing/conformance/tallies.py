"""Promises about counts: they equal a recount, and those that count the past never fall."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from actors.core.job import JobRecord, State
from actors.store.port import Claim, Counts
from actors.testing.conformance.rig import SECOND, Check, Rig, equal, failure

Tally = Mapping[tuple[str, int, State], int]


def present(tally: Tally) -> dict[tuple[str, int, State], int]:
    """A tally without its zeros."""
    return {key: n for key, n in tally.items() if n}


def recount(jobs: list[JobRecord]) -> dict[tuple[str, int, State], int]:
    """What `Counts.now` must be."""
    return dict(Counter((job.queue, job.spec.priority, job.state) for job in jobs))


async def counts_of_nothing_are_nothing(rig: Rig) -> None:
    """A new store counts zero of everything."""
    counts = await rig.store.counts()
    got = Counts(now=present(counts.now), ended=present(counts.ended), accepted=counts.accepted, deleted=counts.deleted)
    equal(got, Counts(now={}, ended={}, accepted=0, deleted=0), "the counts")


async def counts_follow_every_step(rig: Rig) -> None:
    """`now` is a recount after every commit; `ended`, `accepted` and `deleted` add up and never fall, replays
    and deletes included.
    """
    dead: list[JobRecord] = []
    ended: Counter[tuple[str, int, State]] = Counter()
    accepted = deleted = 0
    ends: tuple[State, ...] = ("completed", "cancelled", "dead")

    async def check(when: str) -> None:
        counts = await rig.store.counts()
        jobs = [job for queue in ("q", "r") for job in await rig.all_of(queue)]
        equal(present(counts.now), recount(jobs), f"counts.now {when}")
        equal(present(counts.ended), dict(ended), f"counts.ended {when}")
        equal((counts.accepted, counts.deleted), (accepted, deleted), f"accepted and deleted {when}")
        equal(accepted, len(jobs) + deleted, f"the jobs and the deleted {when}")
        counted = await rig.store.recount()
        equal(present(counted.jobs), recount(jobs), f"the recount {when}")
        equal(present(counted.counts.now), present(counts.now), f"the counters of the recount {when}")

    for priority in range(4):
        await rig.add(*(rig.job(queue=queue, priority=priority) for queue in "qqqqr"), rig.later(1, priority=priority))
        accepted += 6
        await check("after inserts")
        outcome = await rig.commit(claims=[Claim(queue="q", limit=4)])
        await check("after claims")
        one, two, three, four = outcome.claimed
        writes = [
            rig.write(one, "complete"),
            rig.write(two, "cancel"),
            rig.write(three, "bury", error=failure(1)),
            rig.write(four, "retry", run_at=rig.now + SECOND),
            rig.write(one, "bury"),
        ]
        await rig.commit(writes=writes)
        for state, job in zip(ends, outcome.claimed, strict=False):
            ended[job.queue, job.spec.priority, state] += 1
        await check("after writes")
        dead.append(await rig.get(three.id))
        rig.now += SECOND
        await rig.commit()
        await check("after a promotion")
        await rig.commit(deletes=[await rig.get(one.id), four])
        deleted += 1
        await check("after deletes")
    await rig.commit(writes=[rig.write(job, "replay") for job in dead])
    await check("after replays")
    if rig.persists:
        await rig.restart()
        await check("after a restart")


async def refused_and_lost_are_not_counted(rig: Rig) -> None:
    """Refused inserts, lost writes and undeleted deletes leave all counts as they were."""
    stale = await rig.running()
    await rig.step(stale, "give_back")
    before = await rig.store.counts()
    await rig.commit(inserts=[rig.job(limit=0)], writes=[rig.write(stale, "complete")], deletes=[stale])
    after = await rig.store.counts()
    equal(present(after.now), present(before.now), "counts.now")
    equal(present(after.ended), present(before.ended), "counts.ended")
    equal((after.accepted, after.deleted), (before.accepted, before.deleted), "accepted and deleted")


async def batches_of_any_size(rig: Rig) -> None:
    """Batches of one to two thousand items are inserted, claimed, written and deleted in order, none left
    out.
    """
    for size in (1, 2, 3, 31, 32, 33, 100, 255, 512, 513, 2_000):
        jobs = await rig.add(*(rig.job(payload=str(n)) for n in range(size)))
        claimed = await rig.claim(size + 1)
        equal([job.id for job in claimed], [job.id for job in jobs], f"the claim of {size}")
        results = [rig.write(job, "complete", result=job.spec.payload) for job in claimed]
        equal((await rig.commit(writes=results)).lost, set[int](), f"the lost writes of {size}")
        done = await rig.store.get([job.id for job in claimed])
        for job in claimed:
            stored = done[job.id]
            equal(
                (stored.state, stored.result_json, stored.version),
                ("completed", job.spec.payload, 2),
                "a written job",
            )
        equal(
            (await rig.commit(deletes=list(done.values()))).undeleted,
            set[int](),
            f"the refused deletes of {size}",
        )
        equal(present((await rig.store.counts()).now), {}, f"the counts after the deletes of {size}")


CHECKS: Final[tuple[Check, ...]] = (
    counts_of_nothing_are_nothing,
    counts_follow_every_step,
    refused_and_lost_are_not_counted,
    batches_of_any_size,
)
