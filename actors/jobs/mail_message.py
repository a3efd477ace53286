"""Writes a mail as bytes. Rule: it is read back, and its headers say what was asked for, or not sent."""

from __future__ import annotations

import email.policy
from collections.abc import Sequence
from datetime import datetime
from email import message_from_bytes
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Final

import attrs

from actors.jobs.mail_address import Mailbox

_WRITTEN: Final = email.policy.SMTP.clone(cte_type="7bit")  # so that a server without 8BITMIME takes it too
_ADDRESSES: Final = ("From", "To", "Cc")


@attrs.frozen(kw_only=True)
class Mail:
    """A plain-text mail. `message_id` has no angle brackets."""

    sender: Mailbox
    to: Sequence[Mailbox]
    cc: Sequence[Mailbox]
    subject: str
    body: str
    message_id: str
    date: datetime

    def to_bytes(self) -> bytes:
        """The message as it goes over the wire; `ValueError` when the headers would not say what they were
        given."""
        given = {"From": (self.sender,), "To": tuple(self.to), "Cc": tuple(self.cc)}
        try:
            message = EmailMessage(policy=_WRITTEN)
            for name in _ADDRESSES:
                if given[name]:
                    message[name] = tuple(Address(each.name, each.local, each.domain) for each in given[name])
            message["Subject"] = self.subject
            message["Date"] = format_datetime(self.date)
            message["Message-ID"] = f"<{self.message_id}>"
            message.set_content(self.body)
            written = message.as_bytes()
            read = message_from_bytes(written, policy=email.policy.default)
        except Exception as error:  # Python's mail package fails in many ways on what it can't fold
            raise ValueError(f"{type(error).__name__}: {error}"[:200]) from error

        if read.keys() != message.keys() or read.defects:
            raise ValueError(f"the headers came out as {', '.join(read.keys())}"[:200])
        for name in _ADDRESSES:
            header = read[name]
            found = [] if header is None else [address.addr_spec.lower() for address in header.addresses]
            if found != [each.address.lower() for each in given[name]]:
                raise ValueError(f"the addresses of {name} came out changed")
        return written
