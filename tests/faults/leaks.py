"""What stays behind: leak (openings and closings), soak (a long life among processes that die)."""

from __future__ import annotations

import signal
import time
from typing import Any

import trio

from tests.faults.trial import Trial

GROWTH_MB = 8.0  # of memory, that a full life may need more than its first part: caches and the allocator's slack
WAL_MB = 16.0  # four times the size at which SQLite moves the log into the database
COUNTED = ("tasks", "threads", "files")


async def leak(trial: Trial) -> None:
    """A program opens and closes systems again and again (G20): nothing stays behind."""
    times = trial.size(150, 10_000)
    program = trial.program("cycles", "cycles", times=times)
    await program.start()
    await program.wait(3_600.0)
    told = program.told()
    trial.figure(cycles=times)
    _compare(trial, told["before"], told["after"])
    trial.promise("every job was done", told["done"] == times)
    trial.figure(lost=times - told["done"], wal_mb=told["wal_mb"])


async def soak(trial: Trial) -> None:
    """One process lives, two beside it are killed every few seconds (G20): the first stays as small as it was."""
    seconds, pause = trial.size(8, 600), trial.size(2, 5)
    lives = trial.program("lives", "steady", workers=4, rate=trial.size(100, 200))
    await lives.start()
    others = [trial.program(f"dies{n}", "worker", workers=4) for n in range(2)]
    for other in others:
        await other.start()
    began = time.monotonic()
    kills, wal = 0, 0.0
    while (left := began + seconds - time.monotonic()) > 0:
        await trio.sleep(min(pause, left))
        wal = max(wal, _wal_mb(trial))
        await others[kills % 2].kill()
        await others[kills % 2].start()
        kills += 1
        if kills == 1:  # from here on all is as it will be
            lives.signal(signal.SIGUSR1)
    for other in others:
        await trial.stop(other)
    code, _ = await lives.stop()
    told = lives.told()
    trial.promise(f"lives exits with code 0, not {code}", code == 0)
    numbers = range(told["sent"])
    trial.figure(kills=kills, seconds=seconds, wal_mb=wal)
    trial.promise(f"wal {wal:.1f} MB <= {WAL_MB}", wal <= WAL_MB)
    _compare(trial, told["before"], told["after"])
    await trial.settle(completed=len(numbers), pending=0, running=0, enqueued=len(numbers))
    trial.count(numbers, twice=kills * 4)


def _wal_mb(trial: Trial) -> float:
    path = trial.folder / "jobs.db-wal"
    return path.stat().st_size / 1e6 if path.exists() else 0.0


def _compare(trial: Trial, before: dict[str, Any], after: dict[str, Any]) -> None:
    trial.figure(before=before, after=after)
    for name in COUNTED:
        trial.promise(f"{name}: {after[name]} are {before[name]}", after[name] <= before[name])
    grown = after["rss_mb"] - before["rss_mb"]
    trial.figure(grown_mb=grown)
    trial.promise(f"memory grew by {grown:.1f} MB <= {GROWTH_MB}", grown <= GROWTH_MB)
