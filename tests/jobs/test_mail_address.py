"""Addresses and header texts: what a mail program would see after decoding is what is checked."""

from __future__ import annotations

import contextlib
import email.policy
import time
from email import message_from_bytes
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import BadPayload
from actors.core.job import moment
from actors.jobs import SendEmail
from actors.jobs.mail_address import Mailbox, check_text, mailboxes
from actors.jobs.mail_message import Mail

BCC = "=?utf-8?q?x=0d=0aBcc:evil@example.net?="
NESTED = "=?utf-8?q?=3D=3Futf-8=3Fq=3Fx=3D0d=3D0aBcc:evil@example.net=3F=3D?="


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("a@example.org", [("", "a@example.org")]),
        (" A <a@Example.ORG> ", [("A", "a@example.org")]),
        ("a@example.org, b@example.org,a@example.org", [("", "a@example.org"), ("", "b@example.org")]),
        ('"Doe, Jane" <jane@example.org>, x@y', [("Doe, Jane", "jane@example.org"), ("", "x@y")]),
        ('"A \\"B\\" C" <a@example.org>', [('A "B" C', "a@example.org")]),
        (["a@example.org", '"Doe, J" <b@example.org>'], [("", "a@example.org"), ("Doe, J", "b@example.org")]),
        ("Jörg <j+tag@bücher.example>", [("Jörg", "j+tag@xn--bcher-kva.example")]),
    ],
)
def test_addresses_are_read(given: Any, expected: list[tuple[str, str]]) -> None:
    assert [(mailbox.name, mailbox.address) for mailbox in mailboxes(given)] == expected


@pytest.mark.parametrize(
    "given",
    [
        "",
        " ",
        ",",
        "a",
        "@example.org",
        "a@",
        "a@b@c",
        "a b@example.org",
        "a@exam ple.org",
        "a@example..org",
        ".a@example.org",
        "a..b@example.org",
        "a@-example.org",
        "a@[127.0.0.1]",
        "<a@example.org",
        "a@example.org>",
        "<a@example.org> <b@example.org>",
        "<a@example.org> trailing",
        '"unclosed <a@example.org>',
        'half "quoted" <a@example.org>',
        '"a b"@example.org',
        "a@example.org,,b@example.org",
        "a@example.org\r\nBcc: evil@example.net",
        "a@example.org\nevil",
        "a\0@example.org",
        "A\r\nBcc: e@x.net <a@example.org>",
        "A\u2028B <a@example.org>",
        "A\x85B <a@example.org>",
        f"{BCC} <a@example.org>",
        f'"{BCC}" <a@example.org>',
        f"{NESTED} <a@example.org>",
        "=?utf-8?q?a=0d=0ab?=@example.org",
        "=?utf-8?b?eA0KQmNjOiBl?= <a@example.org>",
        "<@relay.example:a@example.org>",
        "ü@example.org",
        "a" * 65 + "@example.org",
        "a@" + "b" * 260,
        "group: a@example.org;",
        [],
        ["a@example.org, b@example.org"],
        ["a@example.org", 5],
        [f"a{n}@example.org" for n in range(101)],
    ],
)
def test_what_is_no_address_is_refused(given: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        mailboxes(given)
    with pytest.raises(BadPayload, match="bad payload for send_email: to: "):
        SendEmail(to=given, subject="s", body="b")


@pytest.mark.parametrize(
    "text", [BCC, NESTED, f"Hi {BCC}", "a\rb", "a\nb", "a\x7fb", "a\u2029b", "=?utf-8?b?DQo=?=", "a" * 999]
)
def test_a_subject_with_a_line_break_is_refused_also_after_decoding(text: str) -> None:
    with pytest.raises(BadPayload, match="bad payload for send_email: subject: "):
        SendEmail(to="a@example.org", subject=text, body="b")


@pytest.mark.parametrize(
    "text", ["", "Test", "Grüße 🎉", "a =? b ?= c", "=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "x" * 998, "100 % =2E"]
)
def test_a_harmless_subject_is_accepted(text: str) -> None:
    check_text(text)


def test_every_wrong_field_of_a_mail_is_named_at_once() -> None:
    with pytest.raises(BadPayload) as caught:
        SendEmail(to="x", subject="a\nb", body="", cc=["y"])
    assert [field for field, _ in caught.value.problems] == ["to", "cc", "subject"]


def written(**given: Any) -> Any:
    fields = {
        "sender": Mailbox("", "me", "example.org"),
        "to": mailboxes("a@example.org"),
        "cc": (),
        "subject": "s",
        "body": "b",
        "message_id": "1@example.org",
        "date": moment(0),
    }
    return message_from_bytes(Mail(**{**fields, **given}).to_bytes(), policy=email.policy.default)


@pytest.mark.parametrize("text", ["<", '"', '"\\', ",", "=?", "a@b.c,", '\\"', "=?utf-8?q?a?= ", "<a", '"a" <'])
def test_hostile_addresses_are_read_in_time(text: str) -> None:
    """A pattern that looks ahead for each bracket took 96 s for 250 000 of them."""
    began = time.process_time()
    for hostile in (text * (39_000 // len(text)), text * 250_000, [(text * 400)[:400]] * 100):
        with contextlib.suppress(ValueError):
            mailboxes(hostile)
    assert time.process_time() - began < 2


HOSTILE = st.text(
    st.sampled_from('abc =?utf-8qb_0dAB\r\n\t"<>,;:@\\()é\u2028\x85\x0b\x1c🎉') | st.characters(codec="utf-8"),
    max_size=120,
)
PIECES = st.lists(
    st.sampled_from([BCC, NESTED, "=?utf-8?q?", "=0d=0a", "?=", "Bcc: x@y.zz", "\r\n", " ", "é", "a"]),
    max_size=8,
).map("".join)


@given(HOSTILE | PIECES)
def test_no_accepted_subject_changes_the_headers(text: str) -> None:
    try:
        check_text(text)
        mail = written(subject=text)
    except ValueError:
        return
    assert mail.keys() == [
        "From",
        "To",
        "Subject",
        "Date",
        "Message-ID",
        "Content-Type",
        "Content-Transfer-Encoding",
        "MIME-Version",
    ]


@given(st.lists(HOSTILE | PIECES, min_size=1, max_size=12))
def test_no_accepted_name_adds_a_recipient_or_a_header(names: list[str]) -> None:
    try:
        to = mailboxes([f"{name} <a{n}@example.org>" for n, name in enumerate(names)])
        mail = written(to=to)
    except ValueError:
        return
    assert mail.keys() == [
        "From",
        "To",
        "Subject",
        "Date",
        "Message-ID",
        "Content-Type",
        "Content-Transfer-Encoding",
        "MIME-Version",
    ]
    assert [address.addr_spec for address in mail["To"].addresses] == [mailbox.address for mailbox in to]


def test_a_message_whose_headers_come_out_changed_is_not_sent() -> None:
    """The second line of defence, reached past the first one."""
    with pytest.raises(ValueError, match="headers came out as"):
        written(subject=BCC)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=300))
def test_a_body_arrives_as_it_was_but_for_its_line_ends(body: str) -> None:
    mail = written(body=body)
    lines = body.encode().splitlines() or [b""]
    assert mail.get_content().encode().splitlines() == lines
