"""`value`: frozen for the type checkers, plain slots at run time.

A frozen attrs class pays `object.__setattr__` for every field it sets; with twenty fields a job that is the dearest
line of the tick. The checkers refuse assignment just the same, so the promise is kept where it can be broken: in the
editor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from attrs import frozen as value
else:

    def value(cls: type | None = None, /, **options: Any) -> Any:
        """`attrs.frozen` to a type checker, `attrs.define(unsafe_hash=...)` without the run-time guard otherwise."""
        decorate = attrs.define(frozen=False, slots=True, **options)
        return decorate if cls is None else decorate(cls)


__all__ = ["value"]
