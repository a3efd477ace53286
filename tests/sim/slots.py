"""The rules of a schedule's slots: every slot between two places of the cursor has a job or a reason, and none two."""

from __future__ import annotations

import re

import orjson

from actors.store.port import Batch, ScheduleMove
from tests.sim.ledger import Ledger

_RUN = re.compile(r"missed: (\d+) slots from ")


def check_move(ledger: Ledger, move: ScheduleMove, batch: Batch) -> None:
    """A move that won: every slot it passes is accounted for, and each slot's job comes with it."""
    what = f"schedule {move.name} from {move.expect} to {move.cursor}"
    assert move.cursor >= move.expect, f"{what}: backwards"
    made = {insert.spec.details.slot: insert.spec.id for insert in batch.inserts if insert.group == move.group}
    for slot in move.slots:
        assert (slot.job is None) != (slot.reason is None), f"{what}: {slot}"
        if slot.job is not None:
            assert made.get(slot.slot) == slot.job, f"{what}: {slot} without its job"
            fired = ledger.fired.setdefault((move.name, slot.slot), slot.job)
            assert fired == slot.job, f"{what}: slot {slot.slot} fired twice, as {fired} and {slot.job}"
    if move.group == 0:
        return  # a new timing, or the end of a pause
    timing = orjson.loads(ledger.schedules[move.name].definition)["timing"]
    period = round(timing["when"]["every"] * 1e6)
    passed = max(0, move.cursor - timing["anchor"]) // period - max(0, move.expect - timing["anchor"]) // period
    told = 0
    if move.cursor - move.expect <= 1 and [slot.job for slot in move.slots] != [None]:
        assert not passed or [slot.slot for slot in move.slots] == [move.cursor], (
            f"{what}: a slot was passed in silence"
        )
        return  # a run by hand
    for slot in move.slots:
        assert (slot.slot - timing["anchor"]) % period == 0, f"{what}: {slot} is none of its slots"
        assert move.expect < slot.slot <= move.cursor, f"{what}: {slot} lies outside"
        run = _RUN.match(slot.reason or "")
        told += int(run[1]) if run else 1
    assert told == passed, f"{what}: {passed} slots, of which {told} have a job or a reason: {move.slots}"
