"""`webhook`: an HTTP POST of a payload as JSON, signed where a secret is set, to public addresses only."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, NewType, TypeAlias

import attrs
import orjson
import trio

from actors import BadPayload, Discard, JobContext, Retry
from actors.jobs.http_post import Answer, post
from actors.jobs.network import AddressRefused, Network, check_host
from actors.jobs.signature import signed_headers
from actors.jobs.tools import DeliveryFailed, current_tools
from actors.jobs.url import parse

if TYPE_CHECKING:
    Url: TypeAlias = str
else:
    Url = NewType("Url", str)  # a type of its own at run time, so that a registry can check it by its own allow-list

MOST_HEADERS: Final = 50
MOST_HEADER_TEXT: Final = 8192  # characters of all headers together: what servers commonly take
SHORTEST_WAIT: Final = 1.0  # seconds: a `Retry-After: 0` must not use up all attempts at once
_QUOTED: Final = 200  # characters of an answer that an error repeats
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}", re.ASCII)
_TEXT: Final = re.compile(r"[\t\x20-\x7e]*", re.ASCII)
_OURS: Final = frozenset(
    {
        *(
            "host",
            "content-length",
            "transfer-encoding",
            "connection",
            "keep-alive",
            "upgrade",
            "te",
            "trailer",
        ),
        *("expect", "webhook-id", "webhook-timestamp", "webhook-signature"),
    }
)


def check_headers(headers: Mapping[str, str]) -> None:
    """Raise `ValueError` for headers that a caller may not set, or that are none."""
    if len(headers) > MOST_HEADERS or sum(map(len, headers)) + sum(map(len, headers.values())) > MOST_HEADER_TEXT:
        raise ValueError(f"expected at most {MOST_HEADERS} headers with {MOST_HEADER_TEXT} characters in all")
    if len({name.lower() for name in headers}) != len(headers):
        raise ValueError("a header is given twice, in upper and lower case")
    for name, text in headers.items():
        if _TOKEN.fullmatch(name) is None:
            raise ValueError(f"{name[:40]!r} is no header's name")
        if name.lower() in _OURS or name.lower().startswith("proxy-"):
            raise ValueError(f"{name[:40]} is set by the webhook itself")
        if _TEXT.fullmatch(text) is None:
            raise ValueError(f"{name[:40]} has a line break or another character that is not printable ASCII")


def check_url(text: str, allow: tuple[Network, ...]) -> None:
    """Raise `ValueError` for a URL that can be refused without asking DNS."""
    target = parse(text)
    try:
        check_host(target.host, allow)
    except AddressRefused as error:
        raise ValueError(str(error)) from None


@attrs.frozen
class Webhook:
    """Posts `payload` (any JSON) to `url`; `BadPayload` at construction, by the allow-list at the enqueue.

    The result is `{"status", "redirects", "seconds"}`. 2xx is a success; 410 Gone is discarded, as the
    receiver wants no more; 429 and 503 with `Retry-After` come back after that time (at least a second, at
    most the settings' `webhook_longest_wait`); everything else is a failed attempt. Redirects are followed
    where they keep it a POST (307, 308), at most five, each checked like the first; the caller's headers go
    to the first origin only. A private address is discarded.
    """

    url: Url
    payload: Any
    headers: dict[str, str] | None = None

    def __attrs_post_init__(self) -> None:
        problems: list[tuple[str, str]] = []
        try:
            parse(self.url)
        except (ValueError, TypeError) as error:
            problems.append(("url", str(error)))
        try:
            check_headers(self.headers or {})
        except (ValueError, TypeError, AttributeError) as error:
            problems.append(("headers", str(error)))
        if problems:
            raise BadPayload("webhook", problems)

    async def execute(self, ctx: JobContext) -> dict[str, Any]:
        """Post it once. Cancellation hangs up; a request that was sent by then may have been taken."""
        tools = current_tools()
        settings = tools.settings
        target = parse(self.url)
        body = orjson.dumps(self.payload)
        now = ctx.job.started_at or datetime.now(UTC)
        given = {name.lower(): text for name, text in (self.headers or {}).items()}
        headers = {
            "accept": "*/*",
            "accept-encoding": "identity",
            "user-agent": given.pop("user-agent", "trio-actors"),
            "content-type": given.pop("content-type", "application/json"),
            **signed_headers(settings.webhook_secret, ctx.job.id, int(now.timestamp()), body),
        }
        began = time.monotonic()
        try:
            with trio.fail_after(settings.webhook_timeout):
                answer = await post(target, headers, given, body, allow=settings.webhook_allow, tls=await tools.tls())
        except trio.TooSlowError:
            raise DeliveryFailed(f"{target.origin} did not answer within {settings.webhook_timeout:g} s") from None
        except AddressRefused as error:
            raise Discard(str(error)) from error
        except ImportError as error:
            raise RuntimeError("webhook needs httpx2: pip install 'trio-actors[server]'") from error
        return _judge(answer, time.monotonic() - began, now, settings.webhook_longest_wait)


def _judge(answer: Answer, seconds: float, now: datetime, longest_wait: float) -> dict[str, Any]:
    if 200 <= answer.status < 300:
        return {"status": answer.status, "redirects": answer.redirects, "seconds": round(seconds, 3)}
    said = f"{answer.origin} answered {answer.status}"
    text = _shown(answer.body)
    match answer.status:
        case 410:
            raise Discard(f"{said}: the receiver wants no more")
        case 429 | 503 if (wait := retry_after(answer.headers, now)) is not None:
            raise Retry(
                after=min(max(wait, SHORTEST_WAIT), max(longest_wait, SHORTEST_WAIT)),
                reason=f"{said} and asks to wait {wait:g} s",
            )
        case 301 | 302 | 303:
            raise DeliveryFailed(f"{said}: a redirect that does not keep a POST a POST (307 and 308 do)")
        case _:
            raise DeliveryFailed(f"{said}: {text}" if text else said)


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds until the time that `Retry-After` names (RFC 9110, section 10.2.3), or None without one that
    can be read.

    A date is compared with the answer's own `Date`, so that a difference between the clocks does not count.
    """
    given = headers.get("retry-after", "").strip()
    if given.isascii() and given.isdecimal():
        return float(given[:12])
    until = _date(given)
    if until is None:
        return None
    return max(0.0, (until - (_date(headers.get("date", "")) or now)).total_seconds())


def _date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text[:100])
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _shown(body: bytes) -> str:
    text = body[: 4 * _QUOTED].decode("utf-8", "replace")
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())[:_QUOTED]
