"""Unique keys: one per type, owner and key; equal payloads are equal keys."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.core.errors import BadOption
from actors.core.job import STATES, UNFINISHED
from actors.core.unique import Unique

words = st.text(min_size=1, max_size=8)


@given(st.tuples(words, st.none() | words, words), st.tuples(words, st.none() | words, words))
def test_two_keys_are_equal_exactly_when_type_owner_and_key_are(one: tuple[Any, ...], two: tuple[Any, ...]):
    def full(type: str, owner: str | None, key: str) -> str | None:
        try:
            return Unique(key=key).full_key("t" + type.replace(" ", ""), owner, None, "{}")
        except BadOption:
            return None

    left, right = full(*one), full(*two)
    if left is None or right is None:
        return
    same = ("t" + one[0].replace(" ", ""), *one[1:]) == ("t" + two[0].replace(" ", ""), *two[1:])
    assert (left == right) == same


def test_no_owner_is_not_the_owner_of_no_name_and_words_do_not_run_together():
    keys = {
        Unique(key=key).full_key("work", owner, None, "{}")
        for owner, key in [
            (None, "a b"),
            ("a", "b"),
            (None, "a"),
            ("None", "a"),
            ("a b", "c"),
            ("a", "b c"),
            (None, "c"),
            ("", "c"),
        ]
        if owner != ""
    }
    assert len(keys) == 7


def test_without_a_key_it_is_the_whole_payload():
    unique = Unique()
    assert unique.full_key("work", None, None, '{"a":1}') == unique.full_key("work", None, None, '{"a":1}')
    assert unique.full_key("work", None, None, '{"a":1}') != unique.full_key("work", None, None, '{"a":2}')
    assert Unique(key=lambda payload: payload["a"]).full_key("work", None, {"a": "x"}, "{}") == Unique(
        key="x"
    ).full_key("work", None, None, "{}")


def test_which_states_hold_a_key():
    assert Unique().holding_states() == UNFINISHED
    assert Unique(within=5).holding_states() == set(STATES)
    assert Unique(within=5, states={"running"}).holding_states() == {"running"}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "bad",
    [
        {"key": ""}, {"key": "x" * 201}, {"key": 5}, {"key": "\ud800"}, {"key": "a\0"}, {"within": -1}, {"within": math.nan}, {"within": "5"}, {"within": True},
        {"states": ["failed"]}, {"states": [5]}, {"states": "running"}, {"on_conflict": "ignore"}, {"on_conflict": None},
    ],
    ids=repr,
)  # fmt: skip
def test_what_can_not_be_is_refused(bad: dict[str, Any]):
    with pytest.raises(BadOption):
        Unique(**bad)
