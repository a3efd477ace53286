"""Reads the fields of a cron expression; every text it lets through is one that cronsim can run.

cronsim answers a bad expression with "Bad minute". This module looks at each term first, so that the error
names the field, the value and what is allowed, and writes the terms anew where the two understand them
differently (`FRI-SUN`, `5-5/10`, `FRIL`).
"""

from __future__ import annotations

import calendar
from datetime import date, datetime

import attrs
from cronsim import CronSim, CronSimError

MAX_LENGTH = 1000
"""Longest expression in characters: six fields that list every single value need about 530."""

NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


class CronError(ValueError):
    """A text that is no cron expression; the message quotes at most 100 characters of it."""


@attrs.frozen
class Field:
    """One place in the expression: its name, its bounds, the words for its numbers from `low` on."""

    name: str
    low: int
    high: int
    words: tuple[str, ...] = ()
    special: str = ""

    @property
    def allowed(self) -> str:
        words = f" or {self.words[0]}-{self.words[-1]}" if self.words else ""
        return f"{self.low}-{self.high}{words}"


_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")

SECOND = Field("second", 0, 59)
MINUTE = Field("minute", 0, 59)
HOUR = Field("hour", 0, 23)
DAY = Field("day-of-month", 1, 31, special=", L, LW")
MONTH = Field("month", 1, 12, _MONTHS)
WEEKDAY = Field("day-of-week", 0, 7, _WEEKDAYS, special=", 5L, 1#2")
FIELDS = (SECOND, MINUTE, HOUR, DAY, MONTH, WEEKDAY)

# One month of each length for each weekday it can begin on, as (year, month). 2000-2027 is one whole turn of
# the calendar, so a day that is in none of these months is in no month at all.
_SHAPES = {
    (calendar.monthrange(year, month)[1], calendar.monthrange(year, month)[0]): (year, month)
    for year in range(2000, 2028)
    for month in (1, 2, 4)
}


def read(text: str) -> CronSim:
    """Turn an expression into a cronsim on the bare wall clock (no zone); raise CronError for anything else.

    The returned value is a prototype: copy it and set `dt` before use.
    """
    if len(text) > MAX_LENGTH:
        raise CronError(f"cron {quote(text)}: {len(text)} characters: expected at most {MAX_LENGTH}")
    if not text.isascii():  # upper() makes an ASCII letter of some that are not, and int() reads their digits
        strange = next(character for character in text if not character.isascii())
        raise CronError(f"cron {quote(text)}: {quote(strange)} has no meaning: expected ASCII characters")
    words = text.split()
    if words and words[0].startswith("@"):
        words = _nickname(text).split()
    match words:
        case [minute, hour, weekday]:
            words = ["0", minute, hour, "*", "*", weekday]
        case [_, _, _, _, _]:
            words = ["0", *words]
        case [_, _, _, _, _, _]:
            pass
        case _:
            number = "1 field" if len(words) == 1 else f"{len(words)} fields"
            raise CronError(
                f"cron {quote(text)}: {number}: expected 3 (minute hour day-of-week),"
                " 5 (minute hour day-of-month month day-of-week) or 6 (second first)"
            )
    try:
        fields = [_read_field(field, word) for field, word in zip(FIELDS, words, strict=True)]
    except _Wrong as wrong:
        raise CronError(f"cron {quote(text)}: {wrong}") from None
    try:
        prototype = CronSim(" ".join(fields), datetime(2000, 1, 1))
    except CronSimError:  # cronsim's one objection left: too few days in all of these months
        prototype = None
    if prototype is None or not _can_fire(prototype):
        day, month, weekday = (quote(word, 16) for word in words[3:])
        raise CronError(
            f"cron {quote(text, 40)}: it can never fire: day-of-month {day} with month {month}"
            f" and day-of-week {weekday}: expected a day that some year has"
        )
    return prototype


def quote(text: str, most: int = 60) -> str:
    """The text in double quotes, cut to `most` characters, with what can't be printed escaped."""
    cut = text if len(text) <= most else text[: most - 3] + "..."
    return '"' + "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cut) + '"'


class _Wrong(Exception):
    """What is wrong with one field, in words that go behind the quoted expression."""


def _nickname(text: str) -> str:
    known = ", ".join(NICKNAMES)
    word = text.strip().lower()
    if word == "@reboot":
        raise CronError(
            'cron "@reboot": a start is no point in time: enqueue the job when the program starts;'
            f" expected one of {known}"
        )
    if word not in NICKNAMES:
        raise CronError(f"cron {quote(text)}: this nickname is not known: expected one of {known}")
    return NICKNAMES[word]


def _read_field(field: Field, text: str) -> str:
    return ",".join(_read_term(field, term) for term in text.split(","))


def _read_term(field: Field, term: str) -> str:
    """Check one term of a list and give it in the spelling that cronsim takes."""
    if field is DAY and term.upper() in ("L", "LW"):
        return term.upper()
    if field is WEEKDAY and term[-1:] in ("L", "l") and len(term) > 1:
        return f"{_value(field, term[:-1]) % 7}L"
    if field is WEEKDAY and "#" in term:
        day, _, nth = term.partition("#")
        return f"{_value(field, day) % 7}#{_number(field, nth, 'occurrence', 1, 5)}"

    base, slash, step_text = term.partition("/")
    # A step wider than the field never comes to its second value; `*/90` is meant to be something else.
    step = _number(field, step_text, "step", 1, field.high) if slash else None
    if base == "*":
        return base if step is None else f"*/{step}"
    start_text, dash, stop_text = base.partition("-")
    start = _value(field, start_text)
    if not dash:
        return str(start) if step is None else f"{start}/{step}"
    stop = _value(field, stop_text)
    if field is WEEKDAY and stop == 0 < start:
        stop = 7  # FRI-SUN: Sunday is 7 as well as 0
    if stop < start:
        raise _Wrong(f"{field.name} range {quote(base, 20)} runs backwards: expected the smaller value first")
    if stop == start:
        return str(start)  # cronsim would read 5-5/10 as 5/10, which is 5-59/10
    return f"{start}-{stop}" if step is None else f"{start}-{stop}/{step}"


def _value(field: Field, text: str) -> int:
    if text.upper() in field.words:
        return field.words.index(text.upper()) + field.low
    return _number(field, text, "", field.low, field.high)


def _number(field: Field, text: str, what: str, low: int, high: int) -> int:
    name = f"{field.name} {what}".rstrip()
    expected = field.allowed if not what else f"{low}-{high}"
    if not text.isdecimal():
        forms = "" if what else f", *, a list, a range or a step{field.special}"
        raise _Wrong(f"{name} {quote(text, 20)} is not understood: expected {expected}{forms}")
    number = int(text)
    if not low <= number <= high:
        shown = text if len(text) <= 20 else quote(text, 20)
        raise _Wrong(f"{name} {shown} is out of range: expected {expected}")
    return number


def _can_fire(prototype: CronSim) -> bool:
    """Whether any day there ever was, or will be, matches.

    Day-of-month OR day-of-week always does, because every month that is long enough comes to begin on every
    weekday.
    """
    if not prototype.day_and:
        return True
    longest = {28 if month == 2 else calendar.monthrange(2001, month)[1] for month in prototype.months}
    lengths = longest | {29} if 2 in prototype.months else longest
    return any(
        prototype.match_day(date(year, month, day))
        for (length, _), (year, month) in _SHAPES.items()
        if length in lengths
        for day in range(1, length + 1)
    )
