"""Admission: new jobs on their way into a batch, those that wait for room, and those that replace another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import assert_never

import attrs

from actors.core.errors import ActorsError, Conflict, QueueFull, ShuttingDown, StoreError
from actors.core.job import JobRecord
from actors.core.lifecycle import TRANSITIONS, advance
from actors.mailbox import answer
from actors.queue.floor import Floor
from actors.queue.messages import Accepted, Enqueue
from actors.queue.turn import Asking, Pending, Turn
from actors.store.port import Outcome, Refusal, Write

REPLACEABLE = frozenset(TRANSITIONS["cancel"]) - {"running"}  # a job that has started is not replaced


class Admission:
    """Folds enqueues, settles them by the store's verdicts. `limits`: queue -> (jobs that may wait, wait for room)."""

    def __init__(self, floor: Floor, limits: Mapping[str, tuple[int, bool]]) -> None:
        self._floor = floor
        self._limits = limits
        self._again: list[Pending] = []  # to be inserted with the next tick: there is room, or a key to be taken over
        self._full: dict[str, list[Pending]] = {}  # those that wait for room, by queue

    @property
    def is_waiting(self) -> bool:
        """Whether somebody waits for room in a full queue."""
        return bool(self._full)

    @property
    def is_ready(self) -> bool:
        """Whether there is something for the next tick without a message."""
        return bool(self._again)

    def enqueue(self, turn: Turn, message: Enqueue) -> None:
        """Put new jobs into the batch."""
        orders, inserts = message.orders, turn.batch.inserts
        if self._limits or not orders:
            asking = Asking[Accepted](message.reply, [None] * len(orders), len(orders))
            if not orders:
                answer(message.reply, [])
            for index, order in enumerate(orders):
                self._insert(turn, Pending(asking, index, order, message.exempt))
            return
        # nothing but the store can refuse one of them, so they stay together until it does
        turn.lots.append((len(inserts), message))
        queue = None
        for order in orders:
            insert = order.insert
            inserts.append(insert)
            if insert.spec.queue != queue:
                queue = insert.spec.queue
                self._floor.stir(queue)

    def replaced(self) -> list[str]:
        """The jobs that are to make room for others: to be loaded before `try_again`."""
        return [pending.replaces for pending in self._again if pending.replaces is not None]

    def try_again(self, turn: Turn, known: Mapping[str, JobRecord]) -> None:
        """Insert what waits no longer; what replaces a job that has not started cancels it, together or not at all."""
        again, self._again = self._again, []
        for pending in again:
            there = known.get(pending.replaces or "")
            if there is None or there.state not in REPLACEABLE:
                self._insert(turn, pending)
            else:
                group = turn.new_group()
                after = advance(there, "cancel", turn.batch.now)
                turn.batch.writes.append(Write(job=there, after=after, step="cancel", group=group))
                self._insert(turn, pending, group)

    def _insert(self, turn: Turn, pending: Pending, group: int = 0) -> None:
        insert = pending.order.insert
        # what replaces a job takes its place: refused by a limit, it would leave neither
        limit = None if pending.exempt or group else self._limits.get(insert.spec.queue)
        if limit is not None and limit[1] and (waiting := self._full.get(insert.spec.queue)) and self._floor.claiming:
            waiting.append(pending)  # not before those who came first
            return
        if limit is not None or group:
            insert = attrs.evolve(insert, limit=None if limit is None else limit[0], group=group)
        turn.asked.append((len(turn.batch.inserts), pending))
        turn.batch.inserts.append(insert)
        self._floor.stir(insert.spec.queue)

    def settle(self, turn: Turn, outcome: Outcome) -> None:
        """Answer, or try again, by what the store said."""
        refused, inserts = outcome.refused, turn.batch.inserts
        if refused:
            turn.take_apart()
        for start, message in turn.lots:
            made = inserts[start : start + len(message.orders)]
            message.reply.give([Accepted(insert.spec.id, created=True) for insert in made])
        for index, pending in turn.asked:
            if refused and index in refused:
                self._refused(pending, refused[index])
            else:
                pending.decide(Accepted(inserts[index].spec.id, created=True))
        if self._full and (outcome.claimed or turn.batch.writes or turn.batch.deletes):
            moved = {job.queue for job in outcome.claimed} | {write.job.queue for write in turn.batch.writes}
            self.admit([queue for queue in self._full if queue in moved])  # in the order in which they filled

    def _refused(self, pending: Pending, refusal: Refusal) -> None:
        order, spec = pending.order, pending.order.insert.spec
        given: Accepted | ActorsError
        match refusal.verdict:
            case "existing":
                given = Accepted(str(refusal.id), created=False)
            case "conflict":
                key = order.insert.idempotency
                what = f"id {spec.id!r}" if key is None else f"idempotency key {key.key!r}"
                given = Conflict(f"{what} is taken by another job: expected the same job as before", refusal.id)
            case "unique" if order.on_conflict == "raise":
                holder = f"job {refusal.id} ({refusal.state})"
                given = Conflict(f"the unique key of this {spec.type} is held by {holder}", refusal.id)
            case "unique" if order.on_conflict == "skip" or refusal.state not in REPLACEABLE:
                given = Accepted(str(refusal.id), created=False)
            case "unique":
                pending.replaces = refusal.id
                self._again.append(pending)
                return
            case "lost":  # the job that it was to replace has moved on meanwhile
                self._again.append(pending)
                return
            case "full":
                limit, waits = self._limits[spec.queue]
                if waits and self._floor.claiming:
                    self._full.setdefault(spec.queue, []).append(pending)
                    return
                given = _no_more_room() if waits else QueueFull(spec.queue, limit)
            case _:
                assert_never(refusal.verdict)
        pending.decide(given)

    def admit(self, queues: Iterable[str] | None = None) -> None:
        """Room may have come in these queues (None: in any): those who wait for it and have not left try again."""
        for queue in list(self._full if queues is None else queues):
            self._again.extend(pending for pending in self._full.pop(queue) if not pending.asking.reply.has_left)

    def stop_waiting(self) -> None:
        """The shutdown: nothing is claimed any more, so there will be no room."""
        error = _no_more_room()
        for waiting in self._full.values():
            for pending in waiting:
                pending.decide(error)
        self._full.clear()

    def refuse_inserts(self, turn: Turn, error: StoreError) -> None:
        """A full disk takes no new jobs; reports are kept. (It rolled the transaction back: the batch may change.)"""
        batch = turn.batch
        turn.take_apart()
        refused = {index for index, _ in turn.asked}
        groups = {batch.inserts[index].group for index in refused} - {0}
        for _, pending in turn.asked:
            pending.decide(error)
        turn.asked.clear()
        batch.inserts = [insert for index, insert in enumerate(batch.inserts) if index not in refused]
        if groups:  # nor is a job cancelled for one that could not take its place
            kept = [index for index, write in enumerate(batch.writes) if write.group not in groups]
            moved = {old: new for new, old in enumerate(kept)}
            batch.writes = [batch.writes[index] for index in kept]
            turn.ended = [moved[index] for index in turn.ended]
            turn.written = [(moved[index], doing) for index, doing in turn.written]

    def undecided(self) -> list[Pending]:
        """Everybody who still waits here."""
        return [*self._again, *(pending for waiting in self._full.values() for pending in waiting)]


def _no_more_room() -> ShuttingDown:
    return ShuttingDown("the system is stopping: the queue is full and nothing is claimed any more")
