"""`promise`: an assertion that says which invariant of GUARANTEES (section 2) it is about."""

from __future__ import annotations


class Broken(AssertionError):
    """Invariant `number` did not hold."""

    def __init__(self, number: int, detail: str) -> None:
        super().__init__(f"invariant {number}: {detail}")
        self.number = number


def promise(number: int, kept: object, detail: object = "") -> None:
    """Raise `Broken` unless `kept`."""
    if not kept:
        raise Broken(number, str(detail))
