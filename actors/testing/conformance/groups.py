"""Promises about groups: what belongs together succeeds or fails together, and what does not is left alone."""

from __future__ import annotations

from typing import Final

from actors.core.job import JobRecord
from actors.store.port import Refusal, ScheduleMove, ScheduleRecord, SlotRecord, UniqueKey
from actors.testing.conformance.rig import Check, Rig, equal

LOST: Final = Refusal("lost")


async def _stale_and_fresh(rig: Rig) -> tuple[JobRecord, JobRecord]:
    stale = await rig.running()
    await rig.step(stale, "give_back")
    return stale, await rig.running(queue="fresh")


async def a_lost_write_takes_its_group_along(rig: Rig) -> None:
    """When a write of a group loses, the group's other writes change nothing, before it and after it, and its
    inserts are `lost`.
    """
    stale, fresh = await _stale_and_fresh(rig)
    after = await rig.running(queue="after")
    alone = await rig.running(queue="alone")
    writes = [
        rig.write(fresh, "complete", result="1", group=7),
        rig.write(stale, "complete", group=7),
        rig.write(after, "complete", group=7),
        rig.write(alone, "complete"),
    ]
    inserts = [rig.job(group=7), rig.job(), rig.job(group=7, id="mine")]
    outcome = await rig.commit(writes=writes, inserts=inserts)
    equal(outcome.lost, {0, 1, 2}, "the lost writes")
    equal(outcome.refused, {0: LOST, 2: LOST}, "the refusals")
    equal(
        (await rig.get(fresh.id), await rig.get(after.id)),
        (fresh, after),
        "the jobs that were not written to",
    )
    equal((await rig.get(alone.id)).state, "completed", "the state of a job of no group")


async def groups_are_apart(rig: Rig) -> None:
    """A group that loses leaves other groups alone, and group 0 is none: there each item stands for itself."""
    stale, fresh = await _stale_and_fresh(rig)
    third = await rig.running(queue="third")
    writes = [
        rig.write(stale, "complete", group=1),
        rig.write(fresh, "complete", group=2),
        rig.write(third, "complete"),
    ]
    inserts = [rig.job(group=2), rig.job(group=1), rig.job(), rig.job(group=3)]
    outcome = await rig.commit(writes=writes, inserts=inserts)
    equal((outcome.lost, outcome.refused), ({0}, {1: LOST}), "what was lost and refused")
    outcome = await rig.commit(writes=[rig.write(stale, "complete")], inserts=[rig.job()])
    equal((outcome.lost, outcome.refused), ({0}, {}), "what was lost and refused without groups")


async def a_refused_insert_is_no_loss(rig: Rig) -> None:
    """An insert that is refused for its keys does not make its group lose."""
    key = UniqueKey(key="k", states=frozenset({"pending"}))
    (holder,) = await rig.add(rig.job(unique=key))
    job = await rig.running()
    outcome = await rig.commit(
        writes=[rig.write(job, "complete", group=1)], inserts=[rig.job(unique=key, group=1), rig.job(group=1)]
    )
    equal(outcome.lost, set[int](), "the lost writes")
    equal(outcome.refused, {0: Refusal("unique", holder.id, "pending")}, "the refusals")
    equal((await rig.get(job.id)).state, "completed", "the state of the written job")


async def a_lost_move_takes_its_group_along(rig: Rig) -> None:
    """When a schedule's cursor has moved on, the group's inserts are `lost` and its writes change nothing."""
    job = await rig.running()
    await rig.commit(schedules=[ScheduleRecord(name="s", definition="{}", cursor=10)])
    stale = ScheduleMove(
        name="s", expect=9, cursor=20, slots=(SlotRecord(slot=20, job="x"),), fired_at=rig.now, group=1
    )
    good = ScheduleMove(
        name="s", expect=10, cursor=30, slots=(SlotRecord(slot=30, job="y"),), fired_at=rig.now, group=2
    )
    outcome = await rig.commit(
        schedule_moves=[stale, good],
        writes=[rig.write(job, "complete", group=1)],
        inserts=[rig.job(group=1), rig.job(group=2)],
    )
    equal(
        (outcome.lost_moves, outcome.lost, outcome.refused),
        ({0}, {0}, {0: LOST}),
        "what was lost and refused",
    )
    equal(await rig.get(job.id), job, "the job that was not written to")
    equal([(s.cursor, s.fired) for s in await rig.store.schedules()], [(30, 1)], "the schedule")


async def a_lost_write_holds_its_groups_move_back(rig: Rig) -> None:
    """When a write of a group loses, the group's schedule moves do not happen either and are in `lost_moves`."""
    stale, _ = await _stale_and_fresh(rig)
    await rig.commit(schedules=[ScheduleRecord(name=name, definition="{}", cursor=10) for name in ("s", "t")])
    moves = [
        ScheduleMove(name="s", expect=10, cursor=20, slots=(SlotRecord(slot=20, job="x"),), fired_at=rig.now, group=1),
        ScheduleMove(name="t", expect=10, cursor=20),
    ]
    outcome = await rig.commit(
        schedule_moves=moves, writes=[rig.write(stale, "complete", group=1)], inserts=[rig.job(group=1)]
    )
    equal(
        (outcome.lost_moves, outcome.lost, outcome.refused),
        ({0}, {0}, {0: LOST}),
        "what was lost and refused",
    )
    equal([(s.name, s.cursor) for s in await rig.store.schedules()], [("s", 10), ("t", 20)], "the schedules")
    equal(await rig.store.slots("s"), [], "the slots of the schedule that did not move")


async def a_group_loses_to_an_earlier_item_too(rig: Rig) -> None:
    """Two groups of one batch that write to the same job, or move the same schedule: the first succeeds, the second
    is lost whole.
    """
    job, other = await rig.running(), await rig.running(queue="other")
    writes = [
        rig.write(job, "complete", group=1),
        rig.write(other, "complete", group=2),
        rig.write(job, "cancel", group=2),
    ]
    outcome = await rig.commit(writes=writes, inserts=[rig.job(group=2), rig.job(group=1)])
    equal((outcome.lost, outcome.refused), ({1, 2}, {0: LOST}), "what was lost and refused")
    equal([(await rig.get(id)).state for id in (job.id, other.id)], ["completed", "running"], "the states")

    await rig.commit(schedules=[ScheduleRecord(name="s", definition="{}", cursor=10)])
    moves = [ScheduleMove(name="s", expect=10, cursor=20 + group, group=group) for group in (3, 4)]
    writes = [rig.write(other, "complete", group=4)]
    outcome = await rig.commit(schedule_moves=moves, writes=writes, inserts=[rig.job(group=3), rig.job(group=4)])
    equal((outcome.lost_moves, outcome.lost, outcome.refused), ({1}, {0}, {1: LOST}), "what was lost and refused")
    equal([s.cursor for s in await rig.store.schedules()], [23], "the cursor")


CHECKS: Final[tuple[Check, ...]] = (
    a_lost_write_takes_its_group_along,
    groups_are_apart,
    a_refused_insert_is_no_loss,
    a_lost_move_takes_its_group_along,
    a_lost_write_holds_its_groups_move_back,
    a_group_loses_to_an_earlier_item_too,
)
