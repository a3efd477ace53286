"""Slots: where they lie, and that each is fired or recorded exactly once, whatever clock and downtime do."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast, get_args
from zoneinfo import ZoneInfo

import attrs
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from actors.core.cron import CronError, CronExpression
from actors.core.schedule import (
    MISFIRE_GRACE,
    At,
    CatchUp,
    Due,
    Every,
    Overlap,
    Timing,
    due,
    fire_time,
    from_instant,
    keep_anchor,
    next_slot,
    overlap,
    parse_when,
    timing,
    timing_from_json,
    timing_to_json,
    to_instant,
)

S = 1_000_000
HOUR, DAY, YEAR = 3600 * S, 86400 * S, 365 * 86400 * S
BASE = to_instant(datetime(2024, 1, 1, tzinfo=UTC))


def fastest(action: Callable[[], object], goal: float, tries: int = 5) -> float:
    best = math.inf
    for _ in range(tries):
        begun = time.perf_counter()
        action()
        best = min(best, time.perf_counter() - begun)
        if best < goal:
            break
    return best


# -- declarations --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0, -1, 0.0009, math.nan, math.inf, -math.inf, True, 10**400])
def test_a_period_is_finite_and_at_least_a_millisecond(seconds: float) -> None:
    with pytest.raises(ValueError, match=r"expected a finite number of seconds, at least 0\.001|not a number"):
        Every(seconds)


@pytest.mark.parametrize("seconds", ["5", None, timedelta(seconds=5)])
def test_a_period_is_a_number(seconds: Any) -> None:
    with pytest.raises(TypeError, match="expected a number of seconds, not"):
        Every(seconds)


def test_a_period_is_kept_to_the_microsecond() -> None:
    assert Every(5) == Every(5.0) and Every(5).seconds == 5.0
    assert Every(0.001).period == 1000
    assert Every(0.1).period == 100_000
    assert Every(1 / 3).period == 333_333
    assert Every(86400.1).period == 86_400_100_000
    assert Every(1e300).period > 10**305  # no overflow: its first slot lies beyond the calendar
    assert next_slot(timing(Every(1e300)), BASE) is None


def test_a_moment_is_aware_and_kept_in_utc() -> None:
    berlin = datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin"))
    assert At(berlin) == At(datetime(2024, 10, 27, 1, 30, tzinfo=UTC))
    assert At(berlin).when.tzinfo is UTC
    with pytest.raises(ValueError, match="At 2024-01-01T00:00:00 has no time zone: expected an aware datetime"):
        At(datetime(2024, 1, 1))
    with pytest.raises(ValueError, match="out of range"):
        At(datetime.max.replace(tzinfo=UTC))
    with pytest.raises(TypeError, match="At: expected an aware datetime, not str"):
        At(cast("Any", "2024-01-01"))


def test_a_when_is_a_cron_text_or_a_value() -> None:
    assert parse_when("0 9 * * 1-5") == CronExpression.parse("0 9 * * 1-5")
    for value in (CronExpression.parse("@daily"), Every(5), At(datetime(2024, 1, 1, tzinfo=UTC))):
        assert parse_when(value) is value
    with pytest.raises(CronError):
        parse_when("every day")
    for wrong in (5, None, timedelta(seconds=5), datetime(2024, 1, 1, tzinfo=UTC)):
        with pytest.raises(TypeError, match="a schedule's time is a cron text, "):
            parse_when(cast("Any", wrong))


JANUARY, JUNE = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 6, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"tz": "Mars/Olympus"}, ValueError, 'time zone "Mars/Olympus" is not known: expected an IANA name'),
        ({"tz": ""}, ValueError, 'time zone "" is not known'),
        ({"tz": "../../etc/passwd"}, ValueError, "is not known"),
        ({"tz": "Europe"}, ValueError, "is not known"),
        ({"tz": "zone.tab"}, ValueError, "is not known"),
        ({"tz": "a\0b"}, ValueError, r"a\x00b"),
        ({"tz": "\ud800"}, ValueError, r"\ud800"),
        ({"tz": "x" * 5000}, ValueError, "is not known"),
        ({"tz": "localtime"}, ValueError, "is not known"),
        ({"tz": "right/Europe/Berlin"}, ValueError, "is not known"),
        ({"tz": None}, TypeError, "a time zone is an IANA name such as Europe/Berlin, not NoneType"),
        (
            {"overlap": "never"},
            ValueError,
            'overlap "never": expected one of skip, allow, queue, cancel_previous',
        ),
        ({"overlap": ["skip"]}, ValueError, "overlap (this list): expected one of skip"),
        ({"catch_up": "some"}, ValueError, 'catch_up "some": expected one of none, latest, all'),
        ({"jitter": -1}, ValueError, "jitter -1.0 is out of range: expected 0 to 86400 seconds"),
        ({"jitter": 86401}, ValueError, "out of range"),
        ({"jitter": math.nan}, ValueError, "jitter nan"),
        ({"jitter": math.inf}, ValueError, "jitter inf"),
        ({"jitter": True}, ValueError, "not a number of seconds"),
        ({"jitter": "5"}, TypeError, "expected a number of seconds, not str"),
        ({"limit": 0}, ValueError, "limit 0: expected a whole number, at least 1"),
        ({"limit": 1.5}, ValueError, "limit 1.5"),
        ({"limit": True}, ValueError, "limit True"),
        ({"limit": -(10**5000)}, ValueError, "limit (this int)"),
        ({"start": datetime(2024, 1, 1)}, ValueError, "start 2024-01-01T00:00:00 has no time zone"),
        ({"end": datetime(2024, 1, 1)}, ValueError, "end 2024-01-01T00:00:00 has no time zone"),
        ({"end": "2024-01-01"}, TypeError, "end: expected an aware datetime, not str"),
        ({"anchor": datetime(2024, 1, 1)}, ValueError, "anchor 2024-01-01T00:00:00 has no time zone"),
        ({"anchor": 1.5}, ValueError, "anchor 1.5: expected microseconds"),
        ({"anchor": 10**20}, ValueError, "anchor 1000"),
        (
            {"start": JUNE, "end": JANUARY},
            ValueError,
            "start 2024-06-01 00:00:00+00:00 is not before end 2024-01-01",
        ),
        ({"start": JUNE, "end": JUNE}, ValueError, "is not before end"),
    ],
)
def test_a_timing_says_what_is_wrong_with_it(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        timing("@daily", **options)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 250


def test_a_declaration_keeps_the_stored_anchor_while_its_period_is_the_same() -> None:
    stored = timing(Every(60), anchor=BASE)
    assert keep_anchor(timing(Every(60), jitter=5, anchor=BASE + 7 * S), stored) == timing(
        Every(60), jitter=5, anchor=BASE
    )
    assert keep_anchor(timing(Every(30), anchor=BASE + 7 * S), stored).anchor == BASE + 7 * S


INSTANTS = st.integers(BASE - 40 * YEAR, BASE + 40 * YEAR)
WHENS = st.one_of(
    st.sampled_from(["* * * * *", "*/15 * * * *", "30 2 * * *", "0 0 29 2 *", "*/10 * * * * *", "@weekly"]).map(
        parse_when
    ),
    st.floats(0.001, 1e6).map(Every),
    st.integers(1, 10**6).map(Every),
    INSTANTS.map(from_instant).map(At),
)
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]


@st.composite
def timings(draw: st.DrawFn, whens: st.SearchStrategy[Any] = WHENS) -> Timing:
    start, end = draw(st.none() | INSTANTS), draw(st.none() | INSTANTS)
    assume(start is None or end is None or start < end)
    return Timing(
        when=draw(whens),
        tz=draw(st.sampled_from(ZONES)),
        overlap=draw(st.sampled_from(get_args(Overlap))),
        catch_up=draw(st.sampled_from(get_args(CatchUp))),
        jitter=draw(st.just(0.0) | st.floats(0, 86400)),
        start=start,
        end=end,
        limit=draw(st.none() | st.integers(1, 10**9)),
        anchor=draw(INSTANTS),
    )


@settings(deadline=None)
@given(one=timings())
def test_a_timing_survives_json(one: Timing) -> None:
    written = json.loads(json.dumps(timing_to_json(one), allow_nan=False))
    again = timing_from_json(written)
    assert again == one
    assert again.zone.key == one.tz
    assert timing_to_json(again) == written


def test_a_timing_in_json_looks_like_this() -> None:
    one = timing("0  9 * * *", tz="Europe/Berlin", jitter=1.5, start=JANUARY, end=JUNE, limit=3)
    assert timing_to_json(one) == {
        "when": {"cron": "0 9 * * *"},
        "tz": "Europe/Berlin",
        "overlap": "skip",
        "catch_up": "latest",
        "jitter": 1.5,
        "start": BASE,
        "end": BASE + 152 * DAY,
        "limit": 3,
        "anchor": 0,
    }
    assert timing_to_json(timing(Every(5)))["when"] == {"every": 5.0}
    assert timing_to_json(timing(At(JANUARY)))["when"] == {"at": BASE}


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"when": "@daily"},
        {"when": {"cron": 5}},
        {"when": {"cron": "61 * * * *"}},
        {"when": {"every": "5"}},
        {"when": {"every": 0}},
        {"when": {"at": "2024"}},
        {"when": {"at": 10**30}},
        {"when": {"every": 5}, "tz": "Nowhere"},
        {"when": {"every": 5}, "start": 1.5},
        {"when": {"every": 5}, "anchor": None},
        {"when": {"every": 5}, "start": 10, "end": 5},
    ],
)
def test_json_that_is_no_timing_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        timing_from_json(wrong)


@pytest.mark.parametrize("key", ["colour", "zone"])
def test_a_key_that_is_not_known_is_not_dropped(key: str) -> None:
    with pytest.raises(ValueError, match=f'a timing has no "{key}"'):
        timing_from_json({"when": {"every": 5}, key: "UTC"})


# -- slots ---------------------------------------------------------------------------------------------------


def slots(one: Timing, after: int, until: int, most: int = 100_000) -> list[int]:
    found: list[int] = []
    while (slot := next_slot(one, after)) is not None and slot <= until and len(found) < most:
        found.append(slot)
        after = slot
    return found


@settings(deadline=None)
@given(one=timings(), after=INSTANTS, share=st.integers(0, 999))
def test_the_next_slot_is_later_and_within_bounds_and_none_lies_between(one: Timing, after: int, share: int) -> None:
    slot = next_slot(one, after)
    if slot is None:
        first = max(after, one.anchor if one.start is None else one.start)
        assert isinstance(one.when, At) or (one.end is not None and one.end <= first + 9 * YEAR)
        return
    assert slot > after
    assert one.start is None or slot >= one.start
    assert one.end is None or slot <= one.end
    between = after + (slot - after) * share // 1000
    assert next_slot(one, between) == slot


@given(anchor=INSTANTS, period=st.integers(1000, 10**9), number=st.integers(1, 10**6), part=st.integers(1, 10**9))
def test_a_period_never_drifts(anchor: int, period: int, number: int, part: int) -> None:
    one = timing(Every(period / S), anchor=anchor)
    slot = anchor + number * period
    assert next_slot(one, slot - 1) == slot
    assert next_slot(one, slot - min(part, period)) == slot
    assert next_slot(one, slot) == slot + period


def test_a_period_counts_from_its_start_or_one_after_its_anchor() -> None:
    assert slots(timing(Every(60), anchor=JANUARY), BASE - HOUR, BASE + 130 * S) == [
        BASE + 60 * S,
        BASE + 120 * S,
    ]
    started = timing(Every(60), anchor=BASE + 7 * S, start=JANUARY)
    assert slots(started, BASE - HOUR, BASE + 130 * S) == [BASE, BASE + 60 * S, BASE + 120 * S]
    assert next_slot(timing(Every(60)), BASE + 61 * S) == BASE + 120 * S  # from the epoch


def test_start_and_end_are_included() -> None:
    one = timing("0 * * * *", start=JANUARY, end=JANUARY + timedelta(hours=2))
    assert slots(one, BASE - DAY, BASE + DAY) == [BASE, BASE + HOUR, BASE + 2 * HOUR]
    every = timing(Every(3600), start=JANUARY, end=JANUARY + timedelta(hours=2))
    assert slots(every, BASE - DAY, BASE + DAY) == [BASE, BASE + HOUR, BASE + 2 * HOUR]


def test_a_moment_has_one_slot() -> None:
    assert slots(timing(At(JANUARY)), BASE - DAY, BASE + DAY) == [BASE]
    assert next_slot(timing(At(JANUARY)), BASE) is None
    assert next_slot(timing(At(JANUARY), start=JUNE), BASE - DAY) is None
    assert next_slot(timing(At(JUNE), end=JANUARY), BASE - DAY) is None
    assert next_slot(timing(At(JANUARY), start=JANUARY, end=JUNE), BASE - DAY) == BASE


def test_cron_slots_follow_the_wall_clock_of_the_zone() -> None:
    one = timing("30 2 * * *", tz="Europe/Berlin")
    march, october = (to_instant(datetime(2024, m, d, tzinfo=UTC)) for m, d in ((3, 30), (10, 26)))
    told = [from_instant(slot, one.zone).strftime("%d %H:%M") for slot in slots(one, march, march + 3 * DAY)]
    assert told == ["30 02:30", "31 03:00", "01 02:30"]
    told = [from_instant(slot, one.zone).strftime("%d %H:%M %z") for slot in slots(one, october, october + 3 * DAY)]
    assert told == ["26 02:30 +0200", "27 02:30 +0200", "28 02:30 +0100"]


def test_the_calendar_has_ends() -> None:
    for when in ("* * * * *", "0 0 29 2 *", Every(1), Every(1e9), At(JANUARY)):
        for tz in ("UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"):
            one = timing(when, tz=tz)
            first = next_slot(one, -(10**30))
            assert first is not None
            assert next_slot(one, 10**30) is None
            assert next_slot(one, to_instant(datetime(9999, 12, 30, tzinfo=UTC))) is None
            last = next_slot(one, to_instant(datetime(9999, 12, 30, tzinfo=UTC)) - 1)
            assert last is None or from_instant(last).year == 9999


# -- jitter --------------------------------------------------------------------------------------------------


@given(name=st.text(), slot=INSTANTS, jitter=st.floats(0, 86400) | st.sampled_from([0, 1 / S, 2 / S]))
def test_jitter_lies_in_its_bounds_and_is_the_same_for_all(name: str, slot: int, jitter: float) -> None:
    one = timing(Every(1), jitter=jitter)
    assert slot <= fire_time(name, one, slot) <= slot + round(jitter * S)
    assert fire_time(name, one, slot) == fire_time(name, timing("@daily", jitter=jitter), slot)


def test_jitter_spreads_over_schedules_and_slots() -> None:
    one = timing("@hourly", jitter=10)
    for delays in (
        [fire_time(f"report-{number}", one, BASE) - BASE for number in range(1000)],
        [fire_time("report", one, BASE + number * HOUR) - BASE - number * HOUR for number in range(1000)],
    ):
        assert len(set(delays)) > 900
        for tenth in range(10):
            assert 50 < sum(tenth * S <= delay < (tenth + 1) * S for delay in delays) < 150
    longer = int(f"1{BASE}")
    assert fire_time("1", one, BASE) - BASE != fire_time("", one, longer) - longer


def test_jitter_is_the_same_in_every_process() -> None:
    code = (
        "from actors.core.schedule import fire_time, timing;"
        f"print(fire_time('report', timing('@hourly', jitter=3600), {BASE}))"
    )
    here = fire_time("report", timing("@hourly", jitter=3600), BASE)
    for seed in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert int(run.stdout) == here


# -- what is due ---------------------------------------------------------------------------------------------


def reference(name: str, one: Timing, cursor: int, now: int, fired: int) -> tuple[list[int], list[int]]:
    """What fires and what is missed between `cursor` and `now`: the rules without bounds, as two lists."""
    late, on_time, turn = list[int](), list[int](), -(10**30)
    for slot in slots(one, cursor, now):
        turn = max(turn, fire_time(name, one, slot))
        if turn > now:
            break
        (on_time if turn >= now - MISFIRE_GRACE else late).append(slot)
    match one.catch_up:
        case "none":
            fire, missed = on_time, late
        case "latest":
            fire, missed = (on_time, late) if on_time else (late[-1:], late[:-1])
        case "all":
            fire, missed = late + on_time, []
    return fire[: None if one.limit is None else max(0, one.limit - fired)], missed


def told(one: Timing, cursor: int, answer: Due) -> list[int]:
    """All slots that an answer accounts for, with the runs spelt out; checks that they fit together."""
    found: list[int] = []
    for slot, reason in answer.missed:
        assert reason.startswith("missed: ")
        if "from" in reason:
            run = slots(one, found[-1] if found else cursor, slot)
            first, last = (from_instant(end).isoformat().replace("+00:00", "Z") for end in (run[0], run[-1]))
            number = f"{len(run)} slots" if isinstance(one.when, Every) else "every slot"
            assert reason == f"missed: {number} from {first} to {last}: catch_up is {one.catch_up}"
            found += run
        else:
            assert reason == f"missed: catch_up is {one.catch_up}"
            found.append(slot)
    return sorted([*found, *answer.fire])


SHORT = st.one_of(
    st.integers(500_000, 20 * S).map(lambda period: Every(period / S)),
    st.sampled_from(["* * * * *", "*/7 * * * * *", "0,1,30 * * * * *", "* 0 * * *", "*/10 2 * * *"]).map(parse_when),
    st.integers(-600, 600).map(lambda at: At(from_instant(BASE + at * S))),
)


@st.composite
def downtimes(draw: st.DrawFn) -> tuple[Timing, int, int, int]:
    """A timing, a cursor, `now`, and a bound."""
    cursor = BASE - draw(st.integers(0, 600 * S))
    gap = draw(st.integers(0, 10 * S) | st.integers(0, 1200 * S))
    bound = draw(st.integers(1, 12) | st.just(1000))
    one = draw(timings(SHORT))
    shares = [0.0, 0.5, 1.0] if bound < 1000 else [0.0, 1.0, 10.0]
    # With few slots a call, a slot that waited for the one before it does not know so at the next call. So
    # the jitter is at most the distance of the slots then.
    jitter = draw(st.sampled_from(shares)) * (one.when.seconds if isinstance(one.when, Every) else 1.0)
    start = cursor + draw(st.integers(-60 * S, 60 * S)) if draw(st.booleans()) else None
    end = cursor + 60 * S + draw(st.integers(1, 300 * S)) if draw(st.booleans()) else None
    limit = draw(st.none() | st.integers(1, 20))
    one = attrs.evolve(one, anchor=BASE - DAY, start=start, end=end, limit=limit, jitter=jitter)
    return one, cursor, cursor + gap, bound


@settings(deadline=None, max_examples=400)
@given(downtime=downtimes(), fired=st.integers(0, 5))
def test_each_slot_is_dealt_with_once_by_the_rule(downtime: tuple[Timing, int, int, int], fired: int) -> None:
    one, cursor, now, bound = downtime
    fire, missed = reference("n", one, cursor, now, fired)
    seen_fire, seen = list[int](), list[int]()
    place, count = cursor, fired
    for _ in range(10_000):
        answer = due("n", one, cursor=place, now=now, fired=count, bound=bound)
        assert len(answer.fire) <= bound
        assert sum("from" not in reason for _, reason in answer.missed) <= bound
        assert sum("from" in reason for _, reason in answer.missed) <= 1
        accounted = told(one, place, answer)
        assert answer.cursor == (accounted[-1] if accounted else place)
        assert list(answer.fire) == sorted(answer.fire)
        seen += accounted
        seen_fire += answer.fire
        count += len(answer.fire)
        ended = one.limit is not None and count >= one.limit
        assert answer.next == (None if ended else next_slot(one, answer.cursor))
        if not accounted:
            break
        place = answer.cursor
    assert seen_fire == fire
    assert len(seen) == len(set(seen))
    if one.limit is None or fired + len(fire) < one.limit:
        assert seen == sorted(fire + missed)


@pytest.mark.parametrize("catch_up", ["none", "latest"])
@pytest.mark.parametrize("bound", [1, 2, 3, 4])
@pytest.mark.parametrize("when", [Every(10), "*/10 * * * * *", At(from_instant(BASE + 30 * S))])
def test_a_run_of_slots_leaves_none_out_at_any_bound(when: Any, bound: int, catch_up: CatchUp) -> None:
    one = timing(when, anchor=JANUARY, end=JANUARY + timedelta(seconds=35), catch_up=catch_up)
    expected = slots(one, BASE, BASE + HOUR)
    answer = due("n", one, cursor=BASE, now=BASE + HOUR, fired=0, bound=bound)
    assert told(one, BASE, answer) == expected
    assert answer.fire == (() if catch_up == "none" else (expected[-1],))
    assert answer.next is None


@settings(deadline=None, max_examples=100)
@given(
    one=timings(SHORT),
    jitter=st.sampled_from([0.0, 0.4, 5.0]),
    steps=st.lists(st.integers(-30 * S, 60 * S) | st.integers(0, S) | st.just(1200 * S), max_size=25),
)
def test_a_clock_that_goes_anywhere_neither_skips_nor_repeats_a_slot(
    one: Timing, jitter: float, steps: list[int]
) -> None:
    one = attrs.evolve(one, anchor=BASE - DAY, start=None, end=None, limit=None, jitter=jitter)
    now = begun = place = BASE - 600 * S
    seen = list[int]()
    for step in steps:
        now += step
        answer = due("n", one, cursor=place, now=now, fired=0, bound=50)
        assert answer.cursor >= place
        assert all(fire_time("n", one, slot) <= now for slot in answer.fire)
        if now < place:
            assert not answer.fire and not answer.missed
        seen += told(one, place, answer)
        place = answer.cursor
    assert seen == slots(one, begun, place)


@settings(deadline=None, max_examples=60)
@given(one=timings(SHORT), jitter=st.sampled_from([0.0, 0.4, 5.0, 60.0]), ahead=st.integers(0, S))
def test_a_scheduler_that_looks_every_second_misses_nothing(one: Timing, jitter: float, ahead: int) -> None:
    one = attrs.evolve(one, anchor=BASE - DAY, start=None, end=None, limit=None, jitter=jitter)
    place = begun = BASE - 100 * S + ahead
    seen = list[int]()
    for second in range(200):
        now = begun + second * S
        answer = due("n", one, cursor=place, now=now, fired=0)
        assert not answer.missed
        assert all(fire_time("n", one, slot) <= now for slot in answer.fire)
        seen += answer.fire
        place = answer.cursor
    assert seen == slots(one, begun, place)
    assert all(slot > begun + 199 * S - round(jitter * S) for slot in slots(one, place, begun + 199 * S))


@pytest.mark.parametrize(
    ("catch_up", "late", "fire", "missed"),
    [
        (
            "none",
            30,
            [],
            [0, 10, 20],
        ),  # nothing within the grace: slots at 0, 10, 20, and now is 22.1 and more
        ("latest", 30, [20], [0, 10]),
        ("all", 30, [0, 10, 20], []),
        ("none", 22, [20], [0, 10]),  # the slot at 20 is two seconds late: on time
        ("latest", 22, [20], [0, 10]),
        ("all", 22, [0, 10, 20], []),
    ],
)
def test_catching_up(catch_up: CatchUp, late: int, fire: list[int], missed: list[int]) -> None:
    one = timing(Every(10), start=JANUARY, catch_up=catch_up)
    now = BASE + late * S - (1 if late == 30 else 0)
    answer = due("n", one, cursor=BASE - 1, now=now, fired=0)
    assert answer == Due(
        fire=tuple(BASE + n * S for n in fire),
        missed=tuple((BASE + n * S, f"missed: catch_up is {catch_up}") for n in missed),
        cursor=BASE + 20 * S,
        next=BASE + 30 * S,
    )


def test_a_slot_waits_for_its_jitter() -> None:
    one = timing(Every(3600), jitter=600, anchor=JANUARY)
    slot, fires = BASE + HOUR, fire_time("n", one, BASE + HOUR)
    assert slot < fires
    early = due("n", one, cursor=BASE, now=fires - 1, fired=0)
    assert (early.fire, early.cursor, early.next) == ((), BASE, slot)
    for now in (fires, fires + MISFIRE_GRACE):
        assert due("n", attrs.evolve(one, catch_up="none"), cursor=BASE, now=now, fired=0).fire == (slot,)
    late = due("n", attrs.evolve(one, catch_up="none"), cursor=BASE, now=fires + MISFIRE_GRACE + 1, fired=0)
    assert late.missed == ((slot, "missed: catch_up is none"),)


def test_the_limit_ends_the_schedule() -> None:
    one = timing(Every(10), anchor=JANUARY, limit=3, catch_up="all")
    assert due("n", one, cursor=BASE, now=BASE + 10 * S, fired=1).next == BASE + 20 * S
    last = due("n", one, cursor=BASE, now=BASE + 100 * S, fired=1)
    assert last == Due(fire=(BASE + 10 * S, BASE + 20 * S), missed=(), cursor=BASE + 20 * S, next=None)
    for fired in (3, 4):
        for catch_up in get_args(CatchUp):
            answer = due("n", attrs.evolve(one, catch_up=catch_up), cursor=BASE, now=BASE + DAY, fired=fired)
            assert answer == Due(fire=(), missed=(), cursor=BASE, next=None)


def test_the_newest_missed_slot_is_known_only_when_none_is_left_for_the_next_call() -> None:
    one = timing(Every(10), anchor=JANUARY, jitter=60)
    first, second, third = (BASE + n * 10 * S for n in (1, 2, 3))

    def fires(number: int) -> list[int]:
        return [fire_time(f"n{number}", one, slot) for slot in (first, second, third)]

    number = next(n for n in range(1000) if fires(n)[0] < fires(n)[1] < fires(n)[2] - 3 * S)
    now = fires(number)[1] + MISFIRE_GRACE + 1  # two are late, the third waits for its jitter
    answer = due(f"n{number}", one, cursor=BASE, now=now, fired=0, bound=1)
    assert answer == Due(fire=(), missed=((first, "missed: catch_up is latest"),), cursor=first, next=second)
    answer = due(f"n{number}", one, cursor=first, now=now, fired=0, bound=1)
    assert answer == Due(fire=(second,), missed=(), cursor=second, next=third)


def test_nothing_is_due_before_the_cursor() -> None:
    one = timing("* * * * *", catch_up="all")
    for back in (1, HOUR, DAY):
        answer = due("n", one, cursor=BASE, now=BASE - back, fired=0)
        assert answer == Due(fire=(), missed=(), cursor=BASE, next=BASE + 60 * S)


@pytest.mark.parametrize("jitter", [0.0, 0.5, 86400.0])
@pytest.mark.parametrize("catch_up", ["none", "latest", "all"])
@pytest.mark.parametrize("when", [Every(0.001), "* * * * * *", "*/5 9-17 * * 1-5"])
def test_a_year_of_downtime_takes_bounded_time(when: Any, catch_up: CatchUp, jitter: float) -> None:
    one = timing(when, tz="Europe/Berlin", anchor=JANUARY, catch_up=catch_up, jitter=jitter)
    now = BASE + YEAR

    def call() -> Due:
        return due("n", one, cursor=BASE, now=now, fired=0)

    assert fastest(call, 0.25) < 0.25
    answer = call()
    assert len(answer.fire) <= 1000 and len(answer.missed) <= 1001
    if catch_up == "all":
        assert answer.fire == tuple(slots(one, BASE, now, most=1000)) and not answer.missed
    elif jitter < 1:
        assert answer.cursor >= now - MISFIRE_GRACE - 4 * DAY  # one call was enough, but for what is on time


def test_a_long_run_of_missed_slots_is_counted() -> None:
    one = timing(Every(0.001), anchor=JANUARY, catch_up="none")
    answer = due("n", one, cursor=BASE, now=BASE + YEAR, fired=0, bound=10)
    assert [slot for slot, _ in answer.missed[:9]] == [BASE + n * 1000 for n in range(1, 10)]
    run, newest = answer.missed[9:]
    assert run == (
        BASE + YEAR - MISFIRE_GRACE - 2000,
        "missed: 31535997989 slots from 2024-01-01T00:00:00.010000Z to 2024-12-30T23:59:57.998000Z: catch_up is none",
    )
    assert newest == (BASE + YEAR - MISFIRE_GRACE - 1000, "missed: catch_up is none")
    assert answer.fire == tuple(BASE + YEAR - MISFIRE_GRACE + n * 1000 for n in range(10))
    cron = due("n", timing("* * * * *", catch_up="latest"), cursor=BASE, now=BASE + YEAR - 1, fired=0, bound=2)
    assert cron.missed == (
        (BASE + 60 * S, "missed: catch_up is latest"),
        (
            BASE + YEAR - 120 * S,
            "missed: every slot from 2024-01-01T00:02:00Z to 2024-12-30T23:58:00Z: catch_up is latest",
        ),
    )
    assert cron.fire == (BASE + YEAR - 60 * S,)


def test_a_bound_is_at_least_one() -> None:
    with pytest.raises(ValueError, match="bound 0: expected at least 1"):
        due("n", timing("@daily"), cursor=BASE, now=BASE, fired=0, bound=0)


# -- overlap -------------------------------------------------------------------------------------------------


def test_overlap_counts_only_while_the_run_before_is_unfinished() -> None:
    assert {policy: overlap(policy, True) for policy in get_args(Overlap)} == {
        "skip": "skip",
        "allow": "fire",
        "queue": "wait",
        "cancel_previous": "replace",
    }
    assert {overlap(policy, False) for policy in get_args(Overlap)} == {"fire"}
