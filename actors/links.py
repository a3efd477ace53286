"""The addresses of one system's actors, and the requests that more than one handle makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, cast

import attrs
import trio

from actors import dead_letters, hub, scheduler
from actors.clock import Clock
from actors.core.errors import ActorsError, BadOption, NotFound, ShuttingDown
from actors.core.job import JobRecord
from actors.core.strict_json import is_text
from actors.mailbox import Reply, ask, command
from actors.queue import Act, Keep
from actors.queue import Message as QueueMessage
from actors.store.port import Query, Store

MOST_PER_PAGE = 1_000
LONGEST_ID = 128  # characters
LONGEST_WORD = 10_000  # characters of what is searched for


@attrs.define(kw_only=True, eq=False)
class Links:
    """Where to send what. Reads go to the store itself: they need no order among the writes."""

    store: Store
    clock: Clock
    queue: trio.MemorySendChannel[QueueMessage]
    hub: trio.MemorySendChannel[hub.Message]
    scheduler: trio.MemorySendChannel[scheduler.Message]
    dead_letters: trio.MemorySendChannel[dead_letters.Message]

    def end(self) -> None:
        """The system has ended: reads are refused as well, whatever the store would still answer."""
        self.store = cast("Store", _Ended())

    async def act(self, verb: Literal["cancel", "replay", "promote", "delete"], id: str) -> JobRecord:
        """Do this to one job; the job as it then stands, or the error."""
        (given,) = await self.act_on_all(verb, [check_asked_id(id)])
        if isinstance(given, ActorsError):
            raise given
        return given

    async def act_on_all(
        self, verb: Literal["cancel", "replay", "promote", "delete"], ids: Sequence[str]
    ) -> list[JobRecord | ActorsError]:
        """Do this to many jobs in one tick; one answer each."""

        def request(reply: Reply[list[JobRecord | ActorsError]]) -> QueueMessage:
            return Act(verb, ids, reply)

        return await ask(self.queue, request)

    async def keep_settings(self, settings: Mapping[str, str | None]) -> None:
        """Keep or (None) forget settings; returns once committed."""
        await command(self.queue, lambda reply: Keep(reply=reply, settings=settings))


class _Ended:
    """Stands where the store was."""

    def __getattr__(self, name: str) -> object:
        raise ShuttingDown("the system has ended: it takes no more calls")


def check_asked_id(id: object) -> str:
    """An id that is asked for may be any text: what can't be an id is just not found."""
    if not isinstance(id, str):
        raise BadOption("id", id, "text")
    if not is_text(id, LONGEST_ID):
        raise NotFound("job", id)
    return id


def check_words(**words: object) -> None:
    """What is searched for is None or text that a store can be asked for, or `BadOption`."""
    for name, given in words.items():
        if given is not None and not is_text(given, LONGEST_WORD, 0):
            raise BadOption(name, given, f"at most {LONGEST_WORD} characters")


def check_limit(limit: object) -> int:
    """How many a page may have, or `BadOption`."""
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= MOST_PER_PAGE:
        raise BadOption("limit", limit, f"an integer from 1 to {MOST_PER_PAGE}")
    return limit


def dead_query(
    *,
    type: str | None,
    queue: str | None,
    owner: str | None,
    text: str | None = None,
    limit: int = 100,
    after: str | None = None,
) -> Query:
    """A query for dead letters, the newest death first."""
    check_words(type=type, queue=queue, owner=owner, text=text, after=after)
    return Query(
        states=dead_letters.DEAD,
        type=type,
        queue=queue,
        owner=owner,
        text=text,
        order="finished",
        limit=check_limit(limit),
        after=after,
    )
