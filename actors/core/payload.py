"""From a function's signature or a class's fields to the attrs class that is a payload; the rest is refused."""

from __future__ import annotations

import copy
import inspect
import re
import typing
from functools import partial
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
)

import attrs

from actors.core.context import JobContext
from actors.core.errors import (
    RegistrationError,
    quote,
)

if TYPE_CHECKING:
    pass


def is_async(code: Any) -> bool:
    """Whether calling it makes a coroutine: a function, what wraps one, or an object with such a `__call__`."""
    return inspect.iscoroutinefunction(inspect.unwrap(code)) or inspect.iscoroutinefunction(type(code).__call__)


def payload_of_class(body: type[Any], name: str) -> tuple[type[Any], bool]:
    """The class itself, and that its body takes a context; `RegistrationError`."""
    if not attrs.has(body):
        raise RegistrationError(
            f"job type {name!r}: class {body.__qualname__} is no attrs class: decorate it with @attrs.frozen"
        )
    execute = getattr(body, "execute", None)
    if not callable(execute):
        raise RegistrationError(f"job type {name!r}: class {body.__qualname__} has no execute(self, ctx) method")
    if len(inspect.signature(execute).parameters) != 2:
        raise RegistrationError(
            f"job type {name!r}: {body.__qualname__}.execute must take (self, ctx) and nothing else"
        )
    return body, True


def payload_of_function(body: Any, name: str) -> tuple[type[Any], bool]:
    """A class made of the function's parameters, and whether its first one is a context; `RegistrationError`."""
    if not callable(body):
        raise RegistrationError(f"job type {name!r}: expected a function or an attrs class, not {quote(body)}")
    try:
        hints = typing.get_type_hints(body)
    except NameError as error:
        raise RegistrationError(
            f"job type {name!r}: {error}: expected annotations that can be resolved at registration"
        ) from None
    fields: dict[str, Any] = {}
    takes_ctx = False
    for index, parameter in enumerate(inspect.signature(body).parameters.values()):
        if index == 0 and hints.get(parameter.name) is JobContext:
            takes_ctx = True
            continue
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise RegistrationError(
                f"job type {name!r}: parameter {parameter} has no name in a payload: expected named parameters only"
            )
        if parameter.name == "self" or parameter.name.startswith("__"):
            raise RegistrationError(
                f"job type {name!r}: parameter {parameter.name!r} can't be a field: expected another name"
            )
        default = attrs.NOTHING if parameter.default is parameter.empty else parameter.default
        if isinstance(default, (list, dict, set)):  # Python shares it between calls; jobs must not
            default = attrs.Factory(partial(copy.deepcopy, default))
        kw_only = parameter.kind is parameter.KEYWORD_ONLY
        fields[parameter.name] = attrs.field(
            default=default, type=hints.get(parameter.name, Any), kw_only=kw_only, alias=parameter.name
        )
    made = attrs.make_class(re.sub(r"\W", "_", name), fields, frozen=True, slots=True)
    made.__module__ = body.__module__
    return made, takes_ctx


_FLAT: Final = {str: frozenset({str}), int: frozenset({int}), bool: frozenset({bool}), float: frozenset({float, int})}


def flat_fields(payload_class: type[Any]) -> tuple[tuple[str, frozenset[type]], ...] | None:
    """The exact types of each field when all are scalars without aliases: such a payload needs no converter to be
    checked.
    """
    found = []
    for field in attrs.fields(payload_class):
        kinds = _FLAT.get(field.type)
        if kinds is None or field.alias != field.name or field.validator is not None:
            return None
        found.append((field.name, kinds))
    return tuple(found)
