"""URLs of webhooks: what is accepted is read once and completely, everything else is refused by name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import BadPayload
from actors.jobs import Settings, Webhook, registry
from actors.jobs.url import Target, parse


@pytest.mark.parametrize(
    ("text", "target", "authority"),
    [
        ("https://example.org", Target("https", "example.org", 443, "/"), "example.org"),
        ("HTTP://Example.ORG:80/a?b=c#d", Target("http", "example.org", 80, "/a?b=c"), "example.org"),
        (
            "http://example.org:8080/%41%2e",
            Target("http", "example.org", 8080, "/%41%2e"),
            "example.org:8080",
        ),
        (
            "http://bücher.example/ü?ö=1",
            Target("http", "xn--bcher-kva.example", 80, "/%C3%BC?%C3%B6=1"),
            "xn--bcher-kva.example",
        ),
        ("http://[2606:4700:0::1]:81/", Target("http", "2606:4700::1", 81, "/"), "[2606:4700::1]:81"),
        ("http://0x08080808/", Target("http", "8.8.8.8", 80, "/"), "8.8.8.8"),
        ("http://a_b.example./x", Target("http", "a_b.example.", 80, "/x"), "a_b.example."),
    ],
)
def test_a_url_is_read_completely(text: str, target: Target, authority: str) -> None:
    assert parse(text) == target
    assert target.authority == authority


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "scheme"),
        ("example.org/x", "scheme"),
        ("//example.org/x", "scheme"),
        ("ftp://example.org/", "scheme 'ftp'"),
        ("file:///etc/passwd", "scheme 'file'"),
        ("gopher://example.org:25/_HELO", "scheme"),
        ("javascript:alert(1)", "scheme"),
        ("http://", "no host"),
        ("http:///x", "no host"),
        ("http://user:secret@example.org/", "credentials"),
        ("http://example.org@10.0.0.1/", "credentials"),
        ("http://example.org:0/", "port"),
        ("http://example.org:99999/", "not a URL"),
        ("http://example.org:http/", "not a URL"),
        ("http://exam ple.org/", "a space"),
        ("http://example.org/\r\nHost: x", "a space, a control"),
        ("http://example.org\\@10.0.0.1/", "backslash"),
        ("http://%31%32%37.0.0.1/", "a %"),
        ("http://[fe80::1%25eth0]/", "a %"),
        ("http://[::1/", "not a URL"),
        ("http://[x]/", "not a URL|no IPv6"),
        ("http://a..b/", "no domain name"),
        ("http://-/", "no domain name"),
        ("http://exa$mple/", "no domain name"),
        ("http://" + "a" * 300 + "/", "no domain name"),
        ("http://example.org/" + "a" * 2048, "at most 2048"),
    ],
)
def test_what_is_no_url_to_post_to_is_refused_by_name(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        parse(text)


@given(st.text(max_size=60) | st.text("htp:/@[]%.0x17#?\\ \t\nab①。", max_size=40).map("http://".__add__))
def test_any_text_is_read_or_refused_with_one_kind_of_error(text: str) -> None:
    try:
        target = parse(text)
    except ValueError as error:
        assert len(str(error)) < 200
        return
    assert target.host.isascii() and target.path.isascii() and target.path.startswith("/")
    assert parse(target.origin + target.path) == target  # the reading is a fixed point: nothing is left to misread


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1", "2130706433", "0x7f.1", "0177.0.0.1"),
        *("0", "localhost", "a.localhost", "[::1]", "[::]"),
        *("[::ffff:127.0.0.1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[2001:0:7f00:1::]"),
        *("[fd00::1]", "[fe80::1]", "[ff02::1]", "10.1.2.3", "169.254.169.254"),
        *("100.64.0.1", "172.31.255.255", "192.168.0.1", "224.0.0.1", "255.255.255.255"),
        *("①②⑦.⓪.⓪.①", "127。0。0。1"),
    ],
)
def test_a_private_address_is_refused_at_the_enqueue_however_it_is_spelled(host: str) -> None:
    jobs = registry()
    for make in (
        lambda: jobs.from_json("webhook", {"url": f"http://{host}:8080/x", "payload": {}}),
        lambda: jobs["webhook"].encode(Webhook(url=f"http://{host}:8080/x", payload={})),
    ):
        with pytest.raises(BadPayload, match="expected a public one") as caught:
            make()
        assert [field for field, _ in caught.value.problems] == ["url"]


def test_an_allow_list_opens_a_private_address_at_the_enqueue() -> None:
    jobs = registry(Settings(webhook_allow=("127.0.0.0/8",)))
    jobs["webhook"].encode(Webhook(url="http://127.0.0.1:8080/x", payload={}))
    with pytest.raises(BadPayload):
        jobs["webhook"].encode(Webhook(url="http://10.0.0.1:8080/x", payload={}))


def test_every_wrong_field_of_a_webhook_is_named_at_once() -> None:
    with pytest.raises(BadPayload) as caught:
        Webhook(url="ftp://x", payload=None, headers={"a\r\nb": ""})
    assert [field for field, _ in caught.value.problems] == ["url", "headers"]
    with pytest.raises(BadPayload) as caught:
        registry().from_json("webhook", {"url": "https://example.org", "payload": 1, "headers": {"Host": "x"}})
    assert caught.value.problems == [("headers", "Host is set by the webhook itself")]


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Length": "5"},
        {"transfer-encoding": "chunked"},
        {"webhook-signature": "v1,x"},
        {"Proxy-Authorization": "x"},
        {"X": "a\r\nHost: b"},
        {"X": "a\nb"},
        {"X": "a\0"},
        {"X": "ü"},
        {"X Y": "a"},
        {"": "a"},
        {"X:": "a"},
        {"A": "1", "a": "2"},
        {"X": "a" * 9000},
        {f"x{n}": "" for n in range(51)},
    ],
)
def test_a_header_that_a_caller_may_not_set_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(BadPayload):
        Webhook(url="https://example.org", payload=None, headers=headers)
