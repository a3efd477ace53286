"""A disk that is full, and a database that somebody else holds: disk_full, locked."""

from __future__ import annotations

import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import trio

from tests.faults.process import PATIENCE, Server, until
from tests.faults.trial import Trial

FULL = 507
BUSY = 503
SIZE = 8  # MiB


@contextmanager
def small_disk(path: Path) -> Iterator[None]:
    """A file system of its own, of 8 MiB. Fails loudly where it can't be had: a promise that is not tested is none."""
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}m", "tmpfs", str(path)]
    made = subprocess.run(command, capture_output=True, text=True)
    assert made.returncode == 0, (
        f"disk_full must mount a tmpfs (run it as root, or under `unshare -Urm`): {made.stderr}"
    )
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def fill(path: Path) -> None:
    """Write until there is no room."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 9, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


async def disk_full(trial: Trial) -> None:
    """The disk is full for a while (G13): new jobs are refused, what runs is reported, and all goes on when there is room."""
    disk = trial.folder / "disk"
    with small_disk(disk):
        await _on_a_small_disk(trial, disk)
        for program in trial.programs:
            if program.lives:
                await program.kill()


async def _on_a_small_disk(trial: Trial, disk: Path) -> None:
    running, waiting, refused = range(4), range(1_000, 1_000 + trial.size(2_000, 5_000)), range(100, 110)
    server = trial.server("--workers", "4", store=f"sqlite:///{disk}/jobs.db")
    await server.start()
    await server.post("work", running, 1.0)
    await trial.begun(running)
    await server.post("work", waiting, 0.01)
    fill(disk / "ballast")
    answers = [await server.ask("POST", "/jobs", {"type": "work", "number": number}) for number in refused]
    statuses = sorted({answer.status_code for answer in answers})
    trial.figure(refused_with=statuses)
    trial.promise(f"enqueues are answered 507: {statuses}", statuses == [FULL])
    trial.promise("with Retry-After", all("Retry-After" in answer.headers for answer in answers))
    await trial.ask_audit(server)
    await trial.ended(running)
    # reported while the disk is still full: the store says so
    began = time.monotonic()
    while (completed := await _completed(server)) < len(running) and time.monotonic() - began < 10:
        await trio.sleep(0.05)
    trial.promise(f"reports succeed on a full disk: {completed} of {len(running)}", completed >= len(running))
    trial.figure(reported_while_full=completed)
    await trio.sleep(1.0)
    (disk / "ballast").unlink()
    freed = time.monotonic()
    while True:
        status, _ = await server.call("POST", "/jobs", {"type": "work", "number": 200})
        if status == 202:
            break
        assert time.monotonic() - freed < PATIENCE, status
        await trio.sleep(0.05)
    await until(lambda: any(entry.at > freed for entry in trial.ledger.of("ended")), "jobs run again")
    trial.within("recovery_s", time.monotonic() - freed, 5.0)
    await trial.ended([*running, *waiting, 200])
    expected = len(running) + len(waiting) + 1
    while await _completed(server) < expected and time.monotonic() - freed < PATIENCE:
        await trio.sleep(0.05)
    stats = (await server.call("GET", "/jobs/stats"))[1]["queue"]
    trial.promise(f"dropped ones are not there: {stats}", stats["enqueued"] == stats["completed"] == expected)
    trial.promise("what was refused never runs", not trial.ledger.of("began", refused))

    # and an orderly stop on a full disk: what runs is reported, what waits is kept
    last, kept = range(300, 304), range(310, 320)
    await server.post("work", last, 1.0)
    await trial.begun(last)
    await server.post("work", kept, 0.01)
    fill(disk / "ballast")
    await trial.stop(server, 2.0)
    (disk / "ballast").unlink()
    await server.start()
    await trial.ended(kept)
    await trial.stop(server)
    trial.count([*running, *waiting, 200, *last, *kept])


async def _completed(server: Server) -> int:
    return int((await server.call("GET", "/jobs/stats"))[1]["queue"]["completed"])


async def locked(trial: Trial) -> None:
    """Another program holds the database for a while (G14): 503 in time, the workers wait, nothing is lost."""
    seconds = trial.size(8, 10)
    running, waiting = range(4), range(10, 50)
    server = trial.server("--workers", "4")
    await server.start()
    await server.post("work", running, 0.5)
    await trial.begun(running)
    await server.post("work", waiting, 0.01)
    answers: list[tuple[int, float]] = []

    async def post(number: int) -> None:
        began = time.monotonic()
        answer = await server.ask("POST", "/jobs", {"type": "work", "number": number}, patience=30.0)
        answers.append((answer.status_code, time.monotonic() - began))
        trial.promise("a refusal says when to come back", answer.status_code != BUSY or "Retry-After" in answer.headers)

    with closing(sqlite3.connect(trial.store.removeprefix("sqlite:///"), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        async with trio.open_nursery() as nursery:
            for number in range(100, 104):
                nursery.start_soon(post, number)
            await trio.sleep(seconds / 2)
            await trial.ask_audit(server)
            await trio.sleep(seconds / 2)
            trial.promise("nobody waits for longer than it is held", len(answers) == 4)
        other.execute("ROLLBACK")
        freed = time.monotonic()
    trial.figure(answers=sorted({status for status, _ in answers}), held_s=seconds)
    trial.promise(f"503, not {answers}", {status for status, _ in answers} == {BUSY})
    trial.within("answered_s", max(took for _, took in answers), 6.0)
    await until(lambda: any(entry.at > freed for entry in trial.ledger.of("began")), "jobs run again")
    trial.within("recovery_s", time.monotonic() - freed, 5.0)
    await trial.ended([*running, *waiting])
    trial.count([*running, *waiting])
    await trial.settle(running=0, pending=0)
    await trial.stop(server)
