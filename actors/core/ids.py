"""Job ids: UUIDv7 (RFC 9562, section 5.7) from an injected clock and generator, monotone within a process."""

from __future__ import annotations

import random
import re
from typing import Final

from actors.core.errors import BadOption

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+-]{0,127}", re.ASCII)
_VERSION: Final = 0x7 << 12
_VARIANT: Final = 0b10 << 14


class IdMaker:
    """Makes ids that sort by age: 48 bits of milliseconds, then 74 bits that are random and only grow within a
    millisecond.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._millis = -1
        self._tail = 0
        self._written = -1  # the part of the tail that is in `_start`
        self._start = ""  # all but the last twelve digits: the next id mostly begins like the last one

    def make(self, now: int) -> str:
        """A new id for the instant `now` (microseconds); greater than every id made before, also when the clock steps
        back.
        """
        millis = now // 1000
        if millis > self._millis:
            self._millis = millis
            self._tail = self._rng.getrandbits(73)  # one bit free, so that counting up can't leave the millisecond
            self._written = -1
        else:
            # RFC 9562, section 6.2, method 2: a random increment keeps the next id unguessable
            self._tail += 1 + self._rng.getrandbits(32)
        high = self._tail >> 48
        if high != self._written:
            self._written = high
            digits = f"{self._millis:012x}"
            # 4 bits of version and 12 of the tail, 2 of variant and 14 of the tail
            self._start = f"{digits[:8]}-{digits[8:]}-{_VERSION | high >> 14:04x}-{_VARIANT | high & 0x3FFF:04x}-"
        return "%s%012x" % (self._start, self._tail & 0xFFFF_FFFF_FFFF)  # noqa: UP031  (half the price of an f-string)


def check_id(given: object) -> str:
    """The caller's own id, if it can be one: 1 to 128 letters, digits and `._:@+-`, starting with a letter or digit."""
    if not isinstance(given, str) or _ID.fullmatch(given) is None:
        raise BadOption("id", given, "1 to 128 letters, digits or ._:@+- and a letter or digit first")
    return given
