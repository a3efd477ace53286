"""The guard of the hot path on Redis: what a job costs the line and the server is counted by the server itself, so that
nothing that a process says to it is missed.

The system's clock stands still, so nothing is counted that happens by the second but for the first beat, which a thread
sends by its own. A limit is what was counted when it was set and a tenth more, as in `test_operations`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial

import attrs
import pytest
import trio
from trio.testing import MockClock

from actors.store.port import Batch, Outcome
from actors.store.redis import RedisStore
from actors.testing.redis import RedisServer
from tests.benchmarks.test_operations import JOBS, WORKERS, open_one, registered

ALONE = 200
BEATS = 2  # functions that may be called besides commits: a thread's first beat, and the one that starts it


@attrs.frozen
class Cost:
    """Most per job: commits; bytes that the server reads and writes; commands that the library makes in its functions.
    And messages to other processes, per commit.
    """

    commits: float
    read: float
    written: float
    commands: float
    messages: float = 0


# fmt: off
LIMITS = {
    # claims and reports of up to 350 jobs in one call
    "no-op":    Cost(commits=0.006, read=253, written=156, commands=0.15),
    "suspends": Cost(commits=0.011, read=257, written=156, commands=0.27),
    # `enqueue_many`: a call per thousand, and each tells the others
    "bulk":     Cost(commits=0.0011, read=176, written=1, commands=0.03),
    # one task that awaits each: a call each
    "alone":    Cost(commits=1, read=665, written=25, commands=25),
    "told":     Cost(commits=1, read=665, written=197, commands=26, messages=1),
}
# fmt: on


class CountingStore(RedisStore):
    """Counts its commits, a repeat too."""

    commits = 0

    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        self.commits += 1
        return await super().commit(holder, tick, batch)


Count = Callable[[RedisServer, CountingStore], Awaitable[Counter[str]]]


def asked(server: RedisServer) -> Counter[str]:
    """What the server was asked since it was told to count from nothing: bytes, and calls by command."""
    told = server.ask("INFO", "everything").decode()
    fields = dict(line.split(":", 1) for line in told.splitlines() if ":" in line)
    found = Counter({"read": int(fields["total_net_input_bytes"]), "written": int(fields["total_net_output_bytes"])})
    for name, text in fields.items():
        if name.startswith("cmdstat_"):
            found[name.removeprefix("cmdstat_")] += int(text.split(",")[0].removeprefix("calls="))
    return found


def start_counting(server: RedisServer, store: CountingStore) -> None:
    server.ask("CONFIG", "RESETSTAT")
    store.commits = 0


async def process(server: RedisServer, store: CountingStore, *, suspends: bool) -> Counter[str]:
    """From the start of the workers to the commit of the last report."""
    left, over = JOBS, trio.Event()

    def one_less() -> None:
        nonlocal left
        left -= 1
        if not left:
            over.set()

    registry, job = registered(suspends, one_less)
    async with open_one(registry, store, None, 1) as filling:
        await filling.enqueue_many([job() for _ in range(JOBS)])
    async with open_one(registry, store, 0, 2) as system:
        start_counting(server, store)
        system.queues["default"].set_workers(WORKERS)
        await over.wait()
        # another process has to be looked at; not through the store, which would be counted
        while server.ask("ZCARD", "{actors}:ended:completed") != b":%d\r\n" % JOBS:
            await trio.lowlevel.checkpoint()
        return asked(server)


async def enqueue(server: RedisServer, store: CountingStore, *, jobs: int, others: int = 0) -> Counter[str]:
    """One `enqueue_many`, or `ALONE` jobs one after the other, with so many other processes to tell."""
    registry, job = registered(False)
    other = RedisStore(server.url)
    for number in range(others):
        await other.open(f"other{number}", 0)
    async with open_one(registry, store, None, 1) as system:
        await system.enqueue(job())
        start_counting(server, store)
        if jobs == JOBS:
            await system.enqueue_many([job() for _ in range(jobs)])
        else:
            for _ in range(jobs):
                await system.enqueue(job())
        counted = asked(server)
    for number in range(others):
        await other.close(f"other{number}")
    return counted


WORKS: dict[str, tuple[int, Count]] = {
    "no-op": (JOBS, partial(process, suspends=False)),
    "suspends": (JOBS, partial(process, suspends=True)),
    "bulk": (JOBS, partial(enqueue, jobs=JOBS)),
    "alone": (ALONE, partial(enqueue, jobs=ALONE)),
    "told": (ALONE, partial(enqueue, jobs=ALONE, others=1)),
}


@pytest.mark.parametrize("work", WORKS)
def test_a_job_costs_the_server_no_more_than_it_did(work: str) -> None:
    jobs, count = WORKS[work]
    with RedisServer() as server:
        store = CountingStore(server.url)
        counted = trio.run(count, server, store, clock=MockClock())
        commits = store.commits
    assert 0 < commits <= counted["fcall"] <= commits + BEATS, "a commit is one call, with claims and reports fused"
    found = Cost(
        commits=commits / jobs,
        read=counted["read"] / jobs,
        written=counted["written"] / jobs,
        commands=sum(n for name, n in counted.items() if name not in ("read", "written", "fcall", "publish")) / jobs,
        messages=counted["publish"] / commits,
    )
    for name, limit in attrs.asdict(LIMITS[work]).items():
        assert getattr(found, name) <= limit, f"{name}: {found}"
