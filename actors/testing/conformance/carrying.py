"""Promises about jobs that are carried to another store: an export gives every job whole, and an insert takes it so."""

from __future__ import annotations

from typing import Final

import attrs

from actors.core.job import FINAL, STATES, UNFINISHED, Details, JobRecord, LogLine, Progress, Standing, State
from actors.store.port import MOST_LINES, Claim, IdempotencyKey, Insert, Kept, Note, Query, Refusal, Stop, UniqueKey
from actors.testing.conformance.rig import SECOND, Check, Rig, equal, expect, failure
from actors.testing.conformance.tallies import present, recount


def as_insert(kept: Kept, standing: Standing | None = None) -> Insert:
    """The insert that makes an exported job in another store."""
    job = kept.job
    return Insert(
        spec=job.spec,
        standing=attrs.evolve(standing or job.standing, seq=0),
        own_id=True,
        unique=kept.unique,
        idempotency=kept.idempotency,
        past=job if job.runs else None,
    )


async def exported(rig: Rig, limit: int = 100) -> list[Kept]:
    """All pages of an export, put together."""
    found: list[Kept] = []
    while True:
        page = await rig.store.export(found[-1].job.standing.seq if found else 0, limit)
        expect(len(page) <= limit, f"a page of {len(page)} jobs: the limit was {limit}")
        if not page:
            return found
        found += page


async def _one_of_each(rig: Rig) -> list[JobRecord]:
    """A job in each state, one that waits again after a failure, and one that nobody ever touched."""
    paths = {"completed": "complete", "cancelled": "cancel", "dead": "bury", "scheduled": "retry", "pending": "lose"}
    for state in STATES:
        job = await rig.running(id=f"{state}:1", queue=state, owner="ann", details=Details(tags=("x", "y")))
        lines = tuple(LogLine(at=rig.now + n, run=1, text=f"line {n}") for n in range(3))
        said = Note(id=job.id, run=1, progress=Progress(done=1 / 3, total=2.0, message="half"), saved="[7]", log=lines)
        await rig.commit(notes=[said, Note(id=job.id, run=1, progress=Progress(done=2))])
        rig.now += SECOND
        if state == "scheduled":
            await rig.commit(stops=[Stop(id=job.id, reason="user")])  # it crosses the report, and stays
        if (step := paths.get(state)) is not None:
            error = None if state == "completed" else failure(1, f"of {state}")
            result = '{"a": [1, null]}' if state == "completed" else None
            await rig.step(job, step, run_at=rig.now + SECOND, error=error, result=result)  # type: ignore[arg-type]
    await rig.add(rig.job(priority=3, front=-rig.now, timeout=0.1), rig.later(5))
    return [kept.job for kept in await exported(rig)]


async def an_export_is_every_job_in_order(rig: Rig) -> None:
    """Pages of an export hold every job once, whole and in the order of the numbers; what is deleted is left out."""
    await _one_of_each(rig)
    for limit in (1, 3, 100):
        jobs = [kept.job for kept in await exported(rig, limit)]
        equal(jobs, (await rig.every(Query()))[::-1], f"the jobs in pages of {limit}")
    await rig.commit(deletes=[jobs[2]])
    equal([kept.job for kept in await exported(rig, 2)], jobs[:2] + jobs[3:], "the jobs after one was deleted")
    equal(await rig.store.export(jobs[-1].standing.seq, 5), [], "the page after the last job")


async def a_carried_job_stands_as_it_stood(rig: Rig) -> None:
    """An insert with a `past`, in whatever state, makes a job with every field as it was, in the order in which they
    come; counts, pages and a restart see it like any other.
    """
    before = await _one_of_each(rig)
    kept = await exported(rig)
    await rig.commit(deletes=before)
    equal((await rig.commit(inserts=[as_insert(one) for one in kept])).refused, {}, "the refusals")
    for restarted in (False, True):
        jobs = [one.job for one in await exported(rig)]
        for was, is_ in zip(before, jobs, strict=True):
            want = attrs.evolve(was, standing=attrs.evolve(was.standing, seq=is_.standing.seq))
            equal(is_, want, f"a carried {was.state} job")
            equal(await rig.get(was.id), want, f"the same, by its id (a {was.state} job)")
        equal([kept.unique for kept in await exported(rig)], [None] * len(jobs), "their keys")
        equal(await rig.every(Query()), jobs[::-1], "the pages")
        equal(await rig.every(Query(tag="x", owner="ann")), jobs[len(STATES) - 1 :: -1], "the pages of a tag")
        ended = [job.id for job in await rig.every(Query(order="finished"))]
        want_ended = sorted((job for job in jobs if job.state in FINAL), key=lambda job: job.standing.finished_at or 0)
        equal(ended, [job.id for job in want_ended[::-1]], "the finished")
        counts = await rig.store.counts()
        equal(present(counts.now), recount(jobs), "counts.now")
        equal(present(counts.ended), recount([*want_ended, *want_ended]), "counts.ended")
        equal(counts.accepted - counts.deleted, len(jobs), "accepted less deleted")
        equal(present((await rig.store.recount()).jobs), recount(jobs), "the recount")
        if restarted or not rig.persists:
            return
        await rig.restart()


async def a_carried_job_lives_on(rig: Rig) -> None:
    """What came from elsewhere goes on as what began here: it is promoted, claimed, written, stopped, replayed, noted
    and given back when its holder is gone.
    """
    before = {job.id: job for job in await _one_of_each(rig)}
    kept = await exported(rig)
    await rig.commit(deletes=list(before.values()))
    elsewhere = [attrs.evolve(one.job.standing, holder="gone") if one.job.state == "running" else None for one in kept]
    outcome = await rig.commit(
        inserts=[as_insert(one, standing) for one, standing in zip(kept, elsewhere, strict=True)]
    )
    equal(outcome.refused, {}, "the refusals")
    equal(outcome.stops, [("scheduled:1", "user")], "the stops that came along")
    equal(await rig.store.vanished("one", rig.now), ["gone"], "the vanished holders")
    running = await rig.step(await rig.get("running:1"), "lose", error=failure(0, "died"))
    equal(running.log, before["running:1"].log, "the log of the lost job")
    rig.now += 60 * SECOND
    (again,) = await rig.claim(queue="scheduled")
    equal((again.id, again.runs, again.saved_json), ("scheduled:1", 2, "[7]"), "the claimed job that had been retried")
    equal(again.errors, before["scheduled:1"].errors, "its errors")
    line = LogLine(at=rig.now, run=2, text="again")
    await rig.commit(notes=[Note(id=again.id, run=2, log=(line,) * MOST_LINES)])
    equal((await rig.get(again.id)).log, (line,) * MOST_LINES, "its log, of which the last lines are kept")
    done = await rig.step(again, "complete", result="1")
    equal((done.stop, done.result_json), (None, "1"), "the end of a job that was asked to stop")
    replayed = await rig.step(await rig.get("dead:1"), "replay")
    equal((replayed.saved_json, replayed.progress), (None, None), "what a replayed job keeps")
    equal(replayed.errors, before["dead:1"].errors, "the errors of a replayed job")
    (first,) = (await rig.commit(claims=[Claim(queue="q", limit=1)])).claimed
    equal(first.priority, "critical", "the first claimed of those that nobody had touched")


async def keys_are_carried(rig: Rig) -> None:
    """An export tells the unique and the idempotency key of each job; an insert with them takes them: with no states it
    is not refused for a unique key, and the key holds as before.
    """
    unique = UniqueKey(key="k", states=UNFINISHED, expires_at=rig.now + 9 * SECOND)
    lasting = UniqueKey(key="for good: é", states=frozenset(STATES))
    given = IdempotencyKey(scope="1:s", key="kä:1", digest="d", expires_at=rig.now + 9 * SECOND)
    other = IdempotencyKey(scope="", key="kä:1", digest="d", expires_at=rig.now + 9 * SECOND)
    made = [
        rig.job(unique=unique, idempotency=given),
        rig.job(unique=lasting),
        rig.job(idempotency=other),
        rig.job(),
        rig.job(unique=UniqueKey(key="k", states=frozenset(), expires_at=rig.now + SECOND)),
    ]
    jobs = await rig.add(*made)

    def bare(key: UniqueKey | None) -> UniqueKey | None:
        return None if key is None else attrs.evolve(key, states=frozenset())

    for _ in range(2):
        kept = await exported(rig, 2)
        want = [(insert.spec.id, bare(insert.unique), insert.idempotency) for insert in made]
        equal([(one.job.id, one.unique, one.idempotency) for one in kept], want, "the keys of the exported jobs")
        await rig.commit(deletes=[one.job for one in kept])
        equal((await rig.commit(inserts=[as_insert(one) for one in kept])).refused, {}, "the refusals")
    inserts = [rig.job(unique=unique), rig.job(unique=lasting), rig.job(idempotency=given), rig.job(idempotency=other)]
    refusals = {
        0: Refusal("unique", jobs[0].id, "pending"),
        1: Refusal("unique", jobs[1].id, "pending"),
        2: Refusal("existing", jobs[0].id, "pending"),
        3: Refusal("existing", jobs[2].id, "pending"),
    }
    equal((await rig.commit(inserts=inserts)).refused, refusals, "the refusals by keys that came along")
    rig.now += 9 * SECOND
    equal((await rig.commit(inserts=[rig.job(idempotency=given)])).refused, {}, "the refusals when they have expired")
    expect(
        all(one.idempotency != given for one in await exported(rig) if one.job.id == jobs[0].id),
        "a job is said to have a key that another one has taken",
    )


async def an_insert_that_came_before_is_existing(rig: Rig) -> None:
    """A carried job that is there already is `existing` (or a `conflict`) and changes nothing; in one batch, too."""
    before = await _one_of_each(rig)
    kept = await exported(rig)
    again = [as_insert(one) for one in kept]
    outcome = await rig.commit(inserts=again)
    want = {n: Refusal("existing", job.id, job.state) for n, job in enumerate(before)}
    equal(outcome.refused, want, "the refusals of what is there")
    equal([one.job for one in await exported(rig)], before, "the jobs")
    done = await rig.get("completed:1")
    await rig.commit(deletes=[done])
    back: Kept = next(one for one in kept if one.job.id == done.id)
    outcome = await rig.commit(inserts=[as_insert(back), as_insert(back)])
    state: State = "completed"
    equal(outcome.refused, {1: Refusal("existing", done.id, state)}, "the refusals within a batch")
    equal((await rig.get(done.id)).log, done.log, "the log")


CHECKS: Final[tuple[Check, ...]] = (
    an_export_is_every_job_in_order,
    a_carried_job_stands_as_it_stood,
    a_carried_job_lives_on,
    keys_are_carried,
    an_insert_that_came_before_is_existing,
)
