"""A request's headers, decoded once: a call looks at a dozen of them, and most are not there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload


class Headers:
    """By name in lower case, as ASGI has them. Of a name that was sent several times `get` gives the first."""

    __slots__ = ("_first", "_raw")

    def __init__(self, raw: Sequence[tuple[bytes, bytes]]) -> None:
        self._raw = raw
        self._first = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(raw)}

    def __contains__(self, name: str) -> bool:
        return name in self._first

    @overload
    def get(self, name: str) -> str | None: ...
    @overload
    def get(self, name: str, default: str) -> str: ...
    def get(self, name: str, default: str | None = None) -> str | None:
        """The first value of that name, or `default`."""
        return self._first.get(name, default)

    def getlist(self, name: str) -> list[str]:
        """All values of that name, in the order in which they were sent."""
        if name not in self._first:
            return []
        sought = name.encode("latin-1")
        return [value.decode("latin-1") for key, value in self._raw if key == sought]
