"""The jobs that the programs run: they tell the ledger, and misbehave as they are told."""

from __future__ import annotations

import os
import signal
import time

import trio

import actors
from tests.faults import ledger

jobs = actors.Registry()


@jobs.job(max_attempts=1)
async def work(number: int, seconds: float = 0.0) -> int:
    """Ordinary work. One attempt: what dies with its process must not need a second one."""
    ledger.write("began", number)
    await trio.sleep(seconds)
    ledger.write("ended", number)
    return number


@jobs.job(max_attempts=1)
async def linger(ctx: actors.JobContext, number: int, seconds: float) -> None:
    """Takes its time in its first run, and tells when it is stopped."""
    ledger.write("began", number)
    try:
        await trio.sleep(seconds if ctx.job.runs == 1 else 0.0)
    except trio.Cancelled:
        ledger.write("stopped", number)
        raise
    ledger.write("ended", number)


@jobs.job(max_attempts=100)
async def poison(number: int, seconds: float = 0.0) -> None:
    """Takes its process with it."""
    ledger.write("began", number)
    await trio.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)


@jobs.job(max_attempts=1)
async def block(number: int, seconds: float) -> None:
    """Blocks the loop."""
    ledger.write("began", number)
    time.sleep(seconds)
    ledger.write("ended", number)


@jobs.job(max_attempts=1, timeout=1.0)
async def hang(number: int) -> None:
    """Waits for ever."""
    ledger.write("began", number)
    await trio.sleep_forever()


@jobs.job(max_attempts=1, timeout=1.0)
async def ignore(number: int, seconds: float) -> None:
    """Ignores that it is told to stop, for so long."""
    ledger.write("began", number)
    with trio.CancelScope(shield=True):
        await trio.sleep(seconds)
    ledger.write("ended", number)


@jobs.job(max_attempts=1)
async def nothing() -> None:
    """Costs what the system costs."""


@jobs.job(max_attempts=1)
async def slot(number: int) -> None:
    """What a schedule fires."""
    ledger.write("began", number)
    ledger.write("ended", number)
