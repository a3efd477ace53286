"""Promises about inserts: what is put in comes out, under its own number, or is refused for a stated reason."""

from __future__ import annotations

import random
from typing import Final, cast

import attrs

from actors.core.job import NO_DETAILS, Details, JobRecord, RunIn, State
from actors.store.port import Batch, IdempotencyKey, Insert, Refusal, UniqueKey
from actors.testing.conformance.rig import SECOND, Check, Rig, equal, expect, failure

TEXTS: Final = (
    "plain",
    "",
    "a 'quoted' \"text\"; DROP TABLE jobs; -- %s ? :a {}",
    "Grüße, 世界, 👩‍🚀, e\u0301, \u202e\u200b",
    "line\nline\ttab\\",
    "x" * 5_000,
)


def _various(rig: Rig, rng: random.Random, n: int) -> Insert:
    text = rng.choice(TEXTS)
    details = Details(
        description=rng.choice([None, text]),
        tags=rng.choice([(), ("one",), ("one", "two words", "ü")]),
        retry=rng.choice([None, {"policy": "fixed", "seconds": 2.5}]),
        run_in=cast("RunIn | None", rng.choice([None, "thread", "process"])),
        unique_key=rng.choice([None, text]),
        schedule=rng.choice([None, "nightly"]),
        slot=rng.choice([None, rig.now]),
    )
    state: State = rng.choice(["pending", "scheduled"])
    return rig.job(
        id=None if n % 2 else f"own:{n}@x.y-z+_",
        type=rng.choice(["a", "b", "c", "a-type.of_others"]),
        payload=f'{{"text": "{n}", "list": [1, 2.5, null, {{"deep": "{"ü" * n}"}}]}}',
        queue=rng.choice(["q", "other", "with space/and:ü"]),
        priority=rng.randrange(4),
        front=rng.choice([0, -rig.now - n]),
        max_attempts=rng.choice([1, 3, 2**31 - 1]),
        timeout=rng.choice([None, 0.125, 1 / 3, 86_400.0]),
        owner=rng.choice([None, text]),
        details=rng.choice([NO_DETAILS, details]),
        state=state,
        run_at=rig.now + (rng.randrange(1, 10**15) if state == "scheduled" else -rng.randrange(10**9)),
    )


async def what_is_inserted_comes_out(rig: Rig) -> None:
    """`get` answers with every field of an inserted job, as it was given, and its number for the 0 in `seq`."""
    rng = random.Random(1)
    inserts = [_various(rig, rng, n) for n in range(60)]
    outcome = await rig.commit(inserts=inserts)
    equal(outcome.refused, {}, "the refusals")
    stored = await rig.store.get([insert.spec.id for insert in inserts])
    for insert in inserts:
        job = stored[insert.spec.id]
        equal(job.spec, insert.spec, "the spec of a new job")
        equal(attrs.evolve(job.standing, seq=0), insert.standing, "the standing of a new job")
        equal(job, JobRecord(job.spec, job.standing), "what is kept beside a new job")


async def an_unknown_id_is_absent(rig: Rig) -> None:
    """`get` leaves unknown ids out, takes none, many and the same one twice."""
    (job,) = await rig.add(rig.job())
    equal(await rig.store.get([]), {}, "get of nothing")
    equal(await rig.store.get(["nobody", job.id, job.id, ""]), {job.id: job}, "get of one known id")
    many = [job.id, *(f"nobody-{n}" for n in range(2_000))]
    equal(await rig.store.get(many), {job.id: job}, "get of many ids")


async def numbers_only_grow(rig: Rig) -> None:
    """`seq` follows the order of the inserts and is never used twice, not after deletes and not after a
    restart.
    """
    jobs = await rig.add(*(rig.job() for _ in range(5)))
    jobs += await rig.add(*(rig.job() for _ in range(5)))
    seqs = [job.standing.seq for job in jobs]
    expect(
        seqs[0] > 0 and seqs == sorted(set(seqs)),
        f"the numbers of ten inserts are {seqs}: expected them to grow",
    )
    await rig.commit(deletes=jobs)
    if rig.persists:
        await rig.restart()
    (after,) = await rig.add(rig.job())
    expect(
        after.standing.seq > seqs[-1],
        f"after deleting the jobs up to {seqs[-1]} a new one got number {after.standing.seq}",
    )


async def a_repeated_own_id_names_the_same_job(rig: Rig) -> None:
    """An insert with an own id that is taken is `existing` when owner, type and payload are equal, else
    `conflict`; nothing changes.
    """
    (job,) = await rig.add(rig.job(id="mine", owner="ann", payload='{"n": 1}'))
    again = rig.job(id="mine", owner="ann", payload='{"n": 1}', priority=3, queue="elsewhere")
    others = [
        rig.job(id="mine", owner="ann", payload='{"n": 2}'),
        rig.job(id="mine", owner="bob", payload='{"n": 1}'),
        rig.job(id="mine", owner=None, payload='{"n": 1}'),
        rig.job(id="mine", owner="ann", payload='{"n": 1}', type="b"),
    ]
    outcome = await rig.commit(inserts=[again, *others])
    want = {0: Refusal("existing", "mine", "pending")}
    want |= {index: Refusal("conflict", "mine", "pending") for index in range(1, 5)}
    equal(outcome.refused, want, "the refusals of a taken id")
    equal(await rig.get("mine"), job, "the job that was there first")


async def an_own_id_is_taken_within_a_batch(rig: Rig) -> None:
    """Of two inserts of one batch with the same own id the first is made and the second refused."""
    inserts = [rig.job(id="mine"), rig.job(id="mine"), rig.job(id="mine", payload="[]"), rig.job(id="yours")]
    outcome = await rig.commit(inserts=inserts)
    want = {1: Refusal("existing", "mine", "pending"), 2: Refusal("conflict", "mine", "pending")}
    equal(outcome.refused, want, "the refusals")
    equal((await rig.store.counts()).accepted, 2, "accepted")


async def an_own_id_stays_taken_after_the_end(rig: Rig) -> None:
    """A finished job keeps its id, and the refusal tells its state; a deleted job frees it."""
    job = await rig.running(id="mine")
    job = await rig.step(job, "complete", result="1")
    outcome = await rig.commit(inserts=[rig.job(id="mine")])
    equal(outcome.refused, {0: Refusal("existing", "mine", "completed")}, "the refusals")
    await rig.commit(deletes=[job])
    (new,) = await rig.add(rig.job(id="mine", payload="[]"))
    expect(new.standing.seq > job.standing.seq, "a new job under a freed id has a new number")
    late = await rig.commit(writes=[rig.write(await rig.running(), "complete", result="2")])
    equal(late.lost, set[int](), "the lost writes of another job")


async def a_full_queue_refuses(rig: Rig) -> None:
    """`limit` counts the scheduled and pending jobs of that queue, those of the same batch included, and no
    others.
    """
    await rig.running(queue="q")
    finished = await rig.running(queue="q")
    await rig.step(finished, "complete")
    await rig.add(rig.job(queue="other"), rig.job(queue="other"))
    inserts = [
        rig.job(limit=3, priority=0),
        rig.later(5, limit=3, priority=2),
        rig.job(priority=3),
        rig.job(limit=3),  # full now
        rig.job(limit=4),
        rig.job(queue="other", limit=3),
        rig.job(limit=0, queue="closed"),
    ]
    outcome = await rig.commit(inserts=inserts)
    equal(outcome.refused, {3: Refusal("full"), 6: Refusal("full")}, "the refusals")
    await rig.claim(2)
    outcome = await rig.commit(inserts=[rig.job(limit=3), rig.job(limit=3)])
    equal(outcome.refused, {1: Refusal("full")}, "the refusals after two were claimed")


async def refusals_have_an_order(rig: Rig) -> None:
    """An insert is checked for its idempotency key, then its id, then its unique key, then the limit."""
    unique = UniqueKey(key="u", states=frozenset({"pending"}))

    def idempotent(digest: str) -> IdempotencyKey:
        return IdempotencyKey(scope="s", key="k", digest=digest, expires_at=rig.now + SECOND)

    first, named, keyed = await rig.add(rig.job(idempotency=idempotent("d")), rig.job(id="n"), rig.job(unique=unique))
    inserts = [
        rig.job(id="n", idempotency=idempotent("d"), unique=unique, limit=0),
        rig.job(id="n", idempotency=idempotent("e"), unique=unique, limit=0),
        rig.job(id="n", unique=unique, limit=0),
        rig.job(unique=unique, limit=0),
        rig.job(limit=0),
    ]
    outcome = await rig.commit(inserts=inserts)
    want = {
        0: Refusal("existing", first.id, "pending"),
        1: Refusal("conflict", first.id, "pending"),
        2: Refusal("existing", named.id, "pending"),
        3: Refusal("unique", keyed.id, "pending"),
        4: Refusal("full"),
    }
    equal(outcome.refused, want, "the refusals")


async def a_refused_insert_leaves_nothing(rig: Rig) -> None:
    """A refused insert is in no answer, counts nowhere and takes none of its keys; the rest of its batch is
    made.
    """
    before = await rig.store.counts()
    unique = UniqueKey(key="u", states=frozenset({"pending"}))
    key = IdempotencyKey(scope="s", key="k", digest="d", expires_at=rig.now + SECOND)
    refused = rig.job(id="mine", limit=0, unique=unique, idempotency=key)
    made = rig.job()
    outcome = await rig.commit(inserts=[refused, made])
    equal(outcome.refused, {0: Refusal("full")}, "the refusals")
    expect(await rig.gone("mine"), "a refused job can be got")
    equal(list(await rig.states()), [made.spec.id], "the jobs that can be found")
    equal((await rig.store.counts()).accepted, before.accepted + 1, "accepted")
    again = rig.job(id="mine", unique=unique, idempotency=key)
    equal((await rig.commit(inserts=[again])).refused, {}, "the refusals when there is room")


async def an_empty_commit_is_fine(rig: Rig) -> None:
    """A batch without anything changes nothing and answers that nothing happened."""
    (job,) = await rig.add(rig.job())
    outcome = await rig.store.commit("one", rig.tick("one"), Batch(now=rig.now))
    expect(
        not (outcome.refused or outcome.lost or outcome.lost_moves or outcome.undeleted or outcome.unstopped)
        and not (outcome.stops or outcome.claimed or outcome.promoted or outcome.next_due),
        f"an empty commit answered {outcome!r}",
    )
    equal(await rig.get(job.id), job, "the job that was there")


async def what_was_answered_survives(rig: Rig) -> None:
    """After a restart every job is as it was, with its errors, notes and result (only for a store that
    persists).
    """
    if not rig.persists:
        return
    rng = random.Random(2)
    jobs = await rig.add(*(_various(rig, rng, n) for n in range(20)))
    ran = await rig.step(await rig.running(), "retry", run_at=rig.now + SECOND, error=failure(1))
    done = await rig.step(await rig.running(), "complete", result='{"n": 1}')
    held = await rig.running()
    await rig.restart()
    for job in (*jobs, ran, done, held):
        equal(await rig.get(job.id), job, "a job after the restart")


CHECKS: Final[tuple[Check, ...]] = (
    what_is_inserted_comes_out,
    an_unknown_id_is_absent,
    numbers_only_grow,
    a_repeated_own_id_names_the_same_job,
    an_own_id_is_taken_within_a_batch,
    an_own_id_stays_taken_after_the_end,
    a_full_queue_refuses,
    refusals_have_an_order,
    a_refused_insert_leaves_nothing,
    an_empty_commit_is_fine,
    what_was_answered_survives,
)
