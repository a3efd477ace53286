"""What a schedule is: when it comes due, in which zone, and what becomes of slots that pile up or were
missed.

Rule: a `Timing` that exists is valid. Instants are whole microseconds since the Unix epoch, in UTC.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal, cast, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import attrs

from actors.core._cron_fields import quote
from actors.core.cron import CronExpression
from actors.core.job import instant, moment

Overlap = Literal["skip", "allow", "queue", "cancel_previous"]
CatchUp = Literal["none", "latest", "all"]

SECOND: Final = 1_000_000

# A day away from the ends of datetime, so that every instant can be told in every zone.
EARLIEST: Final = -62_135_510_400 * SECOND  # 0001-01-02
LATEST: Final = 253_402_128_000 * SECOND  # 9999-12-30

MIN_PERIOD: Final = 0.001
"""Seconds: a slot is a record in the store, and more than a thousand a second is a loop, not a schedule."""

MAX_JITTER: Final = 86_400.0
"""Seconds: one day. Slots that wait for their jitter are looked at one by one."""

# Files beside the zones: another meaning on each machine, or leap seconds.
_NOT_IANA: Final = ("posix/", "right/", "localtime", "posixrules", "Factory")


def to_instant(when: datetime, name: str = "time") -> int:
    """Microseconds since the epoch; ValueError for a naive datetime and outside the years 1 to 9999."""
    if not isinstance(when, datetime):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"{name}: expected an aware datetime, not {type(when).__name__}")
    if when.utcoffset() is None:
        raise ValueError(f"{name} {when.isoformat()} has no time zone: expected an aware datetime")
    micros = instant(when)
    if not EARLIEST <= micros <= LATEST:
        raise ValueError(f"{name} {when.isoformat()} is out of range: expected 0001-01-02 to 9999-12-30")
    return micros


def from_instant(micros: int, zone: ZoneInfo | None = None) -> datetime:
    """The aware datetime of an instant, in UTC or in `zone`."""
    when = moment(micros)
    return when if zone is None else when.astimezone(zone)


def _shown(value: object) -> str:
    """A wrong value for an error text: short, whatever it is."""
    if isinstance(value, str):
        return quote(value)
    if value is None or isinstance(value, float) or (isinstance(value, int) and abs(value) < 10**30):
        return repr(value)
    return f"(this {type(value).__name__})"


def _number(value: float) -> float:
    if type(value) is bool:
        raise ValueError(f"{value} is not a number of seconds")
    if not isinstance(value, int | float):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"expected a number of seconds, not {type(value).__name__}")
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _check_period(_: object, __: object, seconds: float) -> None:
    if not (math.isfinite(seconds) and seconds >= MIN_PERIOD):
        raise ValueError(f"Every({seconds!r}): expected a finite number of seconds, at least {MIN_PERIOD}")


@attrs.frozen
class Every:
    """Comes due again and again, `seconds` apart (at least 0.001; kept to the microsecond)."""

    seconds: float = attrs.field(converter=_number, validator=_check_period)

    @property
    def period(self) -> int:
        """In microseconds; every slot is a whole number of them from the first, so nothing drifts."""
        fraction, whole = math.modf(self.seconds)
        return int(whole) * SECOND + round(fraction * SECOND)


def _in_utc(when: datetime) -> datetime:
    return from_instant(to_instant(when, "At"))


@attrs.frozen
class At:
    """Comes due once, at `when` (an aware datetime; it is kept in UTC, to the microsecond)."""

    when: datetime = attrs.field(converter=_in_utc)


When = CronExpression | Every | At


def parse_when(value: str | When) -> When:
    """A cron text becomes a CronExpression, the others stay; CronError or TypeError for what is none."""
    if isinstance(value, str):
        return CronExpression.parse(value)
    if isinstance(value, CronExpression | Every | At):  # pyright: ignore[reportUnnecessaryIsInstance]
        return value
    kind = type(value).__name__
    raise TypeError(f"a schedule's time is a cron text, Every(seconds) or At(datetime), not {kind}")


def _zone(name: str) -> ZoneInfo:
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"a time zone is an IANA name such as Europe/Berlin, not {type(name).__name__}")
    try:
        if not name.startswith(_NOT_IANA):
            return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # a directory, a path outside, NUL, too long a name
        pass
    raise ValueError(f"time zone {quote(name)} is not known: expected an IANA name such as Europe/Berlin")


def _check_jitter(_: object, __: object, jitter: float) -> None:
    if not 0 <= jitter <= MAX_JITTER:
        raise ValueError(f"jitter {jitter!r} is out of range: expected 0 to {MAX_JITTER:.0f} seconds")


def _check_instant(_: object, field: attrs.Attribute[Any], value: Any) -> None:
    if value is None and field.default is None:
        return
    if type(value) is not int or not EARLIEST <= value <= LATEST:
        expected = "expected microseconds since the epoch, in the years 1 to 9999"
        raise ValueError(f"{field.name} {_shown(value)}: {expected}")


def _check_limit(_: object, __: object, limit: Any) -> None:
    if limit is not None and (type(limit) is not int or limit < 1):
        raise ValueError(f"limit {_shown(limit)}: expected a whole number, at least 1")


def _check_word(_: object, field: attrs.Attribute[Any], value: Any) -> None:
    words = get_args({"overlap": Overlap, "catch_up": CatchUp}[field.name])
    if value not in words:
        raise ValueError(f"{field.name} {_shown(value)}: expected one of {', '.join(words)}")


@attrs.frozen(kw_only=True)
class Timing:
    """Everything that decides which slots a schedule has and what becomes of them; made by `timing`.

    `tz` is the zone whose wall clock a cron expression reads. Slots lie in `start` to `end`, both included.
    `limit` is the number of slots that fire over the schedule's life. `anchor` counts for `Every` without a
    `start`: its slots are `anchor + k * period` for k >= 1. With a `start` they are `start + k * period` for
    k >= 0.
    """

    when: When = attrs.field(converter=parse_when)
    tz: str = "UTC"
    overlap: Overlap = attrs.field(default="skip", validator=_check_word)
    catch_up: CatchUp = attrs.field(default="latest", validator=_check_word)
    jitter: float = attrs.field(default=0.0, converter=_number, validator=_check_jitter)
    start: int | None = attrs.field(default=None, validator=_check_instant)
    end: int | None = attrs.field(default=None, validator=_check_instant)
    limit: int | None = attrs.field(default=None, validator=_check_limit)
    anchor: int = attrs.field(default=0, validator=_check_instant)
    zone: ZoneInfo = attrs.field(
        init=False, repr=False, eq=False, default=attrs.Factory(lambda self: _zone(self.tz), takes_self=True)
    )

    def __attrs_post_init__(self) -> None:
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise ValueError(f"start {from_instant(self.start)} is not before end {from_instant(self.end)}")


def timing(
    when: str | When,
    *,
    tz: str = "UTC",
    overlap: Overlap = "skip",
    catch_up: CatchUp = "latest",
    jitter: float = 0.0,
    start: datetime | None = None,
    end: datetime | None = None,
    limit: int | None = None,
    anchor: datetime | int = 0,
) -> Timing:
    """Declare a schedule's timing; ValueError (or TypeError) names what is wrong with it.

    `anchor` is the moment of the declaration, from which an `Every` without `start` counts. Whoever declares
    a stored schedule again keeps its anchor (`keep_anchor`), or its slots would move at every restart. The
    default, the epoch, needs no keeping: `Every(60)` then comes at each full minute.
    """
    return Timing(
        when=parse_when(when),
        tz=tz,
        overlap=overlap,
        catch_up=catch_up,
        jitter=jitter,
        start=None if start is None else to_instant(start, "start"),
        end=None if end is None else to_instant(end, "end"),
        limit=limit,
        anchor=to_instant(anchor, "anchor") if isinstance(anchor, datetime) else anchor,
    )


def keep_anchor(declared: Timing, stored: Timing) -> Timing:
    """The newly declared timing, with the stored anchor if it comes due as often as before."""
    return attrs.evolve(declared, anchor=stored.anchor) if declared.when == stored.when else declared


def timing_to_json(timing: Timing) -> dict[str, Any]:
    """A dict of JSON values, from which `timing_from_json` makes an equal Timing."""
    match timing.when:
        case CronExpression(text=text):
            when: dict[str, str | float | int] = {"cron": text}
        case Every(seconds=seconds):
            when = {"every": seconds}
        case At(when=moment):
            when = {"at": to_instant(moment)}
    return {
        "when": when,
        "tz": timing.tz,
        "overlap": timing.overlap,
        "catch_up": timing.catch_up,
        "jitter": timing.jitter,
        "start": timing.start,
        "end": timing.end,
        "limit": timing.limit,
        "anchor": timing.anchor,
    }


def timing_from_json(json: Mapping[str, Any]) -> Timing:
    """The Timing that `timing_to_json` wrote; ValueError or TypeError if it is none."""
    unknown = json.keys() - {field.name for field in attrs.fields(Timing) if field.init}
    if unknown:
        raise ValueError(f"a timing has no {quote(min(unknown))}")
    match json.get("when"):
        case {"cron": str(text)}:
            when: When = CronExpression.parse(text)
        case {"every": seconds}:
            when = Every(seconds)
        case {"at": int(instant)} if EARLIEST <= instant <= LATEST:
            when = At(from_instant(instant))
        case _:
            raise ValueError("a timing needs a when with cron (text), every (seconds) or at (microseconds)")
    return Timing(**cast("dict[str, Any]", {**json, "when": when}))
