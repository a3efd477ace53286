"""The parameters of a query string, each with its bounds; what no one asked for is refused, so that a typo is not
silently ignored.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final
from urllib.parse import parse_qsl

from actors.core.errors import quote
from actors.core.job import STATES, State
from actors.server.problems import FieldErrors, Problem

MOST_PARAMETERS: Final = 50
LONGEST: Final = 200  # characters of a filter
MOST_JOBS: Final = 1_000  # a page
TEXT_PATTERN: Final = rf"^[^\x00-\x1f\x7f-\x9f]{{1,{LONGEST}}}$"
CURSOR_PATTERN: Final = rf"^[ -~]{{1,{LONGEST}}}$"
STATES_PATTERN: Final = f"^(?:{'|'.join(STATES)})(?:,(?:{'|'.join(STATES)}))*$"
_TEXT: Final = re.compile(TEXT_PATTERN)
_CURSOR: Final = re.compile(CURSOR_PATTERN)


class Query:
    """Reads parameters one by one, gathering what is wrong; `done` raises it all, and what was not read."""

    def __init__(self, query_string: bytes) -> None:
        try:
            pairs = parse_qsl(
                query_string.decode("ascii"), keep_blank_values=True, max_num_fields=MOST_PARAMETERS, errors="strict"
            )
        except ValueError:
            raise Problem(400, "bad-query", "The query string can't be read: expected UTF-8, percent-encoded") from None
        self._errors = FieldErrors()
        self._given: dict[str, str] = {}
        for name, given in pairs:
            if name in self._given:
                self._errors.add(name, "given twice")
            self._given[name] = given

    def text(self, name: str) -> str | None:
        """A filter: text without control characters."""
        given = self._given.pop(name, None)
        if given is None:
            return None
        if _TEXT.fullmatch(given) is None:
            self._errors.add(name, f"expected 1 to {LONGEST} characters, none of them a control character")
        return given

    def cursor(self, name: str = "after") -> str | None:
        """The cursor that a page before gave."""
        given = self._given.pop(name, None)
        if given is not None and _CURSOR.fullmatch(given) is None:
            self._errors.add(name, "expected the cursor that the page before gave")
        return given

    def number(self, name: str, default: int, most: int = MOST_JOBS) -> int:
        """A whole number from 1 to `most`."""
        given = self._given.pop(name, None)
        if given is None:
            return default
        if not (given.isascii() and given.isdecimal() and len(given) < 10 and 1 <= int(given) <= most):
            self._errors.add(name, f"expected a whole number from 1 to {most}, not {quote(given)}")
            return default
        return int(given)

    def flag(self, name: str) -> bool:
        """1 or 0; not given: 0."""
        given = self._given.pop(name, "0")
        if given not in ("0", "1"):
            self._errors.add(name, f"expected 0 or 1, not {quote(given)}")
        return given == "1"

    def states(self, name: str = "state") -> frozenset[State] | None:
        """One state, or several with commas between; None: any."""
        given = self._given.pop(name, None)
        if given is None:
            return None
        words = given.split(",")
        known: frozenset[State] = frozenset(state for state in STATES if state in words)
        if len(known) != len(set(words)):
            self._errors.add(name, f"expected some of {', '.join(STATES)}, not {quote(given)}")
        return known

    def done(self, allowed: Collection[str] = ()) -> None:
        """Raise one 422 for all that was wrong or unknown."""
        for name in self._given:
            if name not in allowed:
                self._errors.add(name, "unknown parameter")
        self._errors.raise_if_any()
