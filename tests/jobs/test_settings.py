"""Settings that exist are valid, and say what was wrong with those that do not."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import pytest

import actors.jobs
from actors import BadOption, Registry
from actors.jobs import Settings, registry
from actors.jobs.smtp_url import SmtpServer


def test_the_public_names() -> None:
    assert actors.jobs.__all__ == [
        "Cleanup",
        "DeliveryFailed",
        "SendEmail",
        "Settings",
        "Webhook",
        "registry",
    ]


def test_the_defaults_are_safe() -> None:
    settings = Settings()
    assert settings.smtp_url is None and settings.webhook_allow == () and settings.cleanup_roots == ()
    assert settings.email_failure_rate == 0.1 and settings.email_delay == (0.3, 0.7)


def test_settings_are_made_ready_for_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings(webhook_allow=["127.0.0.1/8", "::1"], cleanup_roots=[Path("a"), f"{tmp_path}/b/"])
    assert settings.webhook_allow == (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
    assert settings.cleanup_roots == (f"{tmp_path}/a", f"{tmp_path}/b")


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("smtp_url", 5),
        ("smtp_url", ""),
        ("smtp_url", "http://example.org"),
        ("smtp_url", "smtp://"),
        ("smtp_url", "smtp://host:99999"),
        ("smtp_url", "smtp://host:0"),
        ("smtp_url", "smtp://host/path"),
        ("smtp_url", "smtp://user@host"),
        ("smtp_url", "smtp://host?starttls=maybe"),
        ("smtp_url", "smtp://host?tls=yes"),
        ("smtp_url", "smtps://host?starttls=auto"),
        ("email_from", "nobody"),
        ("email_from", "a@example.org, b@example.org"),
        ("email_timeout", 0),
        ("email_timeout", float("nan")),
        ("email_timeout", "5"),
        ("email_failure_rate", -0.1),
        ("email_failure_rate", 1.1),
        ("email_failure_rate", float("nan")),
        ("email_failure_rate", True),
        ("email_delay", (0.7, 0.3)),
        ("email_delay", (0.1,)),
        ("email_delay", (0.1, float("inf"))),
        ("email_delay", 0.5),
        ("webhook_allow", "127.0.0.0/8"),
        ("webhook_allow", ["localhost"]),
        ("webhook_allow", ["10.0.0.0/33"]),
        ("webhook_secret", ""),
        ("webhook_secret", "whsec_"),
        ("webhook_secret", "whsec_no base64!"),
        ("webhook_secret", 7),
        ("webhook_timeout", -1),
        ("webhook_longest_wait", 1e18),
        ("ca_file", "/nowhere/ca.pem"),
        ("cleanup_roots", "/tmp/x"),
        ("cleanup_roots", ["/"]),
        ("cleanup_roots", ["//"]),
        ("cleanup_roots", ["/tmp/.."]),
        ("cleanup_roots", [""]),
        ("cleanup_roots", ["a\0b"]),
        ("cleanup_roots", [5]),
    ],
)
def test_a_bad_setting_is_refused_by_name(name: str, given: Any) -> None:
    with pytest.raises(BadOption) as caught:
        Settings(**{name: given})
    assert str(caught.value).startswith(f"{name} is ") and "expected" in str(caught.value)


def test_secrets_are_not_shown() -> None:
    shown = repr(Settings(smtp_url="smtp://me:hunter2@mx.example.org", webhook_secret="hunter3-hunter3"))
    assert "hunter" not in shown
    with pytest.raises(BadOption) as caught:
        Settings(smtp_url="smtp://me:hunter2@mx.example.org?x=y")
    assert "hunter" not in str(caught.value) and "hunter" not in repr(caught.value)
    assert "hunter" not in repr(SmtpServer.parse("smtp://me:hunter2@mx.example.org"))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://mx.example.org", ("mx.example.org", 587, "auto", None, None)),
        ("smtps://mx.example.org", ("mx.example.org", 465, "tls", None, None)),
        ("smtp://a%40b:p%3A%2F@mx.example.org:25", ("mx.example.org", 25, "required", "a@b", "p:/")),
        ("smtp://u:p@127.0.0.1:2525", ("127.0.0.1", 2525, "auto", "u", "p")),
        ("smtp://u:p@[::1]:2525", ("::1", 2525, "auto", "u", "p")),
        ("smtp://u:p@mx?starttls=never", ("mx", 587, "never", "u", "p")),
        ("smtp://mx?starttls=required", ("mx", 587, "required", None, None)),
    ],
)
def test_an_smtp_url_is_read(url: str, expected: tuple[Any, ...]) -> None:
    server = SmtpServer.parse(url)
    assert (server.host, server.port, server.security, server.user, server.password) == expected


def test_the_three_types_have_the_defaults_of_the_table_and_a_description() -> None:
    jobs = registry()
    assert list(jobs) == ["cleanup", "send_email", "webhook"]
    found = {name: (jobs[name].options.max_attempts, jobs[name].options.priority) for name in jobs}
    assert found == {"send_email": (3, "normal"), "webhook": (5, "high"), "cleanup": (1, "low")}
    assert all(jobs[name].options.description for name in jobs)


def test_two_registries_have_nothing_in_common() -> None:
    one, other = registry(Settings(webhook_allow=["127.0.0.0/8"])), registry()
    fields = {"url": "http://127.0.0.1/", "payload": {}}
    one.from_json("webhook", fields)
    with pytest.raises(ValueError):
        other.from_json("webhook", fields)


def test_the_types_can_be_included_in_a_registry_of_ones_own() -> None:
    mine = Registry()
    mine.include(registry())
    assert "webhook" in mine
