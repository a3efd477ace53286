"""One tick under way: the batch that is being folded, and who waits for which part of it."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import attrs

from actors.core.errors import ActorsError
from actors.core.job import JobRecord
from actors.intake import Order
from actors.mailbox import Reply
from actors.queue.messages import Accepted, Act, Enqueue, Fire
from actors.store.port import Batch, Insert

T = TypeVar("T")


@attrs.define
class Asking(Generic[T]):
    """A request of many parts that are decided one by one; the last decision sends all answers."""

    reply: Reply[list[T | ActorsError]]
    answers: list[Any]
    open: int

    def decide(self, index: int, given: T | ActorsError) -> None:
        """Answer part `index`."""
        self.answers[index] = given
        self.open -= 1
        if self.open == 0:
            self.reply.give(self.answers)


@attrs.define
class Pending:
    """One order that is not decided yet. `replaces`: the job that holds its unique key and is to make room."""

    asking: Asking[Accepted]
    index: int
    order: Order
    exempt: bool
    replaces: str | None = None

    def decide(self, given: Accepted | ActorsError) -> None:
        """Answer it."""
        self.asking.decide(self.index, given)


@attrs.define
class Doing:
    """One job to be cancelled, replayed, promoted or deleted by hand, that is not decided yet."""

    act: Act
    asking: Asking[JobRecord]
    index: int

    @property
    def id(self) -> str:
        """The job's id."""
        return self.act.ids[self.index]

    def decide(self, given: JobRecord | ActorsError) -> None:
        """Answer it."""
        self.asking.decide(self.index, given)


@attrs.define
class Turn:
    """The batch of one tick, and who waits for which of its items (by their index in the batch's lists)."""

    batch: Batch
    forced: bool = False  # commit even when nothing is to be written: look at the store
    group: int = 0
    lots: list[tuple[int, Enqueue]] = attrs.Factory(list)  # inserts, from there on all those of one message
    asked: list[tuple[int, Pending]] = attrs.Factory(list)  # inserts, one by one
    written: list[tuple[int, Doing]] = attrs.Factory(list)  # writes
    deleted: list[tuple[int, Doing]] = attrs.Factory(list)  # deletes
    stopped: list[tuple[int, Doing, JobRecord]] = attrs.Factory(list)  # stops
    fired: list[tuple[int, Fire]] = attrs.Factory(list)  # schedule_moves, from there on all those of one message
    ended: list[int] = attrs.Factory(list)  # writes that are reports
    after: list[Reply[None]] = attrs.Factory(list)  # to be answered once committed

    def new_group(self) -> int:
        """A number that ties items of the batch together."""
        self.group += 1
        return self.group

    def insert(self, insert: Insert, group: int) -> None:
        """Insert a job together with the rest of its group."""
        self.batch.inserts.append(attrs.evolve(insert, group=group))

    def take_apart(self) -> None:
        """Look at the orders of the lots one by one: not all of them were made."""
        for start, message in self.lots:
            orders = message.orders
            asking = Asking[Accepted](message.reply, [None] * len(orders), len(orders))
            for index, order in enumerate(orders):
                self.asked.append((start + index, Pending(asking, index, order, message.exempt)))
        self.lots.clear()

    def has_work(self) -> bool:
        """Whether the store is to be asked at all."""
        batch = self.batch
        return bool(
            self.forced
            or batch.writes
            or batch.inserts
            or batch.claims
            or batch.notes
            or batch.stops
            or batch.settings
            or batch.schedules
            or batch.forget_schedules
            or batch.schedule_moves
            or batch.deletes
        )

    def undecided(self) -> list[Pending | Doing]:
        """Everybody who waits for an item of the batch."""
        doing = [doing for _, doing in (*self.written, *self.deleted)]
        return [*(pending for _, pending in self.asked), *doing, *(doing for _, doing, _ in self.stopped)]

    def replies(self) -> list[Reply[Any]]:
        """Everybody who waits for the commit as a whole, or for more than one item of it."""
        return [*self.after, *(fire.reply for _, fire in self.fired), *(message.reply for _, message in self.lots)]
