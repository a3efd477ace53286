"""Payloads and results to JSON and back, strictly: wrong types are refused, never coerced; unknown fields are refused.

cattrs is lenient by default ("false" becomes True, 5.9 becomes 5, a list becomes a str), so every hook that could
coerce is replaced. cattrs is imported on first use: it is the dearest import of the package.
"""

from __future__ import annotations

import enum
import re
import types
import typing
from collections.abc import (
    Callable,
    Iterable,
    Mapping,
    MutableMapping,
    MutableSequence,
    Sequence,
)
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, Union, get_args, get_origin
from uuid import UUID

import attrs

from actors.core.errors import BadPayload, quote

if TYPE_CHECKING:
    from cattrs import BaseConverter, Converter

_SCALARS: Final[tuple[Any, ...]] = (bool, int, float, str, datetime, date, UUID)
_LISTS: Final[tuple[Any, ...]] = (list, Sequence, MutableSequence, Iterable)
_SETS: Final[tuple[Any, ...]] = (set, frozenset)
_DICTS: Final[tuple[Any, ...]] = (dict, Mapping, MutableMapping)

# RFC 3339 and RFC 9562: what Python reads beyond them (week dates, urn:uuid:) the next reader may not, and no schema
# can say
_TIME: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})", re.ASCII)
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)


# Which types a payload may have


def unsupported(given: Any, known: Callable[[Any], bool], seen: frozenset[Any] = frozenset()) -> str | None:
    """Why a field of type `given` can't be turned into JSON and back, or None when it can; `known` are types with hooks
    of the user's.
    """
    if given in (Any, None, types.NoneType, object) or given in _SCALARS or _hashed(given) in seen or known(given):
        return None
    origin, arguments = get_origin(given), get_args(given)
    if origin is typing.Annotated:
        return unsupported(arguments[0], known, seen)
    if _is_literal(given):
        bad = [member for member in arguments if not isinstance(member, (str, int, bool, types.NoneType))]
        return f"Literal[{bad[0]!r}] is not JSON" if bad else None
    if _is_union(given) or (origin or given) in _LISTS or (origin or given) in _SETS:
        members = arguments
    elif (origin or given) is tuple:
        members = tuple(member for member in arguments if member is not Ellipsis)
    elif (origin or given) in _DICTS:
        if arguments and arguments[0] is not str:
            return f"{given} has keys that are no strings: JSON has none"
        members = arguments[1:]
    elif isinstance(given, type) and issubclass(given, enum.Enum):
        bad = [member for member in given if not isinstance(member.value, (str, int))]
        return f"{given.__qualname__}.{bad[0].name} has a value that is not JSON" if bad else None
    elif isinstance(given, type) and attrs.has(given):
        attrs.resolve_types(given)
        for field in attrs.fields(given):
            if (why := unsupported(field.type, known, seen | {given})) is not None:
                return f"{given.__qualname__}.{field.name}: {why}"
        return None
    else:
        return f"{getattr(given, '__qualname__', given)} can't be turned into JSON"
    for member in members:
        if (why := unsupported(member, known, seen)) is not None:
            return why
    return None


def _hashed(given: Any) -> Any:
    try:
        hash(given)
    except TypeError:
        return None
    return given


# The strict converter


def make_converter(*, explain: bool) -> Converter:
    """A converter with strict hooks. With `explain` it gathers every wrong field (slower); without, it stops at the
    first.
    """
    import cattrs

    converter = cattrs.Converter(
        forbid_extra_keys=True,
        detailed_validation=explain,
        unstruct_collection_overrides={set: _in_order, frozenset: _in_order},
    )
    converter.register_structure_hook_func(lambda given: given is object, lambda value, _: value)
    for kind, expected in ((bool, "a boolean"), (int, "an integer"), (str, "a string")):
        converter.register_structure_hook(kind, _exactly(kind, expected))
    converter.register_structure_hook(float, _number)
    converter.register_structure_hook(types.NoneType, _null)
    converter.register_structure_hook(datetime, _datetime)
    converter.register_structure_hook(date, _date)
    converter.register_structure_hook(UUID, _uuid)
    converter.register_unstructure_hook(datetime, lambda given: given.isoformat())
    converter.register_unstructure_hook(date, lambda given: given.isoformat())
    converter.register_unstructure_hook(UUID, str)
    converter.register_unstructure_hook_factory(_is_list, _list_out)
    converter.register_unstructure_hook_factory(_is_dict, _dict_out)
    converter.register_structure_hook_func(_is_literal, _literal)
    converter.register_structure_hook_func(_is_enum, _enum)

    def guarded(applies: Callable[[Any], bool], container: type, expected: str) -> None:
        """Refuse what is not of the JSON type `container` before cattrs's own hook would iterate over it."""

        def factory(given: Any, made: BaseConverter) -> Callable[[Any, Any], Any]:
            inner = _inner_hook(made, given)

            def hook(value: Any, _: Any) -> Any:
                if type(value) is not container:
                    raise TypeError(f"expected {expected}, not {_shown(value)}")
                return inner(value, given)

            return hook

        converter.register_structure_hook_factory(applies, factory)

    guarded(_is_list, list, "a list")
    guarded(_is_dict, dict, "an object")
    guarded(lambda given: isinstance(given, type) and attrs.has(given), dict, "an object")
    converter.register_structure_hook_factory(_is_union, _union)
    return converter


def _in_order(members: Iterable[Any]) -> list[Any]:
    """A set as a list that is the same in every process, or equal payloads would not be equal."""
    return sorted(members, key=repr)


def _is_list(given: Any) -> bool:
    kind = get_origin(given) or given
    return kind in _LISTS or kind in _SETS or kind is tuple


def _is_union(given: Any) -> bool:
    origin: Any = get_origin(given)
    return origin is Union or origin is types.UnionType


def _is_literal(given: Any) -> bool:
    origin: Any = get_origin(given)
    return origin is Literal


def _is_enum(given: Any) -> bool:
    return isinstance(given, type) and issubclass(given, enum.Enum)


def _is_dict(given: Any) -> bool:
    return (get_origin(given) or given) in _DICTS


def _inner_hook(made: BaseConverter, given: Any) -> Callable[[Any, Any], Any]:
    """cattrs's own hook for `given`, which the guard that is registered for it would hide."""
    from cattrs.gen import make_dict_structure_fn

    if isinstance(given, type) and attrs.has(given):
        return make_dict_structure_fn(
            given, made, _cattrs_forbid_extra_keys=True, _cattrs_detailed_validation=made.detailed_validation
        )
    kind, arguments = get_origin(given) or given, get_args(given)
    if _is_dict(given):
        return _dict_hook(made, arguments[1] if arguments else Any)
    if kind is tuple:
        return _tuple_hook(made, arguments)
    shape = kind if kind in _SETS else list
    return _list_hook(made, arguments[0] if arguments else Any, shape)


def _list_out(given: Any, made: BaseConverter) -> Callable[[Any], list[Any]]:
    """To a JSON list. A set in a steady order, so that equal payloads are equal texts; a string is no list of
    characters.
    """
    kind, arguments = get_origin(given) or given, get_args(given)
    python = (set, frozenset) if kind in _SETS else (list, tuple)
    each = arguments if kind is tuple and arguments and arguments[-1] is not Ellipsis else None
    member = arguments[0] if arguments else Any

    def hook(value: Any) -> list[Any]:
        if not isinstance(value, python):
            raise TypeError(f"expected {'a set' if kind in _SETS else 'a list'}, not {_shown(value)}")
        if each is not None:
            if len(value) != len(each):
                raise ValueError(f"expected {len(each)} members, not {len(value)}")
            return [_out(made, item, one) for item, one in zip(value, each, strict=True)]
        done = [_out(made, item, member) for item in value]
        return sorted(done, key=repr) if kind in _SETS else done

    return hook


def _dict_out(given: Any, made: BaseConverter) -> Callable[[Any], dict[Any, Any]]:
    """To a JSON object; what is no mapping is none."""
    arguments = get_args(given)
    member = arguments[1] if len(arguments) > 1 else Any

    def hook(value: Any) -> dict[Any, Any]:
        if not isinstance(value, Mapping):
            raise TypeError(f"expected an object, not {_shown(value)}")
        return {key: _out(made, item, member) for key, item in value.items()}

    return hook


def _out(made: BaseConverter, value: Any, kind: Any) -> Any:
    """What is not typed is kept as it is: JSON values, or `strict_json` refuses it."""
    return value if kind is Any or kind is object else made.unstructure(value, unstructure_as=kind)


def _gather(made: BaseConverter, pairs: Iterable[tuple[Any, Any, Any]]) -> list[Any]:
    """Structure (place, value, type) triples; with explain on, raise one group that names every wrong place."""
    from cattrs.errors import IterableValidationError, IterableValidationNote

    done: list[Any] = []
    wrong: list[Exception] = []
    for place, value, kind in pairs:
        try:
            done.append(value if kind is Any or kind is object else made.structure(value, kind))
        except Exception as error:
            if not made.detailed_validation:
                raise
            error.__notes__ = [*getattr(error, "__notes__", []), IterableValidationNote("in a member", place, kind)]
            wrong.append(error)
    if wrong:
        raise IterableValidationError("wrong members", wrong, list)  # pyright: ignore[reportCallIssue]  # cattrs adds one
    return done


def _list_hook(made: BaseConverter, member: Any, shape: Callable[[list[Any]], Any]) -> Callable[[Any, Any], Any]:
    return lambda value, _: shape(_gather(made, ((index, item, member) for index, item in enumerate(value))))


def _tuple_hook(made: BaseConverter, arguments: tuple[Any, ...]) -> Callable[[Any, Any], Any]:
    if not arguments:
        return _list_hook(made, Any, tuple)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return _list_hook(made, arguments[0], tuple)

    def hook(value: Any, _: Any) -> Any:
        if len(value) != len(arguments):
            raise ValueError(f"expected {len(arguments)} members, not {len(value)}")
        return tuple(_gather(made, zip(range(len(value)), value, arguments, strict=True)))

    return hook


def _dict_hook(made: BaseConverter, member: Any) -> Callable[[Any, Any], Any]:
    return lambda value, _: dict(
        zip(value, _gather(made, ((key, item, member) for key, item in value.items())), strict=True)
    )


def _union(given: Any, made: BaseConverter) -> Callable[[Any, Any], Any]:
    arms = get_args(given)
    names = " or ".join(getattr(arm, "__name__", str(arm)) if arm is not types.NoneType else "null" for arm in arms)
    others = [arm for arm in arms if arm is not types.NoneType]

    def hook(value: Any, _: Any) -> Any:
        if value is None and len(others) < len(arms):
            return None
        if len(others) == 1:
            return made.structure(value, others[0])
        for arm in others:
            try:
                return made.structure(value, arm)
            except Exception:  # the arm does not fit; the next one may
                continue
        raise TypeError(f"expected {names}, not {_shown(value)}")

    return hook


def _exactly(kind: type, expected: str) -> Callable[[Any, Any], Any]:
    def hook(value: Any, given: Any) -> Any:
        if _is_enum(given):  # an IntEnum comes here, because it is an int
            return _enum(value, given)
        if type(value) is not kind:
            raise TypeError(f"expected {expected}, not {_shown(value)}")
        return value

    return hook


def _number(value: Any, _: Any) -> float:
    if type(value) is int:
        return float(value)  # JSON has one kind of number
    if type(value) is not float:
        raise TypeError(f"expected a number, not {_shown(value)}")
    return value


def _null(value: Any, _: Any) -> None:
    if value is not None:
        raise TypeError(f"expected null, not {_shown(value)}")


def _datetime(value: Any, _: Any) -> datetime:
    if type(value) is not str or _TIME.fullmatch(value) is None:
        raise ValueError(f"expected an ISO 8601 time with a zone, not {_shown(value)}")
    return datetime.fromisoformat(value)


def _date(value: Any, _: Any) -> date:
    if type(value) is not str or _DATE.fullmatch(value) is None:
        raise ValueError(f"expected an ISO 8601 date, not {_shown(value)}")
    return date.fromisoformat(value)


def _uuid(value: Any, _: Any) -> UUID:
    if type(value) is not str or _UUID.fullmatch(value) is None:
        raise ValueError(f"expected a UUID, not {_shown(value)}")
    return UUID(value)


def _literal(value: Any, given: Any) -> Any:
    for member in get_args(given):
        if type(member) is type(value) and member == value:
            return value
    raise ValueError(f"expected one of {', '.join(map(repr, get_args(given)))}, not {_shown(value)}")


def _enum(value: Any, given: type[enum.Enum]) -> enum.Enum:
    for member in given:
        if member.value == value and type(member.value) is type(value):
            return member
    raise ValueError(f"expected one of {', '.join(repr(m.value) for m in given)}, not {_shown(value)}")


_KINDS: Final = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "a boolean",
    list: "a list",
    dict: "an object",
}


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, (str, int, float)):
        return f"{_KINDS.get(type(value), '')} ({quote(value)})".strip()
    return _KINDS.get(type(value), type(value).__qualname__)


# Errors, made readable


def problems(error: BaseException, path: str = "") -> list[tuple[str, str]]:
    """(field path, what was expected) for every wrong field that a converter with `explain` found."""
    from cattrs.errors import (
        AttributeValidationNote,
        ForbiddenExtraKeysError,
        IterableValidationNote,
    )

    for note in getattr(error, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            path = f"{path}.{note.name}" if path else note.name
        elif isinstance(note, IterableValidationNote):
            path = f"{path}[{note.index}]" if isinstance(note.index, int) else f"{path}.{note.index}"
    if isinstance(error, BaseExceptionGroup):
        return [found for member in error.exceptions for found in problems(member, path)]
    if isinstance(error, ForbiddenExtraKeysError):
        return [(f"{path}.{key}" if path else key, "unknown field") for key in sorted(map(str, error.extra_fields))]
    if isinstance(error, BadPayload):  # of a payload class that checks itself
        return [(f"{path}.{field}" if path and field else path or field, problem) for field, problem in error.problems]
    if isinstance(error, KeyError):
        field = str(error.args[0])
        return [(path or field, "required, but missing")]
    return [(path, str(error))]
