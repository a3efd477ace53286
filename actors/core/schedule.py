"""Which slots of a schedule are due, which were missed, and when the next one comes.

Rule: every slot is dealt with once, in order: it is to be fired, or it is recorded as missed with the reason,
and the cursor moves past it. All is a function of the timing, the cursor and `now`, so every process comes to
the same answer, and the one whose commit moves the cursor first has fired the slot.
"""

from __future__ import annotations

import hashlib
from typing import Final, Literal, assert_never

import attrs

from actors.core._timing import (
    EARLIEST,
    LATEST,
    SECOND,
    At,
    CatchUp,
    Every,
    Overlap,
    Timing,
    When,
    from_instant,
    keep_anchor,
    parse_when,
    timing,
    timing_from_json,
    timing_to_json,
    to_instant,
)
from actors.core.cron import CronExpression

__all__ = [
    "MISFIRE_GRACE",
    "At",
    "CatchUp",
    "CronExpression",
    "Due",
    "Every",
    "Overlap",
    "Timing",
    "When",
    "due",
    "fire_time",
    "from_instant",
    "keep_anchor",
    "next_slot",
    "overlap",
    "parse_when",
    "timing",
    "timing_from_json",
    "timing_to_json",
    "to_instant",
]

MISFIRE_GRACE: Final = 2 * SECOND
"""Microseconds that a slot may be late and still be on time: the scheduler sleeps up to a second, a commit
may wait for another process, and neither is a downtime."""


def next_slot(timing: Timing, after: int) -> int | None:
    """The first slot strictly after the instant `after`; None when there is none any more."""
    after = max(after, EARLIEST)
    if timing.start is not None:
        after = max(after, timing.start - 1)
    match timing.when:
        case Every(period=period):
            first = timing.anchor + period if timing.start is None else timing.start
            slot = first if after < first else after + period - (after - first) % period
        case At(when=when):
            slot = to_instant(when)
            if slot <= after:
                return None
        case CronExpression() as cron:
            try:
                slot = to_instant(cron.next_run(from_instant(after, timing.zone)))
            except (OverflowError, ValueError):  # the calendar ends with the year 9999
                return None
        case _:
            assert_never(timing.when)
    return slot if slot <= (LATEST if timing.end is None else timing.end) else None


def fire_time(name: str, timing: Timing, slot: int) -> int:
    """When the slot of the schedule `name` fires: `slot` plus a jitter of 0 to `timing.jitter` seconds.

    The jitter is a hash of name and slot: all processes agree on it and a simulation replays, while many
    schedules on the same hour spread out.
    """
    jitter = _jitter(timing)
    if not jitter:
        return slot
    seed = hashlib.blake2b(name.encode("utf-8", "surrogatepass") + b"\0%d" % slot, digest_size=8).digest()
    return slot + int.from_bytes(seed) % (jitter + 1)


@attrs.frozen
class Due:
    """What is to be done now: it accounts for every slot from the old cursor to the new one."""

    fire: tuple[int, ...]
    """Slots to fire, oldest first."""
    missed: tuple[tuple[int, str], ...]
    """Slots that are recorded with a reason and do not fire, oldest first; one entry may stand for a run of
    slots, of which it names the last."""
    cursor: int
    """The last slot dealt with; the old cursor if there was none."""
    next: int | None
    """The first slot after the cursor; None when the schedule has ended."""


def due(name: str, timing: Timing, *, cursor: int, now: int, fired: int, bound: int = 1000) -> Due:
    """Which slots after `cursor` are due at `now` (by their `fire_time`), and what becomes of each.

    - A slot at most MISFIRE_GRACE late is on time and fires. What is later was missed and follows `catch_up`:
      "none" fires nothing of it, "latest" only the newest slot and only if none is on time, "all" everything.
    - `fired` is how many slots have fired so far. With the last one that `limit` allows the schedule has
      ended.
    - Slots go in order: with a jitter longer than the interval, a slot waits for the one before it, and is
      not late by that.
    - One call fires at most `bound` slots and records at most `bound` missed ones, each by itself, plus one
      entry for all between; what is left comes at the next call (`next` is due already). So it takes bounded
      time, also for a year of milliseconds.
    - Nothing is due while the clock stands before the cursor: a clock set back repeats no slot.
    """
    if bound < 1:
        raise ValueError(f"bound {bound}: expected at least 1")
    room = bound if timing.limit is None else min(bound, timing.limit - fired)
    if room <= 0:
        return Due(fire=(), missed=(), cursor=cursor, next=None)
    reason = f"missed: catch_up is {timing.catch_up}"
    fire: list[int] = []
    missed: list[tuple[int, str]] = []
    slot = next_slot(timing, cursor)

    if timing.catch_up != "all":
        long_past = now - MISFIRE_GRACE - _jitter(timing)  # late, whatever the jitter
        while slot is not None and slot < long_past:
            if len(missed) == bound - 1:
                newest = _last_slot(timing, slot, long_past)
                if newest > slot:
                    missed.append(_run(timing, slot, newest, reason))
                slot = newest
            missed.append((slot, reason))
            cursor, slot = slot, next_slot(timing, slot)

    turn = cursor  # when the slot's turn comes: its fire time, or that of a slot before it
    while slot is not None and len(fire) < room:
        turn = max(turn, fire_time(name, timing, slot))
        if turn > now:
            break
        if timing.catch_up == "all" or turn >= now - MISFIRE_GRACE:
            fire.append(slot)
        elif len(missed) < bound:
            missed.append((slot, reason))
        else:
            break
        cursor, slot = slot, next_slot(timing, slot)

    more = slot is not None and max(turn, fire_time(name, timing, slot)) <= now
    if timing.catch_up == "latest" and missed and not fire and not more:
        fire.append(missed.pop()[0])
    ended = timing.limit is not None and fired + len(fire) >= timing.limit
    return Due(fire=tuple(fire), missed=tuple(missed), cursor=cursor, next=None if ended else slot)


def overlap(policy: Overlap, previous_unfinished: bool) -> Literal["fire", "skip", "wait", "replace"]:
    """What a slot does: fire, be skipped with a record, wait for the run before it, or replace that run."""
    if not previous_unfinished:
        return "fire"
    match policy:
        case "skip":
            return "skip"
        case "allow":
            return "fire"
        case "queue":
            return "wait"
        case "cancel_previous":
            return "replace"
        case _:
            assert_never(policy)


def _jitter(timing: Timing) -> int:
    return round(timing.jitter * SECOND)


def _last_slot(timing: Timing, slot: int, before: int) -> int:
    """The last slot earlier than the instant `before`, as `slot` is; by arithmetic or in about 25 steps."""
    if isinstance(timing.when, Every):
        period = timing.when.period
        last = slot + (before - 1 - slot) // period * period
        return last if timing.end is None else min(last, slot + (timing.end - slot) // period * period)
    low, high = slot, before  # `low` is a slot, and there is none from `high` on
    while high - low > SECOND:  # the slots of a cron expression are whole seconds
        middle = (low + high) // 2
        found = next_slot(timing, middle - 1)
        if found is None or found >= before:
            high = middle
        else:
            low = found
    return low


def _run(timing: Timing, first: int, end: int, reason: str) -> tuple[int, str]:
    """One entry for all slots from `first` to the one before the slot `end`."""
    last = _last_slot(timing, first, end)
    number = "every slot"  # counting those of a cron expression would mean walking them
    if isinstance(timing.when, Every):
        number = f"{(last - first) // timing.when.period + 1} slots"
    _, _, why = reason.partition(": ")
    return last, f"missed: {number} from {_told(first)} to {_told(last)}: {why}"


def _told(instant: int) -> str:
    return from_instant(instant).isoformat().replace("+00:00", "Z")
