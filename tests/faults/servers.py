"""What happens to a Redis server, and to the line to it: server_killed, server_paused, server_absent, line_cut."""

from __future__ import annotations

import random
import time

import trio

from tests.faults.calls import CLIENTS
from tests.faults.posting import NOT_NOW, Posting
from tests.faults.process import Server, until
from tests.faults.trial import Trial
from tests.faults.work import linger, work
from tests.relay import Fate, Relay

DOWN = 1.0  # seconds between the death of the server and its next start
RESUMES = 2.0  # seconds after it is back
ANSWERED = 6.0  # seconds until a call that can't be served is refused
EACH_FATE = 0.15  # of the commits: their call is lost, or their answer


async def server_killed(trial: Trial) -> None:
    """Redis is killed twice while jobs are posted and run (G6): nothing is lost or done twice, all go on."""
    redis = trial.server_of_its_own
    server = trial.server("--workers", "0")
    workers = [trial.program(f"worker{n}", "worker", workers=4) for n in range(2)]
    for program in (server, *workers):
        await program.start()
    least = trial.size(300, 4_000)
    posting = Posting(server, least, enough=False)
    resumed, health = [], set[str]()
    async with trio.open_nursery() as nursery:
        draw = trial.random.uniform
        nursery.start_soon(posting.clients, CLIENTS, lambda: draw(0.005, 0.02), lambda: draw(0.01, 0.05))
        for _ in range(2):
            goal = len(posting.accepted) + least // 4
            await until(lambda goal=goal: len(posting.accepted) >= goal, "posts are answered")  # type: ignore[misc]
            redis.kill()
            await trio.sleep(DOWN / 2)
            health.add((await server.call("GET", "/healthz"))[1]["status"])
            asked = await server.ask("GET", "/jobs/stats")
            trial.promise(f"a read is refused meanwhile: {asked.status_code}", asked.status_code == NOT_NOW)
            trial.promise("with Retry-After", "Retry-After" in asked.headers)
            await trio.sleep(DOWN / 2)
            await trio.to_thread.run_sync(redis.start)
            back = time.monotonic()
            await until(lambda back=back: _last(trial) > back, "jobs run again")  # type: ignore[misc]
            resumed.append(_first(trial, back) - back)
            for pid in (worker.pid for worker in workers):
                await until(lambda pid=pid, back=back: _last(trial, pid) > back, "it goes on")  # type: ignore[misc]
            await trial.verify()
        posting.enough = True
    numbers = range(posting.sent)
    await trial.ended(numbers)
    await trial.settle(completed=len(numbers), running=0, pending=0, enqueued=len(numbers))
    await trial.ask_audit(server)
    trial.promise("every 2xx is exactly one job", set((await trial.numbers()).values()) == {1})
    trial.promise(f"no other answers: {posting.strange[:3]}", not posting.strange)
    trial.promise(f"health meanwhile: {health}", health == {"degraded"})
    trial.promise("health afterwards", (await server.call("GET", "/healthz"))[1]["status"] == "ok")
    trial.promise("all have lived all the time", all(program.lives for program in (server, *workers)))
    for program in (server, *workers):
        await trial.stop(program)
    trial.figure(kills=2, refusals=posting.refusals)
    trial.within("recovery_s", max(resumed), RESUMES)
    trial.count(numbers)
    trial.promise("began once each", set(trial.ledger.counts("began").values()) == {1})


def _first(trial: Trial, after: float) -> float:
    """When a job has first begun after that."""
    return min(entry.at for entry in trial.ledger.of("began") if entry.at > after)


def _last(trial: Trial, pid: int | None = None) -> float:
    """When a job has last begun (in that process)."""
    return max((entry.at for entry in trial.ledger.of("began", pid=pid)), default=0.0)


async def server_paused(trial: Trial) -> None:
    """Redis hangs for longer than the leases (G7): what runs is stopped before its lease ends, and runs again."""
    redis = trial.server_of_its_own
    lease, hangs = 3.0, 5.0
    held, waiting = range(8), range(100, trial.size(200, 1_100))
    workers = [trial.program(f"worker{n}", "worker", workers=4, lease=lease) for n in range(2)]
    for worker in workers:
        await worker.start()
    async with trial.client() as client:
        await client.enqueue_many([linger(number, 60.0) for number in held])
        await trial.begun(held)
        await client.enqueue_many([work(number, trial.random.uniform(0.005, 0.02)) for number in waiting])
    await trio.sleep(trial.random.uniform(0.0, 1.0))
    paused = time.monotonic()
    redis.pause()
    await trio.sleep(hangs)
    stopped = trial.ledger.of("stopped")
    redis.resume()
    back = time.monotonic()
    await trial.ended([*held, *waiting])
    trial.within("recovery_s", _first(trial, back) - back, RESUMES)
    await trial.settle(completed=len(held) + len(waiting), running=0, pending=0)
    trial.promise(
        f"stopped while it hung: {len(stopped)} of {len(held)}", {entry.number for entry in stopped} == {*held}
    )
    # a lease counts from a beat before the pause, so its end comes before this
    trial.within("stopped_s", max((entry.at for entry in stopped), default=back) - paused, lease, loaded=lease)
    for worker in workers:
        await trial.stop(worker)
    trial.figure(late_reports_refused=sum(worker.told()["late"] for worker in workers))
    trial.count([*held, *waiting])
    trial.promise("what was stopped ran again, once", set(trial.ledger.counts("began", held).values()) == {2})


async def server_absent(trial: Trial) -> None:
    """Redis is not there when the programs start (G6): they say so, and work as soon as it comes."""
    redis = trial.server_of_its_own
    redis.kill()
    server, worker = trial.server("--workers", "0"), trial.program("worker", "worker", workers=4)
    public = Server(trial.folder, trial.store, "--host", "0.0.0.0", name="public")
    trial.programs.append(public)
    async with trio.open_nursery() as nursery:
        for program in (server, worker):
            nursery.start_soon(program.start)
        nursery.start_soon(public.launch)
    trial.promise("the server says so", "waits for its store" in server.said)
    trial.promise("the worker says so", "the store is not there yet" in worker.said)
    began = time.monotonic()
    answer = await server.ask("POST", "/jobs", {"type": "work", "number": 1}, patience=30.0)
    trial.within("answered_s", time.monotonic() - began, ANSWERED)
    trial.promise(f"503, not {answer.status_code}", answer.status_code == NOT_NOW)
    trial.promise("with Retry-After", "Retry-After" in answer.headers)
    status, health = await server.call("GET", "/healthz")
    trial.promise(f"health: {status} {health}", (status, health["status"]) == (200, "degraded"))
    await until(lambda: "waiting for the store" in public.said, "an open server waits, too")
    trial.promise("which does not open to all the world meanwhile", public.lives and not public.is_ready)

    await trio.to_thread.run_sync(redis.start)
    back = time.monotonic()
    status = 0
    while status != 202 and time.monotonic() < back + 30.0:
        status, _ = await server.call("POST", "/jobs", {"type": "work", "number": 2}, patience=30.0)
    await trial.ended([2])
    trial.within("recovery_s", time.monotonic() - back, RESUMES)
    await until(lambda: "Ctrl-C stops it" in server.said, "the server says what it is")
    code = await public.wait()
    trial.promise(f"without tokens it ends with 2, not {code}", code == 2 and "has no tokens" in public.said)
    await trial.settle(running=0, pending=0)
    for stopped in (server, worker):
        await trial.stop(stopped)
    trial.count([2])  # what was answered 503 may be done later, or not: its caller knows that it knows nothing


async def line_cut(trial: Trial) -> None:
    """Connections are cut before and after the server has heard a call: nothing is inserted, claimed or run twice."""
    numbers = range(trial.size(200, 2_000))
    half = len(numbers) // 2
    lots = random.Random(trial.seed)
    faults = {"call lost": 0, "answer lost": 0}

    def fate(data: bytes) -> Fate:
        lot = lots.random()
        if (b"_commit" not in data and b"_report" not in data) or lot > 2 * EACH_FATE:
            return "passes"
        said: Fate = "call lost" if lot < EACH_FATE else "answer lost"
        faults[said] += 1
        return said

    async with Relay.to(trial.server_of_its_own.port, fate) as relay:
        workers = [
            trial.program(f"worker{n}", "worker", store=relay.url, workers=4, enqueue=[*mine], seconds=0.002)
            for n, mine in enumerate((numbers[:half], numbers[half:]))
        ]
        async with trio.open_nursery() as nursery:
            for worker in workers:
                nursery.start_soon(worker.start)
        await trial.ended(numbers, 300.0)
        await trial.settle(completed=len(numbers), running=0, pending=0, enqueued=len(numbers))
        for worker in workers:
            await trial.stop(worker, 5.0)  # its last commits may be cut, too
    trial.figure(faults=faults)
    trial.promise("there were faults", min(faults.values()) > 0)
    trial.count(numbers)
    trial.promise("began once each", set(trial.ledger.counts("began").values()) == {1})
