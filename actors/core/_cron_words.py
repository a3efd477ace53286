"""Says a cron expression in English; cronsim finds the words, this module the order people use."""

from __future__ import annotations

import re
from datetime import datetime

from cronsim import CronSim

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth")
_TURN = {"second": 60, "minute": 60, "hour": 24}

_STEP = re.compile(
    rf"(?<!past )every ({'|'.join(_ORDINALS)}|\d+(?:st|nd|rd|th)) (second|minute|hour)(?! from \d+ )"
    r"(?: of every (?:minute|hour))?"
)


def describe(parts: list[str]) -> str:
    """Six fields in cronsim's spelling, seconds first, as words: "every weekday at 09:00". Never raises."""
    clock = _clock(*parts[:3])
    days = _days(*parts[3:])
    if re.match(r"at \d\d:", clock):
        return f"{days or 'every day'} {clock}"
    return f"{clock}, {days}" if days else clock


def _clock(second: str, minute: str, hour: str) -> str:
    if (second, hour) == ("0", "*") and minute.isdecimal():
        return "every hour" if minute == "0" else f"every hour at minute {minute}"
    span = re.fullmatch(r"(\d+)-(\d+)(?:/(\d+))?", hour)
    if second == "0" and minute.isdecimal() and span:
        hours = range(int(span[1]), int(span[2]) + 1, int(span[3] or 1))
        often = "every hour" if hours.step == 1 else f"every {hours.step} hours"
        return f"{often} from {hours[0]:02}:{minute:>02} through {hours[-1]:02}:{minute:>02}"
    if (second, minute) == ("0", "0") and re.fullmatch(r"\*/\d+", hour):
        return _STEP.sub(_even_step, f"every {_ordinal(hour[2:])} hour")
    if (minute, hour) == ("*", "*") and re.fullmatch(r"\*/\d+", second):
        return _STEP.sub(_even_step, f"every {_ordinal(second[2:])} second of every minute")
    text = _explain(f"{second} {minute} {hour} * * *").removesuffix(" every day")
    return _STEP.sub(_even_step, text)


def _days(day: str, month: str, weekday: str) -> str:
    """The days as a phrase; empty for every day."""
    calendar = CronSim(f"0 0 0 {day} {month} {weekday}", datetime(2000, 1, 1))
    plain = {number % 7 for number in calendar.weekdays if isinstance(number, int)}
    all_weekdays, all_days = len(plain) == 7, calendar.days >= set(range(1, 32))
    if not calendar.day_and and (all_weekdays or all_days):
        all_weekdays = all_days = True
    day, weekday = "*" if all_days else day, "*" if all_weekdays else weekday
    if all_days and all(isinstance(number, int) for number in calendar.weekdays):
        if all_weekdays and month == "*":
            return ""
        months = "" if month == "*" else _date_words(f"* {month} *")
        return f"every {'day' if all_weekdays else _weekdays(plain)} {months}".rstrip()
    text = _date_words(f"{day} {month} {weekday}")
    if re.fullmatch(r"on [A-Z][a-z]+ \d+", text):
        return f"every year {text}"
    return text


def _weekdays(numbers: set[int]) -> str:
    """Cron's weekday numbers (0 is Sunday) as names, from Monday on."""
    days = sorted((number - 1) % 7 for number in numbers)
    if days == [0, 1, 2, 3, 4]:
        return "weekday"
    if len(days) > 2 and days[-1] - days[0] == len(days) - 1:
        return f"{_DAYS[days[0]]} through {_DAYS[days[-1]]}"
    *others, last = (_DAYS[day] for day in days)
    return f"{', '.join(others)} and {last}" if others else last


def _date_words(fields: str) -> str:
    return _explain(f"* * * {fields}").removeprefix("every second").strip()


def _explain(expression: str) -> str:
    text = CronSim(expression, datetime(2000, 1, 1)).explain()
    text = text[0].lower() + text[1:]
    text = re.sub(r"\b(\d+)th\b", lambda found: _ordinal(found[1]), text)
    return text.replace("day of month", "day of the month")


def _ordinal(digits: str) -> str:
    """cronsim says 21th."""
    number = int(digits)
    if number < 10:
        return _ORDINALS[number - 1]
    ending = "th" if number // 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _even_step(found: re.Match[str]) -> str:
    """ "every 15th minute of every hour" is every 15 minutes; every 7th is not every 7, so its words stay."""
    ordinal, unit = found[1], found[2]
    step = _ORDINALS.index(ordinal) + 1 if ordinal in _ORDINALS else int(ordinal[:-2])
    if step == 1 or _TURN[unit] % step:
        return found[0]
    return f"every {step} {unit}s"
