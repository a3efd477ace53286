"""Redis stores that break one promise each: what the simulation must find."""

from __future__ import annotations

from typing import Any
from unittest import mock

from actors.store.redis import library
from actors.store.redis.store import RedisStore


class FreshTick(RedisStore):
    """A holder that the server does not know sends its commit as another one, once it is known."""

    async def _call(self, function: str, *arguments: str | bytes | int, **options: Any) -> bytes:
        reply = await super()._call(function, *arguments, **options)
        if reply == b"!closed":
            holder, tick, *rest = arguments
            await self._enroll(str(holder))
            return await super()._call(function, holder, int(tick) + 1, *rest, **options)
        return reply


def _lua(text: str, instead: str) -> Any:
    assert text in library.CODE, text
    return mock.patch.object(library, "CODE", library.CODE.replace(text, instead))


MUTANTS: dict[str, Any] = {
    "a repeat is not known": lambda: _lua("if last[1] and tonumber(last[1]) == tick then", "if false then"),
    "an old tick is not known": lambda: _lua("elseif last[1] and tonumber(last[1]) > tick then", "elseif false then"),
    "no lease test": lambda: _lua("if not until_ or tonumber(until_) < now then", "if true then"),
    "a beat is not kept": lambda: _lua("call('ZADD', P .. 'holders', now + tonumber(lease), holder)", ""),
    "no version check": lambda: _lua("not old or sub(old, 1, #head) ~= head or", "not old or"),
    "a stop is lost": lambda: _lua("call('HSETNX', w.P .. 'stop', stop[1], stop[2])", ""),
    "a late enrolment undoes a goodbye": lambda: _lua("if call('EXISTS', P .. 'left:' .. args[4]) == 1", "if false"),
    "a tick in the place of another": lambda: mock.patch("tests.sim.redis.port.RedisStore", FreshTick),
}
"""By name: a context in which the store is broken so."""

BREAKS: dict[str, str] = {
    "a repeat is not known": r"a repeat was answered otherwise",
    "an old tick is not known": r"tick \d+: after tick",
    "no lease test": r"which holds it, lives",
    "a beat is not kept": r"which holds it, lives",
    "no version check": r": applied True, though",
    "a stop is lost": r"stops \[.*\], expected \[",
    "a late enrolment undoes a goodbye": r"after its goodbye",
    "a tick in the place of another": r"has sent as tick \d+ what is none",
}
"""What the truth must say of each."""

FIRST: dict[str, int] = {"a late enrolment undoes a goodbye": 2_770, "no version check": 105, "a beat is not kept": 85}
"""From which seed to look: where few histories find it, they are too many to look through each time."""
