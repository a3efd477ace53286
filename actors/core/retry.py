"""Back-off policies, and `decide`: what becomes of a job whose attempt ended in an error. Pure: the draw and `now` are
given.

Formulas: exponential back-off with cap and the "full" and "equal" jitter of Marc Brooker, "Exponential Backoff And
Jitter" (AWS Architecture Blog, 2015).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, get_args

import attrs

from actors.core.errors import (
    MAX_SECONDS,
    BadOption,
    Cancel,
    Discard,
    JobTimeout,
    Retry,
    Snooze,
    Stopped,
    check_seconds,
)
from actors.core.job import AttemptError, JobRecord
from actors.core.lifecycle import MAX_CRASHES, Step
from actors.core.value import value

Jitter = Literal["equal", "full", "none"]


def _seconds(instance: object, attribute: attrs.Attribute[Any], given: Any) -> None:
    if given is None:
        raise BadOption(attribute.name, given, "seconds")
    check_seconds(attribute.name, given)


def _factor(instance: object, attribute: attrs.Attribute[Any], given: Any) -> None:
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not 1.0 <= given <= 1e6:
        raise BadOption(attribute.name, given, "a number from 1 to 1e6")


def _jitter(instance: object, attribute: attrs.Attribute[Any], given: Any) -> None:
    if given not in get_args(Jitter):
        raise BadOption(attribute.name, given, "equal, full or none")


@attrs.frozen
class Exponential:
    """`min(cap, base * factor ** (attempt - 1))` seconds, then jitter: equal draws from [d/2, d], full from [0, d]."""

    base: float = attrs.field(default=2.0, validator=_seconds)
    factor: float = attrs.field(default=2.0, validator=_factor)
    cap: float = attrs.field(default=3600.0, validator=_seconds)
    jitter: Jitter = attrs.field(default="equal", validator=_jitter)

    def delay(self, attempt: int, draw: float) -> float:
        """Seconds to wait after failure number `attempt` (from 1); `draw` is uniform in [0, 1)."""
        if self.base == 0:
            longest = 0.0
        elif self.base >= self.cap:
            longest = self.cap
        else:
            try:  # a power of floats overflows at once, where one of integers would fill the memory
                longest = min(self.cap, self.base * float(self.factor) ** (attempt - 1))
            except OverflowError:
                longest = self.cap
        match self.jitter:
            case "none":
                return longest
            case "full":
                return longest * draw
            case "equal":
                return longest / 2 + longest / 2 * draw


@attrs.frozen
class Fixed:
    """The same number of seconds after every failure."""

    seconds: float = attrs.field(validator=_seconds)

    def delay(self, attempt: int, draw: float) -> float:
        """`seconds`."""
        return self.seconds


@attrs.frozen
class Linear:
    """`min(cap, step * attempt)` seconds."""

    step: float = attrs.field(validator=_seconds)
    cap: float = attrs.field(default=3600.0, validator=_seconds)

    def delay(self, attempt: int, draw: float) -> float:
        """Seconds to wait after failure number `attempt` (from 1)."""
        return min(self.cap, self.step * attempt)


def _to_steps(given: Sequence[float]) -> tuple[float, ...]:
    return tuple(given)


def _steps(instance: object, attribute: attrs.Attribute[Any], given: tuple[float, ...]) -> None:
    if not given:
        raise BadOption(attribute.name, given, "at least one number of seconds")
    for step in given:
        _seconds(instance, attribute, step)


@attrs.frozen
class Steps:
    """The listed seconds one after the other; the last one repeats."""

    seconds: tuple[float, ...] = attrs.field(converter=_to_steps, validator=_steps)

    def delay(self, attempt: int, draw: float) -> float:
        """Seconds to wait after failure number `attempt` (from 1)."""
        return self.seconds[min(attempt, len(self.seconds)) - 1]


PolicyValue = Exponential | Fixed | Linear | Steps
Policy = PolicyValue | Callable[[int, BaseException], float | None]
"""A back-off policy: one of the values, or `(attempt, error) -> seconds | None` (None: give up)."""

DEFAULT_POLICY: Final = Exponential()
_POLICIES: Final[dict[str, type[Any]]] = {"exponential": Exponential, "fixed": Fixed, "linear": Linear, "steps": Steps}
_NAMES: Final = {policy: name for name, policy in _POLICIES.items()}


def policy_to_json(policy: Policy) -> dict[str, Any]:
    """A policy value as a JSON-ready dict with its name under `policy`. A callable can't be stored: `BadOption`."""
    name = _NAMES.get(type(policy))
    if name is None:
        raise BadOption(
            "retry",
            policy,
            "Exponential, Fixed, Linear or Steps (a function can't be kept with a job: give it to the type)",
        )
    return {"policy": name, **attrs.asdict(policy)}  # type: ignore[arg-type]  # the lookup above leaves only attrs classes


def policy_from_json(given: Mapping[str, Any]) -> PolicyValue:
    """The inverse of `policy_to_json`."""
    fields = dict(given)
    policy: PolicyValue = _POLICIES[fields.pop("policy")](**fields)
    return policy


def backoff(policy: Policy, attempt: int, error: BaseException, draw: float) -> float | None:
    """Seconds to wait after failure number `attempt` (from 1), or None to give up.

    Finite, never negative, never above ten years. A callable that raises or answers nonsense falls back to the default
    policy: one more chance costs less than a lost job.
    """
    if isinstance(policy, (Exponential, Fixed, Linear, Steps)):
        return policy.delay(attempt, draw)
    try:
        seconds = policy(attempt, error)
        if seconds is None:
            return None
        seconds = float(seconds) if isinstance(seconds, (int, float)) and not isinstance(seconds, bool) else math.nan
    except (Exception, SystemExit, GeneratorExit):
        seconds = math.nan
    if not seconds >= 0:
        return DEFAULT_POLICY.delay(attempt, draw)
    return min(seconds, MAX_SECONDS)


@value
class Decision:
    """The next step of a job, and for those that come back, not before when (microseconds)."""

    step: Step
    run_at: int | None = None


def decide_lost(job: JobRecord, now: int) -> tuple[Step, AttemptError | None]:
    """What becomes of `job`, which is running, after its process died, and the error that it is left with.

    It costs no attempt, but crashes are counted.
    """
    if job.stop in ("user", "superseded"):
        return "cancel", None  # it was to end anyway, and its cancel was accepted
    error = AttemptError(
        attempt=job.attempt,
        type="worker_died",
        message=f"the process that ran it died ({job.crashes + 1} so far)",
        started_at=job.standing.started_at,
        failed_at=now,
    )
    return "quarantine" if job.crashes + 1 >= MAX_CRASHES else "lose", error


def decide_forgotten(job: JobRecord) -> Step:
    """What becomes of `job`, which is running in the store and no more in its process: the store has lost how it ended.

    No process died: it costs nothing.
    """
    return "cancel" if job.stop in ("user", "superseded") else "give_back"


def decide(
    job: JobRecord,
    error: BaseException,
    policy: Policy,
    draw: float,
    now: int,
    *,
    retry_on: tuple[type[BaseException], ...] = (),
    give_up_on: tuple[type[BaseException], ...] = (),
) -> Decision:
    """What becomes of `job`, which is running, after its body raised `error` at `now`.

    `retry_on` (when given) names the only errors worth another attempt, besides timeouts and an explicit `Retry`;
    `give_up_on` those that are not, whatever attempts are left.
    """
    if isinstance(error, Stopped):
        return Decision("cancel" if error.reason in ("user", "superseded") else "give_back")
    if isinstance(error, Snooze):
        return Decision("snooze", now + round(error.seconds * 1e6))
    if isinstance(error, Cancel):
        return Decision("cancel")
    if isinstance(error, Discard):
        return Decision("discard")
    attempt = job.attempt + 1
    if attempt >= job.max_attempts or isinstance(error, give_up_on):
        return Decision("bury")
    if isinstance(error, Retry) and error.after is not None:
        return Decision("retry", now + round(error.after * 1e6))
    if retry_on and not isinstance(error, (*retry_on, Retry, JobTimeout)):
        return Decision("bury")
    seconds = backoff(policy, attempt, error, draw)
    return Decision("bury") if seconds is None else Decision("retry", now + round(seconds * 1e6))
