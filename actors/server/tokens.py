"""Tokens: who a caller is. 256 random bits, shown once; the store keeps their SHA-256 beside the owner and the role.

A token is `act_<id>_<secret>`: the id names it in lists and logs, and finds the one hash that the whole is compared
with.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal, get_args

import attrs
import orjson

from actors.core.errors import BadOption

Role = Literal["user", "admin"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)
LONGEST_OWNER: Final = 64  # so that there is room for a name behind it, where a user's things are named
PREFIX: Final = "token/"  # of the settings that hold tokens
_TEXT: Final = re.compile(r"act_([0-9a-f]{8})_[A-Za-z0-9_-]{43}", re.ASCII)
_NOBODY: Final = "0" * 64  # compared with when there is no such id, so that the time tells nothing


@attrs.frozen(kw_only=True)
class Token:
    """What is kept of a token. `digest` is the SHA-256 of its text, in hex."""

    id: str
    owner: str
    role: Role
    created_at: str
    digest: str

    @property
    def setting(self) -> tuple[str, str]:
        """The setting that keeps it: key and value."""
        kept = {"id": self.id, "owner": self.owner, "role": self.role, "createdAt": self.created_at}
        return PREFIX + self.digest, orjson.dumps(kept).decode()


def make_token(owner: str, role: str, now: datetime) -> tuple[str, Token]:
    """A new token: its text, which nobody can make again, and what is kept of it. `BadOption` for a bad owner or
    role.
    """
    if not 0 < len(owner) <= LONGEST_OWNER or not owner.isprintable() or "/" in owner:
        raise BadOption("owner", owner, f"1 to {LONGEST_OWNER} printable characters without /")
    known: Role | None = next((word for word in ROLES if word == role), None)
    if known is None:
        raise BadOption("role", role, " or ".join(ROLES))
    id = secrets.token_hex(4)
    text = f"act_{id}_{secrets.token_urlsafe(32)}"
    created = now.isoformat(timespec="microseconds").replace("+00:00", "Z")
    return text, Token(id=id, owner=owner, role=known, created_at=created, digest=_digest(text))


def tokens_in(settings: Mapping[str, str]) -> list[Token]:
    """The tokens among a store's settings, oldest first. What can't be read is passed over: it opens no door."""
    found: list[Token] = []
    for key, value in settings.items():
        if not key.startswith(PREFIX):
            continue
        try:
            kept: dict[str, Any] = orjson.loads(value)
            token = Token(
                id=kept["id"],
                owner=kept["owner"],
                role=kept["role"],
                created_at=kept.get("createdAt", ""),
                digest=key.removeprefix(PREFIX),
            )
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
        if token.role in ROLES:
            found.append(token)
    return sorted(found, key=lambda token: (token.created_at, token.id))


def match_token(text: str, tokens: Mapping[str, Token]) -> Token | None:
    """The token (of those, by id) whose text this is, or None; takes the same time whether the id or the secret is
    wrong.
    """
    given = _TEXT.fullmatch(text)
    token = tokens.get(given[1]) if given is not None else None
    same = hmac.compare_digest(token.digest if token is not None else _NOBODY, _digest(text))
    return token if same else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
