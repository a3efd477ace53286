"""Settings, stored schedules and their slots.

A schedule's cursor moves by compare-and-swap, so many processes fire a slot once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from actors.store.port import ScheduleError, ScheduleMove, ScheduleRecord, SlotRecord
from actors.store.sqlite.rows import members, one_json, to_json

SLOTS_KEPT: Final = 1_000  # per schedule

_COLUMNS: Final = "name, definition, cursor, paused, fired, errors, last_run, last_job, last_error"
_PUT: Final = f"""INSERT INTO schedule ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (name) DO UPDATE SET definition = excluded.definition, paused = excluded.paused"""
_MOVE: Final = """UPDATE schedule SET cursor = ?, fired = fired + ?, last_run = CASE WHEN ? THEN ? ELSE last_run END,
    last_job = coalesce(?, last_job) WHERE name = ? AND cursor = ?"""
_ADD_SLOTS: Final = f"INSERT INTO slot (name, slot, job, reason) SELECT ?, {members(3)} FROM json_each(?)"
_CUT_SLOTS: Final = (
    "DELETE FROM slot WHERE name = ?1 AND n <= (SELECT n FROM slot WHERE name = ?1 ORDER BY n DESC LIMIT 1 OFFSET ?2)"
)


def change_settings(connection: sqlite3.Connection, settings: Mapping[str, str | None]) -> None:
    """Set what has a value, remove what has None."""
    for key, text in settings.items():
        if text is None:
            connection.execute("DELETE FROM setting WHERE key = ?", (key,))
        else:
            connection.execute("REPLACE INTO setting VALUES (?, ?)", (key, text))


def put_schedules(connection: sqlite3.Connection, schedules: Sequence[ScheduleRecord]) -> None:
    """Insert; of those whose names are known only definition and pause change."""
    for schedule in schedules:
        connection.execute(_PUT, attrs.astuple(schedule))


def forget_schedules(connection: sqlite3.Connection, names: Sequence[str]) -> None:
    """Remove these schedules and their slots."""
    for name in names:
        connection.execute("DELETE FROM schedule WHERE name = ?", (name,))
        connection.execute("DELETE FROM slot WHERE name = ?", (name,))


def cursors(connection: sqlite3.Connection, names: Sequence[str]) -> dict[str, int]:
    """The cursors of these schedules; unknown names are absent."""
    sql = "SELECT json_group_object(name, cursor) FROM schedule WHERE name IN (SELECT value FROM json_each(?))"
    found: dict[str, int] = one_json(connection, sql, (to_json(names),))
    return found


def move_schedules(connection: sqlite3.Connection, moves: Sequence[ScheduleMove], lost_groups: set[int]) -> set[int]:
    """Move the cursors that are where they are expected; the indexes of the moves that lost."""
    lost = set()
    for index, move in enumerate(moves):
        jobs = [slot.job for slot in move.slots if slot.job is not None]
        parameters = (
            move.cursor,
            len(jobs),
            len(jobs),
            move.fired_at,
            jobs[-1] if jobs else None,
            move.name,
            move.expect,
        )
        if move.group in lost_groups or not connection.execute(_MOVE, parameters).rowcount:
            lost.add(index)
        elif move.slots:
            slots = [(slot.slot, slot.job, slot.reason) for slot in move.slots]
            connection.execute(_ADD_SLOTS, (move.name, to_json(slots)))
            connection.execute(_CUT_SLOTS, (move.name, SLOTS_KEPT))
    return lost


def count_errors(connection: sqlite3.Connection, failed: Sequence[ScheduleError]) -> None:
    """Add one to the errors of each schedule and keep the text."""
    for error in failed:
        connection.execute(
            "UPDATE schedule SET errors = errors + 1, last_error = ? WHERE name = ?", (error.error, error.name)
        )


def read_settings(connection: sqlite3.Connection) -> dict[str, str]:
    """All settings."""
    found: dict[str, str] = one_json(connection, "SELECT json_group_object(key, value) FROM setting")
    return found


def read_schedules(connection: sqlite3.Connection) -> list[ScheduleRecord]:
    """All schedules, by name."""
    sql = f"SELECT json_group_array(json_array({_COLUMNS})) FROM (SELECT {_COLUMNS} FROM schedule ORDER BY name)"
    return [
        ScheduleRecord(
            name=name,
            definition=definition,
            cursor=cursor,
            paused=bool(paused),
            fired=fired,
            errors=errors,
            last_run=last_run,
            last_job=last_job,
            last_error=last_error,
        )
        for name, definition, cursor, paused, fired, errors, last_run, last_job, last_error in one_json(connection, sql)
    ]


def read_slots(connection: sqlite3.Connection, name: str, limit: int) -> list[SlotRecord]:
    """The newest slots of schedule `name`, newest first."""
    sql = """SELECT json_group_array(json_array(slot, job, reason)) FROM (
        SELECT slot, job, reason FROM slot WHERE name = ? ORDER BY n DESC LIMIT ?)"""
    return [
        SlotRecord(slot=slot, job=job, reason=reason) for slot, job, reason in one_json(connection, sql, (name, limit))
    ]
