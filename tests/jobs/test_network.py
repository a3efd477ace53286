"""Which addresses are refused: properties of the table, and every way to spell one."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.jobs.network import AddressRefused, check_host, literal, resolve, why_refused

PRIVATE_V4 = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
    *("192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4"),
)
PRIVATE_V6 = (
    *("::/128", "::1/128", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "64:ff9b:1::/48", "100::/64"),
    *("2001:db8::/32", "3fff::/20"),
)


def within(networks: Sequence[str]) -> st.SearchStrategy[Any]:
    """Addresses of these networks, their first and last ones often among them."""
    made = [ipaddress.ip_network(network) for network in networks]
    return st.sampled_from(made).flatmap(
        lambda network: st.one_of(
            st.sampled_from([network[0], network[-1]]),
            st.integers(int(network[0]), int(network[-1])).map(type(network[0])),
        )
    )


any_v4 = st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address)
any_v6 = st.integers(0, 2**128 - 1).map(ipaddress.IPv6Address)


@given(within(PRIVATE_V4))
def test_a_private_ipv4_address_is_refused(address: ipaddress.IPv4Address) -> None:
    assert why_refused(address)


@given(within(PRIVATE_V6))
def test_a_private_ipv6_address_is_refused(address: ipaddress.IPv6Address) -> None:
    assert why_refused(address)


@given(any_v4, st.integers(0, 2**16 - 1))
def test_an_ipv4_address_within_an_ipv6_one_is_refused(address: ipaddress.IPv4Address, noise: int) -> None:
    inner = int(address)
    embeddings = {
        "mapped": 0xFFFF << 32 | inner,
        "compatible": inner,
        "translated": 0xFFFF << 48 | inner,
        "NAT64": 0x64FF9B << 96 | inner,
        "local NAT64": 0x64FF9B0001 << 80 | noise << 64 | inner,
        "6to4": 0x2002 << 112 | inner << 80 | noise,
        "Teredo server": 0x20010000 << 96 | inner << 64 | noise,
        "Teredo client": 0x20010000 << 96 | noise << 64 | inner ^ 0xFFFFFFFF,
        "ISATAP": 0x2A00_1450_4001 << 80 | noise << 64 | 0x00005EFE << 32 | inner,
        "ISATAP, universal": 0x2A00_1450_4001 << 80 | noise << 64 | 0x02005EFE << 32 | inner,
    }
    for name, number in embeddings.items():
        assert why_refused(ipaddress.IPv6Address(number)), name


@given(any_v4 | any_v6)
def test_what_the_standard_library_calls_private_is_refused(address: Any) -> None:
    odd = address.is_private or address.is_loopback or address.is_link_local or address.is_multicast
    if odd or address.is_reserved or address.is_unspecified:
        assert why_refused(address)


@pytest.mark.parametrize(
    "text",
    [
        *("1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0"),
        *("126.255.255.255", "128.0.0.0", "169.253.255.255", "172.15.255.255", "172.32.0.0"),
        *("192.167.255.255", "192.169.0.0", "223.255.255.255"),
        *("2606:4700::6810:84e5", "2a00:1450:4001::200e", "2001:4860:4860::8888", "2003::1"),
    ],
)
def test_a_public_address_is_accepted(text: str) -> None:
    assert why_refused(ipaddress.ip_address(text)) is None


@given(any_v4 | any_v6, st.integers(0, 32))
def test_an_allow_list_opens_exactly_its_networks(address: Any, width: int) -> None:
    network = ipaddress.ip_network((int(address), address.max_prefixlen - width), strict=False)
    assert why_refused(address, [network]) is None
    outside = type(address)(int(address) ^ 1 << (address.max_prefixlen - 1))
    if outside not in network:  # (a network of everything has no outside)
        assert why_refused(outside, [network]) == why_refused(outside)


@given(any_v4, st.sampled_from(["d", "x", "o", "mixed", "short"]))
def test_every_spelling_of_an_ipv4_address_is_read_as_the_c_library_reads_it(
    address: ipaddress.IPv4Address, form: str
) -> None:
    a, b, c, d = address.packed
    host = {
        "d": str(int(address)),
        "x": f"0x{int(address):x}",
        "o": ".".join(f"0{part:o}" for part in address.packed),
        "mixed": f"{a}.0x{b:x}.{c << 8 | d}",
        "short": f"{a}.{b << 16 | c << 8 | d}",
    }[form]
    assert literal(host) == address
    by_the_c_library = socket.getaddrinfo(host, 80, type=socket.SOCK_STREAM)[0][4][0]
    assert by_the_c_library == str(address)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST", "localhost.", "a.localhost", "127.1", "0x7f000001", "2130706433", "0"]
)
def test_loopback_by_any_name_is_refused_without_dns(host: str) -> None:
    with pytest.raises(AddressRefused):
        check_host(host, ())


def test_localhost_is_open_when_loopback_is() -> None:
    check_host("localhost", [ipaddress.ip_network("127.0.0.0/8")])


async def test_a_name_is_refused_when_all_its_addresses_are(resolver: Any) -> None:
    resolver({"inner.example": [["10.0.0.7", "fd00::7"]]})
    with pytest.raises(AddressRefused) as caught:
        await resolve("inner.example", 80, ())
    assert (
        str(caught.value) == "inner.example resolves to a private address: expected a public one"
    )  # and does not tell which


async def test_only_the_good_addresses_of_a_name_are_given(resolver: Any) -> None:
    resolver({"both.example": [["10.0.0.7", "93.184.216.34", "fe80::1%eth0", "93.184.216.34"]]})
    assert await resolve("both.example", 80, ()) == ["93.184.216.34"]
