"""Payloads to JSON and back: what is encoded decodes to an equal value, nothing is coerced, every wrong field is named at once."""

from __future__ import annotations

import enum
import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Annotated, Any, Literal
from uuid import UUID

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.core import strict_json
from actors.core.errors import BadPayload
from actors.core.registry import Registry


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@attrs.frozen
class Leaf:
    name: str
    size: int = 0
    weight: float = 1.0
    flags: frozenset[str] = frozenset()


@attrs.frozen
class Tree:
    leaf: Leaf
    leaves: list[Leaf] = attrs.Factory(list)
    by_name: dict[str, Leaf] = attrs.Factory(dict)
    child: Tree | None = None
    pair: tuple[int, str] = (0, "")
    row: tuple[float, ...] = ()
    marks: set[int] = attrs.Factory(set)
    color: Color = Color.RED
    level: Level = Level.LOW
    when: datetime | None = None
    day: date = date(2026, 1, 1)
    id: UUID = UUID(int=0)
    mode: Literal["a", "b", 3, True] = "a"
    either: int | str | None = None
    several: list[int | Leaf] = attrs.Factory(list)
    anything: Any = None
    read_only: Sequence[bool] = attrs.Factory(list)
    table: Mapping[str, list[int]] = attrs.Factory(dict)
    short: Annotated[str, "no longer than a line"] = ""

    async def execute(self, ctx: object) -> None: ...


jobs = Registry()
jobs.job(type="tree")(Tree)
DEFINITION = jobs["tree"]

text = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12)
integers = st.integers(-(2**63), 2**63 - 1)
floats = st.floats(allow_nan=False, allow_infinity=False)
zones = st.builds(lambda minutes: timezone(timedelta(minutes=minutes)), st.integers(-1439, 1439))
json_values = st.recursive(
    st.none() | st.booleans() | integers | floats | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
leaves = st.builds(Leaf, name=text, size=integers, weight=floats, flags=st.frozensets(text, max_size=3))
trees = st.recursive(
    st.none(),
    lambda inner: st.builds(
        Tree,
        leaf=leaves,
        leaves=st.lists(leaves, max_size=2),
        by_name=st.dictionaries(text, leaves, max_size=2),
        child=inner,
        pair=st.tuples(integers, text),
        row=st.lists(floats, max_size=3).map(tuple),
        marks=st.sets(integers, max_size=3),
        color=st.sampled_from(Color),
        level=st.sampled_from(Level),
        when=st.none() | st.datetimes(min_value=datetime(1, 1, 3), max_value=datetime(9999, 12, 28), timezones=zones),
        day=st.dates(),
        id=st.uuids(),
        mode=st.sampled_from(["a", "b", 3, True]),
        either=st.none() | integers | text,
        several=st.lists(integers | leaves, max_size=3),
        anything=json_values,
        read_only=st.lists(st.booleans(), max_size=3),
        table=st.dictionaries(text, st.lists(integers, max_size=2), max_size=2),
        short=text,
    ),
    max_leaves=3,
).filter(lambda tree: tree is not None)


@settings(max_examples=150)
@given(trees)
def test_what_is_encoded_decodes_to_an_equal_value(tree: Tree):
    encoded = DEFINITION.encode(tree)
    decoded = DEFINITION.decode(encoded)
    assert decoded == tree
    assert type(decoded.mode) is type(tree.mode) and type(decoded.either) is type(tree.either)
    assert DEFINITION.encode(decoded) == encoded  # equal payloads are equal texts: unique keys hash them
    assert strict_json.loads(encoded) == json.loads(encoded)


@given(json_values)
def test_json_values_survive_and_keep_their_types(value: Any):
    again = strict_json.loads(strict_json.dumps(value))
    assert again == value and repr(again) == repr(value)


WRONG = {
    "leaf": [None, 5, "x", [], {}, {"name": 5}, {"name": "a", "size": True}, {"name": "a", "size": "5"}, {"name": "a", "size": 5.0}, {"name": "a", "size": 5.9}, {"name": "a", "nome": 1}],
    "leaves": [{}, "abc", [5], [None], [[{"name": "a"}]], 5, None],
    "by_name": [[], "x", {"a": 5}, [["a", {"name": "a"}]]],
    "child": [5, {}, [], False],
    "pair": [[1], [1, "a", 2], ["a", 1], "1a", {"0": 1, "1": "a"}, None],
    "row": ["12", 5, ["1"], [True], {"0": 1.0}],
    "marks": ["12", {}, ["1"], [1.0], [True]],
    "color": ["RED", "green", 1, None, ["red"], True],
    "level": ["1", 3, True, 1.0, None],
    "when": ["2026-01-01T00:00:00", "2026-01-01", "yesterday", 5, True, "T", "2026-13-01T00:00:00Z", ["2026-01-01T00:00:00Z"]],
    "day": ["2026-01-01T00:00:00Z", "2026-02-30", 20260101, None, ""],
    "id": ["x", "0" * 32, 5, None, "{00000000-0000-0000-0000-000000000000}", "urn:uuid:00000000-0000-0000-0000-000"],
    "mode": ["c", 1, 3.0, False, None, "A"],
    "either": [1.5, True, [], {}],
    "several": [["a"], [None], [1.0], [{"nome": "x"}]],
    "read_only": [[0], [1], ["true"], "tf", {}],
    "table": [{"a": 1}, {"a": "12"}, [["a", []]], {"a": [True]}],
    "short": [5, None, ["a"], True, 1.0],
}  # fmt: skip


@pytest.mark.parametrize("field", WRONG)
def test_nothing_is_coerced(field: str):
    for wrong in WRONG[field]:
        with pytest.raises(BadPayload) as bad:
            DEFINITION.from_fields({"leaf": {"name": "a"}, field: wrong})
            pytest.fail(f"{field} = {wrong!r} was accepted")
        assert [path.split(".")[0].split("[")[0] for path, _ in bad.value.problems] == [field] * len(bad.value.problems)
        assert all(problem and len(problem) < 400 for _, problem in bad.value.problems)


@given(st.lists(st.sampled_from(sorted(WRONG)), min_size=1, max_size=8, unique=True), st.data())
def test_every_wrong_field_is_named_at_once(fields: list[str], data: st.DataObject):
    given_fields: dict[str, Any] = {"leaf": {"name": "a"}}
    for field in fields:
        given_fields[field] = data.draw(st.sampled_from(WRONG[field]))
    with pytest.raises(BadPayload) as bad:
        DEFINITION.from_fields(given_fields)
    assert {path.split(".")[0].split("[")[0] for path, _ in bad.value.problems} == set(fields)
    for field in fields:
        assert field in str(bad.value)


def test_paths_lead_to_the_place():
    with pytest.raises(BadPayload) as bad:
        DEFINITION.from_fields(
            {
                "leaf": {"name": 1, "size": "x"},
                "leaves": [{"name": "a"}, {"name": 2}],
                "by_name": {"k": {"name": 3}},
                "child": {"leaf": {}},
                "pair": [1, 2],
                "more": 1,
            }
        )
    assert dict(bad.value.problems) == {
        "leaf.name": "expected a string, not an integer (1)",
        "leaf.size": "expected an integer, not a string ('x')",
        "leaves[1].name": "expected a string, not an integer (2)",
        "by_name.k.name": "expected a string, not an integer (3)",
        "child.leaf.name": "required, but missing",
        "pair[1]": "expected a string, not an integer (2)",
        "more": "unknown field",
    }


@pytest.mark.parametrize(
    "fields",
    [
        {"x" * 100_000: 1}, {"leaf": {"name": "a"}, "when": "T" * 100_000}, {"leaf": {"name": "a"}, "id": "x" * 36}, {"leaf": "y" * 100_000},
        {"leaf": {"name": "a"}, "by_name": {"k" * 100_000: 5}}, {f"field {n}": 1 for n in range(10_000)}, {"leaf": {"name": "a"}, "leaves": [5] * 10_000},
        {"leaf": {"name": "a"}, "mode": "z" * 100_000}, {"\ud800": 1}, {"leaf": {"name": "a"}, "either": "a", "several": ["q" * 100_000]},
    ],
)  # fmt: skip
def test_an_error_repeats_little_of_a_huge_input(fields: dict[str, Any]):
    with pytest.raises(BadPayload) as bad:
        DEFINITION.from_fields(fields)
    assert all(len(path) <= 300 and len(problem) <= 400 for path, problem in bad.value.problems)
    assert len(bad.value.problems) <= 101
    str(bad.value).encode()  # an error can be printed and sent


def test_what_is_no_object_is_no_payload():
    for fields in (None, 5, "x", [], [["leaf", {}]], True):
        with pytest.raises(BadPayload):
            DEFINITION.from_fields(fields)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"anything": math.nan}, "nan"), ({"anything": [math.inf]}, "inf"), ({"anything": 2**63}, "64 bits"), ({"anything": {"a": "\ud800"}}, "surrogate"),
        ({"anything": "\0"}, "NUL"), ({"anything": {1: 2}}, "not a string"), ({"anything": object()}, "object"), ({"anything": b"x"}, "bytes"),
        ({"leaf": Leaf("\ud800")}, "surrogate"), ({"leaf": Leaf("a", size=2**63)}, "64 bits"), ({"leaf": Leaf("a", weight=math.nan)}, "nan"),
        ({"leaf": Leaf("a", size=True)}, "integer"), ({"leaf": Leaf("a", size="5")}, "integer"), ({"leaf": Leaf(5)}, "string"), ({"leaf": {"name": "a"}}, "leaf"),
        ({"when": datetime(2026, 1, 1)}, "zone"), ({"mode": "c"}, "expected one of"), ({"leaves": "abc"}, "list"), ({"marks": [1]}, "set"),
        ({"table": [("a", [])]}, "object"), ({"color": "red"}, "color"), ({"either": 1.5}, "either"), ({"id": "x"}, "id"), ({"day": "2026-01-01"}, "day"),
    ],
)  # fmt: skip
def test_an_object_that_a_run_would_refuse_is_refused_at_the_enqueue(change: dict[str, Any], says: str):
    tree = attrs.evolve(Tree(leaf=Leaf("a")), **change)
    with pytest.raises(BadPayload) as bad:
        DEFINITION.encode(tree)
    assert says in str(bad.value)
    assert [path.split(".")[0].split("[")[0] for path, _ in bad.value.problems] == list(change)


def test_an_integer_is_a_number_but_a_number_is_no_integer():
    leaf = DEFINITION.from_fields({"leaf": {"name": "a", "weight": 5}}).leaf
    assert leaf.weight == 5.0 and type(leaf.weight) is float


def test_times_keep_their_instant_and_offset():
    when = datetime(2026, 3, 29, 2, 30, tzinfo=timezone(timedelta(hours=2)))
    decoded = DEFINITION.decode(DEFINITION.encode(Tree(leaf=Leaf("a"), when=when))).when
    assert decoded == when and decoded.utcoffset() == timedelta(hours=2)
    assert DEFINITION.from_fields({"leaf": {"name": "a"}, "when": "2026-01-01T00:00:00Z"}).when == datetime(
        2026, 1, 1, tzinfo=UTC
    )


def test_sets_are_written_in_a_steady_order():
    flags = [f"flag {n}" for n in range(50)]
    texts = {
        DEFINITION.encode(Tree(leaf=Leaf("a", flags=frozenset(order))))
        for order in (flags, flags[::-1], flags[25:] + flags[:25])
    }
    assert len(texts) == 1


def test_hooks_teach_a_type_of_the_users():
    class Money:
        def __init__(self, cents: int) -> None:
            self.cents = cents

    def structure(given: Any) -> Money:
        if type(given) is not str or not given.endswith(" EUR"):
            raise ValueError("expected an amount in EUR")
        return Money(round(float(given[:-4]) * 100))

    taught = Registry()
    taught.hook(Money, structure=structure, unstructure=lambda money: f"{money.cents / 100:.2f} EUR")

    async def pay(amount, more) -> None: ...

    pay.__annotations__ = {"amount": Money, "more": list[Money]}
    job = taught.job()(pay)
    text = taught["pay"].encode(job(Money(150), [Money(1)]).payload)
    assert text == '{"amount":"1.50 EUR","more":["0.01 EUR"]}'
    assert taught["pay"].decode(text).more[0].cents == 1
    with pytest.raises(BadPayload, match=r"amount: expected an amount in EUR; more\[0\]: expected an amount"):
        taught.from_json("pay", {"amount": 5, "more": ["1 USD"]})


def test_a_payload_class_that_checks_itself_speaks_for_itself():
    checked = Registry()

    @checked.job()
    @attrs.frozen
    class Mail:
        to: str = attrs.field()

        @to.validator
        def _check(self, attribute: Any, value: str) -> None:
            if "@" not in value:
                raise ValueError("expected an address")

        async def execute(self, ctx: object) -> None: ...

    with pytest.raises(BadPayload, match="expected an address"):
        checked.from_json("Mail", {"to": "nobody"})


# Strict JSON


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"a": NaN}', "NaN"), ("[Infinity]", "Infinity"), ("-Infinity", "Infinity"), ("1e400", "out of range"), ("-1e400", "out of range"),
        ('{"a": 1, "a": 2}', "duplicate key 'a'"), ('{"x": {"a": 1, "b": 2, "a": 1}}', "duplicate"), ('"\\ud800"', "surrogate"), ('{"\\udfff": 1}', "surrogate"),
        ('"\\u0000"', "NUL"), ("9223372036854775808", "64 bits"), ("-9223372036854775809", "64 bits"), ("9" * 5_000, "64 bits"), ("[" * 33 + "]" * 33, "32"),
        ("[" * 100_000, "32"), ('{"a":' * 33 + "1" + "}" * 33, "32"), ("", "not JSON"), ("{", "not JSON"), ("[1,]", "not JSON"), ("{'a': 1}", "not JSON"),
        ("01", "not JSON"), ("nul", "not JSON"), ("1 2", "not JSON"), (b"\xff", "UTF-8"), (b'"\xed\xa0\x80"', "surrogate"), ("\ufeff{}", "not JSON"),
    ],
    ids=lambda given: repr(given)[:20],
)  # fmt: skip
def test_what_is_not_strict_json_is_refused_with_the_reason(text: str | bytes, says: str):
    with pytest.raises(strict_json.NotJSON, match=says) as bad:
        strict_json.loads(text)
    assert len(str(bad.value)) <= 200


def test_thirty_two_levels_are_enough_for_anyone():
    text = "[" * 32 + "]" * 32
    assert strict_json.dumps(strict_json.loads(text)) == text
    assert strict_json.loads("9223372036854775807") == 2**63 - 1


@given(st.text(max_size=30) | st.binary(max_size=30))
def test_any_text_is_read_or_refused(text: str | bytes):
    try:
        value = strict_json.loads(text)
    except strict_json.NotJSON:
        return
    strict_json.check_json(value)


def test_a_subclass_is_not_the_value_it_looks_like():
    for value in (type("Text", (str,), {})("a"), Level.LOW, type("Table", (dict,), {})(a=1), Color.RED):
        with pytest.raises(strict_json.NotJSON):
            strict_json.dumps(value)
