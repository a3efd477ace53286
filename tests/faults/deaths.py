"""Processes that die, stop and come back: none, kill9, orphans, zombie, poison."""

from __future__ import annotations

import signal
import time

import trio

from tests.faults.process import Program, until
from tests.faults.trial import Trial
from tests.faults.work import poison as poisonous
from tests.faults.work import work

WORKERS = 4
SHARE = 0.01  # of all jobs: how many may be done twice


async def none(trial: Trial) -> None:
    """No fault: two processes run every job exactly once (G2)."""
    numbers = range(trial.size(1_000, 10_000))
    programs = [trial.program(f"worker{n}", "worker", workers=WORKERS) for n in range(2)]
    for program in programs:
        await program.start()
    async with trial.client() as client:
        await client.enqueue_many([work(number) for number in numbers])
    await trial.ended(numbers)
    await trial.settle(completed=len(numbers), running=0, pending=0, enqueued=len(numbers))
    for program in programs:
        await trial.stop(program)
    trial.count(numbers)
    trial.promise("began once each", set(trial.ledger.counts("began").values()) == {1})


async def kill9(trial: Trial) -> None:
    """SIGKILL of the process group at random moments (G1, G2): lost 0, few done twice, the rest resumes as it restarts (G3)."""
    numbers = range(trial.size(500, 5_000))
    kills = trial.size(5, 50)
    async with trial.client() as client:
        await client.enqueue_many([work(n, trial.random.uniform(0.005, 0.02)) for n in numbers])
    lease = trial.place.promise.lease
    worker = trial.program("worker", "worker", workers=WORKERS, lease=lease)
    in_flight = 0
    recoveries = []
    orphans: dict[int, float] = {}  # the number of a job, and when its process was killed
    at_each = not trial.place.promise.leases  # else all the rest would be done while it waits

    def waiting() -> set[int]:
        """Orphans that have not begun again."""
        last = {entry.number: entry.at for entry in trial.ledger.of("began")}
        return {number for number, at in orphans.items() if last[number] <= at}

    for kill in range(kills + 1):
        ready = await worker.start()
        before = len(trial.ledger.entries)
        if (left := waiting()) and (at_each or kill == kills):
            await until(lambda: not waiting(), "what was in flight begins again")
            recoveries.append(max(entry.at for entry in trial.ledger.of("began", left, pid=worker.pid)) - ready)
        if kill < kills:
            await until(lambda before=before: len(trial.ledger.entries) > before, "it works")  # type: ignore[misc]
            await trio.sleep(trial.random.uniform(0.0, 0.25))
            at = await worker.kill()
            held = trial.ledger.in_flight(worker.pid, time.monotonic())
            orphans |= dict.fromkeys(held, at)
            in_flight += len(held)
    await trial.ended(numbers)
    await trial.settle(completed=len(numbers), running=0, pending=0, enqueued=len(numbers))
    await trial.stop(worker)
    trial.figure(
        kills=kills, in_flight=in_flight, begun_again=sum(trial.ledger.counts("began").values()) - len(numbers)
    )
    trial.within("recovery_s", max(recoveries), trial.place.recovery(lease))
    # what has ended and is not reported is done twice: the slower the machine, the more of it at the moment of the kill
    unreported = min(kills * WORKERS, round(SHARE * len(numbers) * trial.slack))
    trial.count(numbers, twice=unreported)
    again = trial.figures["begun_again"] - in_flight
    trial.promise("only what was in flight, or had not been reported, begins again", again <= unreported)


async def orphans(trial: Trial) -> None:
    """A process dies on an idle system: another one begins its jobs at once, whatever the lease (G3)."""
    lease = trial.place.promise.long_lease
    slowest = 0.0
    for round_, size in enumerate((1, 200)):
        numbers = range(round_ * 1_000, round_ * 1_000 + size)
        dies = trial.program(f"dies{size}", "worker", workers=size, lease=lease)
        await dies.start()
        async with trial.client() as client:
            await client.enqueue_many([work(number, 600.0) for number in numbers])
        await trial.begun(numbers)
        lives = trial.program(f"lives{size}", "worker", workers=200, lease=lease, grace=0.0)
        await lives.start()
        await trio.sleep(trial.random.uniform(0.5, 1.5))  # the looks of the one that lives come at any phase
        killed = await dies.kill()
        await trial.begun(numbers, 2, trial.place.recovery(lease) + 30.0)
        last = max(entry.at for entry in trial.ledger.of("began", numbers, pid=lives.pid))
        slowest = max(slowest, last - killed)
        trial.figure(**{f"recovery_{size}_s": last - killed})
        await trial.stop(lives)
        async with trial.client() as client:
            page = await client.find(states=["pending"], limit=size)
            trial.promise("none is missing", {job.payload["number"] for job in page.jobs} >= set(numbers))
            trial.promise("crashes 1, attempt 0", {(job.crashes, job.attempt) for job in page.jobs} == {(1, 0)})
            await client.queues["default"].clear()
    trial.within("recovery_s", slowest, trial.place.recovery(lease))
    trial.figure(lost=0, twice=trial.ledger.twice(range(2_000)))


async def zombie(trial: Trial) -> None:
    """A process is stopped for three leases and comes back (G10): it keeps its jobs, or what it reports is refused."""
    lease = 1.0
    numbers = range(4)
    stopped = trial.program("stopped", "worker", workers=4, lease=lease)
    await stopped.start()
    async with trial.client() as client:
        await client.enqueue_many([work(number, 0.5) for number in numbers])
        await trial.begun(numbers)
        stopped.signal(signal.SIGSTOP)
        other = trial.program("other", "worker", workers=4, lease=lease)
        await other.start()
        await client.enqueue_many([work(number, 0.01) for number in range(100, 200)])
        await trial.ended(range(100, 200))  # a stopped process is in nobody's way
        await trio.sleep(3 * lease)
        stopped.signal(signal.SIGCONT)
        await trial.ended(numbers)
    await trial.settle(completed=104, running=0, pending=0)
    trial.count([*numbers, *range(100, 200)], twice=len(numbers) if trial.place.promise.zombie_twice else 0)
    for program in (stopped, other):
        await trial.stop(program)
    if trial.place.promise.zombie_twice:
        _refused(trial, stopped, numbers)
        async with trial.client() as client:
            jobs = [job for job in (await client.find(limit=200)).jobs if job.payload["number"] in numbers]
            trial.promise("completed once, by the heir", {(job.state, job.runs) for job in jobs} == {("completed", 2)})
    else:
        await _late(trial, lease)


async def _late(trial: Trial, lease: float) -> None:
    """The same where liveness is by lease: the jobs are run by another process, the late reports are refused."""
    store = f"{trial.store}-by-lease"
    numbers = range(1_000, 1_004)
    given = {"store": store, "by_lease": True, "workers": 4, "lease": lease}
    stopped = trial.program("late", "worker", **given, enqueue=[*numbers], seconds=0.5)
    await stopped.start()
    await trial.begun(numbers)
    stopped.signal(signal.SIGSTOP)
    other = trial.program("heir", "worker", **given)
    await other.start()
    await until(lambda: len(trial.ledger.of("ended", numbers, pid=other.pid)) == 4, "the heir runs them")
    stopped.signal(signal.SIGCONT)
    await until(lambda: len(trial.ledger.of("ended", numbers)) == 8, "the zombie ends them, too")
    for program in (stopped, other):
        await trial.stop(program)
    _refused(trial, stopped, numbers)
    async with trial.client(store) as client:
        jobs = (await client.find()).jobs
        trial.promise("completed once, by the heir", {(job.state, job.runs) for job in jobs} == {("completed", 2)})


def _refused(trial: Trial, zombie: Program, numbers: range) -> None:
    """Whatever the zombie had to say of its jobs, that it did them or was stopped in them, came too late."""
    late = zombie.told()["late"]
    trial.figure(late_reports_refused=late)
    trial.promise(f"late reports {late}: all refused and counted", late == len(numbers))


async def poison(trial: Trial) -> None:
    """A job that kills its process, under a supervisor that restarts it (G11): it stops, the innocents lose nothing."""
    innocents = range(1, 521)
    lease = trial.place.promise.lease
    worker = trial.program("worker", "worker", workers=WORKERS, lease=lease)
    async with trial.client() as client:
        await client.enqueue_many([work(number, trial.random.uniform(0.005, 0.02)) for number in range(1, 261)])
        handle = await client.enqueue(poisonous(0, 0.05))
        await client.enqueue_many([work(number, trial.random.uniform(0.005, 0.02)) for number in range(261, 521)])
        await worker.start()
        deadline = time.monotonic() + 60
        while not (set(innocents) <= set(trial.ledger.counts("ended")) and (await handle.record()).state == "dead"):
            assert time.monotonic() < deadline, f"{await handle.record()}"
            if not worker.lives:
                assert worker.starts < 20, "it loops"
                await worker.start()
            await trio.sleep(0.02)
        record = await handle.record()
    await trial.settle(completed=520, dead=1, running=0, pending=0)
    await trial.stop(worker)
    starts = trial.ledger.of("began", [0])
    beside = [len(trial.ledger.in_flight(start.pid, start.at) - {0}) for start in starts]
    after = [
        len([one for one in trial.ledger.of("began", pid=start.pid) if one.at > start.at]) for start in starts
    ]  # a process ends with its poison: whatever begins in it later begins beside it
    beside = [before + later for before, later in zip(beside, after, strict=True)]
    trial.figure(starts=len(starts), beside=beside, reason=record.errors[-1].type if record.errors else None)
    trial.promise(f"it starts {len(starts)} <= 4 times", len(starts) <= 4)
    trial.promise(f"alone from the second crash on: {beside}", not any(beside[2:]))
    trial.promise(f"dead by worker_died, not {record.errors[-1:]}", trial.figures["reason"] == "worker_died")
    trial.count(innocents, twice=len(starts) * WORKERS)
