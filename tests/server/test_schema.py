"""The schema that a type shows accepts exactly what its codec accepts."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Annotated, Any, Literal, NewType, Optional, Union
from uuid import UUID

import attrs
import jsonschema
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

import actors
from actors.server.schema import payload_schema


class Colour(enum.Enum):
    RED = "red"
    ONE = 1


@attrs.frozen
class Leaf:
    n: int
    label: str = "x"


@attrs.frozen
class Tree:
    leaf: Leaf
    children: list[Tree] = attrs.Factory(list)
    computed: int = attrs.field(init=False, default=0)


@attrs.frozen
class Bounded:
    low: int = attrs.field(validator=attrs.validators.ge(3))
    between: float = attrs.field(validator=[attrs.validators.gt(0), attrs.validators.lt(1)], default=0.5)
    word: str = attrs.field(validator=attrs.validators.in_(["a", "b"]), default="a")
    short: str = attrs.field(
        validator=attrs.validators.and_(attrs.validators.max_len(3), attrs.validators.min_len(1)), default="x"
    )
    few: list[int] = attrs.field(validator=attrs.validators.max_len(2), factory=list)


KINDS: list[Any] = [
    Any,
    object,
    bool,
    int,
    float,
    str,
    None | int,
    datetime,
    date,
    UUID,
    Colour,
    Literal["a", 1, True, None],
    list[int],
    list,
    Sequence[str],
    tuple[int, str],
    tuple[int, ...],
    tuple,
    set[int],
    frozenset[str],
    set[Any],
    dict[str, int],
    dict,
    Mapping[str, list[bool]],
    Optional[str],  # noqa: UP045
    Union[int, str, None],  # noqa: UP007
    int | list[str],
    Annotated[int, "metres"],
    Leaf,
    Tree,
    list[Leaf | None],
    Bounded,
    dict[str, Tree],
    float | bool,
]

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-2, 5),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
    st.sampled_from(
        ["red", "a", "b", "x", "", "label", "2026-01-01", "2026-W01-1", "20260101T000000Z", "urn:" + "a" * 32]
    ),
    st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))])).map(datetime.isoformat),
    st.datetimes().map(datetime.isoformat),
    st.dates().map(date.isoformat),
    st.uuids().map(str),
)
names = st.sampled_from(["x", "n", "label", "leaf", "children", "low", "word", "few", "between", "computed", "zz"])
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=3)),
    max_leaves=8,
)
numbers = st.integers(-(2**63), 2**63 - 1)
leaves = st.fixed_dictionaries({"n": numbers}, optional={"label": st.text(max_size=2)})
trees = st.recursive(
    st.fixed_dictionaries({"leaf": leaves}),
    lambda inner: st.fixed_dictionaries({"leaf": leaves}, optional={"children": st.lists(inner, max_size=2)}),
    max_leaves=4,
)
bounded = st.fixed_dictionaries(
    {"low": st.integers(0, 6)},
    optional={
        "between": st.floats(-1, 2),
        "word": st.sampled_from("abc"),
        "short": st.text(max_size=5),
        "few": st.lists(numbers, max_size=4),
    },
)
FORMATS = jsonschema.FormatChecker(formats=())


@FORMATS.checks("date-time", raises=ValueError)
def _is_time(given: object) -> bool:
    return not isinstance(given, str) or datetime.fromisoformat(given) is not None


@FORMATS.checks("date", raises=ValueError)
def _is_date(given: object) -> bool:
    return not isinstance(given, str) or date.fromisoformat(given) is not None


def _registered(kind: Any) -> actors.Registry:
    made = actors.Registry()
    body = attrs.make_class("Body", {"x": attrs.field(type=kind)})

    async def execute(self: Any, ctx: actors.JobContext) -> None: ...

    body.execute = execute  # type: ignore[attr-defined]
    made.job(type="t")(body)
    return made


REGISTRIES = [_registered(kind) for kind in KINDS]
VALIDATORS = [
    jsonschema.Draft202012Validator(payload_schema(registry["t"]), format_checker=FORMATS) for registry in REGISTRIES
]


def _is_read_otherwise(given: Any) -> bool:
    """Whether there is a whole float in it (JSON Schema calls 5.0 an integer, and equal to 5; the codec does not), or a
    NUL, which no JSON has that is read here, whatever its schema."""
    match given:
        case float():
            return math.isfinite(given) and given == int(given)
        case str():
            return "\0" in given
        case list():
            return any(map(_is_read_otherwise, given))
        case dict():
            return any(map(_is_read_otherwise, given.values()))
        case _:
            return False


def _accepts(registry: actors.Registry, fields: Any) -> bool:
    try:
        registry["t"].encode(registry.from_json("t", fields))
    except actors.BadPayload:
        return False
    return True


@settings(max_examples=600, deadline=None)
@given(
    which=st.integers(0, len(KINDS) - 1),
    value=values | trees | bounded | leaves,
    extra=st.booleans(),
    there=st.integers(0, 9),
)
@example(which=KINDS.index(datetime), value="2026-01-01T00:00Z", extra=False, there=1)
@example(which=KINDS.index(datetime), value="2026-02-30T00:00:00Z", extra=False, there=1)
@example(which=KINDS.index(date), value="2026-W01-1", extra=False, there=1)
@example(which=KINDS.index(UUID), value="urn:" + "a" * 32, extra=False, there=1)
@example(which=KINDS.index(UUID), value="1_2a4567-0000-0000-0000-00000000000a", extra=False, there=1)
@example(which=KINDS.index(Tree), value={"leaf": {"n": 1}, "computed": 0}, extra=False, there=1)
@example(which=KINDS.index(set[Any]), value=[[1]], extra=False, there=1)
def test_the_schema_accepts_exactly_what_the_codec_accepts(which: int, value: Any, extra: bool, there: int) -> None:
    assume(not _is_read_otherwise(value))
    fields = {**({"x": value} if there else {}), **({"y": 1} if extra else {})}
    assert VALIDATORS[which].is_valid(fields) == _accepts(REGISTRIES[which], fields), (KINDS[which], fields)


def test_every_kind_accepts_something() -> None:
    """The property above is empty for a kind whose schema and codec refuse everything."""
    samples: list[Any] = [
        True,
        1,
        0.5,
        "s",
        None,
        "2026-01-01T00:00:00Z",
        "2026-01-01",
        "0" * 8 + "-0000-0000-0000-" + "0" * 12,
    ]
    samples += ["red", [1], ["s"], [1, "s"], {"k": 1}, {"k": [True]}, {"n": 1}, {"leaf": {"n": 1}}, {"low": 3}]
    samples += [{"k": {"leaf": {"n": 1}}}, [{"n": 1}, None]]
    for kind, registry, validator in zip(KINDS, REGISTRIES, VALIDATORS, strict=True):
        accepted = [sample for sample in samples if _accepts(registry, {"x": sample})]
        assert accepted, kind
        assert all(validator.is_valid({"x": sample}) for sample in accepted), kind


def test_a_function_type_shows_its_parameters() -> None:
    jobs = actors.Registry()

    @jobs.job()
    async def greet(
        ctx: actors.JobContext, name: str, *, loud: bool = False, tags: list[str] | None = None
    ) -> None: ...

    assert payload_schema(jobs["greet"]) == {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "loud": {"type": "boolean", "default": False},
            "tags": {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}], "default": None},
        },
        "required": ["name"],
        "additionalProperties": False,
    }


def test_what_a_hook_reads_is_known_to_the_hook_only() -> None:
    Url = NewType("Url", str)
    jobs = actors.Registry()
    jobs.hook(Url, structure=lambda given: Url(given), unstructure=str)
    jobs.hook(complex, structure=lambda given: complex(*given), unstructure=lambda given: [given.real, given.imag])
    body = attrs.make_class("Body", {"url": attrs.field(type=Url), "z": attrs.field(type=complex)})

    async def execute(self: Any, ctx: actors.JobContext) -> None: ...

    body.execute = execute  # type: ignore[attr-defined]
    jobs.job(type="t")(body)
    assert payload_schema(jobs["t"])["properties"] == {"url": {"type": "string"}, "z": {}}
