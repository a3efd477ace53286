"""Each ready-made type through a whole system."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

import actors
from actors.jobs import Cleanup, SendEmail, Settings, Webhook, registry

Start = Callable[..., Any]
HELLO = SendEmail(to="test@example.com", subject="Test", body="Hello World")


async def until_it_fails(events: AsyncIterator[actors.Event]) -> None:
    with trio.fail_after(10):
        async for event in events:
            if event.name == "job:failed":
                return


async def test_a_mail_goes_through_a_system(smtp_server: Start, mailroom: Any) -> None:
    jobs = registry(Settings(smtp_url=f"smtp://127.0.0.1:{smtp_server(mailroom)}"))
    async with actors.open_system(jobs, store="memory:") as system:
        handle = await system.enqueue(HELLO)
        result = await handle.result()
        record = await handle.record()
    assert result["simulated"] is False
    [envelope] = mailroom.mails
    assert envelope.rcpt_tos == ["test@example.com"]
    assert f"Message-ID: <{handle.id}@localhost.invalid>".encode() in envelope.content
    assert (record.max_attempts, record.priority) == (3, "normal")


async def test_a_recipient_that_is_refused_for_now_gets_the_mail_after_the_back_off(
    smtp_server: Start, mailroom: Any
) -> None:
    mailroom.refused = {"later@example.com": "451 greylisted"}
    jobs = registry(Settings(smtp_url=f"smtp://127.0.0.1:{smtp_server(mailroom)}"))
    job = SendEmail(to="now@example.com, later@example.com", subject="s", body="b")
    async with actors.open_system(jobs, store="memory:") as system:
        with system.events() as events:
            handle = await system.enqueue(job, retry=actors.Fixed(0.01), max_attempts=50)
            await until_it_fails(events)
        mailroom.refused = {}
        result = await handle.result()
        record = await handle.record()
    assert [envelope.rcpt_tos for envelope in mailroom.mails] == [["now@example.com"], ["later@example.com"]]
    assert result["accepted"] == ["now@example.com", "later@example.com"]
    assert record.errors[0].type == "DeliveryFailed"


async def test_simulated_failures_are_retried_on_simulated_time(autojump_clock: Any) -> None:
    jobs = registry(Settings(email_failure_rate=0.5), rng=random.Random(3))
    async with actors.open_system(jobs, store="memory:", clock=actors.TrioClock()) as system:
        handles = await system.enqueue_many([HELLO] * 40)
        dead = 0
        for handle in handles:
            try:
                assert (await handle.result())["simulated"] is True
            except actors.JobFailed as error:
                assert "simulated" in str(error) and len(error.errors) == 3
                dead += 1
        stats = await system.stats()
    assert 0 < dead < 20
    assert (stats.completed, stats.dead) == (40 - dead, dead)


async def test_a_webhook_goes_through_a_system(receiver: Start) -> None:
    server = receiver()
    jobs = registry(Settings(webhook_allow=["127.0.0.0/8"]))
    async with actors.open_system(jobs, store="memory:") as system:
        handle = await system.enqueue(jobs.from_json("webhook", {"url": server.url(), "payload": {"event": "test"}}))
        assert (await handle.result())["status"] == 200
        record = await handle.record()
    assert (record.max_attempts, record.priority) == (5, "high")
    assert server.requests[0].headers["webhook-id"] == handle.id
    assert server.requests[0].body == b'{"event":"test"}'


async def test_a_private_address_is_refused_at_the_enqueue_and_at_the_run(resolver: Any) -> None:
    jobs = registry()
    resolver({"inner.example": [["10.0.0.1"]]})
    async with actors.open_system(jobs, store="memory:") as system:
        with pytest.raises(actors.BadPayload, match=r"url: 10.0.0.1 is a private address"):
            await system.enqueue(Webhook(url="http://10.0.0.1/", payload=None))
        assert (await system.stats()).enqueued == 0
        handle = await system.enqueue(Webhook(url="http://inner.example/", payload=None))
        with pytest.raises(actors.JobFailed, match="resolves to a private address") as caught:
            await handle.result()
    assert len(caught.value.errors) == 1  # not tried again


async def test_a_rule_that_was_tightened_since_the_enqueue_holds_at_the_run(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/jobs.db"
    lax = registry(Settings(webhook_allow=["127.0.0.0/8"]))
    async with actors.open_system(lax, store=store, queues={}) as system:
        id = (await system.enqueue(Webhook(url="http://127.0.0.1:9/", payload=None))).id
    async with actors.open_system(registry(), store=store) as system:
        with pytest.raises(actors.JobFailed, match="expected a public one"):
            await system.handle(id).result()


async def test_a_receiver_that_asks_to_wait_is_waited_for(receiver: Start) -> None:
    server = receiver(lambda request: (429, {"retry-after": "120"}, b""))
    jobs = registry(Settings(webhook_allow=["127.0.0.0/8"]))
    async with actors.open_system(jobs, store="memory:") as system:
        with system.events() as events:
            handle = await system.enqueue(Webhook(url=server.url(), payload=None))
            await until_it_fails(events)
        record = await handle.record()
    assert record.state == "scheduled"
    assert record.errors[0].failed_at is not None
    wait = record.run_at.timestamp() - record.errors[0].failed_at / 1e6
    assert wait == pytest.approx(120, abs=0.01)


async def test_a_cleanup_goes_through_a_system(tmp_path: Path) -> None:
    old, young = tmp_path / "old", tmp_path / "young"
    old.write_bytes(b"x")
    young.write_bytes(b"x")
    os.utime(old, (0, 0))
    jobs = registry(Settings(cleanup_roots=[tmp_path]))
    async with actors.open_system(jobs, store="memory:") as system:
        handle = await system.enqueue(Cleanup(directory=str(tmp_path)))
        assert (await handle.result())["deleted"] == 1
        record = await handle.record()
        outside = await system.enqueue(Cleanup(directory="/etc"))
        with pytest.raises(actors.JobFailed, match="not below a configured cleanup root"):
            await outside.result()
    assert (record.max_attempts, record.priority) == (1, "low")
    assert not old.exists() and young.exists()


async def test_a_shutdown_hangs_up_and_gives_the_job_back(tmp_path: Path) -> None:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    jobs = registry(Settings(smtp_url=f"smtp://127.0.0.1:{listener.socket.getsockname()[1]}", email_timeout=600))
    with trio.fail_after(10):
        async with actors.open_system(jobs, store="memory:", grace=0.0) as system:
            await system.enqueue(HELLO)
            server = await listener.accept()
    assert system.report is not None and system.report.given_back == 1
    await trio.aclose_forcefully(server)
    await listener.aclose()
