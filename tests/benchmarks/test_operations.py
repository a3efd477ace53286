"""A guard of the hot path: what a job costs is counted, not timed, so that a change that makes jobs dearer is seen on
any machine. Simulated time, seeded order: every run counts the same.

A limit is what was counted when it was set and a tenth more (the margin is for other versions of Python and trio).
Lower it when jobs get cheaper; raise it only with the reason beside it.
"""

from __future__ import annotations

import contextlib
import random
import sqlite3
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from trio.testing import MockClock

import actors
from actors.core import strict_json
from actors.core.events import Event
from actors.server import Application, bind, serve
from actors.server.connection import Connection
from actors.store.memory import MemoryStore
from actors.store.sqlite import SQLiteStore
from actors.store.sqlite.thread import SqlThread
from actors.store.sqlite.writer import Writer

JOBS = 2_000
WORKERS = 100
OURS = str(Path(actors.__file__).parent)
MADE = ("<attrs generated", "<cattrs generated")  # what these make of our classes is called by us, too


@attrs.frozen
class Cost:
    """Most operations per job: calls of Python functions of ours; items sent through channels; cancel scopes opened;
    tasks started; commits; SQL statements; events made (nobody listens).
    """

    calls: float
    sends: float
    scopes: float
    tasks: float
    commits: float
    statements: float
    events: float


# fmt: off
LIMITS = {
    # 2 000 jobs that wait, 100 workers: a tick hands out up to 350 in eight lists, and is told of a whole list at once
    ("no-op", "memory"):    Cost(calls=39.6, sends=0.066, scopes=0.06, tasks=0, commits=0.005, statements=0, events=0),
    ("no-op", "sqlite"):    Cost(calls=33.2, sends=0.066, scopes=0.06, tasks=0, commits=0.005, statements=0.035, events=0),
    # two items each: the rest of its list passed on at the suspension, and its own report
    ("suspends", "memory"): Cost(calls=61.8, sends=2.23, scopes=0.084, tasks=0, commits=0.029, statements=0, events=0),
    ("suspends", "sqlite"): Cost(calls=56.0, sends=2.22, scopes=0.073, tasks=0, commits=0.018, statements=0.14, events=0),
    # `enqueue_many`: a commit per thousand
    ("bulk", "memory"):     Cost(calls=18.8, sends=0.003, scopes=0, tasks=0, commits=0.001, statements=0, events=0),
    ("bulk", "sqlite"):     Cost(calls=14.5, sends=0.003, scopes=0, tasks=0, commits=0.001, statements=0.01, events=0),
    # 100 tasks that await each of theirs: an item to the queue (the answer goes to the parked task), a commit for all hundred; the tasks are theirs
    ("crowd", "memory"):    Cost(calls=42.5, sends=1.12, scopes=0.001, tasks=0.05, commits=0.01, statements=0, events=0),
    ("crowd", "sqlite"):    Cost(calls=38.5, sends=1.12, scopes=0.001, tasks=0.05, commits=0.01, statements=0.077, events=0),
    # one task that awaits each: a commit each (seven statements, BEGIN and COMMIT among them), and the hub is told of it
    ("alone", "memory"):    Cost(calls=96, sends=2.01, scopes=0.004, tasks=0.003, commits=1.0, statements=0, events=0),
    ("alone", "sqlite"):    Cost(calls=135, sends=2.01, scopes=0.004, tasks=0.003, commits=1.0, statements=7.7, events=0),
}
# fmt: on


class Counted:
    """Counts while it is the profile function of the thread."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self.by_name: Counter[str] = Counter()
        self._named = {
            trio.MemorySendChannel.send_nowait.__code__: "sends",  # `send` calls it
            trio.CancelScope.__enter__.__code__: "scopes",
            trio._core._run.Runner.spawn_impl.__code__: "tasks",
            Event.__init__.__code__: "events",
            MemoryStore.commit.__code__: "commits",
            Writer.commit.__code__: "commits",  # (a coroutine that goes on is counted again)
        }

    def name(self, function: Callable[..., Any], name: str) -> None:
        """Count the calls of `function`, too."""
        self._named[function.__code__] = name

    def __call__(self, frame: FrameType, event: str, arg: Any) -> None:
        if event == "call":
            code = frame.f_code
            name = self._named.get(code)
            if name is not None:
                self.by_name[name] += 1
            if code.co_filename.startswith((OURS, *MADE)):
                self.by_name["calls"] += 1
        elif event == "c_call" and isinstance(getattr(arg, "__self__", None), sqlite3.Connection | sqlite3.Cursor):
            if arg.__name__ in ("execute", "executemany", "executescript"):
                self.by_name["statements"] += 1


@contextmanager
def counting(jobs: int) -> Iterator[Counted]:
    """Count what this thread does meanwhile, for so many jobs."""
    counted = Counted(jobs)
    sys.setprofile(counted)
    try:
        yield counted
    finally:
        sys.setprofile(None)


Work = Callable[[actors.Store], Awaitable[Counted]]


def registered(
    suspends: bool, done: Callable[[], None] = lambda: None
) -> tuple[actors.Registry, actors.JobType[[], None]]:
    registry = actors.Registry()

    @registry.job()
    async def job() -> None:
        if suspends:
            await trio.lowlevel.checkpoint()
        done()

    return registry, job


def open_one(
    registry: actors.Registry, store: actors.Store, workers: int | None, seed: int
) -> contextlib.AbstractAsyncContextManager[actors.System]:
    queues = {} if workers is None else {"default": workers}
    return actors.open_system(registry, store=store, queues=queues, clock=actors.TrioClock(), rng=random.Random(seed))


async def process(store: actors.Store, *, suspends: bool) -> Counted:
    """From the start of the workers to the last job's completion; all jobs wait before."""
    left = JOBS
    over = trio.Event()

    def one_less() -> None:
        nonlocal left
        left -= 1
        if not left:
            over.set()

    registry, job = registered(suspends, one_less)
    async with open_one(registry, store, None, 1) as filling:
        await filling.enqueue_many([job() for _ in range(JOBS)])
    async with open_one(registry, store, 0, 2) as system:
        system.queues["default"].set_workers(WORKERS)
        with counting(JOBS) as counted:
            await over.wait()
            await trio.testing.wait_all_tasks_blocked()
        assert (await system.stats()).completed == JOBS
    return counted


async def enqueue(store: actors.Store, *, callers: int, jobs: int = JOBS) -> Counted:
    """By so many tasks that await each of their jobs; 0: by one `enqueue_many`."""
    registry, job = registered(False)
    async with open_one(registry, store, None, 1) as system:

        async def call() -> None:
            for _ in range(jobs // callers):
                await system.enqueue(job())

        await system.enqueue(job())
        with counting(jobs) as counted:
            if not callers:
                await system.enqueue_many([job() for _ in range(jobs)])
            else:
                async with trio.open_nursery() as nursery:
                    for _ in range(callers):
                        nursery.start_soon(call)
        assert (await system.stats()).pending == jobs + 1
    return counted


WORKS: dict[str, Work] = {
    "no-op": partial(process, suspends=False),
    "suspends": partial(process, suspends=True),
    "bulk": partial(enqueue, callers=0),
    "crowd": partial(enqueue, callers=100),
    "alone": partial(enqueue, callers=1, jobs=400),
}


def run_seeded(work: Work, store: actors.Store) -> Counted:
    """On simulated time, with trio's order of tasks fixed."""
    trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING = True
    trio._core._run._r.seed(17)
    try:
        return trio.run(work, store, clock=MockClock(autojump_threshold=0))
    finally:
        trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING = False


def new_store(name: str, directory: Path) -> actors.Store:
    return MemoryStore() if name == "memory" else SQLiteStore(directory / "jobs.db", inline=True)


@pytest.mark.parametrize("on", ["memory", "sqlite"])
@pytest.mark.parametrize("work", WORKS)
def test_a_job_costs_no_more_operations_than_it_did(work: str, on: str, tmp_path: Path) -> None:
    counted = run_seeded(WORKS[work], new_store(on, tmp_path))
    for name, limit in attrs.asdict(LIMITS[work, on]).items():
        per_job = counted.by_name[name] / counted.jobs
        assert per_job <= limit, f"{name} per job: {per_job:g}, the limit is {limit:g}"


def test_a_commit_costs_one_thread_hop_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def noticed(name: str, function: Any) -> Any:
        def call(*given: Any, **options: Any) -> Any:
            calls.append(name)
            return function(*given, **options)

        return call

    monkeypatch.setattr(SqlThread, "call", noticed("hop", SqlThread.call))
    monkeypatch.setattr(trio.to_thread, "run_sync", noticed("hop", trio.to_thread.run_sync))
    monkeypatch.setattr(SQLiteStore, "commit", noticed("commit", SQLiteStore.commit))

    async def run() -> None:
        left, over = JOBS, trio.Event()

        def one_less() -> None:
            nonlocal left
            left -= 1
            if not left:
                over.set()

        registry, job = registered(True, one_less)
        store = SQLiteStore(tmp_path / "jobs.db")
        async with actors.open_system(registry, store=store, queues={"default": WORKERS}) as system:
            calls.clear()
            began = trio.current_time()
            await system.enqueue_many([job() for _ in range(JOBS)])
            await over.wait()
            made, seconds = Counter(calls), trio.current_time() - began
        assert 0 < made["commit"] <= JOBS / 10
        assert made["hop"] <= made["commit"] + 2 + seconds  # each second it looks whether others have committed

    trio.run(run)


CLIENTS = 50
POSTS = 4  # of each
BODY = b'{"type": "job"}'
POST = b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
POST += b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)


async def post(system: actors.System, start: Callable[[], contextlib.AbstractContextManager[Any]]) -> None:
    """Clients that are connected post together, each the next one when the last one is answered."""
    (listening,) = bind("127.0.0.1", 0)
    port, ended = listening.getsockname()[1], trio.Event()
    async with trio.open_nursery() as nursery, contextlib.AsyncExitStack() as stack:
        await nursery.start(serve, Application(system), [listening], ended)
        clients: list[trio.SocketStream] = []
        for _ in range(CLIENTS):
            clients.append(await stack.enter_async_context(await trio.open_tcp_stream("127.0.0.1", port)))

        async def talk(client: trio.SocketStream, times: int) -> None:
            for _ in range(times):
                await client.send_all(POST)
                got = b""
                while not got.endswith(b"}"):
                    got += await client.receive_some()
                assert got.startswith(b"HTTP/1.1 202 ")

        await talk(clients[0], 1)  # what is made once is made now
        with start():
            async with trio.open_nursery() as talking:
                for client in clients:
                    talking.start_soon(talk, client, POSTS)
        ended.set()


def test_a_post_costs_no_more_operations_than_it_did(tmp_path: Path) -> None:
    """One parse, one write to the socket, one cancel scope; and those that come together are committed together."""
    jobs = CLIENTS * POSTS
    counted = Counted(jobs)
    counted.name(Connection._write, "answers written")
    counted.name(strict_json.loads, "parses")

    @contextmanager
    def start() -> Iterator[None]:
        sys.setprofile(counted)
        try:
            yield
        finally:
            sys.setprofile(None)

    async def run() -> None:
        registry, _ = registered(False)
        async with open_one(registry, SQLiteStore(tmp_path / "jobs.db", inline=True), None, 1) as system:
            await post(system, start)

    trio.run(run)
    made = counted.by_name
    assert made["parses"] == jobs
    assert made["answers written"] == jobs  # head and body in one piece, on the spot: a write that waits counts twice
    assert made["commits"] <= jobs / 4  # measured: 12 to 50 at a time
    assert made["scopes"] <= 2 * jobs + 2 * made["commits"] + 10  # one is the call's, one of anycorn's task
