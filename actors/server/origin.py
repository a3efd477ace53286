"""From where a browser may call: the Host check against DNS rebinding, the Origin check against cross-site writes,
and CORS.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from actors.server.headers import Headers
from actors.server.problems import Problem

SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
PREFLIGHT_KEPT: Final = "600"  # seconds


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine, whatever DNS says."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_host(headers: Headers) -> None:
    """Refuse a request that was sent to another name: a page elsewhere may have bound its name to this machine."""
    given = headers.getlist("host")
    if len(given) != 1 or not _is_ours(given[0]):
        said = "This server answers to localhost, 127.x.x.x and [::1] only, as it has no tokens"
        raise Problem(421, "wrong-host", said, error="Wrong Host")


@lru_cache(maxsize=64)  # the same client says the same each time, and an address takes long to read
def _is_ours(host: str) -> bool:
    """Whether the value of a Host header means this machine."""
    if host.startswith("["):
        name, _, port = host.partition("]")
        name, port = name[1:], port.removeprefix(":")
    else:
        name, _, port = host.partition(":")
    return is_loopback(name) and (not port or port.isdecimal())


def check_origin(method: str, headers: Headers, allowed: tuple[str, ...]) -> None:
    """Refuse a write that a page of another site makes in its visitor's name."""
    if method in SAFE:
        return
    origin = headers.get("origin")
    if origin is None:
        if headers.get("sec-fetch-site", "none") in ("none", "same-origin"):
            return
    elif _may(origin, allowed) or urlsplit_netloc(origin) == headers.get("host", ""):
        return
    raise Problem(
        403, "cross-site", "A page of another site may not do this: --cors-origin opens it", error="Cross-site request"
    )


def urlsplit_netloc(origin: str) -> str | None:
    """Host and port of an origin; None for what is none, as `null` is."""
    try:
        return urlsplit(origin).netloc or None
    except ValueError:
        return None


def cors_headers(headers: Headers, allowed: tuple[str, ...]) -> dict[str, str]:
    """What lets a page of an allowed origin read an answer."""
    origin = headers.get("origin")
    if not allowed:
        return {}
    if origin is None or not _may(origin, allowed):
        return {"Vary": "Origin"}
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": "Location, Retry-After",
        "Vary": "Origin",
    }


def preflight_headers(headers: Headers, allowed: tuple[str, ...], methods: str) -> Mapping[str, str]:
    """What lets a page of an allowed origin make a call."""
    made = cors_headers(headers, allowed)
    if "Access-Control-Allow-Origin" in made and "access-control-request-method" in headers:
        made["Access-Control-Allow-Methods"] = methods
        made["Access-Control-Allow-Headers"] = "Authorization, Content-Type, Idempotency-Key"
        made["Access-Control-Max-Age"] = PREFLIGHT_KEPT
    return made


def _may(origin: str, allowed: tuple[str, ...]) -> bool:
    return origin in allowed or "*" in allowed
