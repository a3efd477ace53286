"""Several processes on one SQLite file: what a killed one leaves, who is taken for dead, who wakes whom.

The children are this file, run as a program: `python test_sqlite_processes.py WORD PATH`.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
import trio

from actors.core.job import NO_DETAILS, JobSpec, Standing
from actors.core.lifecycle import advance
from actors.store.port import Batch, Claim, Insert, Write
from actors.store.sqlite import SQLiteStore

TYPES = frozenset({"noop"})
ROOT = Path(__file__).parents[2]


def job(id: str, queue: str = "q") -> Insert:
    spec = JobSpec(id, "noop", "{}", queue, 1, 0, 3, None, 1, None, NO_DETAILS)
    return Insert(spec=spec, standing=Standing(0, "pending", 0, 0, 0, 0, 1, None, None, None))


def claims(limit: int, queue: str = "q") -> Batch:
    return Batch(now=2, claims=[Claim(queue=queue, limit=limit)], types=TYPES)


# The children


def say(*words: object) -> None:
    print(*words, flush=True)


async def commits(path: str) -> None:
    """Insert a job per commit, saying each once it is accepted, until killed."""
    store = SQLiteStore(path)
    await store.open("child", 0)
    for tick in range(1, 1_000_000):
        await store.commit(
            "child", tick, Batch(now=1, inserts=[job(f"job-{tick}"), *(job(f"{tick}-{n}") for n in range(20))])
        )
        say(f"job-{tick}")


async def holds(path: str) -> None:
    """Claim one job and keep it until killed."""
    store = SQLiteStore(path)
    await store.open("child", 0)
    outcome = await store.commit("child", 1, claims(1))
    say(*(record.id for record in outcome.claimed))
    await trio.sleep_forever()


async def forks(path: str) -> None:
    """As `holds`, with a forked child that lives on when its parent is killed."""
    store = SQLiteStore(path)
    await store.open("child", 0)
    outcome = await store.commit("child", 1, claims(1))
    forked = os.fork()
    if forked == 0:
        time.sleep(60)
        os._exit(0)
    say(*(record.id for record in outcome.claimed), forked)
    await trio.sleep_forever()


async def takes(path: str) -> None:
    """Claim and complete until nothing is left; say what was claimed."""
    store = SQLiteStore(path)
    holder = f"child-{os.getpid()}"
    await store.open(holder, 0)
    say("open")
    sys.stdin.readline()
    done: list[Write] = []
    for tick in range(1, 1_000_000):
        outcome = await store.commit(holder, tick, Batch(now=2, writes=done, claims=claims(7).claims, types=TYPES))
        assert not outcome.lost
        if not outcome.claimed:
            break
        done = [Write(job=taken, after=advance(taken, "complete", 3), step="complete") for taken in outcome.claimed]
        say(*(taken.id for taken in outcome.claimed))
    await store.close(holder)


async def wakes(path: str) -> None:
    """Answer each line with an insert."""
    store = SQLiteStore(path)
    await store.open("child", 0)
    say("open")
    for tick, _ in enumerate(sys.stdin, start=1):
        await store.commit("child", tick, Batch(now=1, inserts=[job(f"woken-{tick}")]))
    await store.close("child")


class Child:
    """A child process and its lines."""

    def __init__(self, word: str, path: Path) -> None:
        program = [sys.executable, __file__, word, str(path)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    @property
    def lines(self) -> IO[str]:
        assert self.process.stdout is not None
        return self.process.stdout

    def line(self) -> str:
        line = self.lines.readline().strip()
        assert line, "the child said nothing: it has ended"
        return line

    def tell(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def child(word: str, path: Path) -> Iterator[Child]:
    started = Child(word, path)
    try:
        yield started
    finally:
        started.kill()
        started.lines.close()
        assert started.process.stdin is not None
        started.process.stdin.close()


# The promises


@pytest.mark.parametrize("after", [1, 5, 30])
async def test_what_was_accepted_survives_kill_9(tmp_path: Path, after: int) -> None:
    path = tmp_path / "jobs.db"
    with child("commits", path) as killed:
        said = [killed.line() for _ in range(after)]
        killed.kill()
        said += killed.lines.read().split()
    store = SQLiteStore(path)
    await store.open("h", 0)
    assert len(said) >= after
    assert (await store.get(said)).keys() == set(said)
    counts = await store.counts()
    assert counts.accepted == sum(counts.now.values()) == counts.now["q", 1, "pending"]
    assert counts.accepted % 21 == 0  # each commit is there as a whole or not at all
    await store.close("h")


@pytest.mark.parametrize("word", ["holds", "forks"])
async def test_who_is_killed_has_vanished_at_once_and_who_is_stopped_has_not(tmp_path: Path, word: str) -> None:
    path = tmp_path / "jobs.db"
    store = SQLiteStore(path)
    await store.open("h", 0)
    await store.commit("h", 1, Batch(now=1, inserts=[job("a")]))
    with child(word, path) as other:
        id, *forked = other.line().split()
        assert id == "a"
        try:
            assert await store.vanished("h", 0) == []
            other.process.send_signal(signal.SIGSTOP)
            assert await store.vanished("h", 10**18) == []  # no clock is asked
            other.process.send_signal(signal.SIGCONT)
            other.kill()
            began = time.perf_counter()
            assert await store.vanished("h", 0) == ["child"]
            assert time.perf_counter() - began < 1
        finally:
            for pid in forked:
                os.kill(int(pid), signal.SIGKILL)
    lost = (await store.get(["a"]))["a"]
    write = Write(job=lost, after=advance(lost, "lose", 5), step="lose")
    assert not (await store.commit("h", 2, Batch(now=5, writes=[write]))).lost
    assert await store.vanished("h", 0) == []
    assert await store.beat("h", 0, 30.0) <= 1.0  # its row is still there
    await store.sweep(0)
    assert await store.beat("h", 0, 30.0) == float("inf")
    assert [file.name for file in (tmp_path / "jobs.db-holders").glob("*.lock")] == ["h.lock"]
    await store.close("h")


async def test_who_is_dead_has_vanished_also_when_its_lock_file_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    store = SQLiteStore(path)
    await store.open("h", 0)
    await store.commit("h", 1, Batch(now=1, inserts=[job("a")]))
    with child("holds", path) as other:
        assert other.line() == "a"
    (tmp_path / "jobs.db-holders" / "child.lock").unlink()
    assert await store.vanished("h", 0) == ["child"]
    await store.close("h")


async def test_a_holder_lives_in_one_process(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    with child("wakes", path) as other:
        assert other.line() == "open"
        store = SQLiteStore(path)
        with pytest.raises(Exception, match="holder 'child' is open already in another process"):
            await store.open("child", 0)
        other.kill()
        await store.open("child", 0)
        await store.close("child")


async def test_processes_claim_disjoint_jobs(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    store = SQLiteStore(path)
    await store.open("h", 0)
    ids = [f"job-{n}" for n in range(2_000)]
    await store.commit("h", 1, Batch(now=1, inserts=[job(id) for id in ids]))
    with child("takes", path) as one, child("takes", path) as two:
        for taker in (one, two):
            assert taker.line() == "open"
        for taker in (one, two):
            taker.tell("go")
        shares = [taker.lines.read().split() for taker in (one, two)]
        assert [taker.process.wait() for taker in (one, two)] == [0, 0]
    assert sorted(shares[0] + shares[1]) == sorted(ids)  # each once
    assert min(len(share) for share in shares) > 200  # and neither starved
    assert (await store.counts()).ended == {("q", 1, "completed"): 2_000}
    await store.close("h")


async def test_a_commit_wakes_other_processes(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    store = SQLiteStore(path)
    await store.open("h", 0)
    with child("wakes", path) as other:
        with trio.fail_after(30):
            await store.wakeup("h")  # it has opened
        assert other.line() == "open"
        late = []
        for tick in range(1, 21):
            with trio.move_on_after(0.01):
                while True:
                    await store.wakeup("h")  # what is left of the time before
            began = time.perf_counter()
            other.tell("insert")
            with trio.fail_after(30):
                while not (await store.get([f"woken-{tick}"])):
                    await store.wakeup("h")
            late.append(time.perf_counter() - began)
        # by the socket: the look each second would take half a second in the middle
        assert sorted(late)[10] < 0.25
    await store.close("h")


async def test_a_lost_wake_up_is_made_good_within_two_seconds(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    store = SQLiteStore(path)
    await store.open("h", 0)
    with child("wakes", path) as other:
        assert other.line() == "open"
        store._holders["h"].bell._socket.close()  # type: ignore[attr-defined]
        deaf = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        deaf[0].setblocking(False)
        store._holders["h"].bell._socket = deaf[0]  # type: ignore[attr-defined]
        await store.wakeup("h")  # that it has opened was seen in the file
        other.tell("insert")
        with trio.fail_after(30):
            while not (await store.get(["woken-1"])):
                await store.wakeup("h")
        deaf[1].close()
    await store.close("h")


if __name__ == "__main__":
    words = {"commits": commits, "holds": holds, "forks": forks, "takes": takes, "wakes": wakes}
    trio.run(words[sys.argv[1]], sys.argv[2])
