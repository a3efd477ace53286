"""Promises about the event log: whoever listens is told each step of each commit, once and in order, or of a gap."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import attrs
import trio
import trio.testing

from actors.core.events import Cursor
from actors.core.job import JobRecord, Progress, Standing
from actors.core.job import JobSpec as Spec
from actors.store.port import LOG_KEPT, Claim, LoggedStep, LogWord, Note, Store
from actors.testing.conformance.rig import SECOND, Check, Rig, equal, expect, failure, soon

Told = tuple[int, int, str, LoggedStep]
"""A step with its number, its instant and its holder."""


def logged(word: LogWord, spec: Spec, standing: Standing, **more: object) -> LoggedStep:
    """What the log must hold of a step after which a job stands like this."""
    return LoggedStep(
        word,
        spec.id,
        spec.type,
        spec.queue,
        spec.owner,
        standing.state,
        standing.version,
        standing.attempt,
        standing.run_at,
        **more,  # type: ignore[arg-type]
    )


async def read(store: Store, now: int, after: Cursor) -> tuple[list[Told], bool, Cursor]:
    """All pages after this cursor: what they told, whether there was a gap, and the last cursor."""
    told: list[Told] = []
    gap = False
    while True:
        page = await store.events(now, after)
        expect(not page.gap or not told, "a gap in the middle of what there is")
        gap = gap or page.gap
        for entry in page.entries:
            expect(entry.steps, "an entry without steps")
            told += [(n, entry.at, entry.holder, step) for n, step in enumerate(entry.steps, start=entry.first)]
        equal(page.cursor.number, told[-1][0] if told else page.cursor.number, "the cursor's number")
        after = page.cursor
        if not page.more:
            return told, gap, after
        expect(page.entries, "an empty page with more behind it")


async def _steps(rig: Rig, after: Cursor) -> list[LoggedStep]:
    told, gap, _ = await read(rig.store, rig.now, after)
    expect(not gap, "a gap, though nothing is gone")
    numbers = [number for number, *_ in told]
    equal(numbers, list(range(after.number + 1, after.number + 1 + len(told))), "the numbers")
    return [step for *_, step in told]


async def _listen(rig: Rig) -> Cursor:
    outcome = await rig.commit(listen=True)
    expect(outcome.log is not None, "a commit that listens does not say where the log stood")
    assert outcome.log is not None
    return outcome.log


async def only_what_is_heard_is_logged(rig: Rig) -> None:
    """Nothing is logged before somebody listens: the first read opens the log, and answers where it stands."""
    await rig.add(rig.job(), rig.job())
    page = await rig.store.events(rig.now)
    equal((page.entries, page.gap, page.more), ([], False, False), "the first page")
    equal(page.cursor.number, 0, "how many steps were logged before")
    (job,) = await rig.add(rig.job())
    equal(await _steps(rig, page.cursor), [logged("insert", job.spec, job.standing)], "what was logged since")
    equal((await rig.store.events(rig.now)).entries, [], "what a reader hears that begins now")


async def a_commit_can_listen(rig: Rig) -> None:
    """A commit that listens is the first of the log, or goes into the one that is open; its outcome says where that
    stood before, and so does a repeat. Without being asked an outcome says nothing.
    """
    await rig.add(rig.job())
    first = rig.job()
    outcome = await rig.commit(listen=True, inserts=[first])
    (before,) = [await rig.get(first.spec.id)]
    repeat = await rig.store.commit("one", rig.last_tick("one"), rig.batch(listen=True, inserts=[first]))
    equal(repeat, outcome, "the outcome of a repeated tick")
    at = outcome.log
    expect(at is not None and at.number == 0, f"where the log stood: {at}")
    assert at is not None
    equal(await _steps(rig, at), [logged("insert", before.spec, before.standing)], "what was logged")
    later = await rig.commit(listen=True, inserts=[rig.job()])
    equal(later.log, Cursor(at.log, 1), "where it stood before the next one")
    equal((await rig.commit(inserts=[rig.job()])).log, None, "what a commit says that was not asked")
    equal(len(await _steps(rig, at)), 3, "how many steps are logged")


async def every_step_is_logged(rig: Rig) -> None:
    """A commit logs what it did to jobs, in the order in which it was applied: progress, writes, inserts, promotions,
    claims. What was refused, lost or repeated, and what is no step, is not logged.
    """
    one, two, late = [await rig.running(owner="ann") for _ in range(3)]
    await rig.step(late, "give_back")
    await rig.add(rig.job(id="mine"), rig.later(1, queue="z", type="b"))
    at = await _listen(rig)
    rig.now += SECOND
    progress = Progress(done=0.5, total=2.0, message="so far")
    error = failure(1, "é" * 2_000)
    new = rig.job()
    parts: dict[str, Any] = {
        "settings": {"a": "1"},
        "notes": [
            Note(id=one.id, run=1, progress=progress),
            Note(id=two.id, run=1, saved="{}"),
            Note(id=two.id, run=2, progress=progress),
        ],
        "writes": [
            rig.write(one, "complete", result="1"),
            rig.write(two, "retry", run_at=rig.now + SECOND, error=error),
            rig.write(late, "complete"),
        ],
        "inserts": [new, rig.job(id="mine", payload="[]")],
        "claims": [Claim(queue="z", limit=1)],
    }
    outcome = await rig.commit(**parts)
    equal(await rig.store.commit("one", rig.last_tick("one"), rig.batch(**parts)), outcome, "a repeat")
    (claimed,) = outcome.claimed
    found = await _steps(rig, at)
    stored = await rig.records_of([one.id, two.id, new.spec.id])
    promoted = attrs.evolve(claimed.standing, state="pending", version=1, runs=0)
    said = found[2].error if len(found) > 2 else None
    expect(said is not None and said[1] and error.message.startswith(said[1]), f"what is kept of an error: {said}")
    equal(
        found,
        [
            logged("note", one.spec, one.standing, progress=progress),
            logged("complete", one.spec, stored[0].standing),
            logged("retry", two.spec, stored[1].standing, error=said),
            logged("insert", new.spec, stored[2].standing),
            logged("promote", claimed.spec, promoted),
            logged("claim", claimed.spec, claimed.standing),
        ],
        "what was logged",
    )
    page = await rig.store.events(rig.now, at)
    equal({(entry.at, entry.holder) for entry in page.entries}, {(rig.now, "one")}, "when, and by whom")


async def the_log_outlives_its_jobs(rig: Rig) -> None:
    """What became of a job is told also when it was deleted since."""
    at = await _listen(rig)
    job = await rig.running()
    ended = await rig.step(job, "complete")
    await rig.commit(deletes=[ended])
    words = [(step.word, step.id, step.type) for step in await _steps(rig, at)]
    equal(words, [(word, job.id, "a") for word in ("insert", "claim", "complete")], "what was logged")


async def a_reader_goes_on_where_it_was(rig: Rig) -> None:
    """Whatever a cursor says was told, in the middle of a commit too: what comes after it is told, in pages, once."""
    await rig.open("two")
    at = await _listen(rig)
    for number in range(60):
        await rig.commit(holder=("one", "two")[number % 2], inserts=[rig.job() for _ in range(number % 7)])
    await rig.commit(inserts=[rig.job() for _ in range(3_000)])
    await rig.commit(claims=[Claim(queue="q", limit=1)])
    whole, gap, end = await read(rig.store, rig.now, at)
    equal((gap, end.number), (False, len(whole)), "a gap, and how many there were")
    for begin in (0, 1, 2, 3, 40, 41, 177, 178, 1_000, 3_000, len(whole) - 1, len(whole)):
        told, gap, last = await read(rig.store, rig.now, Cursor(at.log, begin))
        expect(not gap, f"a gap after step {begin}")
        expect(told == whole[begin:], f"after step {begin} there are {len(told)} of {len(whole)} steps, or others")
        equal(last, end, "the last cursor")


async def what_is_gone_is_a_gap(rig: Rig) -> None:
    """A cursor of another log, of more than there is, or of what was swept since, has a gap before what is told; then
    it goes on.
    """
    at = await _listen(rig)
    (job,) = await rig.add(rig.job())
    (other,) = await rig.add(rig.job())
    for cursor, steps in ((Cursor(at.log + 1, 1), 2), (Cursor(at.log, 3), 0)):
        told, gap, end = await read(rig.store, rig.now, cursor)
        equal((len(told), gap, end), (steps, True, Cursor(at.log, 2)), f"what {cursor} finds")
    rig.now += round((LOG_KEPT + 1) * SECOND)
    await rig.store.sweep(rig.now)
    told, gap, end = await read(rig.store, rig.now, at)
    equal((told, gap), ([], True), "what there is after a sweep")
    (new,) = await rig.add(rig.job())
    equal(await _steps(rig, end), [logged("insert", new.spec, new.standing)], "what was logged since")
    expect(await rig.records_of([job.id, other.id]), "the jobs")


async def nobody_misses_anything_unknowingly(rig: Rig) -> None:
    """Who has not read for long hears of a gap, or all that was committed."""
    at = await _listen(rig)
    await rig.add(rig.job())
    for _ in range(3):
        rig.now += round((LOG_KEPT / 2 + 1) * SECOND)
        await rig.add(rig.job())
    told, gap, end = await read(rig.store, rig.now, at)
    expect(gap or len(told) == 4, f"{len(told)} steps, no gap: expected 4")
    await rig.add(rig.job())
    equal(len(await _steps(rig, end)), 1, "how many were logged since")


async def the_log_survives_a_restart(rig: Rig) -> None:
    """A reader goes on after everybody has closed, at another store object on the same data."""
    if not rig.persists:
        return
    at = await _listen(rig)
    (job,) = await rig.add(rig.job())
    await rig.restart()
    (other,) = await rig.add(rig.job())
    steps = [logged("insert", job.spec, job.standing), logged("insert", other.spec, other.standing)]
    equal(await _steps(rig, at), steps, "what was logged")


async def who_listens_is_told_of_others(rig: Rig) -> None:
    """`logged` returns when another holder has logged something since, news for `wakeup` or not."""
    await rig.open("two")
    await _told_of(rig, rig.store)


async def who_listens_is_told_of_others_elsewhere(rig: Rig) -> None:
    """So it does when that happens through another store object on the same data."""
    if not rig.persists:
        return
    store = rig.another_store()
    await rig.open("two", store)
    await _told_of(rig, store)


async def _told_of(rig: Rig, store: Store) -> None:
    await rig.add(rig.job(), rig.job())
    jobs: list[JobRecord] = [job for _ in range(2) for job in await rig.claim_through(store, "two")]

    async def end(job: JobRecord) -> None:
        await rig.commit(holder="two", store=store, writes=[rig.write(job, "complete")])

    at = await _listen(rig)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(soon, "the return of logged", partial(rig.store.logged, "one")))
        await trio.testing.wait_all_tasks_blocked()
        await end(jobs[0])
    equal([step.word for step in await _steps(rig, at)], ["complete"], "what was logged")
    await end(jobs[1])
    await soon("the return of logged for what came before", partial(rig.store.logged, "one"))


CHECKS: Final[tuple[Check, ...]] = (
    only_what_is_heard_is_logged,
    a_commit_can_listen,
    every_step_is_logged,
    the_log_outlives_its_jobs,
    a_reader_goes_on_where_it_was,
    what_is_gone_is_a_gap,
    nobody_misses_anything_unknowingly,
    the_log_survives_a_restart,
    who_listens_is_told_of_others,
    who_listens_is_told_of_others_elsewhere,
)
