"""Promises about writes and deletes: a step applies at the version it was made for, whole or not at all."""

from __future__ import annotations

from typing import Final

import attrs

from actors.core.job import AttemptError, JobRecord, LogLine, Progress, State
from actors.core.lifecycle import TRANSITIONS, Step, advance
from actors.store.port import Note, Write
from actors.testing.conformance.rig import SECOND, Check, Rig, equal, expect, failure


async def _in_state(rig: Rig, state: State, queue: str) -> JobRecord:
    ends: dict[State, Step] = {"completed": "complete", "cancelled": "cancel", "dead": "bury"}
    if state in ("scheduled", "pending"):
        (job,) = await rig.add(rig.job(queue=queue) if state == "pending" else rig.later(60, queue=queue))
        return job
    job = await rig.running(queue=queue)
    return job if state == "running" else await rig.step(job, ends[state])


async def every_step_is_kept(rig: Rig) -> None:
    """Each step of `TRANSITIONS` that is written leaves the job standing exactly as `advance` made it, and
    touches no other job.
    """
    (bystander,) = await rig.add(rig.job(queue="bystander"))
    for step, moves in TRANSITIONS.items():
        for source, target in moves.items():
            if step == "claim":  # made by the store alone, and checked with the claims
                continue
            job = await _in_state(rig, source, f"{step} {source}")
            equal(job.state, source, f"the state before {step}")
            rig.now += 3
            run_at = rig.now + SECOND if target == "scheduled" else None
            after = advance(job, step, rig.now, run_at=run_at)
            outcome = await rig.commit(writes=[Write(job=job, after=after, step=step)])
            equal(outcome.lost, set[int](), f"the lost writes of {step} from {source}")
            equal(
                await rig.get(job.id),
                attrs.evolve(job, standing=after),
                f"the job after {step} from {source}",
            )
    equal(await rig.get(bystander.id), bystander, "a job that nobody wrote to")


async def a_late_write_changes_nothing(rig: Rig) -> None:
    """A write made for an older version is `lost`: no field changes, and nothing of it is kept; the others of
    its batch apply.
    """
    stale = await rig.running(queue="q")
    await rig.step(stale, "lose")
    (current,) = await rig.claim()
    other = await rig.running()
    note = Note(id=current.id, run=2, progress=Progress(done=1.0))
    await rig.commit(notes=[note])
    before = await rig.get(stale.id)
    writes = [
        rig.write(stale, "complete", result='"late"'),
        rig.write(stale, "bury", error=failure(1)),
        rig.write(other, "complete", result='"fine"'),
    ]
    outcome = await rig.commit(writes=writes)
    equal(outcome.lost, {0, 1}, "the lost writes")
    equal(await rig.get(stale.id), before, "the job after a late report")
    equal((await rig.get(other.id)).result_json, '"fine"', "the result of the other job")


async def a_write_to_a_job_that_is_gone_is_lost(rig: Rig) -> None:
    """A write to a job that was deleted is `lost` and does not bring it back, not even under an id that was
    given away again.
    """
    gone, reused = await rig.add(rig.job(), rig.job(id="mine"))
    await rig.commit(deletes=[gone, reused])
    (new,) = await rig.add(rig.job(id="mine"))
    outcome = await rig.commit(writes=[rig.write(gone, "cancel"), rig.write(reused, "cancel")])
    equal(outcome.lost, {0, 1}, "the lost writes")
    expect(await rig.gone(gone.id), "a deleted job is back")
    equal(await rig.get("mine"), new, "the job that has the id now")


async def of_two_writes_of_one_version_one_applies(rig: Rig) -> None:
    """Two writes of one batch that were made for the same version: the first applies, the second is `lost`."""
    jobs = [await rig.running() for _ in range(5)]
    first = [rig.write(job, "complete", result=str(n)) for n, job in enumerate(jobs)]
    second = [rig.write(job, "bury", error=failure(1)) for job in jobs]
    outcome = await rig.commit(writes=[*first, *second])
    equal(outcome.lost, set(range(5, 10)), "the lost writes")
    for n, job in enumerate(jobs):
        stored = await rig.get(job.id)
        equal((stored.state, stored.result_json, stored.errors), ("completed", str(n), ()), "the job")


async def results_and_errors_are_kept(rig: Rig) -> None:
    """The result is kept as text; each error is appended to the history, with all its fields and its
    children.
    """
    child = AttemptError(attempt=1, type="KeyError", message="'ü'")
    group = AttemptError(
        attempt=1,
        type="ExceptionGroup",
        message="two ' \" \\ things 👩‍🚀",
        traceback="Traceback\n  line\n" * 50,
        started_at=rig.now - 5,
        failed_at=rig.now,
        children=(child, AttemptError(attempt=1, type="ExceptionGroup", message="", children=(child, child))),
    )
    job = await rig.running(queue="q")
    errors: list[AttemptError] = []
    for error in (group, failure(2), failure(2), failure(3)):
        job = await rig.step(job, "retry", run_at=rig.now, error=error)
        errors.append(error)
        equal(job.errors, tuple(errors), "the errors")
        (job,) = await rig.claim()
    result = '{"ü": [1, 2.5, null, "' + "x" * 10_000 + '"]}'
    done = await rig.step(job, "complete", result=result)
    equal((done.result_json, done.errors), (result, tuple(errors)), "the result, and the errors beside it")


async def a_replay_starts_afresh(rig: Rig) -> None:
    """A replay drops the result, the progress and the saved state; the errors and the log stay."""
    job = await rig.running()
    line = LogLine(at=rig.now, run=1, text="so far")
    await rig.commit(notes=[Note(id=job.id, run=1, progress=Progress(done=1.0), saved="[1]", log=(line,))])
    dead = await rig.step(await rig.get(job.id), "bury", error=failure(1), result="1")
    equal((dead.progress, dead.saved_json, dead.result_json), (Progress(done=1.0), "[1]", "1"), "the dead job")
    fresh = await rig.step(dead, "replay")
    equal(fresh.standing, advance(dead, "replay", rig.now), "the standing after the replay")
    equal((fresh.result_json, fresh.progress, fresh.saved_json), (None, None, None), "what a replay drops")
    equal((fresh.errors, fresh.log), ((failure(1),), (line,)), "what a replay keeps")


async def a_delete_takes_everything(rig: Rig) -> None:
    """A deleted job is gone from every answer, in whatever state it was."""
    states: tuple[State, ...] = ("scheduled", "pending", "running", "completed", "cancelled", "dead")
    jobs = [await _in_state(rig, state, state) for state in states]
    outcome = await rig.commit(deletes=jobs)
    equal(outcome.undeleted, set[int](), "the deletes that were refused")
    equal(await rig.store.get([job.id for job in jobs]), {}, "the deleted jobs")
    equal(await rig.states(), {}, "the jobs that can be found")
    rig.now += 100 * SECOND
    outcome = await rig.commit(list_promoted=True)
    equal((outcome.promoted, outcome.next_due), ([], None), "what comes due of a deleted job")


async def a_late_delete_changes_nothing(rig: Rig) -> None:
    """A delete at another version, or of an unknown job, is `undeleted`; the second of two deletes is, too."""
    stale = await rig.running()
    current = await rig.step(stale, "retry", run_at=rig.now + SECOND, error=failure(1))
    (other,) = await rig.add(rig.job())
    outcome = await rig.commit(deletes=[stale, other, other])
    equal(outcome.undeleted, {0, 2}, "the deletes that were refused")
    equal(await rig.get(stale.id), current, "the job that was not deleted")
    equal((await rig.commit(deletes=[other])).undeleted, {0}, "the refused deletes of a job that is gone")


async def a_deleted_id_comes_back_clean(rig: Rig) -> None:
    """A new job under the id of a deleted one has none of its errors, log, progress, result or stop."""
    job = await rig.running(id="mine")
    line = LogLine(at=rig.now, run=1, text="old")
    await rig.commit(notes=[Note(id="mine", run=1, progress=Progress(done=1.0), saved="[1]", log=(line,))])
    job = await rig.step(await rig.get("mine"), "bury", error=failure(1), result="1")
    await rig.commit(deletes=[job])
    (new,) = await rig.add(rig.job(id="mine"))
    equal(new, JobRecord(new.spec, new.standing), "the new job")


CHECKS: Final[tuple[Check, ...]] = (
    every_step_is_kept,
    a_late_write_changes_nothing,
    a_write_to_a_job_that_is_gone_is_lost,
    of_two_writes_of_one_version_one_applies,
    results_and_errors_are_kept,
    a_replay_starts_afresh,
    a_delete_takes_everything,
    a_late_delete_changes_nothing,
    a_deleted_id_comes_back_clean,
)
