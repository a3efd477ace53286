"""One SMTP conversation, blocking: it runs in a thread, and `Delivery.abort` ends it from another one."""

from __future__ import annotations

import contextlib
import smtplib
import socket
import ssl
from collections.abc import Sequence
from typing import Any, Final

import attrs

from actors.jobs.smtp_url import SmtpServer
from actors.jobs.tools import DeliveryFailed

GOODBYE: Final = 5.0  # seconds that a server has to answer QUIT
MOST_LINES: Final = 100  # of one reply; smtplib bounds a line, and gathers lines without end
QUOTED: Final = 200  # characters of a server's answer that are repeated

# RFC 4954 and RFC 3207: "log in first", "bad credentials", "use TLS": the settings are wrong, not the mail
_ABOUT_US: Final = frozenset({530, 534, 535, 538})


@attrs.frozen
class Reply:
    """What a server answered: three digits, and a text that was made printable."""

    code: int
    text: str

    @property
    def permanent(self) -> bool:
        """Whether asking again is of no use (5xx)."""
        return 500 <= self.code < 600

    def __str__(self) -> str:
        return f"{self.code} {self.text}".rstrip()


class MailRefused(Exception):
    """The server takes this sender or this message from nobody (5xx)."""


@attrs.define
class Delivery:
    """A conversation with `server`; `timeout` seconds for each step of it. Use it once."""

    server: SmtpServer
    tls: ssl.SSLContext
    timeout: float
    _client: smtplib.SMTP | None = None
    _aborted: bool = False

    def run(self, sender: str, recipients: Sequence[str], message: bytes) -> dict[str, Reply]:
        """Hand `message` over for all recipients but those returned, which were refused with these words.

        Raises `MailRefused`, or `DeliveryFailed` for everything that may go better next time.
        """
        where = f"{self.server.host}:{self.server.port}"
        client: smtplib.SMTP | None = None
        try:
            self._client = client = self._connect()
            if self._aborted:
                raise DeliveryFailed(f"{where}: aborted")
            self._secure_and_log_in(client)
            refused = client.sendmail(sender, list(recipients), message)
            _say_goodbye(client)
        except smtplib.SMTPRecipientsRefused as error:  # all of them
            refused = error.recipients
        except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
            reply = _reply((error.smtp_code, error.smtp_error))
            what = "the sender" if isinstance(error, smtplib.SMTPSenderRefused) else "the message"
            if reply.permanent and reply.code not in _ABOUT_US:
                raise MailRefused(f"{where} refuses {what}: {reply}") from error
            raise DeliveryFailed(f"{where} refuses {what} for now: {reply}") from error
        except smtplib.SMTPResponseException as error:
            raise DeliveryFailed(f"{where}: {_reply((error.smtp_code, error.smtp_error))}") from error
        except (smtplib.SMTPException, OSError, ValueError) as error:  # ValueError: that is no SMTP at all
            raise DeliveryFailed(f"{where}: {_printable(str(error)) or type(error).__name__}") from error
        finally:
            if client is not None:
                client.close()
        return {address: _reply(answer) for address, answer in refused.items()}

    def abort(self) -> None:
        """End the conversation at its next read or write; called from another thread than `run`."""
        self._aborted = True
        client = self._client
        sock = None if client is None else client.sock
        if sock is not None:
            with contextlib.suppress(OSError):  # it may have ended by itself
                # past SSLSocket's own method, which touches the state that `run` is using
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def _connect(self) -> smtplib.SMTP:
        server, name = self.server, _own_name()
        if server.security == "tls":
            return _TlsClient(server.host, server.port, local_hostname=name, timeout=self.timeout, context=self.tls)
        return _Client(server.host, server.port, local_hostname=name, timeout=self.timeout)

    def _secure_and_log_in(self, client: smtplib.SMTP) -> None:
        client.ehlo_or_helo_if_needed()
        security = self.server.security
        if security == "required" or (security == "auto" and client.has_extn("starttls")):
            client.starttls(context=self.tls)
        if self.server.user is not None and self.server.password is not None:
            client.login(self.server.user, self.server.password)


class _Client(smtplib.SMTP):
    """smtplib's, but that a reply ends."""

    def getreply(self) -> tuple[int, bytes]:
        """The next reply; `SMTPServerDisconnected` when it has too many lines."""
        if self.file is None and self.sock is not None:
            self.file = _Lines(self.sock.makefile("rb"))
        if self.file is not None:
            self.file.left = MOST_LINES
        return super().getreply()


class _TlsClient(_Client, smtplib.SMTP_SSL):
    """The same with TLS from the first byte."""


@attrs.define
class _Lines:
    """A reply's lines, as smtplib reads them."""

    file: Any
    left: int = 0

    def readline(self, most: int) -> bytes:
        """The next line, of `most` bytes at most."""
        self.left -= 1
        if self.left < 0:
            raise OSError(f"a reply of more than {MOST_LINES} lines")
        line: bytes = self.file.readline(most)
        return line

    def close(self) -> None:
        """Close it."""
        self.file.close()


def _say_goodbye(client: smtplib.SMTP) -> None:
    """QUIT. The mail has been taken, so nothing that goes wrong here may make the attempt a failure."""
    with contextlib.suppress(smtplib.SMTPException, OSError):
        if client.sock is not None:
            client.sock.settimeout(GOODBYE)
        client.quit()


def _own_name() -> str:
    """The name for EHLO; smtplib's own asks DNS, which can take many seconds."""
    name = socket.gethostname()
    return name if "." in name and name.isascii() else "[127.0.0.1]"


def _reply(answer: tuple[int, bytes | str]) -> Reply:
    code, text = answer
    return Reply(code, _printable(text.decode("utf-8", "replace") if isinstance(text, bytes) else text))


def _printable(text: str) -> str:
    words = "".join(character if character.isprintable() else " " for character in text).split()
    return " ".join(words)[:QUOTED]
