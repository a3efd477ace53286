"""The stored schedules and their slots, by name."""

from __future__ import annotations

from collections import deque
from typing import Final

import attrs

from actors.store.port import ScheduleError, ScheduleMove, ScheduleRecord, SlotRecord

SLOTS_KEPT: Final = 1_000  # per schedule; the port's number


class Timetable:
    """Schedules, each moved only from where its mover read it."""

    __slots__ = ("_schedules", "_slots")

    def __init__(self) -> None:
        self._schedules: dict[str, ScheduleRecord] = {}
        self._slots: dict[str, deque[SlotRecord]] = {}

    def put(self, schedule: ScheduleRecord) -> None:
        """A new schedule, or a new definition of a known one."""
        known = self._schedules.get(schedule.name)
        if known is not None:
            schedule = attrs.evolve(known, definition=schedule.definition, paused=schedule.paused)
        self._schedules[schedule.name] = schedule

    def forget(self, name: str) -> None:
        """Drop a schedule and its slots."""
        self._schedules.pop(name, None)
        self._slots.pop(name, None)

    def cursor(self, name: str) -> int | None:
        """Where a schedule stands; None when there is none of that name."""
        known = self._schedules.get(name)
        return None if known is None else known.cursor

    def move(self, move: ScheduleMove) -> bool:
        """Whether the schedule stood where `move` expects it; then it has moved."""
        known = self._schedules.get(move.name)
        if known is None or known.cursor != move.expect:
            return False
        jobs = [slot.job for slot in move.slots if slot.job is not None]
        self._schedules[move.name] = attrs.evolve(
            known,
            cursor=move.cursor,
            fired=known.fired + len(jobs),
            last_run=move.fired_at if jobs else known.last_run,
            last_job=jobs[-1] if jobs else known.last_job,
        )
        if move.slots:
            self._slots.setdefault(move.name, deque(maxlen=SLOTS_KEPT)).extend(move.slots)
        return True

    def fail(self, failed: ScheduleError) -> None:
        """A job of a schedule ended dead."""
        known = self._schedules.get(failed.name)
        if known is not None:
            self._schedules[failed.name] = attrs.evolve(known, errors=known.errors + 1, last_error=failed.error)

    def schedules(self) -> list[ScheduleRecord]:
        """All, by name."""
        return [self._schedules[name] for name in sorted(self._schedules)]

    def slots(self, name: str, limit: int) -> list[SlotRecord]:
        """The newest slots of a schedule, newest first."""
        kept = self._slots.get(name, ())
        return [slot for _, slot in zip(range(limit), reversed(kept), strict=False)]
