"""Strict JSON: what every store can keep and every reader reads the same way. Nothing is coerced or dropped."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

import orjson

from actors.core.errors import quote

MAX_DEPTH: Final = 32
_LONGEST: Final = 2**63 - 1
_LEAST: Final = -(2**63)


class NotJSON(ValueError):
    """A value or a text that is not strict JSON."""


def check_json(given: Any, depth: int = 0, path: str = "") -> None:
    """Raise `NotJSON`, naming the place, unless `given` is made of what JSON can say and every store can keep.

    Refused: NaN and infinities, integers beyond 64 bits, lone surrogates and NUL in strings, keys that are no strings,
    more than
    `MAX_DEPTH` levels, and every other Python type.
    """
    kind = type(given)
    if kind is str:
        _check_text(given, path)
    elif kind is int:
        if not _LEAST <= given <= _LONGEST:
            raise NotJSON(f"{path or 'value'}: an integer beyond 64 bits")
    elif kind is float:
        if not math.isfinite(given):
            raise NotJSON(f"{path or 'value'}: {given} is not JSON: expected a finite number")
    elif kind is dict:
        if depth >= MAX_DEPTH:
            raise NotJSON(f"{path[:80]}: deeper than {MAX_DEPTH} levels")
        for key, member in given.items():
            if type(key) is not str:
                raise NotJSON(f"{path or 'value'}: key {quote(key)} is not a string")
            _check_text(key, path)
            check_json(member, depth + 1, f"{path}.{key}" if path else key)
    elif kind is list or kind is tuple:
        if depth >= MAX_DEPTH:
            raise NotJSON(f"{path[:80]}: deeper than {MAX_DEPTH} levels")
        for index, member in enumerate(given):
            check_json(member, depth + 1, f"{path}[{index}]")
    elif given is not None and kind is not bool:
        raise NotJSON(f"{path or 'value'}: {kind.__module__}.{kind.__qualname__} is not JSON")


def _check_text(text: str, path: str) -> None:
    if text.isascii():
        if "\0" in text:
            raise NotJSON(f"{path or 'value'}: NUL in a string")
        return
    if "\0" in text:
        raise NotJSON(f"{path or 'value'}: NUL in a string")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NotJSON(f"{path or 'value'}: a lone surrogate in a string") from None


def is_text(given: object, longest: int, shortest: int = 1) -> bool:
    """Whether `given` is a string of that many characters that every store can keep: no NUL, no lone surrogate."""
    if not isinstance(given, str) or not shortest <= len(given) <= longest:
        return False
    try:
        _check_text(given, "")
    except NotJSON:
        return False
    return True


def dumps(given: Any) -> str:
    """`given` as compact JSON text; `NotJSON` unless `check_json` accepts it."""
    check_json(given)
    return orjson.dumps(given).decode()


def loads(text: bytes | str) -> Any:
    """Strict JSON: what `json.loads` reads, less NaN, infinities, duplicate keys, surrogates, NUL, deep nesting and
    huge numbers.

    Raises `NotJSON` with the reason.
    """
    try:
        if isinstance(text, str) and not text.startswith("\ufeff"):
            given = _DECODER.decode(text)
        else:
            given = json.loads(text, **_HOOKS)  # it finds out the encoding, or says what is wrong with the mark
    except NotJSON:
        raise
    except RecursionError:
        raise NotJSON(f"deeper than {MAX_DEPTH} levels") from None
    except UnicodeDecodeError:
        raise NotJSON("not JSON: not UTF-8") from None
    except ValueError as error:
        raise NotJSON(f"not JSON: {error}"[:120]) from None
    check_json(given)
    return given


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise NotJSON(f"duplicate key {quote(key)}")
            seen.add(key)
    return made


def _no_constant(name: str) -> Any:
    raise NotJSON(f"{name} is not JSON")


def _float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise NotJSON(f"the number {quote(digits)} is out of range")
    return number


def _int(digits: str) -> int:
    if len(digits) > 20 or not _LEAST <= (number := int(digits)) <= _LONGEST:
        raise NotJSON(f"the integer {quote(digits[:30])} is beyond 64 bits")
    return number


_HOOKS: Final[Mapping[str, Any]] = {
    "object_pairs_hook": _unique_keys,
    "parse_constant": _no_constant,
    "parse_float": _float,
    "parse_int": _int,
}
_DECODER: Final = json.JSONDecoder(**_HOOKS)  # `json.loads` would make one for every text
