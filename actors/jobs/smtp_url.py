"""Reads an `smtp_url`: which server takes our mail, how the connection is secured, and who we are there."""

from __future__ import annotations

from typing import Any, Final, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

import attrs

from actors import BadOption
from actors.jobs.network import literal

Security = Literal["tls", "required", "auto", "never"]
"""`tls` from the first byte; else STARTTLS: `required`, `auto` (when it is offered), or `never`."""

_PORTS: Final = {"smtp": 587, "smtps": 465}  # RFC 6409 and RFC 8314: we submit mail, we do not relay it (25)


@attrs.frozen(kw_only=True)
class SmtpServer:
    """The server, and the account there (both or neither of `user` and `password`)."""

    host: str
    port: int
    security: Security
    user: str | None = None
    password: str | None = attrs.field(default=None, repr=False)

    @staticmethod
    def parse(url: Any) -> SmtpServer:
        """`smtp[s]://[user:password@]host[:port][?starttls=required|auto|never]`; `BadOption` (which never
        shows the password)."""
        if not isinstance(url, str):
            raise BadOption("smtp_url", type(url).__name__, "text such as smtp://user:password@host:587")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise _bad(f"a URL ({error})") from None
        if parts.scheme not in _PORTS:
            raise _bad(f"smtp:// or smtps://, not {parts.scheme[:20] or 'no scheme'}")
        if not host or not host.isascii() or any(character <= " " for character in host) or port == 0:
            raise _bad("a host and a port from 1 to 65535")
        if parts.path not in ("", "/") or parts.fragment:
            raise _bad("nothing behind the port but ?starttls=...")
        user, password = _account(parts.username, parts.password)
        return SmtpServer(
            host=host,
            port=port or _PORTS[parts.scheme],
            security=_security(parts.scheme, parts.query, host, user),
            user=user,
            password=password,
        )


def _account(user: str | None, password: str | None) -> tuple[str | None, str | None]:
    if not user and not password:
        return None, None
    if not user or password is None:
        raise _bad("both a user and a password, or neither")
    return unquote(user), unquote(password)


def _security(scheme: str, query: str, host: str, user: str | None) -> Security:
    given = dict(parse_qsl(query, keep_blank_values=True))
    said = given.pop("starttls", None)
    if given:
        raise _bad(f"no option but starttls, not {next(iter(given))[:20]!r}")
    if scheme == "smtps":
        if said is not None:
            raise _bad("no starttls, as smtps:// is TLS from the first byte")
        return "tls"
    match said:
        case "required" | "auto" | "never":
            return said
        case None:
            return "auto" if user is None or _is_here(host) else "required"
        case _:
            raise _bad("starttls=required, starttls=auto or starttls=never")


def _is_here(host: str) -> bool:
    address = literal(host)
    return host == "localhost" if address is None else address.is_loopback


def _bad(expected: str) -> BadOption:
    return BadOption("smtp_url", "***", expected)
