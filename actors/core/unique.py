"""Unique keys: at most one job per key, for as long as the rule says. De-duplication, throttle and debounce come with
it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Final, Literal, cast, get_args

import attrs

from actors.core.errors import BadOption, check_seconds
from actors.core.job import STATES, UNFINISHED, State
from actors.core.strict_json import is_text

OnConflict = Literal["skip", "replace", "raise"]
LONGEST_KEY: Final = 200


@attrs.frozen(kw_only=True)
class Unique:
    """Enqueue nothing while another job of the same type and owner holds the same key.

    `key`: text, or a function of the payload object, or None: the whole payload. A job holds its key while it is in one
    of `states` (default: unfinished) and, with `within`, only for that many seconds after its enqueue (then the default
    is any state: a throttle).
    `on_conflict`: `skip` answers with the job that is there, `raise` raises `Conflict`, `replace` puts the new job in
    the place of one that has not started (a debounce) and skips when it has.
    """

    key: str | Callable[[Any], str] | None = None
    within: float | None = None
    states: frozenset[State] | None = attrs.field(default=None, converter=attrs.converters.optional(frozenset))
    on_conflict: OnConflict = "skip"

    def __attrs_post_init__(self) -> None:
        check_seconds("within", self.within)
        if isinstance(self.key, str):
            _check_key(self.key)
        elif self.key is not None and not callable(self.key):
            raise BadOption("unique key", self.key, "text, a function of the payload, or None")
        if self.on_conflict not in get_args(OnConflict):
            raise BadOption("on_conflict", self.on_conflict, "skip, replace or raise")
        for state in self.states or ():
            if state not in STATES:
                raise BadOption("states", state, f"some of {', '.join(STATES)}")

    def holding_states(self) -> frozenset[State]:
        """The states in which a job holds its key."""
        if self.states is not None:
            return self.states
        return UNFINISHED if self.within is None else frozenset(STATES)

    def full_key(self, type: str, owner: str | None, payload: Any, payload_json: str) -> str:
        """The key as stores see it: within its type and owner, so that one user's jobs never tell of another's."""
        key = self.key(payload) if callable(self.key) else self.key
        if key is None:
            key = "#" + hashlib.blake2b(payload_json.encode(), digest_size=16).hexdigest()
        whose = "-" if owner is None else f"{len(owner)}:{owner}"  # its length, so that no other split reads the same
        return f"{type} {whose} {_check_key(key)}"


def _check_key(key: object) -> str:
    if not is_text(key, LONGEST_KEY):
        raise BadOption("unique key", key, f"1 to {LONGEST_KEY} characters")
    return cast("str", key)
