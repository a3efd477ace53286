"""What the API has accepted: api_kill."""

from __future__ import annotations

from collections import Counter

import trio

from tests.faults.posting import Posting
from tests.faults.process import Server, until
from tests.faults.trial import Trial

CLIENTS = 4


async def api_kill(trial: Trial) -> None:
    """The server is killed while clients post numbered jobs and repeat until a 2xx: each is exactly one job (G5)."""
    kills = trial.size(4, 20)
    each = trial.size(120, 600)
    server = trial.server("--workers", "4")
    await server.start()
    posting = Posting(server, CLIENTS * each)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(posting.clients, CLIENTS, lambda: 0.0, lambda: trial.random.uniform(0.0, 0.01))
        nursery.start_soon(_kill, trial, server, kills, posting.accepted, each)
    numbers = range(CLIENTS * each)
    await trial.ended(numbers)
    await trial.settle(completed=len(numbers), running=0, pending=0, enqueued=len(numbers))
    found = await trial.numbers()
    trial.promise("every 2xx is exactly one job", set(found) == set(numbers) and set(found.values()) == {1})
    await trial.stop(server)
    trial.promise(f"no other answers: {posting.strange[:3]}", not posting.strange)
    trial.figure(kills=kills, repeats=posting.repeats, jobs_per_2xx=max(found.values()))
    trial.count(numbers, twice=kills * CLIENTS)


async def _kill(trial: Trial, server: Server, kills: int, accepted: Counter[int], each: int) -> None:
    for kill in range(kills):
        goal = (kill + 1) * CLIENTS * each // (kills + 2)
        await until(lambda goal=goal: len(accepted) >= goal, "posts are answered")  # type: ignore[misc]
        await trio.sleep(trial.random.uniform(0.0, 0.05))
        await trial.ask_audit(server)
        await server.kill()
        await server.start()
