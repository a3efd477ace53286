"""Cron expressions: when the next run is, on the wall clock of a time zone.

Rule: `next_run(t) > t`, `matches` is true of exactly what `next_run` answers, and no run is lost or doubled
when the clocks change. The calendar is cronsim's, fed with bare wall-clock readings; the changes of the clock
are counted here, because cronsim's own handling goes back in time or skips runs in zones that change at
midnight, at 00:01 or by half an hour.
"""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple, Self

import attrs
from cronsim import CronSim

from actors.core._cron_fields import CronError, quote, read
from actors.core._cron_words import describe

__all__ = ["CronError", "CronExpression"]

_SECOND = timedelta(seconds=1)


def _one_line(text: str) -> str:
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"a cron expression is a str, not {type(text).__name__}")
    return " ".join(text.split())


@attrs.frozen
class CronExpression:
    """Points in time by the calendar, as in crontab(5). Make one with `CronExpression.parse(text)`.

    3 fields (`minute hour day-of-week`), 5 fields (`minute hour day-of-month month day-of-week`) or 6
    (seconds first). A field is a comma-separated list of `*`, values, ranges `a-b` and steps `*/n`, `a-b/n`,
    `a/n` (from a on). Months and weekdays have names (`JAN`, `MON`; case does not matter); 0 and 7 are
    Sunday. Day-of-month knows `L` (last day) and `LW` (last weekday), day-of-week knows `5L` (last Friday)
    and `1#2` (second Monday). `@hourly @daily @midnight @weekly @monthly @yearly @annually` stand for what
    they say. When neither day-of-month nor day-of-week begins with `*`, a day matches if one of the two does;
    else it must match both (Vixie cron).

    When the clocks change (the rules of Debian's cron):

    - An expression whose second, minute or hour field begins with `*` is a *rhythm*: it runs whenever the
      wall clock shows a matching time. In the hour that is skipped it does not run; in the hour that comes
      twice it runs in both. `*/15 * * * *` and `@hourly` thus keep their real distance.
    - Every other expression is an *appointment*, such as `30 2 * * *`. In the hour that comes twice it runs
      the first time only. Appointments in the time that is skipped are kept at the instant the clocks jump:
      02:30 runs at 03:00 where 02:00 becomes 03:00, once, however many fall into the gap or at its end. So a
      daily 02:30 runs exactly once in both nights.

    Two expressions are equal when their texts are; the white space between fields does not count.
    """

    text: str = attrs.field(converter=_one_line)
    """The expression as it was given, with single spaces."""

    _calendar: CronSim = attrs.field(
        init=False, repr=False, eq=False, default=attrs.Factory(lambda self: read(self.text), takes_self=True)
    )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an expression; CronError (a ValueError) if it is none or can never fire (30 February)."""
        return cls(text)

    def matches(self, dt: datetime) -> bool:
        """Whether `dt` (aware) is a run, to the microsecond: some `next_run` answers this instant."""
        instant = _real(dt).astimezone(UTC)
        try:
            return self.next_run((instant - _SECOND).astimezone(dt.tzinfo)).astimezone(UTC) == instant
        except OverflowError:  # nothing runs before the first day of the calendar or after the last
            return False

    def next_run(self, after: datetime) -> datetime:
        """The first run strictly later than `after` (aware), in the zone of `after`.

        The answer is a time that the clocks of the zone do show, with the `fold` that says which one of two.
        OverflowError if it would lie beyond the year 9999.
        """
        real = _real(after)
        zone = real.tzinfo
        assert zone is not None
        wall = real.replace(tzinfo=None, microsecond=0, fold=0)
        # `real` exists, so a change here means that its reading comes twice; the first time lasts to `end`.
        change = _change(wall, zone)
        end = change.at + change.before if change else datetime.min
        if not self._is_rhythm:
            if change and real.fold:  # every appointment up to `end` had its run when the readings came first
                wall = end - _SECOND
            reading = self._next_reading(wall)
            change = _change(reading, zone)
            if change and change.is_gap:
                return change.at.replace(tzinfo=UTC).astimezone(zone)
            return reading.replace(tzinfo=zone)

        reading = self._next_reading(wall)
        second_time = real.fold == 1
        if change and not second_time and reading >= end:
            reading = self._next_reading(change.at + change.after - _SECOND)
            second_time = True
        fold = 1 if second_time and reading < end else 0
        while (change := _change(reading, zone)) and change.is_gap:
            reading = self._next_reading(change.at + change.after - _SECOND)
        return reading.replace(tzinfo=zone, fold=fold)

    def describe(self) -> str:
        """The expression in English: "every weekday at 09:00"."""
        return describe(self._calendar.parts)

    @property
    def _is_rhythm(self) -> bool:
        return any(part.startswith("*") for part in self._calendar.parts[:3])

    def _next_reading(self, wall: datetime) -> datetime:
        """The first matching reading of a wall clock that never changes, later than `wall` (naive)."""
        calendar = copy.copy(self._calendar)
        calendar.dt = wall
        return next(calendar)


def _real(dt: datetime) -> datetime:
    """`dt` as the clocks of its zone show that instant: 02:30 in a gap becomes 03:30, `fold` is canonical."""
    if dt.utcoffset() is None:
        raise ValueError(f"{quote(dt.isoformat())} has no time zone: expected an aware datetime")
    return dt.astimezone(UTC).astimezone(dt.tzinfo)


class _Change(NamedTuple):
    """A change of the clocks: the instant (naive UTC), and the offsets before it and from it on."""

    at: datetime
    before: timedelta
    after: timedelta

    @property
    def is_gap(self) -> bool:
        return self.after > self.before


def _change(wall: datetime, zone: tzinfo) -> _Change | None:
    """The change that skips or repeats the reading `wall` (naive, whole seconds); None if none does."""
    # PEP 495: in a gap as in a repeat, fold=0 takes the offset before the change, fold=1 the one after.
    before = wall.replace(tzinfo=zone).utcoffset()
    after = wall.replace(tzinfo=zone, fold=1).utcoffset()
    assert before is not None, "an aware datetime has an offset"
    assert after is not None, "an aware datetime has an offset"
    if before == after:
        return None
    start = wall - max(before, after)
    low, high = 0, abs(after - before) // _SECOND  # in seconds from `start`: not yet changed, changed
    while high - low > 1:
        middle = (low + high) // 2
        instant = (start + timedelta(seconds=middle)).replace(tzinfo=UTC)
        if instant.astimezone(zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    return _Change(start + timedelta(seconds=high), before, after)
