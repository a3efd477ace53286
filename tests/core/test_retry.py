"""Back-off and `decide`: never negative, never above the cap, monotone without jitter, finite for ever; the outcome follows the error."""

from __future__ import annotations

import math
import random
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.core.errors import MAX_SECONDS, BadOption, Cancel, Discard, JobTimeout, Retry, Snooze, Stopped
from actors.core.job import NO_DETAILS, JobRecord, JobSpec, Standing
from actors.core.retry import (
    DEFAULT_POLICY,
    Exponential,
    Fixed,
    Linear,
    Policy,
    Steps,
    backoff,
    decide,
    policy_from_json,
    policy_to_json,
)

seconds = st.one_of(st.floats(0, MAX_SECONDS), st.integers(0, int(MAX_SECONDS)))
attempts = st.one_of(st.integers(1, 50), st.integers(1, 10**6))
draws = st.floats(0, 1, exclude_max=True)
exponentials = st.builds(
    Exponential,
    base=seconds,
    factor=st.one_of(st.floats(1, 1e6), st.integers(1, 10**6)),
    cap=seconds,
    jitter=st.sampled_from(["equal", "full", "none"]),
)
policies = st.one_of(
    exponentials,
    st.builds(Fixed, seconds),
    st.builds(Linear, seconds, seconds),
    st.builds(Steps, st.lists(seconds, min_size=1, max_size=9)),
)


def running(attempt: int = 0, max_attempts: int = 3) -> JobRecord:
    spec = JobSpec("id", "work", "{}", "default", 1, 0, max_attempts, None, 0, None, NO_DETAILS)
    return JobRecord(spec, Standing(1, "running", 2, attempt, attempt + 1, 0, 0, 10, None, "holder"))


@given(policies, attempts, draws)
def test_a_delay_is_finite_never_negative_and_never_above_ten_years(policy: Policy, attempt: int, draw: float):
    delay = backoff(policy, attempt, ValueError(), draw)
    assert delay is not None and math.isfinite(delay) and 0 <= delay <= MAX_SECONDS


@given(exponentials, attempts, draws)
def test_an_exponential_delay_lies_where_its_jitter_says(policy: Exponential, attempt: int, draw: float):
    longest = attrs.evolve(policy, jitter="none").delay(attempt, draw)
    delay = policy.delay(attempt, draw)
    assert delay <= policy.cap
    match policy.jitter:
        case "none":
            assert delay == longest
        case "full":
            assert 0 <= delay <= longest
        case "equal":
            assert longest / 2 <= delay <= longest


@given(st.floats(0, 1e4), st.floats(1, 10), st.floats(0, 1e6), st.integers(1, 60))
def test_the_exponential_formula(base: float, factor: float, cap: float, attempt: int):
    expected = min(cap, base * factor ** (attempt - 1))
    assert Exponential(base, factor, cap, "none").delay(attempt, 0.5) == pytest.approx(expected)


def test_nothing_times_anything_is_nothing():
    assert Exponential(base=0.0, jitter="none").delay(5_000, 0.9) == 0.0


def test_the_default_waits_2_4_8_and_so_on():
    assert [attrs.evolve(DEFAULT_POLICY, jitter="none").delay(attempt, 0) for attempt in range(1, 6)] == [
        2,
        4,
        8,
        16,
        32,
    ]
    assert Exponential(base=2.0, factor=2.0, cap=3600.0, jitter="equal") == DEFAULT_POLICY


@given(
    st.one_of(
        exponentials.map(lambda policy: attrs.evolve(policy, jitter="none")), st.builds(Linear, seconds, seconds)
    ),
    attempts,
)
def test_without_jitter_no_delay_is_shorter_than_the_one_before(policy: Any, attempt: int):
    assert policy.delay(attempt, 0.0) <= policy.delay(attempt + 1, 0.0)


@given(exponentials, draws, draws)
def test_a_greater_draw_is_no_shorter_delay(policy: Exponential, one: float, two: float):
    low, high = sorted((one, two))
    assert policy.delay(3, low) <= policy.delay(3, high)


@given(st.integers(), policies)
def test_the_same_seed_gives_the_same_delays(seed: int, policy: Policy):
    def delays() -> list[float | None]:
        rng = random.Random(seed)
        return [backoff(policy, attempt, ValueError(), rng.random()) for attempt in range(1, 20)]

    assert delays() == delays()


@given(st.lists(seconds, min_size=1, max_size=9), st.integers(1, 30))
def test_steps_go_one_after_the_other_and_the_last_repeats(steps: list[float], attempt: int):
    assert Steps(steps).delay(attempt, 0) == steps[min(attempt, len(steps)) - 1]


def test_an_integer_factor_takes_no_time_at_attempt_a_million():
    import time

    began = time.perf_counter()
    for _ in range(20):
        Exponential(1, 999_999, 3600).delay(10**6, 0.5)
    assert time.perf_counter() - began < 0.5


@pytest.mark.parametrize(
    "answer",
    [-1, -0.0001, math.nan, "soon", [], object(), 10**400, b"5", "5", True, complex(1, 1), math.inf],
    ids=lambda answer: str(answer)[:12],
)
def test_a_callable_that_answers_nonsense_falls_back(answer: Any):
    given = backoff(lambda attempt, error: answer, 2, ValueError(), 0.5)
    assert given is not None and 0 <= given <= MAX_SECONDS
    if answer is not math.inf:
        assert given == DEFAULT_POLICY.delay(2, 0.5)


@pytest.mark.parametrize("error", [ValueError(), SystemExit(1), RecursionError(), StopIteration()])
def test_a_callable_that_raises_falls_back(error: BaseException):
    def policy(attempt: int, given: BaseException) -> float:
        raise error

    assert backoff(policy, 3, ValueError(), 0.25) == DEFAULT_POLICY.delay(3, 0.25)


def test_a_callable_is_given_the_attempt_and_the_error_and_may_give_up():
    seen: list[object] = []
    error = ValueError()

    def policy(attempt: int, given: BaseException) -> float | None:
        seen.extend((attempt, given))
        return None if attempt > 1 else 5

    assert backoff(policy, 1, error, 0) == 5.0
    assert backoff(policy, 2, error, 0) is None
    assert seen == [1, error, 2, error]


@given(policies)
def test_a_policy_survives_json(policy: Any):
    assert policy_from_json(policy_to_json(policy)) == policy


def test_a_function_can_not_be_kept_with_a_job():
    with pytest.raises(BadOption, match="a function can't be kept"):
        policy_to_json(lambda attempt, error: 1.0)


@pytest.mark.parametrize("bad", [-1, math.nan, math.inf, 1e18, "5", True, None])
def test_a_policy_that_can_not_be_is_refused(bad: Any):
    for make in (
        Fixed,
        Exponential,
        Linear,
        lambda given: Steps([1, given]),
        lambda given: Exponential(1, 2, given),
        lambda given: Linear(1, given),
    ):
        with pytest.raises(BadOption):
            make(bad)
    for wrong in (
        lambda: Steps([]),
        lambda: Exponential(factor=0.5),
        lambda: Exponential(factor=math.nan),
        lambda: Exponential(jitter="some"),
    ):  # type: ignore[arg-type]
        with pytest.raises(BadOption):
            wrong()


# decide


@given(st.integers(0, 5), st.integers(1, 6), st.floats(0, 1e6), draws, st.integers(0, 2**50))
def test_a_failure_is_retried_while_attempts_are_left_and_not_before_its_back_off(
    attempt: int, most: int, wait: float, draw: float, now: int
):
    if attempt >= most:
        return
    decision = decide(running(attempt, most), ValueError(), Fixed(wait), draw, now)
    if attempt + 1 < most:
        assert decision.step == "retry" and decision.run_at == now + round(wait * 1e6)
    else:
        assert (decision.step, decision.run_at) == ("bury", None)


@pytest.mark.parametrize(
    ("error", "step", "run_at"),
    [
        (Snooze(5), "snooze", 105 * 10**6), (Cancel(), "cancel", None), (Discard(), "discard", None), (Retry(after=7), "retry", 107 * 10**6),
        (Retry(), "retry", 101 * 10**6), (JobTimeout(1), "retry", 101 * 10**6), (Stopped("user"), "cancel", None), (Stopped("superseded"), "cancel", None),
        (Stopped("shutdown"), "give_back", None), (Stopped("lease lost"), "give_back", None), (SystemExit(), "retry", 101 * 10**6),
    ],
)  # fmt: skip
def test_the_outcome_follows_the_error(error: BaseException, step: str, run_at: int | None):
    decision = decide(running(), error, Fixed(1), 0.5, 100 * 10**6)
    assert (decision.step, decision.run_at) == (step, run_at)


@pytest.mark.parametrize("error", [Snooze(5), Cancel(), Stopped("shutdown"), Discard()])
def test_what_costs_no_attempt_does_not_ask_how_many_are_left(error: BaseException):
    assert decide(running(2, 3), error, Fixed(1), 0, 0) == decide(running(0, 3), error, Fixed(1), 0, 0)


def test_on_the_last_attempt_also_an_explicit_retry_is_the_end():
    assert decide(running(2, 3), Retry(after=1), Fixed(1), 0, 0).step == "bury"
    assert decide(running(2, 3), JobTimeout(1), Fixed(1), 0, 0).step == "bury"


def test_retry_on_and_give_up_on():
    def step(error: BaseException, **given: Any) -> str:
        return decide(running(), error, Fixed(1), 0, 0, **given).step

    assert step(ConnectionError(), retry_on=(OSError,)) == "retry"
    assert step(ValueError(), retry_on=(OSError,)) == "bury"
    assert step(JobTimeout(1), retry_on=(OSError,)) == "retry"
    assert step(Retry(), retry_on=(OSError,)) == "retry"
    assert step(ConnectionError(), give_up_on=(OSError,)) == "bury"
    assert step(ValueError(), give_up_on=(OSError,)) == "retry"
    assert step(ConnectionError(), retry_on=(OSError,), give_up_on=(ConnectionError,)) == "bury"


def test_a_policy_that_gives_up_is_the_end():
    assert decide(running(), ValueError(), lambda attempt, error: None, 0, 0).step == "bury"


@pytest.mark.parametrize("bad", [-1, math.nan, math.inf, "5", True, 1e18])
def test_what_a_body_asks_for_is_checked(bad: Any):
    for make in (Snooze, Retry):
        with pytest.raises(BadOption):
            make(bad)
