"""Slots: which of a schedule are due, and what becomes of each: a job, a skip, a job in the place of the run before
it, or a wait. No store is asked here.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import assert_never

import attrs

from actors.core.errors import CallerError
from actors.core.registry import Registry
from actors.core.schedule import Due, Timing, due, next_slot, overlap
from actors.intake import Intake, Order
from actors.queue import Firing
from actors.store.port import ScheduleMove, ScheduleRecord, SlotRecord
from actors.timetable import Stored, quiet, until

log = logging.getLogger("actors")


class Slots:
    """The slots of all stored schedules, as one process sees them."""

    def __init__(self, registry: Registry, intake: Intake) -> None:
        self._registry = registry
        self._intake = intake
        self._queueing: set[str] = set()  # schedules of which a slot waits for the run before it

    def look(self, stored: Stored, now: int) -> Due | float:
        """What is due of one schedule, or seconds until something is."""
        record = stored.record
        if record.paused or stored.type not in self._registry:
            return math.inf  # a type that this program does not know is left for others
        if (pause := quiet(stored, now)) is not None:
            return pause
        # a slot that waited for the run before it was on time, and is not a missed one now
        timing = attrs.evolve(stored.timing, catch_up="all") if record.name in self._queueing else stored.timing
        found = due(record.name, timing, cursor=record.cursor, now=now, fired=record.fired)
        if found.cursor == record.cursor:
            self._queueing.discard(record.name)
            return until(stored, found.next, now)
        return found

    def fire(self, stored: Stored, found: Due, running: str | None, replaced: list[str], now: int) -> Firing | None:
        """What becomes of the due slots of one schedule, whose last job is `running`; None when they all wait for it.

        A run that makes room for a slot is added to `replaced`.
        """
        record, timing = stored.record, stored.timing
        slots = [SlotRecord(slot=slot, reason=reason) for slot, reason in found.missed]
        cursor, orders = found.cursor, list[Order]()
        unfinished = running is not None
        for slot in found.fire:
            match overlap(timing.overlap, unfinished):
                case "fire":
                    order = self._order(stored, slot, slots)
                case "replace":
                    if orders:
                        orders.pop()
                        slots[-1] = SlotRecord(slot=slots[-1].slot, reason="superseded by the next slot")
                    elif running is not None and running not in replaced:
                        replaced.append(running)
                    order = self._order(stored, slot, slots)
                case "skip":
                    slots.append(SlotRecord(slot=slot, reason="skipped: the run before it had not ended"))
                    continue
                case "wait":
                    self._queueing.add(record.name)
                    cursor = max([record.cursor, *(one.slot for one in slots)])  # the last slot before
                    break
                case never:
                    assert_never(never)
            if order is not None:
                orders.append(order)
                unfinished = True
        if cursor == record.cursor and not orders:
            return None
        return move_on(record, cursor, slots, orders, now)

    def _order(self, stored: Stored, slot: int, slots: list[SlotRecord]) -> Order | None:
        """The order for one slot, recorded in `slots`; a slot whose job can't be made is recorded with the reason."""
        name = stored.record.name
        try:
            order = self._intake.order(stored.job(self._registry), stored.options, schedule=name, slot=slot)
        except Exception as error:  # also what the type's `authorize` or unique key raises
            reason = str(error) if isinstance(error, CallerError) else repr(error)
            slots.append(SlotRecord(slot=slot, reason=f"not fired: {reason}"[:500]))
            log.error("schedule %s can't make its job: %s", name, reason)
            return None
        slots.append(SlotRecord(slot=slot, job=order.insert.spec.id))
        return order


def move_on(
    record: ScheduleRecord, cursor: int, slots: Sequence[SlotRecord], orders: Sequence[Order], now: int
) -> Firing:
    """The schedule's cursor goes on to `cursor`, past these slots, whose jobs are made with it."""
    move = ScheduleMove(
        name=record.name,
        expect=record.cursor,
        cursor=cursor,
        slots=tuple(sorted(slots, key=lambda one: one.slot)),
        fired_at=now if orders else None,
    )
    return Firing(move, orders)


def past_no_slot(timing: Timing, cursor: int) -> int:
    """The cursor a microsecond on, but where it is when a slot is there."""
    return cursor if next_slot(timing, cursor) == cursor + 1 else cursor + 1
