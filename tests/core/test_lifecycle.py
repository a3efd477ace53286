"""THE transition table: what is absent raises and names job, state and verb; each step changes what it must and nothing else."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.core.errors import WrongState
from actors.core.events import NAMES
from actors.core.job import FINAL, NO_DETAILS, STATES, STATUS, UNFINISHED, JobRecord, JobSpec, Standing, State
from actors.core.lifecycle import (
    CRASHES,
    FAILURES,
    PROMOTION,
    STEPS,
    TRANSITIONS,
    VERBS,
    Bulk,
    Step,
    advance,
    bulk_claim,
    complete,
)

numbers = st.integers(0, 2**62)
SPEC = JobSpec("job-17", "work", "{}", "default", 1, 0, 3, None, 0, None, NO_DETAILS)


def standings(state: State) -> st.SearchStrategy[Standing]:
    return st.builds(
        Standing,
        seq=numbers,
        state=st.just(state),
        version=st.integers(1, 2**31),
        attempt=st.integers(0, 1_000),
        runs=st.integers(0, 2**31),
        crashes=st.integers(0, 10),
        run_at=numbers,
        started_at=st.none() | numbers,
        finished_at=numbers if state in FINAL else st.none(),
        holder=st.just("holder") if state == "running" else st.none(),
    )


any_standing = st.sampled_from(STATES).flatmap(standings)
legal = [(step, state) for step in STEPS for state in TRANSITIONS[step]]
illegal = [(step, state) for step in STEPS for state in STATES if state not in TRANSITIONS[step]]


@pytest.mark.parametrize(("step", "state"), illegal)
def test_what_is_absent_is_illegal_and_names_job_state_and_verb(step: Step, state: State):
    standing = Standing(1, state, 4, 1, 1, 0, 5, 5, None, None)
    with pytest.raises(WrongState, match=rf"^job job-17 is {state}: it cannot {VERBS[step]}$") as wrong:
        advance(JobRecord(SPEC, standing), step, 10)
    assert (wrong.value.id, wrong.value.state, wrong.value.verb) == ("job-17", state, VERBS[step])
    assert standing == Standing(1, state, 4, 1, 1, 0, 5, 5, None, None)


@given(
    st.sampled_from(legal).flatmap(lambda pair: st.tuples(st.just(pair[0]), standings(pair[1]))),
    numbers,
    st.none() | numbers,
)
def test_each_step_sets_what_it_must_and_nothing_else(pair: tuple[Step, Standing], now: int, run_at: int | None):
    step, old = pair
    before = attrs.evolve(old)
    new = advance(
        JobRecord(SPEC, old),
        step,
        now,
        run_at=run_at if step in ("retry", "snooze", "promote") else None,
        holder="me" if step == "claim" else None,
    )
    assert old == before and new is not old
    assert new.seq == old.seq
    assert new.state == TRANSITIONS[step][old.state]
    assert new.version == old.version + 1
    assert new.attempt == (0 if step == "replay" else old.attempt + (step in FAILURES))
    assert new.runs == old.runs + (step == "claim")
    assert new.crashes == (0 if step == "replay" else old.crashes + (step in CRASHES))
    assert new.holder == ("me" if step == "claim" else None)
    assert (new.finished_at is not None) == (new.state in FINAL)
    if new.state in FINAL:
        assert new.finished_at == now
    if step == "claim":
        assert new.started_at == now
    elif step == "replay":
        assert new.started_at is None
    else:
        assert new.started_at == old.started_at
    match step:
        case "retry" | "snooze" | "promote" if run_at is not None:
            assert new.run_at == run_at
        case "replay":
            assert new.run_at == now
        case _:
            assert new.run_at == old.run_at


def apply(bulk: Bulk, old: Standing) -> Standing:
    """What a store does to a row."""
    assert old.state == bulk.source
    return attrs.evolve(old, **dict(bulk.sets), **{name: getattr(old, name) + more for name, more in bulk.adds.items()})


@given(standings("pending"), numbers)
def test_a_bulk_claim_equals_advance_field_by_field(old: Standing, now: int):
    assert apply(bulk_claim(now, "me"), old) == advance(JobRecord(SPEC, old), "claim", now, holder="me")
    assert TRANSITIONS["claim"] == {bulk_claim(now, "me").source: bulk_claim(now, "me").target}


@given(standings("running"), numbers)
def test_a_completion_equals_advance_field_by_field(old: Standing, now: int):
    assert complete(JobRecord(SPEC, old), now) == advance(JobRecord(SPEC, old), "complete", now)


@pytest.mark.parametrize("state", sorted(set(STATES) - set(TRANSITIONS["complete"])))
def test_only_what_advance_completes_is_completed(state: State):
    job = JobRecord(SPEC, Standing(1, state, 2, 0, 1, 0, 0, None, None, None))
    for step in (lambda: complete(job, 10), lambda: advance(job, "complete", 10)):
        with pytest.raises(WrongState, match=f"{state}.*complete"):
            step()


@given(standings("scheduled"), numbers)
def test_a_promotion_equals_advance_field_by_field(old: Standing, now: int):
    assert apply(PROMOTION, old) == advance(JobRecord(SPEC, old), "promote", now)
    assert TRANSITIONS["promote"] == {PROMOTION.source: PROMOTION.target}


@given(any_standing, st.lists(st.sampled_from(STEPS), max_size=40), numbers)
def test_along_any_path_versions_grow_and_runs_never_fall(standing: Standing, steps: list[Step], now: int):
    for step in steps:
        try:
            new = advance(JobRecord(SPEC, standing), step, now, holder="me" if step == "claim" else None)
        except WrongState:
            assert standing.state not in TRANSITIONS[step]
            continue
        assert new.version == standing.version + 1 and new.runs >= standing.runs
        assert (new.holder is not None) == (new.state == "running")
        standing = new


def test_which_steps_cost_an_attempt_and_which_count_a_dead_process():
    assert {"retry", "bury"} == FAILURES and {"lose", "quarantine"} == CRASHES


def test_the_table_is_whole():
    assert set(TRANSITIONS) == set(STEPS) == set(VERBS)
    assert set(NAMES) == set(STEPS)
    assert set(STATES) == UNFINISHED | FINAL and not UNFINISHED & FINAL
    assert set(STATUS) == set(STATES)
    reached = {state for moves in TRANSITIONS.values() for state in moves.values()}
    assert reached == set(STATES)
    for state in FINAL:  # completed stays completed
        assert {step for step in STEPS if state in TRANSITIONS[step]} == (set() if state == "completed" else {"replay"})
    assert {step for step in STEPS if "running" in TRANSITIONS[step].values()} == {"claim"}
