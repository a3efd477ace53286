"""The demonstration of many machines: three `actors worker`, one `actors serve --workers 0`, one Redis, and no peace."""

from __future__ import annotations

import time

import trio

from tests.faults.posting import Posting
from tests.faults.process import until
from tests.faults.servers import DOWN
from tests.faults.trial import Trial

WORKERS = 3
AT_A_TIME = 8  # jobs of a worker
CLIENTS = 8
SCHEDULE = "every-second"
EACH = 1_000_000  # microseconds between two of its slots
GRACE = 5.0
SHARE = 0.01  # of all jobs: how many may be done twice beyond what was in flight at the kills


async def fleet(trial: Trial) -> None:
    """Jobs come over HTTP, a worker is killed each second, Redis once: each job is completed once, each slot recorded
    once.
    """
    redis = trial.server_of_its_own
    kills, lease = trial.size(4, 20), trial.place.promise.lease if not trial.long else 30.0
    given = ("--lease", str(lease), "--grace", str(GRACE), "--log-level", "warning")
    server = trial.server("--workers", "0", *given)
    workers = [trial.worker(f"worker{n}", "--workers", str(AT_A_TIME), *given) for n in range(WORKERS)]
    async with trio.open_nursery() as nursery:
        for program in (server, *workers):
            nursery.start_soon(program.start)
    made = {"name": SCHEDULE, "schedule": {"every": 1}, "type": "slot", "data": {"number": -1}, "overlap": "allow"}
    status, said = await server.call("POST", "/scheduler", made)
    assert status == 201, said

    posting = Posting(server, trial.size(600, 10_000), enough=False)
    pace = trial.size(60, 30)  # milliseconds between two posts of a client, at most
    draw = trial.random.uniform
    in_flight = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(posting.clients, CLIENTS, lambda: draw(0.005, 0.02), lambda: draw(0.0, pace / 1e3))
        for kill in range(kills):
            await trio.sleep(1.0)
            if kill == kills // 2:
                redis.kill()
                await trio.sleep(DOWN)
                await trio.to_thread.run_sync(redis.start)
            victim = workers[kill % WORKERS]
            await victim.kill()
            in_flight += len(trial.ledger.in_flight(victim.pid, time.monotonic()))
            await victim.launch()  # and comes up while the others go on
            if kill == kills // 4:
                await trial.verify()
        posting.enough = True
    numbers = range(posting.sent)
    await trial.ended(numbers, 120.0)
    fired = await _slots(trial)
    await trial.settle(pending=0, running=0, scheduled=0, dead=0, completed=len(numbers) + fired)
    await trial.verify()
    await trial.ask_audit(server)
    found = await trial.numbers()
    trial.promise("every 2xx is exactly one job", set(found) == set(numbers) and set(found.values()) == {1})
    trial.promise(f"no other answers: {posting.strange[:3]}", not posting.strange)
    for worker in workers:
        await until(lambda worker=worker: worker.is_ready, "all are up again")  # type: ignore[misc]
    for program in (*workers, server):
        await trial.stop(program, GRACE)
    trial.figure(kills=kills, in_flight=in_flight, repeats=posting.repeats, refusals=posting.refusals)
    trial.count(numbers, twice=in_flight + round(SHARE * len(numbers) * trial.slack))


async def _slots(trial: Trial) -> int:
    """Each slot of the schedule is recorded once, as a job or with the reason why there is none; how many as a job."""
    async with trial.client() as client:
        await client.schedules[SCHEDULE].pause()
        slots = sorted(await client._links.store.slots(SCHEDULE, 1_000), key=lambda one: one.slot)
        fired = [one.job for one in slots if one.job is not None]
        kept = await client._links.store.get(fired)
    instants = [one.slot for one in slots]
    steps = {later - earlier for earlier, later in zip(instants, instants[1:], strict=False)}
    trial.promise(f"a slot a second, each recorded once: {steps}", steps == {EACH})
    trial.promise("fired, or with a reason", all((one.job is None) != (one.reason is None) for one in slots))
    trial.promise("a job of its own for each", len(set(fired)) == len(fired) == len(kept))
    trial.figure(slots=len(slots), fired=len(fired))
    return len(fired)
