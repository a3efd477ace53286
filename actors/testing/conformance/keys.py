"""Promises about keys: at most one job per unique key, one job per idempotency key, each for as long as it is
said to last.
"""

from __future__ import annotations

from typing import Final

from actors.core.job import FINAL, STATES, UNFINISHED, State
from actors.core.lifecycle import Step
from actors.store.port import IdempotencyKey, Refusal, UniqueKey
from actors.testing.conformance.rig import SECOND, Check, Rig, equal, expect

WHILE_UNFINISHED: Final = UniqueKey(key="k", states=UNFINISHED)


async def a_unique_key_refuses_the_second(rig: Rig) -> None:
    """While a job holds a unique key, an insert with that key is refused as `unique`, also within a batch;
    other keys are free.
    """
    other = UniqueKey(key="K", states=UNFINISHED)
    inserts = [
        rig.job(unique=WHILE_UNFINISHED),
        rig.job(unique=WHILE_UNFINISHED, queue="x", type="b"),
        rig.job(unique=other),
    ]
    outcome = await rig.commit(inserts=inserts)
    holder = inserts[0].spec.id
    equal(outcome.refused, {1: Refusal("unique", holder, "pending")}, "the refusals within a batch")
    outcome = await rig.commit(inserts=[rig.later(9, unique=WHILE_UNFINISHED)])
    equal(outcome.refused, {0: Refusal("unique", holder, "pending")}, "the refusals of a later batch")


async def a_unique_key_counts_in_its_states_only(rig: Rig) -> None:
    """A job holds its key exactly while its state is among `states`."""
    paths: dict[State, tuple[Step, ...]] = {
        "pending": (),
        "scheduled": ("retry",),
        "running": ("claim",),
        "completed": ("complete",),
        "cancelled": ("cancel",),
        "dead": ("bury",),
    }
    for state, path in paths.items():
        alone: frozenset[State] = frozenset({state})
        for states in (alone, frozenset(STATES) - alone):
            key = UniqueKey(key=f"{state} {sorted(states)}", states=states)
            (job,) = await rig.add(rig.job(queue=state, unique=key))
            if path:
                (job,) = await rig.claim(queue=state)
                if path != ("claim",):
                    job = await rig.step(job, path[0], run_at=rig.now + SECOND)
            equal(job.state, state, "the state of the holder")
            outcome = await rig.commit(inserts=[rig.job(queue="elsewhere", unique=key)])
            want = {0: Refusal("unique", job.id, state)} if state in states else {}
            equal(
                outcome.refused,
                want,
                f"the refusals while the holder is {state} and the key counts in {sorted(states)}",
            )


async def a_unique_key_expires(rig: Rig) -> None:
    """With `expires_at` a job holds its key before that instant only, whatever its state."""
    every = frozenset(STATES)
    (job,) = await rig.add(rig.job(unique=UniqueKey(key="k", states=every, expires_at=rig.now + SECOND)))
    rig.now += SECOND - 1
    second = UniqueKey(key="k", states=every, expires_at=rig.now + SECOND)
    outcome = await rig.commit(inserts=[rig.job(unique=second)])
    equal(outcome.refused, {0: Refusal("unique", job.id, "pending")}, "the refusals just before the expiry")
    rig.now += 1
    third = UniqueKey(key="k", states=every, expires_at=rig.now + SECOND)
    inserts = [rig.job(unique=third), rig.job(unique=third)]
    outcome = await rig.commit(inserts=inserts)
    want = {1: Refusal("unique", inserts[0].spec.id, "pending")}
    equal(outcome.refused, want, "the refusals at the expiry, of the first and of the one after it")


async def a_write_frees_the_key_for_its_own_batch(rig: Rig) -> None:
    """Writes come before inserts: a job that is cancelled in a batch makes room for its successor in the same
    batch.
    """
    (old,) = await rig.add(rig.job(unique=WHILE_UNFINISHED))
    new = rig.job(unique=WHILE_UNFINISHED, group=1)
    outcome = await rig.commit(writes=[rig.write(old, "cancel", group=1)], inserts=[new])
    equal((outcome.lost, outcome.refused), (set[int](), {}), "what was lost and refused")
    equal(await rig.states(), {old.id: "cancelled", new.spec.id: "pending"}, "the states")


async def a_replayed_job_holds_its_key_again(rig: Rig) -> None:
    """A key is held by any job that was inserted with it and is in `states` now, also by one that others have
    followed.
    """
    first = await rig.step(await rig.running(unique=WHILE_UNFINISHED), "bury")
    second = await rig.step(await rig.running(unique=WHILE_UNFINISHED), "complete")
    expect(first.id != second.id, "the key of a dead job was not free")
    await rig.step(first, "replay")
    outcome = await rig.commit(inserts=[rig.job(unique=WHILE_UNFINISHED)])
    equal(outcome.refused, {0: Refusal("unique", first.id, "pending")}, "the refusals after the replay")


async def a_deleted_job_frees_its_keys(rig: Rig) -> None:
    """When a job is deleted its unique key and its idempotency key are free at once."""
    unique = UniqueKey(key="k", states=frozenset(STATES))
    key = IdempotencyKey(scope="s", key="k", digest="d", expires_at=rig.now + SECOND)
    (job,) = await rig.add(rig.job(unique=unique, idempotency=key))
    await rig.commit(deletes=[job])
    outcome = await rig.commit(inserts=[rig.job(unique=unique), rig.job(idempotency=key)])
    equal(outcome.refused, {}, "the refusals")


async def an_idempotency_key_names_the_same_job(rig: Rig) -> None:
    """The same scope, key and digest is `existing`, another digest a `conflict`, another scope another key;
    also within a batch.
    """

    def key(scope: str, digest: str) -> IdempotencyKey:
        return IdempotencyKey(scope=scope, key="k", digest=digest, expires_at=rig.now + 10 * SECOND)

    inserts = [
        rig.job(idempotency=key("s", "d")),
        rig.job(idempotency=key("s", "d")),
        rig.job(idempotency=key("s", "e")),
        rig.job(idempotency=key("", "d")),
    ]
    first = inserts[0].spec.id
    want = {1: Refusal("existing", first, "pending"), 2: Refusal("conflict", first, "pending")}
    equal((await rig.commit(inserts=inserts)).refused, want, "the refusals within a batch")
    (job,) = await rig.claim()
    await rig.step(job, "complete")
    inserts = [rig.job(idempotency=key("s", "d")), rig.job(idempotency=key("s", "e"))]
    want = {0: Refusal("existing", first, "completed"), 1: Refusal("conflict", first, "completed")}
    equal((await rig.commit(inserts=inserts)).refused, want, "the refusals after its job has ended")


async def an_idempotency_key_expires(rig: Rig) -> None:
    """From `expires_at` on an idempotency key is free, for any digest; the next job takes it."""
    key = IdempotencyKey(scope="s", key="k", digest="d", expires_at=rig.now + SECOND)
    (job,) = await rig.add(rig.job(idempotency=key))
    rig.now += SECOND - 1
    outcome = await rig.commit(inserts=[rig.job(idempotency=key)])
    equal(outcome.refused, {0: Refusal("existing", job.id, "pending")}, "the refusals just before the expiry")
    rig.now += 1
    later = IdempotencyKey(scope="s", key="k", digest="e", expires_at=rig.now + SECOND)
    inserts = [rig.job(idempotency=later), rig.job(idempotency=later)]
    want = {1: Refusal("existing", inserts[0].spec.id, "pending")}
    equal(
        (await rig.commit(inserts=inserts)).refused,
        want,
        "the refusals at the expiry, of the first and of its repeat",
    )


async def a_sweep_drops_only_what_is_over(rig: Rig) -> None:
    """`sweep` changes no answer: keys that still count stay, and jobs are not touched."""
    every = frozenset(STATES)
    lasting = UniqueKey(key="lasting", states=every)
    short = UniqueKey(key="short", states=every, expires_at=rig.now + SECOND)
    long = UniqueKey(key="long", states=every, expires_at=rig.now + 3 * SECOND)
    soon = IdempotencyKey(scope="s", key="soon", digest="d", expires_at=rig.now + SECOND)
    late = IdempotencyKey(scope="s", key="late", digest="d", expires_at=rig.now + 3 * SECOND)
    jobs = await rig.add(
        *(rig.job(unique=key) for key in (lasting, short, long)),
        *(rig.job(idempotency=key) for key in (soon, late)),
    )
    (gone,) = await rig.add(rig.job(unique=UniqueKey(key="gone", states=every)))
    await rig.commit(deletes=[gone])
    rig.now += 2 * SECOND
    await rig.store.sweep(rig.now)
    for job in jobs:
        equal(await rig.get(job.id), job, "a job after the sweep")
    inserts = [
        *(rig.job(unique=key) for key in (lasting, short, long)),
        *(rig.job(idempotency=key) for key in (soon, late)),
    ]
    want = {
        0: Refusal("unique", jobs[0].id, "pending"),
        2: Refusal("unique", jobs[2].id, "pending"),
        4: Refusal("existing", jobs[4].id, "pending"),
    }
    equal((await rig.commit(inserts=inserts)).refused, want, "the refusals after the sweep")


async def keys_survive(rig: Rig) -> None:
    """Unique and idempotency keys survive a restart (only for a store that persists)."""
    if not rig.persists:
        return
    key = IdempotencyKey(scope="s", key="k", digest="d", expires_at=rig.now + SECOND)
    jobs = await rig.add(rig.job(unique=UniqueKey(key="k", states=FINAL | UNFINISHED)), rig.job(idempotency=key))
    await rig.restart()
    outcome = await rig.commit(
        inserts=[rig.job(unique=UniqueKey(key="k", states=FINAL | UNFINISHED)), rig.job(idempotency=key)]
    )
    want = {0: Refusal("unique", jobs[0].id, "pending"), 1: Refusal("existing", jobs[1].id, "pending")}
    equal(outcome.refused, want, "the refusals after the restart")


CHECKS: Final[tuple[Check, ...]] = (
    a_unique_key_refuses_the_second,
    a_unique_key_counts_in_its_states_only,
    a_unique_key_expires,
    a_write_frees_the_key_for_its_own_batch,
    a_replayed_job_holds_its_key_again,
    a_deleted_job_frees_its_keys,
    an_idempotency_key_names_the_same_job,
    an_idempotency_key_expires,
    a_sweep_drops_only_what_is_over,
    keys_survive,
)
