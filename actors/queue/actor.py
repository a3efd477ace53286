"""The queue: the one writer of jobs. It empties its inbox, folds the messages into one batch, commits it, and answers.

One tick, one commit: the busier the system, the bigger the batch, the cheaper each job. Nothing is acknowledged before
its commit.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Mapping, Sequence
from typing import Any, Final, assert_never

import attrs
import trio

from actors.clock import Clock
from actors.core.errors import ShuttingDown, Stopped, StoreBusy, StoreError, StoreFull, StoreSilent
from actors.core.job import JobRecord
from actors.core.registry import Registry
from actors.mailbox import answer, decline, refusing_the_rest
from actors.queue.admission import Admission
from actors.queue.by_hand import ByHand
from actors.queue.endings import Endings
from actors.queue.floor import Books, Floor
from actors.queue.messages import (
    Act,
    Enqueue,
    Finish,
    Fire,
    Hire,
    Keep,
    Listen,
    Lost,
    Message,
    Noted,
    Ping,
    Report,
    Reported,
    Resize,
    Save,
    StopClaiming,
    Stuck,
    Ticked,
    Wake,
)
from actors.queue.turn import Turn
from actors.store.port import Batch, Outcome, Store

log = logging.getLogger("actors")

MOST_MESSAGES: Final = 1_000  # folded into one tick
MOST_INSERTS: Final = 2_000  # jobs of one tick, so that a bulk enqueue does not hold up the others
FIRST_PAUSE: Final = 0.05  # seconds before a failed commit is repeated; doubles up to LONGEST_PAUSE
LONGEST_PAUSE: Final = 1.0
LOOK_FOR_ROOM: Final = 1.0  # seconds between two looks whether there is room again in a full queue, or on a full disk


class Queue:
    """The actor. `run` is its task; everything else about it is private to that task."""

    def __init__(
        self,
        *,
        holder: str,
        store: Store,
        registry: Registry,
        clock: Clock,
        rng: random.Random,
        limits: Mapping[str, tuple[int, bool]],  # queue -> (jobs that may wait, whether an enqueue waits for room)
        inbox: trio.MemoryReceiveChannel[Message],
        hub: trio.MemorySendChannel[Ticked],
    ) -> None:
        self._holder = holder
        self._store = store
        self._registry = registry
        self._clock = clock
        self._inbox = inbox
        self._hub = hub
        self._floor = Floor()
        self._endings = Endings(holder, self._floor, registry, rng)
        self._admission = Admission(self._floor, limits)
        self._by_hand = ByHand(self._floor)
        self._tick = 0
        self._look_for_room = 0.0  # by trio's clock
        self._claim_from = -math.inf  # by trio's clock: after a full disk was seen there is a pause
        self._next_due: int | None = None
        self._current: Turn | None = None
        self._store_error: StoreError | None = None  # the store's last error, while it fails
        self.ended = trio.Event()

    @property
    def books(self) -> Books:
        """What became of the jobs that were held when the shutdown began; final once `ended` is set."""
        return self._floor.books

    @property
    def late_reports(self) -> int:
        """How many reports came too late and were refused."""
        return self._endings.late

    @property
    def store_error(self) -> StoreError | None:
        """Why the store does not take the tick under way; None while it works."""
        return self._store_error

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve the inbox until `Finish`; what is in it then is still answered.

        Cancelling tears it down where it stands: commits are not torn, askers see `ShuttingDown`.
        """
        with self._inbox, self._hub, refusing_the_rest(self._inbox):
            task_status.started()
            try:
                finishing = False
                while not finishing:
                    messages = await self._gather()
                    finishing = any(type(message) is Finish for message in messages)
                    await self._turn(messages)
            finally:
                self._refuse_the_undecided()
                self.ended.set()

    # Gathering

    async def _gather(self) -> list[Message]:
        messages: list[Message] = []
        if not self._admission.is_ready and not self._by_hand.is_ready:
            patience = self._patience()
            if patience == math.inf:  # a scope for nothing would be paid by every lone enqueue
                messages.append(await self._inbox.receive())
            else:
                with trio.move_on_after(patience):
                    messages.append(await self._inbox.receive())
        jobs = 0
        while len(messages) < MOST_MESSAGES and jobs < MOST_INSERTS:
            try:
                message = self._inbox.receive_nowait()
            except (trio.WouldBlock, trio.EndOfChannel):
                break
            messages.append(message)
            if type(message) is Enqueue:
                jobs += len(message.orders)
        return messages

    def _patience(self) -> float:
        """Seconds until something is due without a message."""
        now = self._clock.now()
        pause = self._floor.patience(now)
        if self._admission.is_waiting:
            pause = min(pause, LOOK_FOR_ROOM)
        if self._claim_from > -math.inf and self._floor.claiming:
            pause = min(pause, max(0.0, self._claim_from - trio.current_time()))
        if self._next_due is not None and self._floor.claiming:
            # a wall clock may be stepped: look again after a while, though nothing is due
            pause = min(pause, max(0.0, (self._next_due - now) / 1e6), self._clock.patience)
        return pause

    # One tick

    async def _turn(self, messages: list[Message]) -> None:
        now = self._clock.now()
        turn = self._current = Turn(Batch(now=now, types=self._registry.types, list_promoted=True))
        floor = self._floor
        if self._next_due is not None and self._next_due <= now and floor.claiming:
            turn.forced = True
            floor.stir_all()
        if self._admission.is_waiting and trio.current_time() >= self._look_for_room:
            self._look_for_room = trio.current_time() + LOOK_FOR_ROOM
            self._admission.admit()  # another process may have made room
        if self._admission.is_ready:  # before the messages: who waits for room comes before those who come now
            self._admission.try_again(turn, await self._load(self._admission.replaced()))
        for message in messages:
            self._fold(turn, message)
        if self._by_hand.is_ready:
            self._by_hand.fold(turn, await self._load(self._by_hand.ids()))
        floor.take_back(turn)
        if floor.claiming and trio.current_time() >= self._claim_from:
            self._claim_from = -math.inf
            floor.claim(turn.batch)
        if turn.has_work():
            outcome = await self._commit(turn)
            self._settle(turn, outcome)
            self._tell_the_hub(Ticked(turn.batch, outcome))
        else:
            self._settle(turn, Outcome(next_due=self._next_due))
        self._current = None

    def _fold(self, turn: Turn, message: Message) -> None:
        match message:
            case Report():
                self._report(turn, message.take())
            case Enqueue():
                self._admission.enqueue(turn, message)
            case Noted():
                if (note := message.take()) is not None:
                    turn.batch.notes.append(note)
            case Save():
                turn.batch.notes.append(message.note)
                turn.after.append(message.reply)
            case Stuck():
                self._floor.stuck(message.job)
            case Act():
                self._by_hand.add(message)
            case Lost():
                self._endings.lose(turn, message.jobs)
            case Fire():
                self._fire(turn, message)
            case Keep():
                self._keep(turn, message)
            case Hire():
                self._floor.hire(message.lane)
            case Resize():
                self._floor.resize(message.queue, message.capacity, turn.batch.now)
            case Wake():
                turn.forced = True
                self._floor.stir_all()
            case Ping():
                turn.forced = True
                turn.after.append(message.reply)
            case Listen():
                turn.forced = turn.batch.listen = True
                turn.after.append(message.reply)
            case StopClaiming():
                self._stop_claiming(turn)
            case Finish():
                pass
            case _:
                assert_never(message)

    def _report(self, turn: Turn, report: Reported) -> None:
        for ended in report.ended:
            if ended.error is not None and isinstance(ended.error, Stopped) and ended.error.reason == "shutdown":
                self._stop_claiming(turn)  # cancelled from outside: the workers know it first
                break
        self._endings.end(turn, report)

    def _fire(self, turn: Turn, message: Fire) -> None:
        turn.fired.append((len(turn.batch.schedule_moves), message))
        for firing in message.firings:
            group = turn.new_group()  # each its own: another process that was faster with one leaves the others alone
            turn.batch.schedule_moves.append(attrs.evolve(firing.move, group=group))
            for order in firing.orders:
                turn.insert(order.insert, group)
                self._floor.stir(order.insert.spec.queue)

    def _keep(self, turn: Turn, message: Keep) -> None:
        turn.batch.settings.update(message.settings)
        turn.batch.schedules.extend(message.schedules)
        turn.batch.forget_schedules.extend(message.forget_schedules)
        turn.batch.schedule_moves.extend(message.moves)
        turn.after.append(message.reply)
        self._floor.stir_all()  # a queue may have been resumed

    def _stop_claiming(self, turn: Turn) -> None:
        if self._floor.claiming:
            self._floor.stop_claiming(turn)
            self._admission.stop_waiting()

    # The store

    async def _load(self, ids: Sequence[str]) -> dict[str, JobRecord]:
        if not ids:
            return {}
        while True:
            try:
                return await self._store.get(ids)
            except StoreError as error:
                self._failing(error)
                await trio.sleep(FIRST_PAUSE)

    async def _commit(self, turn: Turn) -> Outcome:
        """Commit, however often it takes: a failing store keeps its callers waiting, it does not lose their work."""
        self._tick += 1
        pause = FIRST_PAUSE
        uncertain = False
        while True:
            try:
                outcome = await self._store.commit(self._holder, self._tick, turn.batch)
            except StoreError as error:
                self._failing(error)
                if isinstance(error, StoreSilent) or not isinstance(error, (StoreBusy, StoreFull)):
                    uncertain = True  # it may have happened: what was inserted then can't be refused any more
                elif isinstance(error, StoreFull) and not uncertain:
                    self._admission.refuse_inserts(turn, error)
                    turn.batch.claims.clear()  # what can't be recorded is not begun
                    self._claim_from = trio.current_time() + LOOK_FOR_ROOM
                await trio.sleep(pause)
                pause = min(LONGEST_PAUSE, pause * 2)
            else:
                if self._store_error is not None:
                    log.warning("the store works again", extra={"tick": self._tick})
                    self._store_error = None
                return outcome

    def _failing(self, error: StoreError) -> None:
        if self._store_error is None:
            log.error("the store failed, repeating: %s", error, extra={"tick": self._tick})
        self._store_error = error

    # After the commit

    def _settle(self, turn: Turn, outcome: Outcome) -> None:
        self._next_due = outcome.next_due
        if turn.batch.claims:
            self._floor.hand_out(turn.batch, outcome.claimed)
        self._floor.start_alone(turn.batch.now)
        if outcome.stops:
            # a stop that crossed the report of a failure: the job came back, and nobody holds it
            self._by_hand.cancel(self._floor.tell_to_stop(outcome.stops))
        self._endings.settle(turn, outcome)
        self._admission.settle(turn, outcome)
        self._by_hand.settle(turn, outcome)
        for start, fire in turn.fired:
            moves = range(start, start + len(fire.firings))
            answer(fire.reply, [index not in outcome.lost_moves for index in moves])
        for reply in turn.after:
            answer(reply, None)

    def _tell_the_hub(self, ticked: Ticked) -> None:
        try:
            self._hub.send_nowait(ticked)
        except trio.BrokenResourceError:
            pass  # a commit that took longer than the last reports may take: the hub has ended

    def _refuse_the_undecided(self) -> None:
        """What is not answered at the end is refused, not dropped: nobody waits for ever."""
        self._floor.close()
        late = ShuttingDown("the system has stopped: the call was not answered and may not have happened")
        turn = self._current
        for one in (*self._admission.undecided(), *self._by_hand.undecided(), *(turn.undecided() if turn else ())):
            one.decide(late)
        replies: list[Any] = [] if turn is None else turn.replies()
        for reply in replies:
            decline(reply, late)
