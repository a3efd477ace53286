"""Which addresses a job may talk to. Rule: what is not plainly public is refused, but for an allow-list.

The table is our own, not `ipaddress.is_global`: that one changes between Python versions, and calls
translated addresses global.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from typing import Final

import trio

from actors import ActorsError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_REFUSED_V4: Final = tuple(
    (ipaddress.IPv4Network(network), kind)
    for network, kind in (
        ("0.0.0.0/8", "an unspecified"),
        ("10.0.0.0/8", "a private"),
        ("100.64.0.0/10", "a shared (carrier-grade NAT)"),
        ("127.0.0.0/8", "a loopback"),
        ("169.254.0.0/16", "a link-local"),
        ("172.16.0.0/12", "a private"),
        ("192.0.0.0/24", "a reserved"),
        ("192.0.2.0/24", "a documentation"),
        ("192.88.99.0/24", "a translated (6to4 relay)"),
        ("192.168.0.0/16", "a private"),
        ("198.18.0.0/15", "a benchmarking"),
        ("198.51.100.0/24", "a documentation"),
        ("203.0.113.0/24", "a documentation"),
        ("224.0.0.0/4", "a multicast"),
        ("240.0.0.0/4", "a reserved"),
    )
)

_REFUSED_V6: Final = tuple(
    (ipaddress.IPv6Network(network), kind)
    for network, kind in (
        ("::/128", "an unspecified"),
        ("::1/128", "a loopback"),
        ("::ffff:0:0/96", "a mapped (IPv4 in IPv6)"),
        ("::/96", "a mapped (IPv4 in IPv6)"),
        ("64:ff9b::/96", "a translated (NAT64)"),
        ("64:ff9b:1::/48", "a translated (NAT64)"),
        ("2001::/32", "a translated (Teredo)"),
        ("2001::/23", "a reserved"),
        ("2001:db8::/32", "a documentation"),
        ("2002::/16", "a translated (6to4)"),
        ("3fff::/20", "a documentation"),
        ("fc00::/7", "a private"),
        ("fe80::/10", "a link-local"),
        ("fec0::/10", "a private"),
        ("ff00::/8", "a multicast"),
    )
)

_PUBLIC_V6: Final = ipaddress.IPv6Network("2000::/3")  # all that IANA has opened for global unicast
_ISATAP: Final = frozenset({0x0000_5EFE, 0x0200_5EFE})  # RFC 5214: before the IPv4 address in the last 32 bits


class AddressRefused(ActorsError):
    """The target is no address that jobs may talk to."""


def why_refused(address: Address, allow: Iterable[Network] = ()) -> str | None:
    """The kind of address it is ("a loopback", "a private", ...) when it is refused, or None when it may be
    talked to."""
    if any(address.version == network.version and address in network for network in allow):
        return None
    if isinstance(address, ipaddress.IPv4Address):
        return next((kind for network, kind in _REFUSED_V4 if address in network), None)
    kind = next((kind for network, kind in _REFUSED_V6 if address in network), None)
    if kind is not None:
        return kind
    if address not in _PUBLIC_V6:
        return "a reserved"
    if (int(address) >> 32) & 0xFFFF_FFFF in _ISATAP:
        return "a translated (ISATAP)"
    return None


def literal(host: str) -> Address | None:
    """The address that `host` spells, in any way that the C library reads one (`127.1`, `2130706433`,
    `0x7f.1`), or None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, UnicodeEncodeError):
        return None


def check_host(host: str, allow: Iterable[Network]) -> None:
    """Raise `AddressRefused` for a host that is known to be refused without asking DNS: a literal address, or
    `localhost` and below."""
    address = literal(host)
    if address is not None:
        kind = why_refused(address, allow)
        if kind is not None:
            raise AddressRefused(f"{host} is {kind} address: expected a public one")
        return
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761, section 6.3
        loopback = (ipaddress.IPv4Address("127.0.0.1"), ipaddress.IPv6Address("::1"))
        if all(why_refused(address, allow) for address in loopback):
            raise AddressRefused("localhost is a loopback address: expected a public one")


async def resolve(host: str, port: int, allow: Iterable[Network]) -> list[str]:
    """The addresses of `host` that may be talked to, in the resolver's order; never empty.

    Raises `AddressRefused` when there are only others (which ones is not told: names of an inner network are
    nobody's business), and `OSError` when the name can't be resolved. Connect to what is returned and to
    nothing else: a second look-up may answer differently.
    """
    allow = tuple(allow)
    check_host(host, allow)
    found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    kinds: list[str] = []
    good: list[str] = []
    for _, _, _, _, where in found:
        text = str(where[0]).partition("%")[0]
        kind = why_refused(ipaddress.ip_address(text), allow)
        if kind is None:
            if text not in good:
                good.append(text)
        else:
            kinds.append(kind)
    if good:
        return good
    if not kinds:
        raise OSError(f"{host} has no address")
    raise AddressRefused(f"{host} resolves to {kinds[0]} address: expected a public one")
