"""Reads mail addresses and checks header texts. Rule: what is checked is what a reader sees after decoding.

`=?utf-8?q?x=0d=0aBcc:...?=` has no line break in it, and Python's mail package writes one out when it folds
the header.
"""

from __future__ import annotations

import email.policy
import re
import unicodedata
from collections.abc import Sequence
from typing import Final

import attrs

MOST_RECIPIENTS: Final = 100
LONGEST_TEXT: Final = 998  # characters of a header's text; RFC 5322 has the same number for a line
LONGEST_MAILBOX: Final = 400  # characters of a name and its address
LONGEST_ADDRESS: Final = 254  # RFC 5321, erratum 1690

_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LOCAL: Final = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_MAILBOX: Final = re.compile(r"(?P<name>[^<>]*)<(?P<address>[^<>]*)>|(?P<bare>[^<>]*)")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')


@attrs.frozen
class Mailbox:
    """Somebody's address, ASCII throughout (a domain in other letters is in its xn-- form), and the name
    shown beside it, often empty."""

    name: str
    local: str
    domain: str

    @property
    def address(self) -> str:
        """`local@domain`."""
        return f"{self.local}@{self.domain}"


def check_text(text: str) -> None:
    """Raise `ValueError` unless `text` is fit for a header: short, and without control characters also when
    it has been decoded."""
    if len(text) > LONGEST_TEXT:
        raise ValueError(f"{len(text)} characters: expected at most {LONGEST_TEXT}")
    for _ in range(4):  # an encoded word may hold an encoded word
        if any(unicodedata.category(character) in ("Cc", "Zl", "Zp", "Cs") for character in text):
            raise ValueError("a line break or another control character: expected one line of text")
        if "=?" not in text:
            return
        try:
            decoded = str(email.policy.SMTP.header_factory("subject", text))
        except Exception:  # the parser of Python's mail package fails in many ways
            raise ValueError("an encoded word that can't be decoded: expected plain text") from None
        if decoded == text:
            return
        text = decoded
    raise ValueError("encoded words within encoded words: expected plain text")


def mailboxes(given: str | Sequence[str]) -> list[Mailbox]:
    """The addresses in a text (separated by commas) or a list (one each), without repetitions; `ValueError`
    saying which is wrong and why.

    Each is `a@example.org` or `Name <a@example.org>`; quoted local parts, address literals and source routes
    are refused.
    """
    if isinstance(given, str) and len(given) > MOST_RECIPIENTS * LONGEST_MAILBOX:
        raise ValueError(f"{len(given)} characters: expected at most {MOST_RECIPIENTS} addresses")
    texts = _split(given) if isinstance(given, str) else list(given)
    if len(texts) > MOST_RECIPIENTS:
        raise ValueError(f"{len(texts)} addresses: expected at most {MOST_RECIPIENTS}")
    found: dict[str, Mailbox] = {}
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"expected an address, not {type(text).__name__}")
        try:
            mailbox = _mailbox(text.strip())
        except ValueError as error:
            shown = repr(text if len(text) <= 60 else text[:59] + "…")
            raise ValueError(f"{shown}: {error}") from None
        found.setdefault(mailbox.address, mailbox)
    if not found:
        raise ValueError("expected at least one address")
    return list(found.values())


def _split(text: str) -> list[str]:
    """The parts between commas that are neither in quotes nor in angle brackets; in one pass, whatever is in it."""
    parts, start, closing = [], 0, ""
    escaped = False
    for at, character in enumerate(text):
        if escaped:
            escaped = False
        elif closing:
            escaped = character == "\\" and closing == '"'
            if character == closing:
                closing = ""
        elif character in '"<':
            closing = '"' if character == '"' else ">"
        elif character == ",":
            parts.append(text[start:at])
            start = at + 1
    return [*parts, text[start:]]


def _mailbox(text: str) -> Mailbox:
    if len(text) > LONGEST_MAILBOX:
        raise ValueError(f"{len(text)} characters: expected at most {LONGEST_MAILBOX}")
    check_text(text)
    match = _MAILBOX.fullmatch(text)
    if match is None:
        raise ValueError("expected an address such as a@example.org")
    name, address = (
        (match["name"] or "").strip(),
        match["bare"] if match["address"] is None else match["address"],
    )
    if '"' in name:
        quoted = _QUOTED.fullmatch(name)
        if quoted is None:
            raise ValueError("expected the whole name in quotes, or none of it")
        name = re.sub(r"\\(.)", r"\1", quoted[1])
        check_text(name)
    elif "," in name:
        raise ValueError("expected one address, or a name with a comma in quotes")
    return Mailbox(name, *_address(address))


def _address(text: str) -> tuple[str, str]:
    local, at, domain = text.rpartition("@")
    if not at or not local or not domain:
        raise ValueError("expected an address such as a@example.org")
    if len(local) > 64 or _LOCAL.fullmatch(local) is None or "=?" in local:
        raise ValueError("expected letters, digits and .!#$%&'*+/=?^_`{|}~- before the @")
    try:
        domain = domain.encode("idna").decode("ascii").lower()
    except UnicodeError:
        raise ValueError("expected a domain name behind the @") from None
    if _DOMAIN.fullmatch(domain) is None or len(local) + 1 + len(domain) > LONGEST_ADDRESS:
        raise ValueError("expected a domain name behind the @")
    return local, domain
