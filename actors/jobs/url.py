"""Reads a webhook's URL. Rule: no second parser sees the caller's text, so none can disagree on the host."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote as percent_encode
from urllib.parse import urlsplit

import attrs

from actors.jobs.network import literal

LONGEST: Final = 2048
LONGEST_NAME: Final = 253  # RFC 1035, in dotted form
_PORTS: Final = {"http": 80, "https": 443}
_NAME: Final = re.compile(
    r"(?=.{1,253}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.?"
)
_KEPT: Final = "/%:@!$&'()*+,;=~-._?"  # already encoded, or allowed as it is, in a path and a query


@attrs.frozen
class Target:
    """Where to post to: `host` is lower-case ASCII (a name, or an address without brackets), `path` starts
    with a slash and has the query."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """Host, and the port unless it is the scheme's own: the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme and authority: as much of a URL as may be logged (the rest may hold a secret)."""
        return f"{self.scheme}://{self.authority}"

    def at(self, address: str) -> str:
        """The URL with the host replaced by the address that was checked."""
        host = f"[{address}]" if ":" in address else address
        return f"{self.scheme}://{host}:{self.port}{self.path}"


def parse(text: str) -> Target:
    """The target of an absolute http or https URL; `ValueError` saying what is wrong with it. A fragment is
    dropped."""
    if len(text) > LONGEST:
        raise ValueError(f"{len(text)} characters: expected at most {LONGEST}")
    if any(character <= " " or character == "\x7f" or character == "\\" for character in text):
        raise ValueError("a space, a control character or a backslash: expected them percent-encoded")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"not a URL: {error}"[:120]) from None
    if parts.scheme not in _PORTS:
        raise ValueError(f"scheme {parts.scheme[:20]!r}: expected an absolute http or https URL")
    if "@" in parts.netloc:
        raise ValueError("credentials in the URL: expected them in a header")
    if port == 0:
        raise ValueError("port 0: expected 1 to 65535")
    path = percent_encode(parts.path or "/", safe=_KEPT)
    query = f"?{percent_encode(parts.query, safe=_KEPT)}" if parts.query else ""
    return Target(parts.scheme, _host(parts.hostname or ""), port or _PORTS[parts.scheme], path + query)


def _host(given: str) -> str:
    if not given:
        raise ValueError("no host: expected an absolute http or https URL")
    if "%" in given:
        raise ValueError("a % in the host: expected a name or an address without a zone")
    if ":" in given:
        address = literal(given)  # urlsplit has seen the brackets
        if address is None:
            raise ValueError("the host in brackets is no IPv6 address")
        return str(address)
    if len(given) > LONGEST_NAME:
        raise ValueError(f"the host is no domain name: expected at most {LONGEST_NAME} characters")
    try:
        host = given.encode("idna").decode("ascii").lower()
    except UnicodeError:
        raise ValueError("the host is no domain name") from None
    if _NAME.fullmatch(host) is None:
        raise ValueError("the host is no domain name and no address")
    address = literal(host)
    return host if address is None else str(address)
