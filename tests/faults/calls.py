"""What the API has accepted: api_kill."""

from __future__ import annotations

from collections import Counter

import httpx2
import trio

from tests.faults.process import Server, until
from tests.faults.trial import Trial

CLIENTS = 4


async def api_kill(trial: Trial) -> None:
    """The server is killed while clients post numbered jobs and repeat until a 2xx: each is exactly one job (G5)."""
    kills = trial.size(4, 20)
    each = trial.size(120, 600)
    server = trial.server("--workers", "4")
    await server.start()
    accepted: Counter[int] = Counter()
    repeats = 0

    async def post(first: int) -> None:
        nonlocal repeats
        async with server.client(5.0) as client:
            for number in range(first, first + each):
                while True:
                    try:
                        answer = await client.post(
                            "/jobs",
                            json={"type": "work", "number": number},
                            headers={"Idempotency-Key": f"key-{number}"},
                        )
                    except httpx2.TransportError:
                        repeats += 1
                        await trio.sleep(0.02)
                        continue
                    assert answer.status_code in (200, 202, 503), answer.text
                    if answer.status_code < 300:
                        accepted[number] += 1
                        break
                    await trio.sleep(0.05)
                await trio.sleep(trial.random.uniform(0.0, 0.01))

    async with trio.open_nursery() as nursery:
        for n in range(CLIENTS):
            nursery.start_soon(post, n * each)
        nursery.start_soon(_kill, trial, server, kills, accepted, each)
    numbers = range(CLIENTS * each)
    await trial.ended(numbers)
    await trial.settle(completed=len(numbers), running=0, pending=0, enqueued=len(numbers))
    async with trial.client() as client:
        found: Counter[int] = Counter()
        after = None
        while True:
            page = await client.find(limit=1_000, after=after)
            found.update(job.payload["number"] for job in page.jobs)
            if (after := page.after) is None:
                break
    trial.promise("every 2xx is exactly one job", set(found) == set(numbers) and set(found.values()) == {1})
    await trial.stop(server)
    trial.figure(kills=kills, repeats=repeats, jobs_per_2xx=max(found.values()))
    trial.count(numbers, twice=kills * CLIENTS)


async def _kill(trial: Trial, server: Server, kills: int, accepted: Counter[int], each: int) -> None:
    for kill in range(kills):
        goal = (kill + 1) * CLIENTS * each // (kills + 2)
        await until(lambda goal=goal: len(accepted) >= goal, "posts are answered")  # type: ignore[misc]
        await trio.sleep(trial.random.uniform(0.0, 0.05))
        await trial.ask_audit(server)
        await server.kill()
        await server.start()
