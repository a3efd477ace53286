"""Promises about `find`: the jobs that match, in order, each exactly once over the pages, whatever arrives
meanwhile.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from actors.core.errors import BadOption
from actors.core.job import FINAL, STATES, AttemptError, Details, JobRecord, LogLine, Progress
from actors.core.lifecycle import Step
from actors.store.port import Note, Query
from actors.testing.conformance.rig import SECOND, Check, Rig, equal, expect, failure, following


def answer(jobs: list[JobRecord], query: Query) -> list[JobRecord]:
    """What `query` must find among `jobs`, all pages together."""
    found = [job for job in jobs if _matches(job, query)]
    if query.order == "finished":
        found = [job for job in found if job.state in FINAL]
        return sorted(found, key=lambda job: (job.standing.finished_at or 0, job.standing.seq), reverse=True)
    return sorted(found, key=lambda job: job.standing.seq, reverse=True)


def _matches(job: JobRecord, query: Query) -> bool:
    texts = [job.id, job.type, *((job.error.type, job.error.message) if job.error else ())]
    return (
        (query.states is None or job.state in query.states)
        and (query.type is None or job.type == query.type)
        and (query.queue is None or job.queue == query.queue)
        and (query.tag is None or query.tag in job.tags)
        and (query.owner is None or job.owner == query.owner)
        and (query.holder is None or job.standing.holder == query.holder)
        and (query.text is None or any(query.text in text for text in texts))
    )


async def _population(rig: Rig) -> list[JobRecord]:
    """Sixty jobs of all states, types, queues, owners and tags, ended in another order than they came, many
    in one instant.
    """
    await rig.open("two")
    steps: tuple[Step | None, ...] = (None, "complete", "cancel", "bury", "retry", "discard")
    jobs: list[JobRecord] = []
    for n in range(60):
        fields: dict[str, Any] = {
            "id": f"job-{n * 37 % 60}-50%_x" if n % 4 == 0 else None,
            "type": "abc"[n % 3],
            "queue": ("q", "r")[n % 2],
            "owner": (None, "ann", "bob", "")[n % 4],
            "priority": n % 4,
            "details": Details(tags=(("x",), ("x", "long tag"), (), ("xx",))[n % 4]),
        }
        if n % 7 == 0:
            jobs += await rig.add(rig.later(60, **fields) if n % 2 else rig.job(**fields))
            continue
        jobs.append(await rig.running(("one", "two")[n // 3 % 2], **{**fields, "queue": f"queue {n}"}))
    for n in sorted(range(60), key=lambda n: n * 17 % 60):
        job, step = jobs[n], steps[n % 6]
        if n % 7 == 0 or step is None:
            continue
        if n % 5 == 0:
            rig.now += 10
        error = AttemptError(attempt=1, type="ValueError", message=f"message 50%_ {n} ü")
        failed = error if step in ("bury", "retry", "discard") else None
        jobs[n] = await rig.step(job, step, run_at=rig.now + 60 * SECOND if step == "retry" else None, error=failed)
    return jobs


QUERIES: Final[tuple[dict[str, Any], ...]] = (
    {},
    *({"states": frozenset({state})} for state in STATES),
    {"states": FINAL},
    {"states": frozenset({"pending", "running", "dead"})},
    {"states": frozenset()},
    {"type": "b"},
    {"type": "none"},
    {"queue": "r"},
    {"queue": "queue 8"},
    {"tag": "x"},
    {"tag": "long tag"},
    {"tag": "long"},
    {"owner": "ann"},
    {"owner": ""},
    {"holder": "one"},
    {"holder": "two", "states": frozenset({"running"})},
    {"holder": "nobody"},
    {"text": "job-"},
    {"text": "50%_"},
    {"text": "%"},
    {"text": "5_%"},
    {"text": "message"},
    {"text": "ValueErr"},
    {"text": "ü"},
    {"text": "b"},
    {"text": ""},
    {"type": "a", "owner": "bob", "tag": "xx", "states": FINAL},
    {"text": "message", "queue": "queue 3", "holder": None},
)


async def a_query_finds_what_matches(rig: Rig) -> None:
    """Every filter, alone and together with others, in both orders and for any page size: the matching jobs,
    whole, each exactly once.
    """
    jobs = await _population(rig)
    orders: tuple[Literal["newest", "finished"], ...] = ("newest", "finished")
    for fields in QUERIES:
        for order in orders:
            for limit in (1_000, 7, 1):
                query = Query(**fields, order=order, limit=limit)
                got, want = await rig.every(query), answer(jobs, query)
                equal([job.id for job in got], [job.id for job in want], f"what {query!r} finds")
                equal(got, want, f"the records that {query!r} finds")


async def only_the_last_error_is_searched(rig: Rig) -> None:
    """`text` is looked for in the last error of a job's history, not in those before, nor in payloads, results or
    logs.
    """
    job = await rig.running(queue="q", payload='{"word": "needle"}')
    note = Note(id=job.id, run=1, saved='"needle"', log=(LogLine(at=rig.now, run=1, text="needle"),))
    await rig.commit(notes=[note])
    job = await rig.step(job, "retry", run_at=rig.now, error=failure(1, "needle"))
    equal(await rig.every(Query(text="needle")), [await rig.get(job.id)], "what is found by the last error")
    (job,) = await rig.claim()
    await rig.step(job, "retry", run_at=rig.now, error=failure(2, "hay"))
    equal(await rig.every(Query(text="needle")), [], "what is found by an earlier error")
    equal(len(await rig.every(Query(text="hay"))), 1, "how many are found by the last error")


async def a_page_is_a_hundred_at_most(rig: Rig) -> None:
    """Without a limit a page has at most 100 jobs, and the last page has no cursor."""
    jobs = await rig.add(*(rig.job() for _ in range(150)))
    page = await rig.store.find(Query())
    expect(len(page.jobs) <= 100 and page.after is not None, f"the first page of 150 has {len(page.jobs)} jobs")
    equal(await rig.every(Query()), jobs[::-1], "all pages")


async def pages_are_stable_while_jobs_arrive(rig: Rig) -> None:
    """Jobs that arrive or end while someone turns pages shift nothing: what was there is seen once, and once
    only.
    """
    jobs = await rig.add(*(rig.job() for _ in range(20)))
    page = await rig.store.find(Query(limit=6))
    seen = list(page.jobs)
    while page.after is not None:
        await rig.add(rig.job(), rig.job())
        page = await rig.store.find(following(Query(limit=6), page.after))
        seen += page.jobs
    equal([job.id for job in seen], [job.id for job in reversed(jobs)], "the pages by age")

    ended: list[JobRecord] = []
    for job in await rig.claim(20):
        rig.now += 1
        ended.append(await rig.step(job, "complete"))
    query = Query(order="finished", limit=6)
    page = await rig.store.find(query)
    seen = list(page.jobs)
    while page.after is not None:
        rig.now += 1
        await rig.step(await rig.running(), "cancel")
        page = await rig.store.find(following(query, page.after))
        seen += page.jobs
    equal([job.id for job in seen], [job.id for job in reversed(ended)], "the pages by end")


async def pages_go_on_after_deletes(rig: Rig) -> None:
    """A cursor stays good when the job it stands at is deleted, or most of the jobs are."""
    jobs = await rig.add(*(rig.job() for _ in range(200)))
    page = await rig.store.find(Query(limit=10))
    await rig.commit(deletes=[job for n, job in enumerate(jobs) if n % 10])
    expect(page.after is not None, "a page of 10 of 200 has no cursor")
    got = await rig.every(Query(limit=6, after=page.after))
    last = page.jobs[-1].standing.seq
    want = [job.id for n, job in enumerate(jobs) if n % 10 == 0 and job.standing.seq < last]
    equal([job.id for job in got], want[::-1], "the rest of the pages")


async def a_bad_cursor_is_refused(rig: Rig) -> None:
    """A cursor that this store did not make is a `BadOption`, not an empty page and not another error."""
    await rig.add(*(rig.job() for _ in range(3)))
    orders: tuple[Literal["newest", "finished"], ...] = ("newest", "finished")
    for after in ("nonsense", "", "-", "0x", "🙂", "1;2;3;4;5;6", "'", "n", "a" * 10_000, "\0", "١٢"):
        for order in orders:
            try:
                page = await rig.store.find(Query(after=after, order=order))
            except BadOption:
                continue
            expect(False, f"the cursor {after[:20]!r} gave {page!r}: expected BadOption")


async def a_job_in_two_ends_is_found_once(rig: Rig) -> None:
    """A job that ended, was replayed and ended again, even in the same instant, is found once, where it ended
    last.
    """
    first = await rig.running()
    other = await rig.running(queue="other")
    first = await rig.step(first, "bury")
    await rig.step(other, "complete")
    await rig.step(first, "replay")
    ids = [job.id for job in await rig.every(Query(order="finished"))]
    equal(ids, [other.id], "the finished jobs while the first waits again")
    (again,) = await rig.claim(queue="of one")
    await rig.commit(notes=[Note(id=again.id, run=2, progress=Progress(done=1.0))])
    await rig.step(await rig.get(again.id), "complete", result="1")
    for limit in (1, 10):
        ids = [job.id for job in await rig.every(Query(order="finished", limit=limit))]
        equal(ids, [other.id, first.id], "the finished jobs, of one instant")


CHECKS: Final[tuple[Check, ...]] = (
    a_query_finds_what_matches,
    only_the_last_error_is_searched,
    a_page_is_a_hundred_at_most,
    pages_are_stable_while_jobs_arrive,
    pages_go_on_after_deletes,
    a_bad_cursor_is_refused,
    a_job_in_two_ends_is_found_once,
)
