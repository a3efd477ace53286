"""The JSON Schema of a job type's payload: accepts exactly what the codec accepts, walked over the same types as
`core/codec.py`.

One difference is JSON Schema's own: it calls the number 5.0 an integer, the codec does not. A type that the user
taught the registry with a hook is known only to that hook: its schema accepts anything (of a `NewType`, what the type
under it accepts).
"""

from __future__ import annotations

import enum
import operator
import types
import typing
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from collections.abc import Iterable as IterableType
from datetime import date, datetime
from typing import Any, Final, Literal, Union, get_args, get_origin
from uuid import UUID

import attrs

from actors.core.definition import JobDefinition

Schema = dict[str, Any]

TIME: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})$"
DATE: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
UUID_TEXT: Final = r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"

_SCALARS: Final[Mapping[Any, Schema]] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    datetime: {"type": "string", "format": "date-time", "pattern": TIME},
    date: {"type": "string", "format": "date", "pattern": DATE},
    UUID: {"type": "string", "format": "uuid", "pattern": UUID_TEXT},
    types.NoneType: {"type": "null"},
}
_LISTS: Final[tuple[Any, ...]] = (list, Sequence, MutableSequence, IterableType)
_SETS: Final[tuple[Any, ...]] = (set, frozenset)
_DICTS: Final[tuple[Any, ...]] = (dict, Mapping, MutableMapping)
_NOT_HASHABLE: Final[Schema] = {"not": {}}


def payload_schema(definition: JobDefinition, *, refs: str = "#/$defs/") -> Schema:
    """The schema of `definition`'s payload: an object without unknown fields. Nested attrs classes are under `$defs`,
    named by `refs`.
    """
    walk = _Walk(_hooked(definition), refs)
    made = walk.fields(definition.payload_class)
    if walk.definitions:
        made["$defs"] = walk.definitions
    return made


def _hooked(definition: JobDefinition) -> Callable[[Any], bool]:
    hooks: Mapping[Any, Any] = getattr(definition.registry, "_hooks", {})

    def known(given: Any) -> bool:
        try:
            return given in hooks
        except TypeError:
            return False

    return known


class _Walk:
    """One walk over a payload's types; classes met on the way are described once, so that a recursive one ends."""

    def __init__(self, hooked: Callable[[Any], bool], refs: str) -> None:
        self.definitions: dict[str, Schema] = {}
        self._names: dict[type[Any], str] = {}
        self._hooked = hooked
        self._refs = refs

    def fields(self, given: type[Any]) -> Schema:
        """The schema of an attrs class, in place."""
        attrs.resolve_types(given)
        properties: dict[str, Schema] = {}
        required: list[str] = []
        for field in attrs.fields(given):
            if not field.init:
                continue
            made = self.of(Any if field.type is None else field.type)
            if (rules := _rules(field.validator, made.get("type"))) is not None:
                made = {"allOf": [made, rules]} if "$ref" in made else {**made, **rules}
            if field.default is attrs.NOTHING:
                required.append(field.name)
            elif _plain(field.default):
                made = {**made, "default": field.default}
            properties[field.name] = made
        schema: Schema = {"type": "object", "properties": properties}
        if required:
            schema["required"] = required
        schema["additionalProperties"] = False
        return schema

    def of(self, given: Any) -> Schema:
        """The schema of a field's type."""
        if self._hooked(given):
            return self.of(given.__supertype__) if isinstance(given, typing.NewType) else {}
        if given in (Any, None, object):
            return {}
        origin, arguments = get_origin(given), get_args(given)
        kind = origin or given
        if origin is typing.Annotated:
            return self.of(arguments[0])
        if origin is Literal:
            return {"enum": list(arguments)}
        if origin is Union or origin is types.UnionType:
            return {"anyOf": [self.of(arm) for arm in arguments]}
        if isinstance(given, type) and issubclass(given, enum.Enum):
            return {"enum": [member.value for member in given]}
        if kind in _SCALARS:
            return dict(_SCALARS[kind])
        if kind is tuple:
            return self._tuple(arguments)
        if kind in _LISTS:
            return {"type": "array", "items": self.of(arguments[0]) if arguments else {}}
        if kind in _SETS:
            return {"type": "array", "items": self._hashable(arguments[0] if arguments else Any)}
        if kind in _DICTS:
            return {"type": "object", "additionalProperties": self.of(arguments[1]) if arguments else {}}
        return self._class(given)

    def _tuple(self, arguments: tuple[Any, ...]) -> Schema:
        if not arguments:
            return {"type": "array"}
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return {"type": "array", "items": self.of(arguments[0])}
        size = len(arguments)
        return {"type": "array", "prefixItems": [self.of(arm) for arm in arguments], "minItems": size, "maxItems": size}

    def _hashable(self, given: Any) -> Schema:
        """What a set may hold: a list or an object in it is no value that Python can hash."""
        origin, arguments = get_origin(given), get_args(given)
        kind = origin or given
        if given in (Any, None, object):
            return {"type": ["string", "number", "boolean", "null"]}
        if origin is Union or origin is types.UnionType:
            return {"anyOf": [self._hashable(arm) for arm in arguments]}
        if kind in _LISTS or kind in _DICTS or kind is set or getattr(kind, "__hash__", True) is None:
            return dict(_NOT_HASHABLE)
        return self.of(given)

    def _class(self, given: type[Any]) -> Schema:
        name = self._names.get(given)
        if name is None:
            name = self._names[given] = self._free_name(given.__name__)
            self.definitions[name] = {}  # taken: a recursive class meets itself here
            self.definitions[name] = self.fields(given)
        return {"$ref": f"{self._refs}{name}"}

    def _free_name(self, name: str) -> str:
        number, made = 1, name
        while made in self.definitions:
            number += 1
            made = f"{name}{number}"
        return made


def _plain(given: object) -> bool:
    """Whether a default can be shown as it is."""
    return given is None or type(given) in (bool, int, float, str)


_COMPARED: Final[Mapping[Any, str]] = {
    operator.ge: "minimum",
    operator.gt: "exclusiveMinimum",
    operator.le: "maximum",
    operator.lt: "exclusiveMaximum",
}


_LENGTHS: Final = {"string": "Length", "array": "Items", "object": "Properties"}


def _rules(validator: Any, kind: object) -> Schema | None:
    """What attrs's own validators say of a field whose schema has the type `kind`; None: nothing to add."""
    match type(validator).__name__:
        case "_NumberValidator" if validator.compare_func in _COMPARED:
            return {_COMPARED[validator.compare_func]: validator.bound}
        case "_InValidator":
            return {"enum": list(validator.options)}
        case "_MinLengthValidator" if isinstance(kind, str) and kind in _LENGTHS:
            return {f"min{_LENGTHS[kind]}": validator.min_length}
        case "_MaxLengthValidator" if isinstance(kind, str) and kind in _LENGTHS:
            return {f"max{_LENGTHS[kind]}": validator.max_length}
        case "_AndValidator":
            found = [rules for member in validator._validators if (rules := _rules(member, kind)) is not None]
            return {"allOf": found} if found else None
        case _:
            return None
