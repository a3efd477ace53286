"""Promises about what is kept beside a running job: stops and notes, which bump no version."""

from __future__ import annotations

from typing import Final

import attrs

from actors.core.job import LogLine, Progress, State
from actors.core.lifecycle import Step
from actors.store.port import Claim, Note, Stop
from actors.testing.conformance.rig import SECOND, Check, Rig, equal, failure


async def a_stop_reaches_the_holder(rig: Rig) -> None:
    """A stop of a running job is in every outcome of its holder, from the commit of the stop on, and in no
    other's; and in the record.
    """
    await rig.open("two")
    job, other = await rig.running(), await rig.running(queue="x")
    outcome = await rig.commit(holder="two", stops=[Stop(id=job.id, reason="user")])
    equal(outcome.stops, [], "the stops that another holder is told")
    for _ in range(2):
        equal((await rig.commit()).stops, [(job.id, "user")], "the stops of the holder")
    equal(await rig.get(job.id), attrs.evolve(job, stop="user"), "the job: stopped, and otherwise as it was")
    outcome = await rig.commit(stops=[Stop(id=other.id, reason="superseded")])
    equal(
        sorted(outcome.stops),
        sorted([(job.id, "user"), (other.id, "superseded")]),
        "the stops of the same commit",
    )


async def the_first_reason_stays(rig: Rig) -> None:
    """A second stop of the same run changes nothing, in the same batch or later."""
    job = await rig.running()
    await rig.commit(stops=[Stop(id=job.id, reason="user"), Stop(id=job.id, reason="timeout")])
    outcome = await rig.commit(stops=[Stop(id=job.id, reason="superseded")])
    equal(
        (outcome.stops, outcome.unstopped),
        ([(job.id, "user")], set[int]()),
        "the stops, and the refused ones",
    )
    equal((await rig.get(job.id)).stop, "user", "the reason that is kept")


async def only_the_running_are_stopped(rig: Rig) -> None:
    """A stop of a job that is not running, or unknown, is `unstopped` and changes nothing, and waits for no
    later run.
    """
    ended = await rig.step(await rig.running(), "complete")
    waiting = await rig.add(rig.job(), rig.later(1))
    job = await rig.running()
    leaves = await rig.running(queue="x")
    ids = ["nobody", ended.id, *(job.id for job in waiting)]
    stops = [Stop(id=id, reason="user") for id in (*ids, job.id, leaves.id)]
    outcome = await rig.commit(stops=stops, writes=[rig.write(leaves, "complete")])
    equal(outcome.unstopped, {0, 1, 2, 3, 5}, "the refused stops")
    equal(outcome.stops, [(job.id, "user")], "the stops")
    equal(await rig.records_of(ids[1:]), [ended, *waiting], "the jobs")
    rig.now += SECOND
    outcome = await rig.commit(claims=[Claim(queue="q", limit=9)])
    equal([job.stop for job in outcome.claimed], [None, None], "the stops of the jobs that were claimed then")
    equal((await rig.commit()).stops, [(job.id, "user")], "the stops of their holder")


async def an_end_clears_the_stop(rig: Rig) -> None:
    """When a stopped job ends, its stop is gone; when it is replayed, its next run is not stopped."""
    ends: tuple[tuple[Step, State], ...] = (("complete", "completed"), ("cancel", "cancelled"), ("bury", "dead"))
    for step, state in ends:
        job = await rig.running(queue=step)
        await rig.commit(stops=[Stop(id=job.id, reason="user")])
        outcome = await rig.commit(writes=[rig.write(await rig.get(job.id), step)])
        equal(outcome.stops, [], f"the stops after {step}")
        after = await rig.get(job.id)
        equal((after.state, after.stop), (state, None), f"the job after {step}")
        if step == "bury":
            outcome = await rig.commit(writes=[rig.write(after, "replay")], claims=[Claim(queue=step, limit=1)])
            equal(([job.stop for job in outcome.claimed], outcome.stops), ([None], []), "the stops after the replay")


async def a_stop_survives_what_does_not_end_the_job(rig: Rig) -> None:
    """When a stopped job comes back without having ended, its stop is kept: every holder is told of it while nobody
    holds the job, and then the one that claims it.
    """
    back: tuple[tuple[Step, State], ...] = (("retry", "scheduled"), ("give_back", "pending"), ("lose", "pending"))
    await rig.open("two")
    jobs: list[str] = []
    for step, state in back:
        job = await rig.running(queue=step)
        jobs.append(job.id)
        await rig.commit(stops=[Stop(id=job.id, reason="user")])
        outcome = await rig.commit(writes=[rig.write(await rig.get(job.id), step, run_at=rig.now + 1)])
        equal(sorted(outcome.stops), [(id, "user") for id in sorted(jobs)], f"the stops after {step}")
        after = await rig.get(job.id)
        equal((after.state, after.stop), (state, "user"), f"the job after {step}")
    rig.now += SECOND
    equal(len((await rig.commit(holder="two")).stops), 3, "the stops that another holder is told")
    claims = [Claim(queue=step, limit=1) for step, _ in back]
    outcome = await rig.commit(holder="two", claims=claims)
    equal([job.stop for job in outcome.claimed], ["user"] * 3, "the stops of the jobs that were claimed then")
    equal(sorted(outcome.stops), [(id, "user") for id in sorted(jobs)], "the stops that their holder is told")
    equal((await rig.commit()).stops, [], "the stops that the others are told then")


async def a_deleted_job_is_no_longer_stopped(rig: Rig) -> None:
    """A stop goes with its job."""
    job = await rig.running()
    await rig.commit(stops=[Stop(id=job.id, reason="user")])
    await rig.commit(deletes=[await rig.get(job.id)])
    equal((await rig.commit()).stops, [], "the stops")


async def notes_are_kept(rig: Rig) -> None:
    """Progress and saved state replace what was there, log lines are appended; no version changes, so a
    report made before applies.
    """
    job = await rig.running()
    lines = [LogLine(at=rig.now + n, run=1, text=text) for n, text in enumerate(("one", "", "drei 'ü' \n👩‍🚀", "one"))]
    full = Progress(done=1.5, total=3.0, message="half 'way'")
    await rig.commit(notes=[Note(id=job.id, run=1, progress=full, saved='{"at": 1}', log=(lines[0], lines[1]))])
    want = attrs.evolve(job, progress=full, saved_json='{"at": 1}', log=tuple(lines[:2]))
    equal(await rig.get(job.id), want, "the job after a full note")
    await rig.commit(notes=[Note(id=job.id, run=1, log=(lines[2],)), Note(id=job.id, run=1, log=(lines[3],))])
    want = attrs.evolve(want, log=tuple(lines))
    equal(await rig.get(job.id), want, "the job after notes with log lines only")
    later = Progress(done=2.0)
    await rig.commit(notes=[Note(id=job.id, run=1, progress=full), Note(id=job.id, run=1, progress=later)])
    equal(await rig.get(job.id), attrs.evolve(want, progress=later), "the job after two notes with progress")
    outcome = await rig.commit(
        notes=[Note(id=job.id, run=1, saved="2")],
        writes=[rig.write(job, "retry", run_at=rig.now, error=failure(1))],
    )
    equal(outcome.lost, set[int](), "the lost writes")
    after = await rig.get(job.id)
    equal(
        (after.saved_json, after.progress, after.log),
        ("2", later, tuple(lines)),
        "the notes after the report",
    )


async def a_note_belongs_to_its_run(rig: Rig) -> None:
    """A note of another run than the one that is running, or of a job that is not running, changes nothing."""
    first = await rig.running(queue="q")
    waiting = await rig.step(first, "give_back")

    def notes(id: str) -> list[Note]:
        line = LogLine(at=rig.now, run=1, text="late")
        return [Note(id=id, run=run, progress=Progress(done=9.0), saved="9", log=(line,)) for run in (0, 1, 3)]

    await rig.commit(notes=notes(first.id))
    equal(await rig.get(first.id), waiting, "a waiting job after a note")
    (second,) = await rig.claim()
    await rig.commit(notes=[*notes(first.id), *notes("nobody")])
    equal(await rig.get(first.id), second, "a job in its second run after notes of the first and the third")
    done = await rig.step(second, "complete")
    await rig.commit(notes=[Note(id=first.id, run=2, saved="9")])
    equal(await rig.get(first.id), done, "a finished job after a note of its last run")


CHECKS: Final[tuple[Check, ...]] = (
    a_stop_reaches_the_holder,
    the_first_reason_stays,
    only_the_running_are_stopped,
    an_end_clears_the_stop,
    a_stop_survives_what_does_not_end_the_job,
    a_deleted_job_is_no_longer_stopped,
    notes_are_kept,
    a_note_belongs_to_its_run,
)
