"""Posts bytes to a URL. Rule: each connection, a redirect's too, goes to an address that was checked.

Without a proxy, as a proxy would connect where it likes; without cookies; HTTP/1.1.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import urljoin

import attrs
import trio

from actors.jobs.network import AddressRefused, Network, resolve
from actors.jobs.tools import DeliveryFailed
from actors.jobs.url import Target, parse

if TYPE_CHECKING:
    import httpx2

MOST_REDIRECTS: Final = 5
MOST_READ: Final = 64 * 1024  # bytes of an answer's body; the rest is not fetched
READ_TIME: Final = 5.0  # seconds for the body: the status is all that counts
CONNECT_TIME: Final = 10.0  # seconds for one address, before the next one is tried
MOST_ADDRESSES: Final = 4
_KEEPS_THE_POST: Final = frozenset({307, 308})


@attrs.frozen(kw_only=True)
class Answer:
    """What came back at last."""

    origin: str
    status: int
    headers: Mapping[str, str]  # lower-case names
    body: bytes  # the first `MOST_READ` bytes
    redirects: int  # that were followed


async def post(
    target: Target,
    headers: Mapping[str, str],
    private: Mapping[str, str],
    body: bytes,
    *,
    allow: Sequence[Network],
    tls: ssl.SSLContext,
) -> Answer:
    """POST `body` and follow redirects that keep it a POST (307, 308); any other answer is returned as it is.

    `private` are headers for the first origin only. Raises `AddressRefused` for the target or a redirect,
    `DeliveryFailed` when nothing answered or the redirects did not end, and `ImportError` without httpx2.
    Takes as long as it takes: set a deadline around it.
    """
    import httpx2

    first, seen = target, 0
    while True:
        sent = {**headers, **private} if target.origin == first.origin else dict(headers)
        # A client a request costs 40 µs (the TLS context is shared), and no connection outlives its check.
        async with httpx2.AsyncClient(
            verify=tls, trust_env=False, timeout=httpx2.Timeout(None, connect=CONNECT_TIME)
        ) as client:
            response = await _send(client, target, sent, body, allow)
            try:
                location = response.headers.get("location")
                if response.status_code not in _KEEPS_THE_POST or location is None:
                    return Answer(
                        origin=target.origin,
                        status=response.status_code,
                        headers={name.lower(): text for name, text in response.headers.items()},
                        body=await _read(response),
                        redirects=seen,
                    )
            finally:
                await response.aclose()
        seen += 1
        if seen > MOST_REDIRECTS:
            raise DeliveryFailed(f"{first.origin} redirects more than {MOST_REDIRECTS} times")
        target = _follow(target, location)


def _follow(here: Target, location: str) -> Target:
    try:
        there = parse(urljoin(here.origin + here.path, location))
    except ValueError as error:
        raise DeliveryFailed(f"{here.origin} redirects to what is no URL to post to: {error}") from None
    if here.scheme == "https" and there.scheme == "http":
        raise AddressRefused(f"{here.origin} redirects from https to http: expected it to stay encrypted")
    return there


async def _send(
    client: httpx2.AsyncClient,
    target: Target,
    headers: Mapping[str, str],
    body: bytes,
    allow: Sequence[Network],
) -> httpx2.Response:
    """The response, its body unread, from the first address that takes the connection."""
    import httpx2

    try:
        addresses = await resolve(target.host, target.port, allow)
    except OSError as error:
        raise DeliveryFailed(f"{target.origin}: the name can't be resolved: {error.strerror or error}") from error
    failed: Exception | None = None
    for address in addresses[:MOST_ADDRESSES]:
        request = client.build_request(
            "POST",
            target.at(address),
            headers={**headers, "host": target.authority},
            content=body,
            extensions={"sni_hostname": target.host},  # also the name that the certificate must have
        )
        try:
            return await client.send(request, stream=True, follow_redirects=False)
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            failed = error  # nothing was sent: the next address may do
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise DeliveryFailed(f"{target.origin}: {_why(error)}") from error
    assert failed is not None
    raise DeliveryFailed(f"{target.origin} can't be connected to: {_why(failed)}") from failed


async def _read(response: httpx2.Response) -> bytes:
    """The beginning of the body; what it takes too long for or what breaks off is left out, as the status is
    here already."""
    import httpx2

    read = bytearray()
    with trio.move_on_after(READ_TIME):
        try:
            async for part in response.aiter_raw():
                read += part
                if len(read) >= MOST_READ:
                    break
        except (httpx2.HTTPError, httpx2.StreamError):
            pass
    return bytes(read[:MOST_READ])


def _why(error: BaseException) -> str:
    """The first words in the chain of causes: a failed handshake says them last."""
    at: BaseException | None = error
    while at is not None and not str(at):
        at = at.__cause__ or at.__context__
    return (str(at) if at is not None else type(error).__name__)[:200]
