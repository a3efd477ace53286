"""Promises about schedules and settings: kept by name, moved only from where they were read."""

from __future__ import annotations

from typing import Final

import attrs

from actors.store.port import Refusal, ScheduleError, ScheduleMove, ScheduleRecord, SlotRecord
from actors.testing.conformance.rig import START, Check, Rig, equal

NIGHTLY: Final = ScheduleRecord(name="nightly", definition='{"cron": "0 3 * * *", "ü": "\'"}', cursor=START)


async def _one(rig: Rig) -> ScheduleRecord:
    (schedule,) = await rig.store.schedules()
    return schedule


async def settings_are_kept(rig: Rig) -> None:
    """A setting is put, replaced, and removed by None; any text is a key and a value; removing an unknown one
    is no error.
    """
    await rig.commit(settings={"a": "1", "ü '%": "", "paused/q": "x" * 5_000, "gone": None})
    await rig.commit(settings={"a": "2", "b": "3", "paused/q": None})
    equal(await rig.store.settings(), {"a": "2", "b": "3", "ü '%": ""}, "the settings")


async def schedules_are_listed_by_name(rig: Rig) -> None:
    """`schedules` has every schedule with all its fields, sorted by name."""
    full = ScheduleRecord(
        name="b ü",
        definition="[]",
        cursor=-5,
        paused=True,
        fired=3,
        errors=2,
        last_run=START,
        last_job="j",
        last_error="why '?'",
    )
    first = attrs.evolve(NIGHTLY, name="a")
    await rig.commit(schedules=[NIGHTLY, full, first])
    equal(await rig.store.schedules(), [first, full, NIGHTLY], "the schedules")


async def a_known_schedule_keeps_its_cursor(rig: Rig) -> None:
    """Putting a schedule whose name is known changes its definition and `paused`, and nothing else."""
    await rig.commit(schedules=[NIGHTLY])
    slots = (SlotRecord(slot=START + 1, job="j"),)
    move = ScheduleMove(name="nightly", expect=START, cursor=START + 1, slots=slots, fired_at=START + 2)
    await rig.commit(schedule_moves=[move], schedule_errors=[ScheduleError(name="nightly", error="e")])
    moved = await _one(rig)
    await rig.commit(schedules=[ScheduleRecord(name="nightly", definition="[2]", cursor=7, paused=True)])
    equal(await _one(rig), attrs.evolve(moved, definition="[2]", paused=True), "the schedule")
    equal(await rig.store.slots("nightly"), list(slots), "its slots")


async def a_move_is_guarded_by_the_cursor(rig: Rig) -> None:
    """A move applies only where the cursor is `expect`; it counts and names each slot with a job. Of two
    moves one loses.
    """
    await rig.commit(schedules=[NIGHTLY])
    slots = (
        SlotRecord(slot=START + 1, reason="missed"),
        SlotRecord(slot=START + 2, job="j2"),
        SlotRecord(slot=START + 3, job="j3"),
        SlotRecord(slot=START + 4, reason="overlap"),
    )
    move = ScheduleMove(name="nightly", expect=START, cursor=START + 4, slots=slots, fired_at=START + 5, group=1)
    again = attrs.evolve(move, group=2)
    unknown = attrs.evolve(move, name="unknown", group=3)
    outcome = await rig.commit(
        schedule_moves=[move, again, unknown], inserts=[rig.job(group=group) for group in (1, 2, 3)]
    )
    equal(outcome.lost_moves, {1, 2}, "the lost moves")
    equal(outcome.refused, {1: Refusal("lost"), 2: Refusal("lost")}, "the refusals")
    want = attrs.evolve(NIGHTLY, cursor=START + 4, fired=2, last_run=START + 5, last_job="j3")
    equal(await _one(rig), want, "the schedule")
    equal(await rig.store.slots("nightly"), list(reversed(slots)), "its slots, the newest first")
    equal(await rig.store.slots("nightly", 2), list(reversed(slots))[:2], "its newest two slots")
    equal(await rig.store.slots("unknown"), [], "the slots of a schedule that is not there")
    equal((await rig.commit(schedule_moves=[move])).lost_moves, {0}, "the lost moves of a repeat")


async def a_move_without_a_job_fires_nothing(rig: Rig) -> None:
    """Slots without a job, or no slots, move the cursor, and leave `fired`, `last_run` and `last_job`."""
    await rig.commit(schedules=[attrs.evolve(NIGHTLY, fired=1, last_run=5, last_job="j")])
    skipped = (SlotRecord(slot=START + 1, reason="missed"),)
    moves = [
        ScheduleMove(name="nightly", expect=START, cursor=START + 1, slots=skipped),
        ScheduleMove(name="nightly", expect=START + 1, cursor=START + 9),
    ]
    for move in moves:
        equal((await rig.commit(schedule_moves=[move])).lost_moves, set[int](), "the lost moves")
    want = attrs.evolve(NIGHTLY, fired=1, last_run=5, last_job="j", cursor=START + 9)
    equal(await _one(rig), want, "the schedule")


async def the_newest_slots_are_kept(rig: Rig) -> None:
    """A schedule keeps at least its newest 1 000 slots, in order, over many moves; each schedule its own."""
    await rig.commit(schedules=[NIGHTLY, attrs.evolve(NIGHTLY, name="other")])
    one = (SlotRecord(slot=1, reason="only"),)
    await rig.commit(schedule_moves=[ScheduleMove(name="other", expect=START, cursor=1, slots=one)])
    for n in range(0, 1_200, 100):
        slots = tuple(SlotRecord(slot=START + k + 1, reason="r") for k in range(n, n + 100))
        move = ScheduleMove(name="nightly", expect=START + n, cursor=START + n + 100, slots=slots)
        await rig.commit(schedule_moves=[move])
    kept = await rig.store.slots("nightly", 1_000)
    equal([slot.slot - START for slot in kept], list(range(1_200, 200, -1)), "the newest thousand slots")
    equal(len(await rig.store.slots("nightly")), 100, "how many slots are told unasked")
    equal(await rig.store.slots("other"), list(one), "the slots of another schedule")


async def schedule_errors_are_counted(rig: Rig) -> None:
    """Each error adds one and the last text stays; of an unknown schedule it is no error."""
    await rig.commit(schedules=[NIGHTLY])
    errors = [
        ScheduleError(name=name, error=text) for name, text in (("nightly", "1"), ("unknown", "2"), ("nightly", "3"))
    ]
    await rig.commit(schedule_errors=errors)
    equal(await rig.store.schedules(), [attrs.evolve(NIGHTLY, errors=2, last_error="3")], "the schedules")


async def a_forgotten_schedule_is_gone(rig: Rig) -> None:
    """Forgetting drops a schedule and its slots, also one that the same batch put; moves of it are lost; its
    name starts afresh.
    """
    await rig.commit(schedules=[NIGHTLY])
    move = ScheduleMove(
        name="nightly",
        expect=START,
        cursor=START + 1,
        slots=(SlotRecord(slot=START + 1, job="j"),),
        fired_at=5,
    )
    await rig.commit(schedule_moves=[move])
    outcome = await rig.commit(
        schedules=[attrs.evolve(NIGHTLY, name="brief")],
        forget_schedules=["nightly", "brief", "unknown"],
        schedule_moves=[attrs.evolve(move, expect=START + 1)],
    )
    equal(outcome.lost_moves, {0}, "the lost moves")
    equal(await rig.store.schedules(), [], "the schedules")
    equal(await rig.store.slots("nightly"), [], "the slots")
    await rig.commit(schedules=[NIGHTLY])
    equal(await rig.store.schedules(), [NIGHTLY], "the schedules when the name is used again")


async def settings_and_schedules_survive(rig: Rig) -> None:
    """Settings, schedules and slots survive a restart (only for a store that persists)."""
    if not rig.persists:
        return
    await rig.commit(settings={"a": "1"}, schedules=[NIGHTLY])
    slots = (SlotRecord(slot=START + 1, job="j"), SlotRecord(slot=START + 2, reason="r"))
    move = ScheduleMove(name="nightly", expect=START, cursor=START + 2, slots=slots, fired_at=START + 5)
    await rig.commit(schedule_moves=[move])
    before = await _one(rig)
    await rig.restart()
    equal(await rig.store.settings(), {"a": "1"}, "the settings")
    equal(await _one(rig), before, "the schedule")
    equal(await rig.store.slots("nightly"), list(reversed(slots)), "the slots")


CHECKS: Final[tuple[Check, ...]] = (
    settings_are_kept,
    schedules_are_listed_by_name,
    a_known_schedule_keeps_its_cursor,
    a_move_is_guarded_by_the_cursor,
    a_move_without_a_job_fires_nothing,
    the_newest_slots_are_kept,
    schedule_errors_are_counted,
    a_forgotten_schedule_is_gone,
    settings_and_schedules_survive,
)
