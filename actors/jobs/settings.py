"""What an installation decides about the ready-made jobs. Rule: settings that exist are valid."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import os
from collections.abc import Iterable
from typing import Any, Final

import attrs

from actors import BadOption
from actors.jobs.mail_address import mailboxes
from actors.jobs.network import Network
from actors.jobs.smtp_url import SmtpServer

LONGEST_TIMEOUT: Final = 3600.0  # seconds; above it is a mistake in the unit


def _listed(option: str, given: Any, what: str) -> tuple[Any, ...]:
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise BadOption(option, given, f"a sequence of {what}")
    return tuple(given)


def _to_networks(given: Iterable[str | Network]) -> tuple[Network, ...]:
    made: list[Network] = []
    for text in _listed("webhook_allow", given, "CIDRs such as 127.0.0.0/8"):
        try:
            made.append(ipaddress.ip_network(str(text), strict=False))
        except ValueError:
            raise BadOption("webhook_allow", text, "a CIDR such as 127.0.0.0/8 or fd00::/8") from None
    return tuple(made)


def _to_roots(given: Iterable[str | os.PathLike[str]]) -> tuple[str, ...]:
    made: list[str] = []
    for root in _listed("cleanup_roots", given, "directories"):
        text = os.fspath(root) if isinstance(root, (str, os.PathLike)) else None
        if not isinstance(text, str) or not text or "\0" in text:
            raise BadOption("cleanup_roots", root, "a directory's path")
        path = os.path.abspath(text)
        if path.strip("/") == "":
            raise BadOption("cleanup_roots", root, "a directory below the root of the file system")
        made.append(path)
    return tuple(made)


def _to_range(given: Iterable[float]) -> tuple[float, float]:
    listed = _listed("email_delay", given, "two numbers of seconds")
    for seconds in listed:
        _seconds("email_delay", seconds, least=0.0)
    if len(listed) != 2 or listed[0] > listed[1]:
        raise BadOption("email_delay", given, "two numbers of seconds, the smaller one first")
    return listed


def _seconds(option: str, given: Any, *, least: float) -> None:
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not least <= given <= LONGEST_TIMEOUT:
        raise BadOption(option, given, f"seconds from {least:g} to {LONGEST_TIMEOUT:g}")


def _check_timeout(_: object, attribute: attrs.Attribute[Any], given: Any) -> None:
    _seconds(attribute.name, given, least=0.01)


def _check_rate(_: object, attribute: attrs.Attribute[Any], given: Any) -> None:
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 <= given <= 1:
        raise BadOption(attribute.name, given, "a share from 0 to 1, such as 0.1")


def _check_smtp_url(_: object, attribute: attrs.Attribute[Any], given: Any) -> None:
    if given is not None:
        SmtpServer.parse(given)


def _check_sender(_: object, attribute: attrs.Attribute[Any], given: Any) -> None:
    if given is None:
        return
    try:
        count = len(mailboxes(given))
    except ValueError as error:
        raise BadOption(attribute.name, given, f"an address ({error})") from None
    if count != 1:
        raise BadOption(attribute.name, given, "one address")


def _check_secret(_: object, attribute: attrs.Attribute[Any], given: Any) -> None:
    if given is None:
        return
    try:
        if not given or not signing_key(given):
            raise ValueError("nothing in it")
    except (ValueError, TypeError, AttributeError):
        raise BadOption(
            attribute.name, "***", "whsec_ and a base64 text, or any other text that is not empty"
        ) from None


def _check_file(_: object, attribute: attrs.Attribute[Any], given: Any) -> None:
    if given is not None and not os.path.isfile(given):
        raise BadOption(attribute.name, given, "a file with certificates in PEM format")


def signing_key(secret: str) -> bytes:
    """The key of a secret: the bytes behind `whsec_` (`ValueError` for bad base64), or the text itself."""
    if secret.startswith("whsec_"):
        try:
            return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except binascii.Error as error:
            raise ValueError(str(error)) from None
    return secret.encode()


@attrs.frozen(kw_only=True)
class Settings:
    """The settings of the ready-made jobs; `BadOption` names what is wrong with one.

    Give every process of a store the same ones: an enqueue checks with its own, and so does a run.

    E-mail:
    - `smtp_url`: `smtp://user:password@host:587` or `smtps://host:465` (user and password percent-encoded).
      With `smtp:` the connection goes over to TLS when the server offers it, and must do so when there is a
      password and the host is not this machine; `?starttls=required`, `auto` or `never` says otherwise.
      Without a URL mail is only simulated.
    - `email_from`: the sender, `Name <a@example.org>` or the bare address; by default the URL's user if that
      is one, else `actors@localhost`.
    - `email_timeout`: seconds that one step of the conversation may take.
    - `email_failure_rate`, `email_delay`: of the simulated transport: the share of failures, and seconds from
      (at least, at most).

    Webhooks:
    - `webhook_allow`: CIDRs that may be posted to although they are not public.
    - `webhook_secret`: signs the body (Standard Webhooks): `whsec_` and base64, or any other text.
    - `webhook_timeout`: seconds from the look-up of the name to the end of the answer, redirects included.
    - `webhook_longest_wait`: the most seconds that a `Retry-After` is waited for.

    Both: `ca_file`, a PEM file with certificates that are trusted besides the system's.

    Clean-up: `cleanup_roots`, the directories below which (and in which) files may be deleted.
    """

    smtp_url: str | None = attrs.field(default=None, repr=False, validator=_check_smtp_url)
    email_from: str | None = attrs.field(default=None, validator=_check_sender)
    email_timeout: float = attrs.field(default=30.0, validator=_check_timeout)
    email_failure_rate: float = attrs.field(default=0.1, validator=_check_rate)
    email_delay: tuple[float, float] = attrs.field(default=(0.3, 0.7), converter=_to_range)
    webhook_allow: tuple[Network, ...] = attrs.field(default=(), converter=_to_networks)
    webhook_secret: str | None = attrs.field(default=None, repr=False, validator=_check_secret)
    webhook_timeout: float = attrs.field(default=30.0, validator=_check_timeout)
    webhook_longest_wait: float = attrs.field(default=3600.0, validator=_check_timeout)
    ca_file: str | None = attrs.field(default=None, validator=_check_file)
    cleanup_roots: tuple[str, ...] = attrs.field(default=(), converter=_to_roots)
