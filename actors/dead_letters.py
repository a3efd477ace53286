"""The dead-letter store: reads, searches, replays and deletes what failed for good, and counts what dies.

Its truth is the rows that the queue's commit marked dead, so nothing is lost between the two.
"""

from __future__ import annotations

import logging
from typing import Any, Final, assert_never

import attrs
import trio

from actors.core.errors import ActorsError, WrongState
from actors.core.job import JobRecord, State
from actors.core.value import value
from actors.mailbox import Reply, answer, ask, decline, refuse, refusing_the_rest
from actors.queue import Act
from actors.queue import Message as QueueMessage
from actors.store.port import Page, Query, Store

log = logging.getLogger("actors")

DEAD: Final[frozenset[State]] = frozenset({"dead"})
PAGE: Final = 500  # replayed per tick


@value
class List:
    """One page of dead letters, the newest death first."""

    query: Query
    reply: Reply[Page]


@value
class Replay:
    """Give one dead job its attempts back; its history stays."""

    id: str
    reply: Reply[JobRecord]


@value
class ReplayAll:
    """Replay every dead job that matches; answered with how many."""

    query: Query
    reply: Reply[int]


@value
class Delete:
    """Forget one dead job for good."""

    id: str
    reply: Reply[None]


@value
class Ping:
    """Answered at once."""

    reply: Reply[None]


Message = List | Replay | ReplayAll | Delete | Ping


class DeadLetters:
    """The actor."""

    def __init__(
        self,
        store: Store,
        queue: trio.MemorySendChannel[QueueMessage],
        inbox: trio.MemoryReceiveChannel[Message],
    ) -> None:
        self._store = store
        self._queue = queue
        self._inbox = inbox

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled; a request at a time, so a bulk replay is not interleaved with another."""
        with self._inbox, refusing_the_rest(self._inbox):
            task_status.started()
            async for message in self._inbox:
                try:
                    await self._serve(message)
                except ActorsError as error:
                    decline(message.reply, error)
                except trio.Cancelled:
                    refuse(message)
                    raise

    async def _serve(self, message: Message) -> None:
        match message:
            case List():
                answer(message.reply, await self._store.find(message.query))
            case Replay():
                await self._dead(message.id, "be replayed")
                answer(message.reply, await self._act("replay", message.id))
            case Delete():
                await self._dead(message.id, "be deleted as a dead letter")
                await self._act("delete", message.id)
                answer(message.reply, None)
            case ReplayAll():
                answer(message.reply, await self._replay_all(message.query))
            case Ping():
                answer(message.reply, None)
            case _:
                assert_never(message)

    async def _dead(self, id: str, verb: str) -> None:
        job = (await self._store.get([id])).get(id)
        if job is not None and job.state != "dead":
            raise WrongState(id, job.state, verb)

    async def _act(self, verb: Any, id: str) -> JobRecord:
        (given,) = await self._ask(verb, [id])
        if isinstance(given, ActorsError):
            raise given
        return given

    async def _ask(self, verb: Any, ids: list[str]) -> list[JobRecord | ActorsError]:
        def request(reply: Reply[list[JobRecord | ActorsError]]) -> QueueMessage:
            return Act(verb, ids, reply)

        return await ask(self._queue, request)

    async def _replay_all(self, query: Query) -> int:
        """All that were dead when it began: a replayed job may die again meanwhile, and is not replayed twice."""
        replayed = 0
        seen: set[str] = set()
        after: str | None = None
        while True:
            page = await self._store.find(attrs.evolve(query, states=DEAD, limit=PAGE, after=after))
            ids = [job.id for job in page.jobs if job.id not in seen]
            seen.update(ids)
            given = await self._ask("replay", ids) if ids else []
            replayed += sum(isinstance(one, JobRecord) for one in given)
            if (after := page.after) is None:
                return replayed
