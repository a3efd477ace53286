"""Ids: UUIDv7 that sort by age, monotone also when the clock steps back, the same for the same seed; the caller's own are checked."""

from __future__ import annotations

import random
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.core.errors import BadOption
from actors.core.ids import IdMaker, check_id

instants = st.integers(0, (2**48 - 1) * 1000)


@given(st.integers(), st.lists(instants, min_size=1, max_size=50))
def test_ids_are_uuid_7_and_only_grow_whatever_the_clock_does(seed: int, times: list[int]):
    maker = IdMaker(random.Random(seed))
    ids = [maker.make(now) for now in times]
    assert ids == sorted(ids) and len(set(ids)) == len(ids)
    newest = 0
    for now, text in zip(times, ids, strict=True):
        newest = max(newest, now // 1000)
        parsed = uuid.UUID(text)
        assert str(parsed) == text == check_id(text)
        assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
        assert parsed.int >> 80 == newest


@given(st.integers())
def test_the_same_seed_and_clock_give_the_same_ids(seed: int):
    one, two = IdMaker(random.Random(seed)), IdMaker(random.Random(seed))
    assert [one.make(n // 3 * 1000) for n in range(30)] == [two.make(n // 3 * 1000) for n in range(30)]


def test_a_hundred_thousand_ids_of_one_millisecond_stay_in_it():
    maker = IdMaker(random.Random(1))
    ids = [maker.make(1_700_000_000_000_000) for _ in range(100_000)]
    assert ids == sorted(ids) and len(set(ids)) == 100_000
    assert {id[:13] for id in ids} == {ids[0][:13]}


def test_the_next_id_can_not_be_guessed():
    maker = IdMaker(random.Random(1))
    ids = [uuid.UUID(maker.make(0)).int & (2**62 - 1) for _ in range(1_000)]
    assert len({late - early for early, late in zip(ids, ids[1:], strict=False)}) > 990


@pytest.mark.parametrize("good", ["a", "order-17", "A.b_c:d@e+f", "0" * 128, "01a201c5-2422-70d8-899e-cc2eeeef26bd"])
def test_an_own_id_may_be(good: str):
    assert check_id(good) == good


@pytest.mark.parametrize(
    "bad", ["", "-a", ".a", "a b", "a/b", "a\n", "ä", "\ud800", "a\0", "x" * 129, "٣", None, 5, b"a", ["a"]]
)
def test_an_own_id_may_not_be(bad: Any):
    with pytest.raises(BadOption, match="1 to 128 letters"):
        check_id(bad)
