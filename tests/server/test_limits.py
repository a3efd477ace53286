"""What one caller may cost: sizes, counts and times are bounded, and each bound has its answer."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
import trio

import actors
from actors.server import ServerSettings
from actors.store.memory import MemoryStore

SMALL = ServerSettings(max_body=1_000, batch_max_body=5_000, max_batch=3, body_idle=0.15, body_total=0.6)
HEAD = b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def document_of(answer: bytes) -> dict[str, Any]:
    made: dict[str, Any] = orjson.loads(answer.partition(b"\r\n\r\n")[2])
    return made


async def test_a_body_is_too_large_whether_its_length_is_announced_or_not(serving: Any) -> None:
    async with serving("memory:", settings=SMALL) as served:

        async def chunks() -> Any:
            for _ in range(20):
                yield b"x" * 100

        headers = {"content-type": "application/json"}
        announced = await served.json("POST", "/jobs", 413, content=b"x" * 1_001, headers=headers)
        assert announced["maxBytes"] == 1_000
        assert await served.json("POST", "/jobs", 413, content=chunks(), headers=headers) == announced
        await served.call("POST", "/jobs", 400, content=b"x" * 1_000, headers=headers)
        await served.call("POST", "/jobs/batch", 400, content=b"x" * 5_000, headers=headers)
        await served.call("POST", "/jobs/batch", 413, content=b"x" * 5_001, headers=headers)
        await served.call("POST", "/scheduler", 413, content=b"x" * 1_001, headers=headers)


async def test_the_answer_to_a_large_body_reaches_a_client_that_sends_it_all_first(serving: Any) -> None:
    async with serving("memory:", settings=SMALL) as served:
        size = 20_000_000  # more than the sockets between us hold
        stream = await trio.open_tcp_stream("127.0.0.1", served.port)
        async with stream:
            await stream.send_all(HEAD + b"Content-Length: %d\r\n\r\n" % size + b"x" * size)
            answer = await stream.receive_some()
        assert status_of(answer) == 413 and document_of(answer)["maxBytes"] == 1_000
        assert b"connection: close" in answer.lower()


async def test_a_lie_about_a_huge_length_is_answered_at_once(serving: Any) -> None:
    async with serving("memory:", settings=SMALL) as served:
        stream = await trio.open_tcp_stream("127.0.0.1", served.port)
        async with stream:
            await stream.send_all(HEAD + b"Content-Length: 99999999999999999999\r\n\r\n")
            with trio.fail_after(1):
                answer = await stream.receive_some()
            assert status_of(answer) == 413


async def test_a_batch_is_too_long(serving: Any) -> None:
    async with serving("memory:", settings=SMALL) as served:
        one = {"type": "echo", "text": "x"}
        await served.call("POST", "/jobs/batch", 202, json=[one] * 3)
        assert (await served.json("POST", "/jobs/batch", 413, json=[one] * 4))["maxJobs"] == 3
        assert (await served.json("GET", "/jobs/stats"))["queue"]["enqueued"] == 3


@pytest.mark.parametrize("pace", ["stops", "drips"])
async def test_a_slow_body_is_given_up(serving: Any, pace: str) -> None:
    async with serving("memory:", settings=SMALL) as served:
        stream = await trio.open_tcp_stream("127.0.0.1", served.port)
        async with stream:
            await stream.send_all(HEAD + b"Content-Length: 500\r\n\r\n{")
            began = trio.current_time()
            async with trio.open_nursery() as nursery:

                async def drip() -> None:
                    while True:
                        await trio.sleep(0.05)
                        try:
                            await stream.send_all(b" ")
                        except trio.BrokenResourceError:
                            return

                if pace == "drips":
                    nursery.start_soon(drip)
                answer = await stream.receive_some()
                nursery.cancel_scope.cancel()
            assert status_of(answer) == 408
            assert trio.current_time() - began < 2
        await served.call("GET", "/healthz")


async def test_a_client_that_leaves_in_mid_body_hurts_no_one(serving: Any) -> None:
    async with serving("memory:") as served:
        for _ in range(5):
            stream = await trio.open_tcp_stream("127.0.0.1", served.port)
            await stream.send_all(HEAD + b"Content-Length: 500\r\n\r\n{")
            await stream.aclose()
        await served.app.idle()
        await served.call("GET", "/healthz")


async def test_a_full_queue_is_a_429_that_says_when_to_come_back(serving: Any) -> None:
    async with serving("memory:", queues={"default": actors.Queue(1, 2, "reject")}) as served:
        await served.call("POST", "/queues/default/pause")
        for _ in range(2):
            await served.enqueue("echo", text="x")
        answer = await served.call("POST", "/jobs", 429, json={"type": "echo", "text": "x"})
        assert int(answer.headers["retry-after"]) >= 1
        (one,) = (await served.json("POST", "/jobs/batch", 202, json=[{"type": "echo", "text": "x"}]))["jobs"]
        assert "full" in one["error"]
        await served.call("POST", "/jobs", 202, json={"type": "echo", "text": "x", "queue": "other"})


class FullStore(MemoryStore):
    """A store on a disk that is full: it takes no new jobs."""

    async def commit(self, holder: str, tick: int, batch: Any) -> Any:
        if batch.inserts:
            raise actors.StoreFull("database or disk is full: /secret/path.db")
        return await super().commit(holder, tick, batch)


async def test_a_full_store_is_a_507_that_tells_no_path(serving: Any) -> None:
    async with serving(FullStore()) as served:
        answer = await served.call("POST", "/jobs", 507, json={"type": "echo", "text": "x"})
        assert "secret" not in answer.text and "database" not in answer.text
        (one,) = (await served.json("POST", "/jobs/batch", 202, json=[{"type": "echo", "text": "x"}]))["jobs"]
        assert one["error"] == "The store is full: nothing was kept"


async def test_a_store_that_others_hold_is_a_503_and_then_works_again(serving: Any, tmp_path: Path) -> None:
    settings = ServerSettings(patience=0.4)
    path = tmp_path / "jobs.db"
    async with serving(f"sqlite:///{path}", settings=settings) as served:
        await served.enqueue("echo", text="x")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        try:
            answer = await served.call("POST", "/jobs", 503, json={"type": "echo", "text": "x"})
            assert int(answer.headers["retry-after"]) >= 1
        finally:
            other.execute("ROLLBACK")
            other.close()
        with trio.move_on_after(10):
            while (await served.http.get("/readyz")).status_code != 200:
                await trio.sleep(0.05)
        await served.until(await served.enqueue("echo", text="y"), "completed")


async def test_a_large_batch_leaves_the_loop_breathing(serving: Any) -> None:
    """5 000 jobs in one body: while they are read and written, others are answered."""
    async with serving("memory:") as served:
        await served.call("POST", "/queues/default/pause")
        body = orjson.dumps([{"type": "echo", "text": str(n)} for n in range(5_000)])
        longest = 0.0
        async with trio.open_nursery() as nursery:
            done = trio.Event()

            async def post() -> None:
                headers = {"content-type": "application/json"}
                answer = await served.http.post("/jobs/batch", content=body, headers=headers, timeout=30)
                assert answer.status_code == 202 and len(answer.json()["jobs"]) == 5_000
                done.set()

            nursery.start_soon(post)
            while not done.is_set():
                began = time.perf_counter()
                await trio.sleep(0.001)
                longest = max(longest, time.perf_counter() - began)
        assert longest < 1.5
        assert (await served.json("GET", "/jobs/stats"))["queue"]["pending"]["total"] == 5_000


async def test_a_fault_of_ours_is_a_bare_500_and_the_log_says_more(
    serving: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(MemoryStore):
        broken = False

        async def counts(self) -> Any:
            if self.broken:
                raise ZeroDivisionError("a secret of ours")
            return await super().counts()

    store = Broken()
    async with serving(store) as served:
        store.broken = True
        answer = await served.call("GET", "/jobs/stats", 500)
        assert "secret" not in answer.text and "ZeroDivision" not in answer.text
        store.broken = False
    assert any("ZeroDivisionError" in str(record.exc_info) for record in caplog.records)


async def test_calls_during_a_shutdown_are_503(serving: Any) -> None:
    async with serving("memory:") as served:
        await served.call("GET", "/healthz")
        served.app.closing = True
        for method, path in (("POST", "/jobs"), ("GET", "/jobs"), ("GET", "/healthz"), ("GET", "/nope")):
            answer = await served.call(method, path, 503)
            assert answer.headers["retry-after"] and answer.headers["connection"] == "close"


async def test_a_system_that_stops_is_a_503(serving: Any) -> None:
    async with serving("memory:") as served:
        served.system.stopping = True
        await served.call("POST", "/jobs", 503, json={"type": "echo", "text": "x"})
        served.system.stopping = False
