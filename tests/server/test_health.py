"""Health and the audit over HTTP: open to probes, but for what only administrators may know."""

from __future__ import annotations

import time
from typing import Any

import trio

import actors
from actors.core.errors import StoreBusy, StoreFull
from actors.server import ServerSettings
from actors.server.access import FRESH
from actors.store.memory import MemoryStore


class Failing(MemoryStore):
    """A store whose commits fail on demand; or all of it."""

    error: Exception | None = None
    away: StoreBusy | None = None
    hangs = False

    async def settings(self) -> Any:
        if self.away is not None:
            raise self.away
        if self.hangs:
            await trio.sleep_forever()
        return await super().settings()

    async def commit(self, holder: str, tick: int, batch: Any) -> Any:
        if self.error is not None:
            raise self.error
        return await super().commit(holder, tick, batch)


async def test_a_failing_store_is_degraded_alive_and_not_ready(serving: Any) -> None:
    store = Failing()
    async with serving(store, settings=ServerSettings(patience=1.5)) as served:
        assert await served.json("GET", "/healthz") == {"status": "ok"}
        for error, status, said in (
            (StoreFull("/secret is full"), 507, "full"),
            (StoreBusy("/secret"), 503, "held by another process"),
        ):
            store.error = error
            await served.call("POST", "/jobs", status, json={"type": "echo", "text": "a"})
            health = await served.json("GET", "/healthz")
            assert health["status"] == "degraded" and said in health["reasons"][0] and "secret" not in str(health)
            if status == 507:
                await served.call("GET", "/readyz", 503)
            store.error = None
            await served.call("GET", "/readyz")
        assert await served.json("GET", "/healthz") == {"status": "ok"}


async def test_a_store_that_is_away_or_hangs_does_not_make_a_process_look_dead(serving: Any) -> None:
    store = Failing()
    async with serving(store, settings=ServerSettings(patience=1.5)) as served:
        await trio.sleep(FRESH)  # what is known of the tokens is too old now
        store.away = store.error = StoreBusy("away")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(served.system.ping)  # a commit fails, so that health need not wait for one
            await trio.sleep(0)
            assert (await served.json("GET", "/healthz"))["status"] == "degraded"
            nursery.cancel_scope.cancel()
        await served.call("GET", "/readyz", 503)
        store.away, store.hangs = None, True
        with trio.fail_after(10.0):
            await served.json("GET", "/healthz")
        store.hangs, store.error = False, None
        await served.call("GET", "/readyz")


async def test_a_blocked_loop_is_degraded_for_a_while_and_names_no_job(serving: Any) -> None:
    def registry(doors: Any) -> actors.Registry:
        made = actors.Registry()

        @made.job()
        async def hold_up() -> None:
            time.sleep(1.8)

        return made

    async with serving("memory:", registry=registry) as served:
        await served.until(await served.enqueue("hold_up"), "completed")
        health = await served.json("GET", "/healthz")
        assert health["status"] == "degraded" and "the event loop was held up" in health["reasons"][0]
        assert "hold_up" not in str(health)
        await served.call("GET", "/readyz")


async def test_the_audit_counts_again_and_is_for_administrators(serving: Any, store: str) -> None:
    async with serving(store) as served:
        await served.until(await served.enqueue("echo", text="a"), "completed")
        said = await served.json("GET", "/healthz?audit=1")
        assert said["audit"]["ok"] and said["audit"]["accepted"] == said["audit"]["states"]["completed"] == 1
        assert "audit" not in await served.json("GET", "/healthz?audit=0")
        await served.call("GET", "/healthz?audit=yes", 422)
        await served.call("GET", "/healthz?adit=1", 422)
    async with serving("memory:", admin=True) as served:
        user, served.token, admin = await served.new_token("ada"), None, served.token
        await served.call("GET", "/healthz?audit=1", 401)
        await served.call("GET", "/healthz?audit=1", 403, token=user)
        await served.call("GET", "/healthz?audit=1", token=admin)
        await served.call("GET", "/healthz", token=user)
