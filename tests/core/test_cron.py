"""Cron against brute force: the fields over the calendar, the clock changes of every zone, and any text."""

from __future__ import annotations

import pickle
import time
import zoneinfo
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from actors.core.cron import CronError, CronExpression

SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=n) for n in (1, 60, 3600, 86400))


def fastest(action: Callable[[], object], goal: float, tries: int = 5) -> float:
    """The shortest of a few runs in seconds: a busy machine can slow one down, but speeds none up."""
    best = float("inf")
    for _ in range(tries):
        begun = time.perf_counter()
        action()
        best = min(best, time.perf_counter() - begun)
        if best < goal:
            break
    return best


def runs(cron: CronExpression, after: datetime, until: datetime) -> Iterator[datetime]:
    while (after := cron.next_run(after)).astimezone(UTC) <= until.astimezone(UTC):
        yield after


# -- texts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("61 * * * *", 'cron "61 * * * *": minute 61 is out of range: expected 0-59'),
        ("0 24 * * *", 'cron "0 24 * * *": hour 24 is out of range: expected 0-23'),
        ("60 * * * * *", 'cron "60 * * * * *": second 60 is out of range: expected 0-59'),
        ("0 0 0 * *", 'cron "0 0 0 * *": day-of-month 0 is out of range: expected 1-31'),
        ("0 0 * 13 *", 'cron "0 0 * 13 *": month 13 is out of range: expected 1-12 or JAN-DEC'),
        ("0 0 8", 'cron "0 0 8": day-of-week 8 is out of range: expected 0-7 or SUN-SAT'),
        ("*/0 * * * *", 'cron "*/0 * * * *": minute step 0 is out of range: expected 1-59'),
        ("*/90 * * * *", 'cron "*/90 * * * *": minute step 90 is out of range: expected 1-59'),
        ("* * * * 1#6", 'cron "* * * * 1#6": day-of-week occurrence 6 is out of range: expected 1-5'),
        ("x * * * *", 'minute "x" is not understood: expected 0-59, *, a list, a range or a step'),
        ("1,,2 * * * *", 'minute "" is not understood'),
        ("-1 * * * *", 'minute "" is not understood'),
        ("5-5-5 * * * *", 'minute "5-5" is not understood'),
        ("*/1/2 * * * *", 'minute step "1/2" is not understood: expected 1-59'),
        ("0 0 * * L", 'day-of-week "L" is not understood: expected 0-7 or SUN-SAT'),
        ("0 0 * * 1-5L", 'day-of-week "1-5" is not understood'),
        ("0 0 15W * *", 'day-of-month "15W" is not understood'),
        ("0 0 L/2 * *", 'day-of-month "L" is not understood'),
        ("0 0 ? * *", 'day-of-month "?" is not understood'),
        ("30-10 * * * *", 'minute range "30-10" runs backwards'),
        ("* * * *", "4 fields: expected 3 (minute hour day-of-week), 5 "),
        ("", 'cron "": 0 fields'),
        ("@reboot", 'cron "@reboot": a start is no point in time: enqueue the job when the program starts'),
        ("@fortnightly", "this nickname is not known: expected one of @hourly, @daily"),
        ("@daily 5", "this nickname is not known"),
        ("٣ * * * *", '"٣" has no meaning: expected ASCII characters'),
        ("0 0 * * ſun", '"ſ" has no meaning'),
        ("\ud800 * *", r'"\ud800" has no meaning'),
        ("* " * 501, "1001 characters: expected at most 1000"),
        ("30 2 30 2 *", 'it can never fire: day-of-month "30" with month "2" and day-of-week "*"'),
        ("0 0 31 2,4,6 *", "it can never fire"),
        ("0 0 LW * */7", "it can never fire"),
        ("0 0 */29 2 1#5", "it can never fire"),  # day 1 or 30, and the fifth Monday
        ("0 0 */30 4 1#5", "it can never fire"),
        ("0 0 */30 2 1#1", None),  # 1 February as the first Monday
        ("0 0 31 2 1", None),  # day-of-month OR day-of-week
        ("0 0 31 2 1#5", None),  # 29 February, on a Monday
        ("0 0 */28 2 1#5", None),  # the same, as an AND
        ("0 0 L 2 *", None),
    ],
)
def test_an_error_names_the_field_the_value_and_what_is_allowed(text: str, message: str | None) -> None:
    if message is None:
        CronExpression.parse(text)
        return
    with pytest.raises(CronError) as caught:
        CronExpression.parse(text)
    assert message in str(caught.value)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("value", [None, 5, b"* * *", ["*"] * 5])
def test_what_is_no_text_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError, match="a cron expression is a str, not"):
        CronExpression.parse(value)


SYNTAX = "0123456789*/,-#@LW "
ANY_TEXT = st.one_of(
    st.text(max_size=200),
    st.text(alphabet=SYNTAX + "janfebsunmonFRI", max_size=200),
    st.text(alphabet=SYNTAX + "٣²ⅷſßK\0\n\u2003\ud800", max_size=200),
    st.lists(st.text(alphabet=SYNTAX.strip(), max_size=40), min_size=3, max_size=6).map(" ".join),
    st.lists(
        st.sampled_from(["*", "*/2", "31", "30", "2", "2,4,6", "1#5", "5L", "LW", "L", "*/7", "1-7"]),
        min_size=3,
        max_size=6,
    ).map(" ".join),
)


@settings(deadline=None, max_examples=400)
@given(text=ANY_TEXT.filter(lambda text: len(text) <= 200))
@example(text="0 0 31 2,4,6 *")
@example(text="0 0 LW * */7")
@example(text="0 0 LW,LW * */7,7,0,7")
@example(text="0 0 */28 2 1#5")
@example(text="0 0 29 2 1#5")
@example(text=",".join("*" * 96) + " * *")
@example(text="9" * 190 + " * * * *")
@example(text="*/" + "9" * 190 + " * * * *")
@example(text="* * * * " + ",".join(["1#5"] * 48))
def test_any_text_parses_or_raises_one_error_at_once(text: str) -> None:
    def attempt() -> CronExpression | str:
        try:
            return CronExpression.parse(text)
        except CronError as error:
            return str(error)

    assert fastest(attempt, 0.005) < 0.005
    outcome = attempt()
    if isinstance(outcome, str):
        outcome.encode()  # no lone surrogate, nothing that can't be printed
        assert outcome.isprintable()
    else:
        after = datetime(2024, 2, 29, 12, tzinfo=UTC)
        assert outcome.next_run(after) > after
        assert outcome.describe()


@given(text=st.sampled_from("~%ж9").flatmap(lambda mark: st.integers(1, 1200).map(lambda n: mark * n)))
@settings(deadline=None, max_examples=50)
@example(text="~" * 40 + " " + "~" * 40 + " " + "~" * 40)
@example(text="* * " + "~" * 190)
@example(text="* * * * */" + "~" * 190)
@example(text="@" + "~" * 190)
@example(text="9" * 150 + " * * * *")
@example(text="* * */" + "9" * 150)
def test_an_error_quotes_at_most_a_hundred_characters(text: str) -> None:
    with pytest.raises(CronError) as caught:
        CronExpression.parse(text)
    assert sum(str(caught.value).count(mark) for mark in "~%ж9") <= 100
    assert len(str(caught.value)) < 350


def test_an_error_about_long_days_quotes_at_most_a_hundred_characters() -> None:
    text = f"0 0 {','.join(['31'] * 30)} {','.join(['2'] * 30)} {','.join(['*/7'] * 30)}"
    with pytest.raises(CronError) as caught:
        CronExpression.parse(text)
    assert sum(map(len, str(caught.value).split('"')[1::2])) <= 100


# -- values --------------------------------------------------------------------------------------------------


def test_an_expression_is_a_value() -> None:
    one = CronExpression.parse("  0 9   * * MON-fri ")
    assert one.text == "0 9 * * MON-fri"
    assert one == CronExpression.parse("0 9 * * MON-fri") == pickle.loads(pickle.dumps(one))
    assert hash(one) == hash(CronExpression.parse("0 9 * * MON-fri"))
    assert one != CronExpression.parse("0 9 * * 1-5")
    whole = pickle.dumps(one)
    one.next_run(datetime(2024, 5, 4, tzinfo=UTC))
    assert pickle.dumps(one) == whole  # asking changes nothing, so threads may share it
    with pytest.raises(AttributeError):
        setattr(one, "text", "* * *")  # no type checker lets an assignment pass


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("5 9 1", "5 9 * * 1"),
        ("5 9 1", "0 5 9 * * 1"),
        ("@hourly", "0 * * * *"),
        ("@daily", "0 0 * * *"),
        ("@Midnight", "0 0 * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
        ("0 0 * * 7", "0 0 * * sun"),
        ("0 0 * * fri-sun", "0 0 * * 0,5,6"),
        ("0 0 * * 5-0", "0 0 * * 5-7"),
        ("0 0 * * friL", "0 0 * * 5L"),
        ("0 0 * * 7#2", "0 0 * * sun#2"),
        ("0 0 * jan-mar/2 *", "0 0 * 1,3 *"),
        ("5-5/10 * * * *", "5 * * * *"),
        ("50/5 * * * *", "50,55 * * * *"),
    ],
)
def test_two_spellings_mean_the_same(text: str, same: str) -> None:
    one, other = CronExpression.parse(text), CronExpression.parse(same)
    after, last = datetime(2024, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)
    for _ in range(30):
        assert one.next_run(after) == other.next_run(after)
        after = one.next_run(after)
        if after > last:
            break


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 9 * * 1-5", "every weekday at 09:00"),
        ("0 9 * * mon-fri", "every weekday at 09:00"),
        ("* * * * *", "every minute"),
        ("*/15 * * * *", "every 15 minutes"),
        ("*/7 * * * *", "every seventh minute of every hour"),
        ("*/10 * * * * *", "every 10 seconds"),
        ("0 * * * *", "every hour"),
        ("30 * * * *", "every hour at minute 30"),
        ("0 */2 * * *", "every 2 hours"),
        ("0 */5 * * *", "every fifth hour"),
        ("0 9-17 * * 1-5", "every hour from 09:00 through 17:00, every weekday"),
        ("*/15 9-17 * * 1-5", "every 15 minutes from 09:00 through 17:59, every weekday"),
        ("@daily", "every day at 00:00"),
        ("@weekly", "every Sunday at 00:00"),
        ("@monthly", "on the first day of every month at 00:00"),
        ("@yearly", "every year on January 1 at 00:00"),
        ("0 0 21 * *", "on the 21st day of every month at 00:00"),
        ("0 0 L * *", "on the last day of every month at 00:00"),
        ("0 0 * * 5L", "on the last Friday of the month at 00:00"),
        ("0 0 * * 1#2", "on the second Monday of the month at 00:00"),
        ("30 2 * * 1,3,5", "every Monday, Wednesday and Friday at 02:30"),
        ("0 0 * * fri-sun", "every Friday through Sunday at 00:00"),
        ("0 9 * 6 1-5", "every weekday in June at 09:00"),
        ("0 9 * jan *", "every day in January at 09:00"),
        ("0 0 1 * 0-6", "every day at 00:00"),  # OR with every weekday
        ("0 0 */2 * 0-6", "on every second day of the month at 00:00"),  # AND with every weekday
        ("15 30 9 * * *", "every day at 09:30:15"),
    ],
)
def test_an_expression_reads_as_english(text: str, words: str) -> None:
    assert CronExpression.parse(text).describe() == words


# -- the calendar --------------------------------------------------------------------------------------------

BOUNDS = ((0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
NAMES = {
    4: ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    5: ("sun", "mon", "tue", "wed", "thu", "fri", "sat"),
}
DayTest = Callable[[date], bool]


class Drawn(NamedTuple):
    """A field's text and what it means, drawn together, so that the meaning owes nothing to a parser."""

    text: str
    values: frozenset[int]
    days: tuple[DayTest, ...] = ()


@st.composite
def terms(draw: st.DrawFn, place: int) -> Drawn:
    low, high = BOUNDS[place]

    def spell(value: int) -> str:
        names = NAMES.get(place, ())
        named = 0 <= value - low < len(names) and draw(st.booleans())
        return names[value - low] if named else str(value)

    value = draw(st.integers(low, high))
    top = draw(st.integers(value, high))
    step = draw(st.integers(1, high))
    special = {3: ["L", "LW"], 5: ["nL", "n#"]}.get(place, [])
    match draw(st.sampled_from(["*", "value", "range", "*/", "range/", "value/", *special])):
        case "*":
            return Drawn("*", frozenset(range(low, high + 1)))
        case "value":
            return Drawn(spell(value), frozenset([value]))
        case "range":
            return Drawn(f"{value}-{top}", frozenset(range(value, top + 1)))
        case "*/":
            return Drawn(f"*/{step}", frozenset(range(low, high + 1, step)))
        case "range/":
            return Drawn(f"{spell(value)}-{top}/{step}", frozenset(range(value, top + 1, step)))
        case "value/":
            return Drawn(f"{value}/{step}", frozenset(range(value, high + 1, step)))
        case "L":
            return Drawn("L", frozenset(), (lambda d: (d + DAY).day == 1,))
        case "LW":
            rest = [1, 2, 3]  # the last weekday: all days of the month that come after it are a weekend
            return Drawn(
                "lw",
                frozenset(),
                (
                    lambda d: (
                        d.weekday() < 5
                        and all((d + n * DAY).weekday() >= 5 for n in rest if (d + n * DAY).month == d.month)
                    ),
                ),
            )
        case "nL":
            return Drawn(
                f"{spell(value)}L",
                frozenset(),
                (lambda d: d.isoweekday() % 7 == value % 7 and (d + 7 * DAY).month != d.month,),
            )
        case _:
            nth = draw(st.integers(1, 5))
            return Drawn(
                f"{spell(value)}#{nth}",
                frozenset(),
                (lambda d: d.isoweekday() % 7 == value % 7 and (d.day - 1) // 7 + 1 == nth,),
            )


@st.composite
def fields(draw: st.DrawFn, place: int) -> Drawn:
    drawn = draw(st.lists(terms(place), min_size=1, max_size=3))
    return Drawn(
        ",".join(term.text for term in drawn),
        frozenset().union(*(term.values for term in drawn)),
        tuple(test for term in drawn for test in term.days),
    )


class Meaning(NamedTuple):
    text: str
    seconds: list[int]
    minutes: list[int]
    hours: list[int]
    has_day: DayTest

    def next(self, after: datetime, days: int) -> datetime | None:
        for number in range(days):
            day = after.date() + number * DAY
            if self.has_day(day):
                for hour in self.hours:
                    for minute in self.minutes:
                        for second in self.seconds:
                            run = datetime(day.year, day.month, day.day, hour, minute, second, tzinfo=UTC)
                            if run > after:
                                return run
        return None


@st.composite
def meanings(draw: st.DrawFn) -> Meaning:
    second, minute, hour, day, month, weekday = (draw(fields(place)) for place in range(6))
    texts = [part.text for part in (second, minute, hour, day, month, weekday)]
    seconds = sorted(second.values)
    match draw(st.sampled_from([3, 5, 6])):
        case 3:
            texts, seconds = [minute.text, hour.text, weekday.text], [0]
            day, month = Drawn("*", frozenset(range(1, 32))), Drawn("*", frozenset(range(1, 13)))
        case 5:
            texts, seconds = texts[1:], [0]
        case _:
            pass
    both = day.text.startswith("*") or weekday.text.startswith("*")

    def has_day(d: date) -> bool:
        in_month = d.day in day.values or any(test(d) for test in day.days)
        in_week = bool(weekday.values & {d.isoweekday(), d.isoweekday() % 7}) or any(test(d) for test in weekday.days)
        return d.month in month.values and ((in_month and in_week) if both else (in_month or in_week))

    return Meaning(" ".join(texts), seconds, sorted(minute.values), sorted(hour.values), has_day)


MOMENTS = st.datetimes(datetime(1999, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC))


@settings(deadline=None, max_examples=120)
@given(meaning=meanings(), after=MOMENTS)
def test_the_next_run_is_what_brute_force_finds(meaning: Meaning, after: datetime) -> None:
    try:
        cron = CronExpression.parse(meaning.text)
    except CronError as error:
        assert "never fire" in str(error)
        start = date(2000, 1, 1)
        assert not any(meaning.has_day(start + number * DAY) for number in range(28 * 366))
        return
    assert cron.describe()
    expected = meaning.next(after, days=500)
    found = cron.next_run(after)
    assert found == expected if expected else found > after + 498 * DAY


ZONES = st.sampled_from(
    [
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "America/Santiago",
        "Antarctica/Troll",
    ]
)
CHANGES_OF_2024 = [
    (3, 10, 7),
    (3, 31, 1),
    (4, 6, 15),
    (4, 7, 3),
    (9, 8, 4),
    (10, 5, 16),
    (10, 27, 1),
    (11, 3, 6),
]
NEAR_CHANGES = st.tuples(st.sampled_from(CHANGES_OF_2024), st.integers(-4 * 3600 * 10**6, 4 * 3600 * 10**6)).map(
    lambda near: datetime(2024, *near[0], tzinfo=UTC) + timedelta(microseconds=near[1])
)


@settings(deadline=None, max_examples=200)
@given(meaning=meanings(), when=MOMENTS | NEAR_CHANGES, name=ZONES, share=st.integers(0, 999))
def test_the_next_run_is_later_and_matches_and_nothing_lies_between(
    meaning: Meaning, when: datetime, name: str, share: int
) -> None:
    try:
        cron = CronExpression.parse(meaning.text)
    except CronError:
        assume(False)
        raise
    after = when.astimezone(ZoneInfo(name))
    found = cron.next_run(after)
    instant = found.astimezone(UTC)
    assert found.tzinfo is after.tzinfo
    assert instant.astimezone(found.tzinfo) == found and instant.astimezone(found.tzinfo).fold == found.fold
    assert instant > when and instant.microsecond == 0
    assert cron.matches(found) and cron.matches(instant.astimezone(found.tzinfo))
    assert not cron.matches(found + timedelta(microseconds=1))
    between = when + (instant - when) * share // 1000
    assert cron.next_run(between.astimezone(found.tzinfo)).astimezone(UTC) == instant
    if between > when:
        assert not cron.matches(between.astimezone(found.tzinfo))
        assert (
            not cron.matches(between.replace(microsecond=0).astimezone(found.tzinfo))
            or between.replace(microsecond=0) <= when
        )


# -- changes of the clock, in every zone ---------------------------------------------------------------------


class Change(NamedTuple):
    at: datetime
    before: timedelta
    after: timedelta


def offset(zone: ZoneInfo, at: datetime) -> timedelta:
    found = at.astimezone(zone).utcoffset()
    assert found is not None
    return found


def changes(zone: ZoneInfo, first: int, last: int, step: timedelta = DAY) -> Iterator[Change]:
    """The changes of a zone's offset in the years `first` to `last`, by looking once a day."""
    low, end = datetime(first, 1, 1, tzinfo=UTC), datetime(last + 1, 1, 1, tzinfo=UTC)
    before = offset(zone, low)
    while low < end:
        high, after = low + step, offset(zone, low + step)
        if after != before:
            left, right = low, high
            while right - left > SECOND:
                middle = left + (right - left) // 2 // SECOND * SECOND
                left, right = (middle, right) if offset(zone, middle) == before else (left, middle)
            yield Change(right, before, after)
        low, before = high, after


class Night(NamedTuple):
    """An expression for the nights of change: its meaning on the wall clock, written by hand."""

    text: str
    is_rhythm: bool
    matches: Callable[[datetime], bool]

    @property
    def cron(self) -> CronExpression:
        return parsed(self.text)


parsed = cache(CronExpression.parse)

NIGHTS = [
    Night("30 2 * * *", False, lambda w: (w.hour, w.minute) == (2, 30)),
    Night("*/15 * * * *", True, lambda w: w.minute % 15 == 0),
    Night("0 0 * * *", False, lambda w: (w.hour, w.minute) == (0, 0)),
    Night("0 3 * * 0", False, lambda w: (w.isoweekday(), w.hour, w.minute) == (7, 3, 0)),
    Night("20-40/10 1,2,23 * * *", False, lambda w: w.hour in (1, 2, 23) and w.minute in (20, 30, 40)),
    Night("*/30 0-3 * * sat,sun", True, lambda w: w.isoweekday() >= 6 and w.hour <= 3 and w.minute % 30 == 0),
    Night("45 */2 * * *", True, lambda w: w.hour % 2 == 0 and w.minute == 45),
]


@cache
def brute_force(change: Change, start: datetime, end: datetime) -> list[list[datetime]]:
    """The runs (UTC, naive) of NIGHTS in [start, end): minute by minute over the wall clock, by the rule."""
    at, found = change.at.replace(tzinfo=None), [set[datetime]() for _ in NIGHTS]
    reading = (start + min(change.before, change.after)).replace(second=0)
    while reading < end + max(change.before, change.after):
        early, late = reading - change.before, reading - change.after
        shown = [instant for instant in [early] if instant < at] + [instant for instant in [late] if instant >= at]
        for night, into in zip(NIGHTS, found, strict=True):
            if night.matches(reading):
                into.update(shown if night.is_rhythm else (shown[:1] or [at]))
        reading += MINUTE
    return [sorted(run for run in into if start <= run < end) for into in found]


def check_night(zone: ZoneInfo, change: Change) -> None:
    around = 2 * HOUR + abs(change.after - change.before)
    at = change.at.replace(tzinfo=None)
    start, end = (at - around).replace(second=0), at + around
    for number, night in enumerate(NIGHTS):
        cron = night.cron
        after, last = ((moment - SECOND).replace(tzinfo=UTC).astimezone(zone) for moment in (start, end))
        found = list(runs(cron, after, last))
        told = [run.astimezone(UTC).replace(tzinfo=None) for run in found]
        assert told == brute_force(change, start, end)[number], f"{night.text} in {zone.key} at {change}"
        inside = at + 7 * MINUTE  # in the time that comes twice, the second time
        asked = cron.next_run(inside.replace(tzinfo=UTC).astimezone(zone)).astimezone(UTC)
        asked = asked.replace(tzinfo=None)
        assert asked == next((run for run in told if run > inside), max(asked, end))
        assert [run.replace(tzinfo=UTC).astimezone(zone).fold for run in told] == [run.fold for run in found]
        assert all(cron.matches(run) for run in found[:1])
        assert not any(cron.matches(run + 30 * SECOND) for run in found[:1])


def check_daily(zone: ZoneInfo, change: Change) -> None:
    """One run for each of five dates, however long they are."""
    middle = change.at.astimezone(zone).date()
    after, last = (datetime(d.year, d.month, d.day, tzinfo=zone) for d in (middle - 2 * DAY, middle + 3 * DAY))
    assert len(list(runs(parsed("30 2 * * *"), after, last))) == 5, f"{zone.key} at {change}"


def test_each_zone_keeps_the_rule_in_its_nights_of_change(request: pytest.FixtureRequest) -> None:
    # Long form: all of history, where two changes are not within three days of each other.
    long = request.config.getoption("--long", default=False)
    years = (1901, 2037) if long else (2024, 2025)
    quiet = datetime(2024, 3, 31, 1, tzinfo=UTC)
    nights = gaps = 0
    for name in sorted(zoneinfo.available_timezones()):
        zone = ZoneInfo(name)
        found = list(changes(zone, *years)) or [Change(quiet, offset(zone, quiet), offset(zone, quiet))]
        near = {change for pair in pairwise(found) if pair[1].at - pair[0].at < 3 * DAY for change in pair}
        for change in found:
            if change in near:
                continue
            check_night(zone, change)
            if abs(change.after - change.before) < 12 * HOUR:
                check_daily(zone, change)
            nights += 1
            gaps += change.after > change.before
    assert nights > 1000 and gaps > 200  # the zones were really looked at


@pytest.mark.parametrize(
    ("name", "year"),
    [
        ("America/St_Johns", 2010),  # 00:01, so that a date begins twice
        ("Australia/Lord_Howe", 2019),  # half an hour
        ("America/Havana", 2019),  # midnight does not exist
        ("America/Asuncion", 2019),
        ("Antarctica/Troll", 2019),  # two hours
        ("Africa/Casablanca", 2019),  # Ramadan: four changes
        ("Africa/Monrovia", 1972),  # 44:30 minutes
        ("Europe/Amsterdam", 1937),  # 28 seconds, where the zone has them
        ("Asia/Pyongyang", 2018),
        ("America/Caracas", 2016),
        ("Europe/Istanbul", 2016),
        ("Pacific/Apia", 2011),  # a whole day is skipped
        ("Pacific/Kwajalein", 1993),
        ("Pacific/Kwajalein", 1969),  # a whole day comes twice
    ],
)
def test_the_odd_nights_of_history_keep_the_rule(name: str, year: int) -> None:
    zone = ZoneInfo(name)
    found = list(changes(zone, year, year))
    assert found or name == "Europe/Amsterdam"
    for change in found:
        check_night(zone, change)


def test_an_appointment_in_the_gap_runs_once_when_the_clocks_jump() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    evening, jump = datetime(2024, 3, 30, 20, tzinfo=berlin), datetime(2024, 3, 31, 3, tzinfo=berlin)
    for text in ("30 2 * * *", "0 30 2 * * *", "0,15,30 2 * * *", "0 2,3 * * *"):
        cron = CronExpression.parse(text)
        assert cron.next_run(evening) == jump
        assert cron.matches(jump)
        assert cron.next_run(jump).date() == date(2024, 4, 1)
    for text in ("* 2 * * *", "*/30 30 2 * * *", "0 30 */2 * * *"):  # a rhythm has nothing to make up for
        assert not CronExpression.parse(text).matches(jump)
    assert CronExpression.parse("* * * * * *").matches(jump)
    # A datetime in the gap is the instant that Python makes of it: 02:00 is 03:00, and 02:30 is 03:30.
    assert CronExpression.parse("30 2 * * *").matches(datetime(2024, 3, 31, 2, 0, tzinfo=berlin))
    assert not CronExpression.parse("30 2 * * *").matches(datetime(2024, 3, 31, 2, 30, tzinfo=berlin))
    in_gap = datetime(2024, 3, 31, 2, 30, tzinfo=berlin)
    assert CronExpression.parse("45 2 * * *").next_run(in_gap) == datetime(2024, 4, 1, 2, 45, tzinfo=berlin)
    assert CronExpression.parse("*/15 * * * *").next_run(in_gap) == datetime(2024, 3, 31, 3, 45, tzinfo=berlin)


def test_a_time_that_comes_twice_is_two_instants() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    first, again = (datetime(2024, 10, 27, 2, 30, tzinfo=berlin, fold=fold) for fold in (0, 1))
    daily, rhythm = CronExpression.parse("30 2 * * *"), CronExpression.parse("*/30 * * * *")
    assert daily.matches(first) and not daily.matches(again)
    assert rhythm.matches(first) and rhythm.matches(again)
    assert daily.next_run(first - HOUR).fold == 0
    second_pass = datetime(2024, 10, 27, 2, 10, tzinfo=berlin, fold=1)
    assert daily.next_run(second_pass) == datetime(2024, 10, 28, 2, 30, tzinfo=berlin)
    assert rhythm.next_run(second_pass).fold == 1
    found = [run.strftime("%H:%M %z") for run in runs(rhythm, first - HOUR, again + HOUR)]
    assert found == ["02:00 +0200", "02:30 +0200", "02:00 +0100", "02:30 +0100", "03:00 +0100", "03:30 +0100"]


def test_other_kinds_of_zones_will_do() -> None:
    cron = CronExpression.parse("30 2 * * *")
    fixed = timezone(timedelta(hours=5, minutes=45))
    assert cron.next_run(datetime(2024, 3, 31, 2, 30, tzinfo=fixed)) == datetime(2024, 4, 1, 2, 30, tzinfo=fixed)
    assert cron.next_run(datetime(2024, 3, 31, 2, fold=1, tzinfo=UTC)).day == 31  # a fold without a meaning
    for naive in (cron.next_run, cron.matches):
        with pytest.raises(ValueError, match="has no time zone"):
            naive(datetime(2024, 3, 31))


def test_the_calendar_has_ends() -> None:
    daily = CronExpression.parse("30 2 * * *")
    last = datetime(9999, 12, 31, 2, 30, tzinfo=UTC)
    assert daily.next_run(last - SECOND) == last and daily.matches(last)
    with pytest.raises(OverflowError):
        daily.next_run(last)
    for edge in (datetime.min, datetime.max.replace(microsecond=0)):
        assert not daily.matches(edge.replace(tzinfo=UTC))


# -- speed ---------------------------------------------------------------------------------------------------


def test_a_month_takes_a_fraction_of_a_second() -> None:
    cron, zone = CronExpression.parse("*/15 * * * *"), ZoneInfo("Europe/Berlin")
    start, end = datetime(2024, 3, 1, tzinfo=zone), datetime(2024, 4, 1, tzinfo=zone)
    assert len(list(runs(cron, start, end))) == 31 * 96 - 4
    assert fastest(lambda: list(runs(cron, start, end)), 0.5) < 0.5


@pytest.mark.parametrize("text", ["0 0 */28 2 1#5", "59 59 23 31 12 *", "*/59 59 23 * * *", "* * 2 * * *"])
def test_a_distant_run_is_found_quickly(text: str) -> None:
    cron, zone = CronExpression.parse(text), ZoneInfo("Europe/Berlin")
    after = datetime(2072, 3, 1, tzinfo=zone)  # the Monday 29 February after 2072 takes 40 years, over 2100
    assert fastest(lambda: cron.next_run(after), 0.02) < 0.02
