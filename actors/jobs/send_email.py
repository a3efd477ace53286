"""`send_email`: a plain-text mail by SMTP, or a simulated one that says so where no server is set."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import attrs
import trio

from actors import BadPayload, Discard, JobContext
from actors.jobs.mail_address import Mailbox, check_text, mailboxes
from actors.jobs.mail_message import Mail
from actors.jobs.settings import Settings
from actors.jobs.smtp import Delivery, MailRefused, Reply
from actors.jobs.smtp_url import SmtpServer
from actors.jobs.tools import DeliveryFailed, Tools, current_tools


@attrs.frozen
class SendEmail:
    """Sends `body` as plain text; `BadPayload` at construction.

    `to` and `cc` are a text (addresses separated by commas) or a list of addresses. The result is
    `{"simulated", "accepted": [address], "refused": {address: why}, "messageId"}`. What a server refuses for
    good (5xx) is discarded, what it refuses for now is tried again; recipients that have it already do not
    get it twice. The Message-ID is the same in every attempt.
    """

    to: str | list[str]
    subject: str
    body: str
    cc: str | list[str] | None = None

    def __attrs_post_init__(self) -> None:
        problems: list[tuple[str, str]] = []
        for field, given in (("to", self.to), ("cc", self.cc or None)):
            try:
                if given is not None:
                    mailboxes(given)
            except (ValueError, TypeError) as error:
                problems.append((field, str(error)))
        try:
            check_text(self.subject)
        except (ValueError, TypeError) as error:
            problems.append(("subject", str(error)))
        if problems:
            raise BadPayload("send_email", problems)

    async def execute(self, ctx: JobContext) -> dict[str, Any]:
        """Send it. Cancellation closes the connection; a mail that was handed over by then stays sent."""
        tools = current_tools()
        sender = _sender(tools.settings)
        domain = sender.domain if "." in sender.domain else f"{sender.domain}.invalid"
        mail = Mail(
            sender=sender,
            to=mailboxes(self.to),
            cc=mailboxes(self.cc) if self.cc else (),
            subject=self.subject,
            body=self.body,
            message_id=f"{re.sub(r'[^A-Za-z0-9-]', '-', ctx.job.id)}@{domain}",
            date=ctx.job.started_at or ctx.job.created_at,
        )
        try:
            written = mail.to_bytes()
        except ValueError as error:
            raise Discard(f"can't be written as a mail: {error}") from error
        everybody = list(dict.fromkeys(mailbox.address for mailbox in (*mail.to, *mail.cc)))
        simulated = tools.settings.smtp_url is None
        if simulated:
            await _simulate(ctx, tools)
        accepted, refused = (everybody, {}) if simulated else await _send(ctx, tools, mail, written, everybody)
        return {
            "simulated": simulated,
            "accepted": accepted,
            "refused": refused,
            "messageId": f"<{mail.message_id}>",
        }


def _sender(settings: Settings) -> Mailbox:
    if settings.email_from is not None:
        return mailboxes(settings.email_from)[0]
    if settings.smtp_url is not None:
        try:
            return mailboxes(SmtpServer.parse(settings.smtp_url).user or "")[0]
        except ValueError:
            pass  # the account's name is no address
    return Mailbox("", "actors", "localhost")


async def _simulate(ctx: JobContext, tools: Tools) -> None:
    settings = tools.settings
    await trio.sleep(tools.rng.uniform(*settings.email_delay))
    if tools.rng.random() < settings.email_failure_rate:
        ctx.log("simulated failure: no smtp_url is set")
        rate = f"{settings.email_failure_rate:g}"
        raise DeliveryFailed(f"simulated failure: no smtp_url is set, and email_failure_rate is {rate}")
    ctx.log("simulated: no smtp_url is set, nothing was sent")


async def _send(
    ctx: JobContext, tools: Tools, mail: Mail, written: bytes, everybody: Sequence[str]
) -> tuple[list[str], dict[str, str]]:
    """Those who have it now and those who never will; raises `DeliveryFailed` while some may still get it."""
    saved: dict[str, Any] = ctx.state or {}
    accepted: list[str] = saved.get("accepted", [])
    refused: dict[str, str] = saved.get("refused", {})
    recipients = [address for address in everybody if address not in accepted and address not in refused]
    replies = await _hand_over(tools, mail.sender.address, recipients, written) if recipients else {}

    later: dict[str, Reply] = {}
    for address in recipients:
        reply = replies.get(address)
        if reply is None:
            accepted = [*accepted, address]
        elif reply.permanent:
            refused = {**refused, address: str(reply)}
            ctx.log(f"{address} was refused: {reply}")
        else:
            later[address] = reply
    if later:
        if len(later) < len(recipients):
            await ctx.save({"accepted": accepted, "refused": refused})
        address, reply = next(iter(later.items()))
        raise DeliveryFailed(f"{len(later)} of {len(everybody)} recipients refused for now: {address}: {reply}")
    if not accepted:
        address, why = next(iter(refused.items()))
        raise Discard(
            f"{'the recipient was' if len(refused) == 1 else 'all recipients were'} refused: {address}: {why}"
        )
    return accepted, refused


async def _hand_over(tools: Tools, sender: str, recipients: Sequence[str], written: bytes) -> dict[str, Reply]:
    assert tools.settings.smtp_url is not None
    delivery = Delivery(SmtpServer.parse(tools.settings.smtp_url), await tools.tls(), tools.settings.email_timeout)
    try:
        # Abandoned, as a look-up or a connect can't be stopped; `abort` ends the thread as soon as can be.
        return await trio.to_thread.run_sync(delivery.run, sender, recipients, written, abandon_on_cancel=True)
    except MailRefused as error:
        raise Discard(str(error)) from error
    except trio.Cancelled:
        delivery.abort()
        raise
