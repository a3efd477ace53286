"""Who calls, and what they may see.

Rule: another owner's job answers exactly like one that is not there. Without any token, callers on this machine are
trusted and nobody else is served.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final

import attrs
import trio

from actors.core.errors import StoreError
from actors.core.job import JobRecord
from actors.server.headers import Headers
from actors.server.problems import Problem, not_found
from actors.server.tokens import Role, Token, match_token, tokens_in

LOOK_AGAIN: Final = 0.02  # seconds between two readings for the sake of tokens that are not known
A_MOMENT: Final = 0.5  # seconds for which a call that needs no token waits for the store
FRESH: Final = 1.0  # seconds for which read tokens are believed: a revoked one dies within that


@attrs.frozen
class Caller:
    """Who calls. A user sees the jobs of `owner` only; an administrator all."""

    owner: str | None
    role: Role
    token: str | None = None  # the id of the token

    @property
    def is_admin(self) -> bool:
        """Whether all jobs, queues and schedules are open."""
        return self.role == "admin"

    def may_see(self, record: JobRecord) -> bool:
        """Whether this job exists, for this caller."""
        return self.is_admin or record.owner == self.owner

    def check(self, record: JobRecord, id: str) -> JobRecord:
        """The record, or the 404 that an unknown id gives."""
        if not self.may_see(record):
            raise not_found("job", id)
        return record


TRUSTED: Final = Caller(None, "admin")
"""Everybody on this machine, while there are no tokens."""


class Gate:
    """Finds out who calls. Keeps the store's tokens for `FRESH` seconds."""

    def __init__(self, settings: Callable[[], Awaitable[Mapping[str, str]]], *, loopback_only: bool) -> None:
        self._settings = settings
        self._loopback_only = loopback_only
        self._tokens: dict[str, Token] = {}
        self._read_at = -FRESH
        self._reading = trio.Lock()

    async def caller(self, headers: Headers) -> Caller:
        """Who sent these headers; a 401 when they don't say so rightly."""
        await self._read(FRESH)
        if not self._tokens and self._loopback_only:
            return TRUSTED
        given = headers.getlist("authorization")
        if not given:
            raise _unauthenticated("This call needs a token: Authorization: Bearer TOKEN", None)
        scheme, _, text = given[0].strip().partition(" ")
        if len(given) > 1 or scheme.lower() != "bearer" or not text.strip():
            raise _unauthenticated("The Authorization header is malformed: expected Bearer TOKEN", "invalid_request")
        token = match_token(text.strip(), self._tokens)
        if token is None and await self._read(LOOK_AGAIN):  # it may be new
            token = match_token(text.strip(), self._tokens)
        if token is None:
            raise _unauthenticated("This token is not known here, or was revoked", "invalid_token")
        return Caller(token.owner, token.role, token.id)

    async def is_open(self) -> bool:
        """Whether callers are trusted without a token. Where the store can't tell now: what it told last."""
        if not self._is_fresh(FRESH):
            with suppress(StoreError), trio.move_on_after(A_MOMENT):  # liveness is asked at this door, too
                await self._read(FRESH)
        return not self._tokens and self._loopback_only

    async def _read(self, age: float) -> bool:
        """Read the tokens, if they were read longer ago than `age`; whether they were."""
        if self._is_fresh(age):
            return False
        async with self._reading:
            if not self._is_fresh(age):
                now = trio.current_time()
                self._tokens = {token.id: token for token in tokens_in(await self._settings())}
                self._read_at = now
        return True

    def _is_fresh(self, age: float) -> bool:
        return trio.current_time() - self._read_at < age


def _unauthenticated(said: str, code: str | None) -> Problem:
    challenge = 'Bearer realm="actors"' + (f', error="{code}"' if code else "")
    return Problem(401, "unauthenticated", said, headers={"WWW-Authenticate": challenge})


def forbidden() -> Problem:
    """A call that only administrators may make."""
    return Problem(403, "forbidden", "Only administrators may do this")
