"""Orderly stops: term."""

from __future__ import annotations

import signal
import time

import trio

from tests.faults.process import Server, until
from tests.faults.trial import Trial

SHORT = range(300)
LONG = range(1_000, 1_002)
START = 0.5  # seconds after the last short job in which a process with nothing else to wait for is gone
OVER = 1.0  # seconds beyond the grace, or after a second signal


async def term(trial: Trial) -> None:
    """SIGTERM in mid-work, with short jobs only, with jobs longer than the grace, and twice (G4)."""
    grace = float(trial.size(2, 5))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_short_jobs, trial, grace)
        nursery.start_soon(_long_jobs, trial, grace)
        nursery.start_soon(_a_second_signal, trial, grace)
    trial.figure(lost=0, grace_s=grace)


async def _server(trial: Trial, name: str, grace: float, long: range) -> Server:
    server = trial.server("--workers", "4", "--grace", str(grace), name=name, store=trial.another(name))
    await server.start()
    if long:
        await server.post("work", long, 60.0)
        await until(lambda: len(trial.ledger.in_flight(server.pid, time.monotonic())) == len(long), "long jobs begin")
    await server.post("work", SHORT, lambda: trial.random.uniform(0.005, 0.02))
    await until(lambda: len(trial.ledger.of("ended", pid=server.pid)) > 20, "short jobs end")
    await trio.sleep(trial.random.uniform(0.0, 0.2))
    return server


async def _short_jobs(trial: Trial, grace: float) -> None:
    server = await _server(trial, "short", grace, range(0))
    pid = server.pid
    code, _ = await server.stop()
    last = max(entry.at for entry in trial.ledger.of("ended", pid=pid))
    trial.within("exit_s", time.monotonic() - last, START)
    trial.figure(exit_code=code, twice=0)
    await _account(trial, server, pid, code)
    # and what was left is done by the next start: over both, each once
    await server.start()
    both = {pid, server.pid}

    def done() -> list[int]:
        return [entry.number for entry in trial.ledger.of("ended") if entry.pid in both]

    await until(lambda: len(set(done())) == len(SHORT), "the rest is done")
    trial.figure(twice=len(done()) - len(SHORT))
    trial.promise("each job once, over a stop and a start", trial.figures["twice"] == 0)
    await server.stop()


async def _long_jobs(trial: Trial, grace: float) -> None:
    server = await _server(trial, "long", grace, LONG)
    pid = server.pid
    code, seconds = await server.stop()
    trial.within("exit_long_s", seconds, grace + OVER)
    await _account(trial, server, pid, code)


async def _a_second_signal(trial: Trial, grace: float) -> None:
    server = await _server(trial, "second", grace, LONG)
    pid = server.pid
    server.signal(signal.SIGTERM)
    await until(lambda: "stopping" in server.said, "it stops")
    await trio.sleep(0.3)
    code, seconds = await server.stop()
    trial.within("exit_second_s", seconds, OVER)
    await _account(trial, server, pid, code)


async def _account(trial: Trial, server: Server, pid: int, code: int) -> None:
    """Code 0, no traceback; what ended is completed, the rest is pending and as good as new."""
    trial.promise(f"{server.name} exits with code 0, not {code}", code == 0)
    trial.promise(f"{server.name} says no traceback", "Traceback" not in server.said)
    ended = {entry.number for entry in trial.ledger.of("ended", pid=pid)}
    store = trial.another(server.name)
    async with trial.client(store) as client:
        trial.promise("the sums are right", (await client.audit(every_job=True)).ok)
        jobs = (await client.find(limit=1_000)).jobs
    stands = {(job.payload["number"] in ended, job.state, job.attempt, len(job.errors)) for job in jobs}
    expected = {(True, "completed", 0, 0), (False, "pending", 0, 0)}
    trial.promise(f"{server.name}: {stands}", stands <= expected)
