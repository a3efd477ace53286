"""Clients that post numbered jobs over HTTP, one by one with idempotency keys, and repeat each until it is accepted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import attrs
import httpx2
import trio

from tests.faults.process import Server

TAKEN = (200, 202)
NOT_NOW = 503
AGAIN = 0.05  # seconds before a refused one is tried again


@attrs.define
class Posting:
    """What several clients post and are told."""

    server: Server
    least: int  # jobs
    enough: bool = True  # False: they go on until it is set
    sent: int = 0
    accepted: Counter[int] = attrs.Factory(Counter)
    repeats: int = 0
    refusals: int = 0
    without_retry_after: int = 0
    strange: list[str] = attrs.Factory(list)  # answers that are neither

    async def clients(self, how_many: int, seconds: Callable[[], float], pause: Callable[[], float]) -> None:
        """So many clients, who share the numbers."""
        async with trio.open_nursery() as nursery:
            for _ in range(how_many):
                nursery.start_soon(self._client, seconds, pause)

    async def _client(self, seconds: Callable[[], float], pause: Callable[[], float]) -> None:
        async with self.server.client(10.0) as client:
            while self.sent < self.least or not self.enough:
                number, self.sent = self.sent, self.sent + 1
                body = {"type": "work", "number": number, "seconds": seconds()}
                while not await self._post(client, number, body):
                    self.repeats += 1
                    await trio.sleep(AGAIN)
                self.accepted[number] += 1
                await trio.sleep(pause())

    async def _post(self, client: httpx2.AsyncClient, number: int, body: dict[str, object]) -> bool:
        try:
            answer = await client.post("/jobs", json=body, headers={"Idempotency-Key": f"key-{number}"})
        except httpx2.TransportError:
            return False
        if answer.status_code == NOT_NOW:
            self.refusals += 1
            self.without_retry_after += "Retry-After" not in answer.headers
        elif answer.status_code not in TAKEN:
            self.strange.append(f"{answer.status_code} {answer.text[:200]}")
        return answer.status_code in TAKEN
