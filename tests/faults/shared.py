"""Several processes on one store, and commits of which nobody knows whether they happened: shared_file, uncertain_commit, priorities."""

from __future__ import annotations

import os
import time
from itertools import pairwise

import trio

from actors import JobRecord
from actors.queue.lane import MOST_PREFETCH
from tests.faults.process import until
from tests.faults.trial import Trial
from tests.faults.work import work

THIRD_MS = 25.0  # p99 of a commit of the third process
START_MS = 20.0  # p99 from an enqueue in one process to the begin in another, on an idle system
LOADED_MS = (
    600.0  # of either on a machine with other things to do; without turns it is over a second also on a quiet one
)
PRIORITIES = ("low", "normal", "high", "critical")


async def shared_file(trial: Trial) -> None:
    """Two saturated processes do not starve a third, and an enqueue in one is a start in another at once (G18)."""
    times = trial.size(100, 1_000)
    trial.figure(disk_p99_ms=_disk(trial))
    one, two = (trial.program(name, "saturate", queue=name) for name in ("one", "two"))
    await one.start()
    await two.start()
    third = trial.program("third", "now_and_then", seed=trial.seed, times=times, pause=0.02)
    await third.start()
    await third.wait()
    told = third.told()
    for program in (one, two):
        await program.stop()
    trial.figure(third_p50_ms=told["p50_ms"], jobs_per_s=[program.told()["rate"] for program in (one, two)])
    trial.within("third_p99_ms", told["p99_ms"], THIRD_MS, loaded=LOADED_MS)
    await _idle_start(trial, trial.size(60, 300))
    trial.figure(lost=0)


def _disk(trial: Trial) -> float:
    """p99 of a bare write with fdatasync, in the same minute: no commit is faster than its disk."""
    took = []
    with (trial.folder / "bare").open("wb", buffering=0) as file:
        for _ in range(200):
            file.write(bytes(4096))
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append((time.perf_counter() - began) * 1e3)
    return sorted(took)[197]


async def _idle_start(trial: Trial, times: int) -> None:
    worker = trial.program("idle", "worker", workers=4)
    await worker.start()
    sent = {}
    async with trial.client() as client:
        for number in range(times):
            await trio.sleep(trial.random.uniform(0.0, 0.02))
            sent[number] = time.monotonic()
            await client.enqueue(work(number))
            await until(lambda number=number: number in trial.ledger.counts("ended"), "it ends")  # type: ignore[misc]
    late = sorted((entry.at - sent[entry.number]) * 1e3 for entry in trial.ledger.of("began"))
    trial.figure(start_p50_ms=late[len(late) // 2])
    trial.within("start_p99_ms", late[int(len(late) * 0.99)], START_MS, loaded=LOADED_MS)
    await trial.stop(worker)
    trial.count(range(times))


async def uncertain_commit(trial: Trial) -> None:
    """Commits fail before and after they happened; the queues repeat them (G19): nothing is inserted or run twice."""
    numbers = range(trial.size(200, 1_000))
    half = len(numbers) // 2
    workers = [
        trial.program(f"worker{n}", "worker", workers=4, uncertain=trial.seed + n, enqueue=[*mine], seconds=0.002)
        for n, mine in enumerate((numbers[:half], numbers[half:]))
    ]
    async with trio.open_nursery() as nursery:
        for worker in workers:
            nursery.start_soon(worker.start)
    await trial.ended(numbers, 300.0)
    await trial.settle(completed=len(numbers), running=0, pending=0, enqueued=len(numbers))
    for worker in workers:
        await trial.stop(worker, 5.0)  # its last commits may fail, too
    faults = [worker.told()["faults"] for worker in workers]
    trial.figure(faults={name: sum(each[name] for each in faults) for name in ("before", "after")})
    trial.promise("there were faults", all(trial.figures["faults"].values()))
    trial.count(numbers)
    trial.promise("began once each", set(trial.ledger.counts("began").values()) == {1})


async def priorities(trial: Trial) -> None:
    """A claim takes the most urgent of what is ready, and a long backlog holds up nobody (G16)."""
    backlog, late = range(trial.size(3_000, 100_000)), range(1_000_000, 1_000_010)
    async with trial.client() as client:
        await client.enqueue_many([work(number) for number in range(2_000_000, 2_000_200)], priority="normal")
        for number in range(3_000_000, 3_000_200):
            await client.enqueue(work(number), priority=trial.random.choice(PRIORITIES))
    mixed = [*range(2_000_000, 2_000_200), *range(3_000_000, 3_000_200)]
    worker = trial.program("worker", "worker", workers=1)
    await worker.start()
    await trial.ended(mixed)
    await trial.settle(completed=len(mixed))
    began = [entry.number for entry in trial.ledger.of("began")]
    async with trial.client() as client:
        claimed = sorted(
            (await client.find(limit=400)).jobs, key=lambda job: (job.standing.started_at or 0, *_urgency(job))
        )
    # of one claim all have the same `started_at`: whoever is less urgent than one of a later claim was taken too early
    early = sum(_urgency(one) > _urgency(other) for one, other in pairwise(claimed))
    place = {job.payload["number"]: index for index, job in enumerate(sorted(claimed, key=_urgency))}
    slip = max(place[number] - index for index, number in enumerate(began))
    trial.figure(claimed_early=early, slip=slip)
    trial.promise(f"claimed strictly by priority, then first come: {early} too early", early == 0)
    trial.promise(f"begun at most a prefetch too early: {slip}", slip <= MOST_PREFETCH)

    async with trial.client() as client:
        for start in range(0, len(backlog), 10_000):
            await client.enqueue_many([work(number) for number in backlog[start : start + 10_000]], priority="low")
        await until(lambda: bool(trial.ledger.of("began", [0])), "the backlog begins")
        sent = time.monotonic()
        await client.enqueue_many([work(number) for number in late], priority="critical")
        await trial.begun(late)
    trial.within("start_s", max(entry.at for entry in trial.ledger.of("began", late)) - sent, 1.0)
    if not trial.long:
        await trial.ended(backlog)
        trial.count([*mixed, *backlog, *late])
    trial.figure(backlog=len(backlog))
    await trial.stop(worker)


def _urgency(job: JobRecord) -> tuple[int, int]:
    """Smaller is claimed first."""
    return -job.spec.priority, job.standing.seq
