"""`send_email` against a real SMTP server on loopback, and the simulated transport."""

from __future__ import annotations

import email.policy
import random
import socket
import threading
from collections.abc import Callable
from email import message_from_bytes
from typing import Any

import pytest
import trio
import trio.testing
from aiosmtpd.smtp import AuthResult

from actors import Discard, Registry
from actors.jobs import DeliveryFailed, SendEmail, Settings, registry

HELLO = SendEmail(to="test@example.com", subject="Test", body="Hello World")
Start = Callable[..., int]


def read(envelope: Any) -> Any:
    return message_from_bytes(envelope.content, policy=email.policy.default)


# The real transport


async def test_a_mail_arrives(perform: Any, smtp_server: Start, mailroom: Any) -> None:
    port = smtp_server(mailroom)
    jobs = registry(Settings(smtp_url=f"smtp://127.0.0.1:{port}", email_from="Robot <robot@example.org>"))
    job = SendEmail(
        to='"Doe, Jane" <jane@bücher.example>, bob@example.org',
        cc=["carol@example.org", "bob@example.org"],
        subject="Grüße 🎉",
        body="Line one\nLine ü\n.\nlast",
    )
    result = await perform(jobs, job, id="0199-abc")
    [envelope] = mailroom.mails
    assert envelope.mail_from == "robot@example.org"
    assert envelope.rcpt_tos == ["jane@xn--bcher-kva.example", "bob@example.org", "carol@example.org"]
    mail = read(envelope)
    assert mail["To"].addresses[0].display_name == "Doe, Jane"
    assert mail["Cc"] == "carol@example.org, bob@example.org"
    assert mail["From"] == "Robot <robot@example.org>"
    assert mail["Subject"] == "Grüße 🎉"
    assert mail["Message-ID"] == "<0199-abc@example.org>"
    assert mail["Date"].datetime.timestamp() == perform.now // 1_000_000
    assert mail.get_content().splitlines() == ["Line one", "Line ü", ".", "last"]
    assert result == {
        "simulated": False,
        "accepted": envelope.rcpt_tos,
        "refused": {},
        "messageId": "<0199-abc@example.org>",
    }


async def test_a_body_can_not_smuggle_a_second_mail(perform: Any, smtp_server: Start, mailroom: Any) -> None:
    jobs = registry(Settings(smtp_url=f"smtp://127.0.0.1:{smtp_server(mailroom)}"))
    evil = "MAIL FROM:<x@y.zz>\r\nRCPT TO:<z@y.zz>\r\nDATA\r\nhi"
    body = "".join(f"x{end}.{end}{evil}" for end in ("\n", "\r", "\r\n", "\n\r", "\r\r\n"))
    await perform(jobs, SendEmail(to="a@example.org", subject="s", body=body))
    [envelope] = mailroom.mails
    assert envelope.rcpt_tos == ["a@example.org"]
    assert b"z@y.zz" in envelope.content


async def test_what_is_refused_for_good_is_discarded(perform: Any, smtp_server: Start, mailroom: Any) -> None:
    mailroom.refused = {"test@example.com": "550 no such user"}
    jobs = registry(Settings(smtp_url=f"smtp://127.0.0.1:{smtp_server(mailroom)}"))
    with pytest.raises(Discard, match=r"the recipient was refused: test@example.com: 550 no such user"):
        await perform(jobs, HELLO)

    mailroom.refused, mailroom.data_reply = {}, "554 looks like spam"
    with pytest.raises(Discard, match="refuses the message: 554 looks like spam"):
        await perform(jobs, HELLO)

    mailroom.refused_senders = {"actors@localhost": "553 not you"}
    with pytest.raises(Discard, match="refuses the sender: 553 not you"):
        await perform(jobs, HELLO)
    assert mailroom.mails == []


async def test_what_is_refused_for_now_is_tried_again(perform: Any, smtp_server: Start, mailroom: Any) -> None:
    mailroom.refused = {"test@example.com": "451 greylisted"}
    jobs = registry(Settings(smtp_url=f"smtp://127.0.0.1:{smtp_server(mailroom)}"))
    with pytest.raises(DeliveryFailed, match=r"1 of 1 recipients refused for now: test@example.com: 451 greylisted"):
        await perform(jobs, HELLO)
    assert perform.ctx.state is None

    mailroom.refused, mailroom.data_reply = {}, "452 disk full"
    with pytest.raises(DeliveryFailed, match="refuses the message for now: 452 disk full"):
        await perform(jobs, HELLO)

    mailroom.refused_senders = {"actors@localhost": "421 busy"}
    with pytest.raises(DeliveryFailed, match="421 busy"):
        await perform(jobs, HELLO)


async def test_nobody_gets_a_mail_twice_when_others_are_tried_again(
    perform: Any, smtp_server: Start, mailroom: Any
) -> None:
    mailroom.refused = {"later@example.org": "451 later", "never@example.org": "550 never"}
    jobs = registry(Settings(smtp_url=f"smtp://127.0.0.1:{smtp_server(mailroom)}"))
    job = SendEmail(to=["now@example.org", "later@example.org", "never@example.org"], subject="s", body="b")
    with pytest.raises(DeliveryFailed, match=r"1 of 3 recipients refused for now: later@example.org: 451 later"):
        await perform(jobs, job)
    state = perform.ctx.state
    assert perform.ctx.lines == ["never@example.org was refused: 550 never"]

    mailroom.refused = {}
    result = await perform(jobs, job, state=state)
    assert [envelope.rcpt_tos for envelope in mailroom.mails] == [["now@example.org"], ["later@example.org"]]
    assert result["accepted"] == ["now@example.org", "later@example.org"]
    assert result["refused"] == {"never@example.org": "550 never"}

    # a crash after the last hand-over and before the report: there is nobody left to write to
    done = {"accepted": result["accepted"], "refused": result["refused"]}
    assert await perform(jobs, job, state=done) == result
    assert len(mailroom.mails) == 2


async def test_a_mail_that_was_taken_is_a_success_whatever_follows(
    perform: Any, smtp_server: Start, mailroom: Any
) -> None:
    mailroom.quit_reply = "500 what?"
    jobs = registry(Settings(smtp_url=f"smtp://127.0.0.1:{smtp_server(mailroom)}"))
    assert (await perform(jobs, HELLO))["accepted"] == ["test@example.com"]


async def test_no_server_is_a_failure_that_names_it(perform: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    jobs = registry(Settings(smtp_url=f"smtp://127.0.0.1:{port}"))
    with pytest.raises(DeliveryFailed, match=rf"127\.0\.0\.1:{port}: .*refused"):
        await perform(jobs, HELLO)


async def test_a_server_that_does_not_speak_smtp_is_a_failure(perform: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        jobs = registry(Settings(smtp_url=f"smtp://127.0.0.1:{listening.getsockname()[1]}"))
        with pytest.raises(DeliveryFailed):
            await perform(jobs, HELLO)
        thread.join()


# TLS and accounts


def check_account(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    return AuthResult(success=(data.login, data.password) == (b"me@example.org", b"p:/w"), handled=False)


async def test_starttls_is_used_when_it_is_offered(
    perform: Any, smtp_server: Start, mailroom: Any, server_tls: Any, ca_file: str
) -> None:
    port = smtp_server(mailroom, tls_context=server_tls("localhost"), require_starttls=True)
    await perform(registry(Settings(smtp_url=f"smtp://localhost:{port}", ca_file=ca_file)), HELLO)
    assert mailroom.sessions[0].ssl is not None

    with pytest.raises(DeliveryFailed, match="STARTTLS"):  # the server insists, and we were told not to
        await perform(registry(Settings(smtp_url=f"smtp://localhost:{port}?starttls=never")), HELLO)


async def test_an_account_is_used_over_tls_and_gives_the_sender(
    perform: Any, smtp_server: Start, mailroom: Any, server_tls: Any, ca_file: str
) -> None:
    port = smtp_server(mailroom, tls_context=server_tls("localhost"), authenticator=check_account, auth_required=True)
    url = f"smtp://me%40example.org:p%3A%2Fw@localhost:{port}"
    await perform(registry(Settings(smtp_url=url, ca_file=ca_file)), HELLO)
    assert mailroom.mails[0].mail_from == "me@example.org"

    with pytest.raises(DeliveryFailed, match="535"):
        await perform(registry(Settings(smtp_url=url.replace("%2Fw", "wrong"), ca_file=ca_file)), HELLO)


async def test_tls_from_the_first_byte(
    perform: Any, smtp_server: Start, mailroom: Any, server_tls: Any, ca_file: str
) -> None:
    port = smtp_server(mailroom, tls=server_tls("localhost"))
    await perform(registry(Settings(smtp_url=f"smtps://localhost:{port}", ca_file=ca_file)), HELLO)
    assert len(mailroom.mails) == 1


async def test_a_certificate_of_nobody_we_trust_is_refused(
    perform: Any, smtp_server: Start, mailroom: Any, server_tls: Any, ca_file: str
) -> None:
    port = smtp_server(mailroom, tls=server_tls("localhost"))
    with pytest.raises(DeliveryFailed, match="CERTIFICATE_VERIFY_FAILED"):
        await perform(registry(Settings(smtp_url=f"smtps://localhost:{port}")), HELLO)
    with pytest.raises(DeliveryFailed, match="CERTIFICATE_VERIFY_FAILED"):  # trusted, but of another name
        await perform(registry(Settings(smtp_url=f"smtps://127.0.0.1:{port}", ca_file=ca_file)), HELLO)
    assert mailroom.mails == []


async def test_a_password_is_not_sent_in_clear_where_tls_is_required(
    perform: Any, smtp_server: Start, mailroom: Any
) -> None:
    port = smtp_server(mailroom, authenticator=check_account, auth_require_tls=False)
    url = f"smtp://me%40example.org:p%3A%2Fw@localhost:{port}"
    with pytest.raises(DeliveryFailed, match="STARTTLS"):
        await perform(registry(Settings(smtp_url=f"{url}?starttls=required")), HELLO)
    assert mailroom.sessions == []
    await perform(registry(Settings(smtp_url=url)), HELLO)  # this machine
    assert mailroom.sessions[0].authenticated


# Cancellation


async def test_cancelling_ends_the_conversation_at_once(perform: Any) -> None:
    listening = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listening[0].socket.getsockname()[1]
    jobs = registry(Settings(smtp_url=f"smtp://127.0.0.1:{port}", email_timeout=600))
    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def send() -> None:
            with scope:
                await perform(jobs, HELLO)

        nursery.start_soon(send)
        server = await listening[0].accept()
        await server.send_all(b"220 mx\r\n")
        assert await server.receive_some() != b""  # the greeting was answered; now the server is silent
        scope.cancel()
        with trio.fail_after(5):
            assert await server.receive_some() == b""  # hung up, although the thread may still be on its way out
    assert scope.cancelled_caught
    await trio.aclose_forcefully(server)
    await trio.aclose_forcefully(listening[0])


async def test_a_silent_server_is_a_failure_after_the_timeout(perform: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        jobs = registry(Settings(smtp_url=f"smtp://127.0.0.1:{port}", email_timeout=0.05))
        with pytest.raises(DeliveryFailed, match="timed out"):
            await perform(jobs, HELLO)


# The simulated transport


async def test_without_a_server_it_is_simulated_and_says_so(
    perform: Any, autojump_clock: trio.testing.MockClock
) -> None:
    jobs = registry(Settings(email_failure_rate=0.0), rng=random.Random(1))
    began = trio.current_time()
    result = await perform(jobs, SendEmail(to="test@example.com", subject="s", body="b", cc="c@example.com"))
    assert 0.3 <= trio.current_time() - began <= 0.7
    assert result["simulated"] is True and result["accepted"] == ["test@example.com", "c@example.com"]
    assert perform.ctx.lines == ["simulated: no smtp_url is set, nothing was sent"]


async def test_a_tenth_of_the_simulated_mails_fails(perform: Any, autojump_clock: trio.testing.MockClock) -> None:
    async def outcomes(rate: float) -> str:
        jobs = registry(Settings(email_failure_rate=rate), rng=random.Random(7))
        found = ""
        for _ in range(150):
            try:
                await perform(jobs, HELLO)
                found += "."
            except DeliveryFailed as error:
                assert "simulated" in str(error)
                found += "x"
        return found

    tenth = await outcomes(0.1)
    assert 5 <= tenth.count("x") <= 30
    assert await outcomes(0.1) == tenth  # the same seed, the same story
    assert set(await outcomes(0.0)) == {"."} and set(await outcomes(1.0)) == {"x"}


async def test_a_body_without_its_registry_says_what_is_missing(perform: Any) -> None:
    bare = Registry()
    bare.job(type="send_email")(SendEmail)
    with pytest.raises(RuntimeError, match=r"actors.jobs.registry"):
        await perform(bare, HELLO)


async def test_the_settings_of_one_run_do_not_reach_the_next_one(
    perform: Any, autojump_clock: trio.testing.MockClock
) -> None:
    bare = Registry()
    bare.job(type="send_email")(SendEmail)
    await perform(registry(Settings(email_failure_rate=0.0)), HELLO)
    with pytest.raises(RuntimeError, match="no settings"):
        await perform(bare, HELLO)
