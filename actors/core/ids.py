"""Job ids: UUIDv7 (RFC 9562, section 5.7) from an injected clock and generator, monotone within a process."""

from __future__ import annotations

import random
import re
from typing import Final

from actors.core.errors import BadOption

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+-]{0,127}", re.ASCII)
_VERSION: Final = 0x7 << 76
_VARIANT: Final = 0b10 << 62


class IdMaker:
    """Makes ids that sort by age: 48 bits of milliseconds, then 74 bits that are random and only grow within a
    millisecond.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._millis = -1
        self._tail = 0

    def make(self, now: int) -> str:
        """A new id for the instant `now` (microseconds); greater than every id made before, also when the clock steps
        back.
        """
        millis = now // 1000
        if millis > self._millis:
            self._millis = millis
            self._tail = self._rng.getrandbits(73)  # one bit free, so that counting up can't leave the millisecond
        else:
            # RFC 9562, section 6.2, method 2: a random increment keeps the next id unguessable
            self._tail += 1 + self._rng.getrandbits(32)
        tail = self._tail
        number = (self._millis << 80) | _VERSION | ((tail >> 62) << 64) | _VARIANT | (tail & 0x3FFF_FFFF_FFFF_FFFF)
        digits = f"{number:032x}"
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def check_id(given: object) -> str:
    """The caller's own id, if it can be one: 1 to 128 letters, digits and `._:@+-`, starting with a letter or digit."""
    if not isinstance(given, str) or _ID.fullmatch(given) is None:
        raise BadOption("id", given, "1 to 128 letters, digits or ._:@+- and a letter or digit first")
    return given
