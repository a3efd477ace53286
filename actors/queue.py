"""The queue: the one writer of jobs. It empties its inbox, folds the messages into one batch, commits it, and answers.

One tick, one commit: the busier the system, the bigger the batch, the cheaper each job. Nothing is acknowledged before
its commit.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Generic, Literal, TypeVar, assert_never

import attrs
import trio

from actors.clock import Clock
from actors.core.errors import (
    ActorsError,
    Conflict,
    NotFound,
    QueueFull,
    ShuttingDown,
    Snooze,
    Stopped,
    StoreError,
    StoreFull,
    WrongState,
)
from actors.core.job import FINAL, AttemptError, JobRecord, Reason
from actors.core.lifecycle import MAX_CRASHES, Step, advance
from actors.core.registry import Registry
from actors.core.retry import DEFAULT_POLICY, Policy, decide, policy_from_json
from actors.core.value import value
from actors.handout import TAKE_BACK_AFTER, Lane
from actors.intake import Order
from actors.mailbox import Reply, answer, has_left
from actors.store.port import (
    Batch,
    Claim,
    Insert,
    Note,
    Outcome,
    Refusal,
    ScheduleError,
    ScheduleMove,
    ScheduleRecord,
    Stop,
    Store,
    Write,
)

T = TypeVar("T")

log = logging.getLogger("actors")

MOST_MESSAGES: Final = 1_000  # folded into one tick
MOST_INSERTS: Final = 2_000  # jobs of one tick, so that a bulk enqueue does not hold up the others
FIRST_PAUSE: Final = 0.05  # seconds before a failed commit is repeated; doubles up to LONGEST_PAUSE
LONGEST_PAUSE: Final = 1.0
LOOK_FOR_ROOM: Final = 1.0  # seconds between two looks whether another process has made room in a full queue

# Messages


@value
class Accepted:
    """The answer to an enqueue: the job's id, and whether this enqueue made it."""

    id: str
    created: bool


@value(kw_only=True)
class Enqueue:
    """Insert these; answered once all are decided, one answer per order. `exempt`: whatever the queue's limit says."""

    orders: Sequence[Order]
    reply: Reply[list[Accepted | ActorsError]]
    exempt: bool = False


@value
class Ended:
    """What a worker says of one run that is over. `error` None: success, with `result` as JSON text (None: nothing
    returned).
    """

    job: JobRecord
    at: int
    result: str | None = None
    error: BaseException | None = None
    kept: AttemptError | None = None  # what to keep of the error
    children: Sequence[Order] = ()
    note: Note | None = None
    stuck: bool = False


@value
class Report:
    """Runs that are over."""

    ended: list[Ended]


@value
class Noted:
    """A running body said something; `take` gives what it said since it was last taken (None: taken already)."""

    job: JobRecord
    take: Callable[[], Note | None]


@value
class Save:
    """Keep a body's cursor; answered once it is committed."""

    job: JobRecord
    note: Note
    reply: Reply[None]


@value
class Stuck:
    """This job's body ignores that it was stopped: its place is free for another worker."""

    job: JobRecord


@value
class Act:
    """Cancel, replay or promote jobs by hand; one answer per id: the job as it then stands, or the error."""

    verb: Literal["cancel", "replay", "promote", "delete"]
    ids: Sequence[str]
    reply: Reply[list[JobRecord | ActorsError]]


@value
class Lost:
    """These running jobs' holders have vanished: give the jobs back."""

    jobs: Sequence[JobRecord]


@value
class Fired:
    """Whether the cursor was moved; it was not when another process was faster."""

    won: bool


@value
class Fire:
    """Move a schedule's cursor and insert its slots' jobs, together or not at all."""

    move: ScheduleMove
    orders: Sequence[Order]
    reply: Reply[Fired]


@value(kw_only=True)
class Keep:
    """Settings and schedules to keep; answered once committed."""

    reply: Reply[None]
    settings: Mapping[str, str | None] = {}
    schedules: Sequence[ScheduleRecord] = ()
    forget_schedules: Sequence[str] = ()
    moves: Sequence[ScheduleMove] = ()


@value
class Hire:
    """So many workers of a queue stand at the other end of these channels."""

    lane: Lane


@value
class Resize:
    """A queue has so many workers from now on."""

    queue: str
    capacity: int


@value
class Wake:
    """Another process may have changed something."""


@value
class Ping:
    """Answered by a tick."""

    reply: Reply[None]


@value
class StopClaiming:
    """The shutdown has begun: claim nothing more, take back what nobody has started, let idle workers end."""


@value
class Finish:
    """The last message."""


Message = (
    Enqueue
    | Report
    | Noted
    | Save
    | Stuck
    | Act
    | Lost
    | Fire
    | Keep
    | Hire
    | Resize
    | Wake
    | Ping
    | StopClaiming
    | Finish
)


@value
class Ticked:
    """A fact for the hub: this batch was committed, with this outcome."""

    batch: Batch
    outcome: Outcome
    noted: Sequence[JobRecord]  # whose notes `batch.notes` are, in their order


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
            answer(self.reply, self.answers)


@attrs.define
class Turn:
    """One tick under way: the batch, and who waits for which part of it."""

    batch: Batch
    forced: bool = False  # commit even when nothing is to be written: look at the store
    group: int = 0
    asked: list[tuple[int, Pending]] = attrs.Factory(list)  # (index into batch.inserts, who asked)
    acted: list[tuple[int, Asking[JobRecord], int, Act]] = attrs.Factory(list)  # (index into batch.writes, ...)
    deleted: list[tuple[int, Asking[JobRecord], int, Act]] = attrs.Factory(list)  # (index into batch.deletes, ...)
    stopped: list[tuple[int, Asking[JobRecord], int, Act, JobRecord]] = attrs.Factory(
        list
    )  # (index into batch.stops, ...)
    fired: list[tuple[Fire, int]] = attrs.Factory(list)  # (message, index into batch.schedule_moves)
    ended: list[int] = attrs.Factory(list)  # indexes into batch.writes of the reports
    after: list[Reply[None]] = attrs.Factory(list)  # to be answered once committed
    noted: list[JobRecord] = attrs.Factory(list)  # whose notes batch.notes are

    def note(self, job: JobRecord, note: Note) -> None:
        """Keep what a body said."""
        self.batch.notes.append(note)
        self.noted.append(job)

    def new_group(self) -> int:
        """A number that ties items of the batch together."""
        self.group += 1
        return self.group


@attrs.define
class Pending:
    """One order that is not decided yet. `replaces` is the job that holds its unique key and is to be put out of the
    way.
    """

    asking: Asking[Accepted]
    index: int
    order: Order
    exempt: bool
    replaces: str | None = None


@attrs.define
class Books:
    """What became of the jobs that were held when the shutdown began."""

    finished: int = 0
    given_back: int = 0
    cancelled: int = 0
    stuck: list[str] = attrs.Factory(list)

    def enter(self, job: JobRecord, step: Step, stuck: bool = False) -> None:
        """One of them is accounted for."""
        match step:
            case "give_back":
                self.given_back += 1
            case "cancel":
                self.cancelled += 1
            case _:
                self.finished += 1
        if stuck:
            self.stuck.append(job.id)


class Queue:
    """The actor. `run` is its task; everything else about it is private to that task but the few counters that health
    reads.
    """

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
        self._rng = rng
        self._limits = limits
        self._inbox = inbox
        self._hub = hub
        self._tick = 0
        self._lanes: dict[str, Lane] = {}
        self._held: dict[str, JobRecord] = {}
        self._told: set[str] = set()  # jobs whose workers have been told to stop
        self._orders: list[Pending] = []  # to be inserted with the next tick: new room, or a key to be taken over
        self._acting: list[tuple[Act, Asking[JobRecord], int]] = []  # to be done with the next tick
        self._full: dict[str, list[Pending]] = {}  # orders that wait for room in a queue
        self._next_due: int | None = None
        self._claiming = True
        self._current: Turn | None = None
        self.degraded: StoreError | None = None  # the store's last error, while it fails
        self.books = Books()
        self.ended = trio.Event()
        self.late_reports = 0  # reports refused because the job had moved on

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve the inbox until `Finish`; what is in it then is still answered.

        Cancelling tears it down where it stands: commits are not torn, askers see `ShuttingDown`.
        """
        with self._inbox, self._hub:
            task_status.started()
            try:
                finishing = False
                while not finishing:
                    messages = await self._gather()
                    finishing = any(type(message) is Finish for message in messages)
                    await self._turn(messages)
            finally:
                self._refuse_the_rest()
                self.ended.set()

    # Gathering

    async def _gather(self) -> list[Message]:
        messages: list[Message] = []
        if not self._orders and not self._acting:
            with trio.move_on_after(self._patience()):
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
        if (
            self._next_due is None
            and not self._full
            and all(lane.waiting_since is None for lane in self._lanes.values())
        ):
            return math.inf
        now = self._clock.now()
        pause = LOOK_FOR_ROOM if self._full else math.inf
        if self._next_due is not None and self._claiming:
            # a wall clock may be stepped: look again after a while, though nothing is due
            pause = min(pause, max(0.0, (self._next_due - now) / 1e6), self._clock.patience)
        for lane in self._lanes.values():
            if lane.waiting_since is not None:
                pause = min(pause, max(0.0, (lane.waiting_since + TAKE_BACK_AFTER - now) / 1e6))
        return pause

    # One tick

    async def _turn(self, messages: list[Message]) -> None:
        now = self._clock.now()
        turn = self._current = Turn(Batch(now=now, types=self._registry.types, list_promoted=True))
        if self._next_due is not None and self._next_due <= now and self._claiming:
            turn.forced = True
            self._stir_all()
        for message in messages:
            match message:
                case Report():
                    for ended in message.ended:
                        self._end(turn, ended)
                case Enqueue():
                    self._enqueue(turn, message)
                case Noted():
                    if (note := message.take()) is not None:
                        turn.note(message.job, note)
                case Save():
                    turn.note(message.job, message.note)
                    turn.after.append(message.reply)
                case Stuck():
                    if (lane := self._lanes.get(message.job.queue)) is not None:
                        lane.out -= 1
                        lane.dry = False
                case Act():
                    asking = Asking[JobRecord](message.reply, [None] * len(message.ids), len(message.ids))
                    self._acting.extend((message, asking, index) for index in range(len(message.ids)))
                case Lost():
                    self._lose(turn, message.jobs)
                case Fire():
                    self._fire(turn, message)
                case Keep():
                    turn.batch.settings.update(message.settings)
                    turn.batch.schedules.extend(message.schedules)
                    turn.batch.forget_schedules.extend(message.forget_schedules)
                    turn.batch.schedule_moves.extend(message.moves)
                    turn.after.append(message.reply)
                    self._stir_all()  # a queue may have been resumed
                case Hire():
                    self._lanes[message.lane.queue] = message.lane
                    if not self._claiming:
                        message.lane.close()
                case Resize():
                    if (lane := self._lanes.get(message.queue)) is not None:
                        lane.capacity = message.capacity
                        lane.dry = False
                case Wake():
                    turn.forced = True
                    self._stir_all()
                case Ping():
                    turn.forced = True
                    turn.after.append(message.reply)
                case StopClaiming():
                    self._stop_claiming(turn)
                case Finish():
                    pass
                case _:
                    assert_never(message)
        if self._acting:
            await self._act(turn)
        if self._full and not messages:
            self._admit_waiting(set(self._full))  # another process may have made room
        if self._orders:
            await self._order_again(turn)
        self._take_back(turn)
        if self._claiming:
            self._claim(turn)
        if not self._has_work(turn):
            self._settle(turn, Outcome(next_due=self._next_due))
            self._current = None
            return
        outcome = await self._commit(turn)
        self._settle(turn, outcome)
        self._current = None
        self._hub.send_nowait(Ticked(turn.batch, outcome, turn.noted))

    def _has_work(self, turn: Turn) -> bool:
        batch = turn.batch
        return bool(
            turn.forced
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

    async def _commit(self, turn: Turn) -> Outcome:
        """Commit, however often it takes: a failing store keeps its callers waiting, it does not lose their work."""
        self._tick += 1
        pause = FIRST_PAUSE
        while True:
            try:
                outcome = await self._store.commit(self._holder, self._tick, turn.batch)
            except StoreError as error:
                if self.degraded is None:
                    log.error("the store failed, repeating: %s", error, extra={"tick": self._tick})
                self.degraded = error
                if isinstance(error, StoreFull):
                    self._refuse_inserts(turn, error)
                await trio.sleep(pause)
                pause = min(LONGEST_PAUSE, pause * 2)
            else:
                if self.degraded is not None:
                    log.warning("the store works again", extra={"tick": self._tick})
                    self.degraded = None
                return outcome

    def _refuse_inserts(self, turn: Turn, error: StoreError) -> None:
        """A full disk takes no new jobs; reports are kept. (A full transaction was rolled back, so the tick may
        change.)
        """
        refused = {index for index, _ in turn.asked}
        for _, pending in turn.asked:
            pending.asking.decide(pending.index, error)
        turn.asked.clear()
        turn.batch.inserts = [insert for index, insert in enumerate(turn.batch.inserts) if index not in refused]

    # Folding: new jobs

    def _enqueue(self, turn: Turn, message: Enqueue) -> None:
        asking = Asking[Accepted](message.reply, [None] * len(message.orders), len(message.orders))
        if not message.orders:
            answer(message.reply, [])
        for index, order in enumerate(message.orders):
            self._insert(turn, Pending(asking, index, order, message.exempt))

    def _insert(self, turn: Turn, pending: Pending, group: int = 0) -> None:
        insert = pending.order.insert
        limit = None if pending.exempt else self._limits.get(insert.spec.queue)
        if limit is not None or group:
            insert = attrs.evolve(insert, limit=None if limit is None else limit[0], group=group)
        turn.asked.append((len(turn.batch.inserts), pending))
        self._add_insert(turn, insert)

    def _add_insert(self, turn: Turn, insert: Insert) -> None:
        turn.batch.inserts.append(insert)
        if (lane := self._lanes.get(insert.spec.queue)) is not None:
            lane.dry = False

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
            case "unique" if order.on_conflict == "skip" or refusal.state not in ("scheduled", "pending"):
                given = Accepted(str(refusal.id), created=False)
            case "unique":
                pending.replaces = refusal.id
                self._orders.append(pending)
                return
            case "lost":  # the job that it was to replace has moved on meanwhile
                self._orders.append(pending)
                return
            case "full":
                limit, waits = self._limits[spec.queue]
                if waits and self._claiming:
                    self._full.setdefault(spec.queue, []).append(pending)
                    return
                given = QueueFull(spec.queue, limit)
            case _:
                assert_never(refusal.verdict)
        pending.asking.decide(pending.index, given)

    async def _order_again(self, turn: Turn) -> None:
        """Orders that wait no longer, and those that replace: cancel the job that has not started, and insert,
        together.
        """
        orders, self._orders = self._orders, []
        known = await self._load([pending.replaces for pending in orders if pending.replaces is not None])
        for pending in orders:
            there = known.get(pending.replaces or "")
            if there is None or there.state not in ("scheduled", "pending"):
                self._insert(turn, pending)
            else:
                group = turn.new_group()
                after = advance(there, "cancel", turn.batch.now)
                turn.batch.writes.append(Write(job=there, after=after, step="cancel", group=group))
                self._insert(turn, pending, group)

    def _admit_waiting(self, queues: set[str]) -> None:
        """Room may have come: orders that wait for it are tried again with the next tick, unless their askers have
        left.
        """
        for queue in queues & self._full.keys():
            self._orders.extend(pending for pending in self._full.pop(queue) if not has_left(pending.asking.reply))

    # Folding: runs that are over

    def _end(self, turn: Turn, ended: Ended) -> None:
        job = ended.job
        spec = job.spec
        self._held.pop(spec.id, None)
        error = ended.error
        if self._told and spec.id in self._told:
            self._told.discard(spec.id)
            if error is not None:  # the stop crossed the report: the cancel was accepted, so it is not retried
                error = Stopped("user")
        lane = self._lanes.get(spec.queue)
        if lane is not None:
            lane.ended(ended.at, 0 if ended.stuck else 1)
        batch = turn.batch
        if ended.note is not None:
            turn.note(job, ended.note)
        turn.ended.append(len(batch.writes))
        if error is None:
            after = advance(job, "complete", ended.at)
            group = 0
            if ended.children:
                group = turn.new_group()
                for order in ended.children:
                    self._add_insert(turn, attrs.evolve(order.insert, group=group))
            batch.writes.append(Write(job=job, after=after, step="complete", result=ended.result, group=group))
            if not self._claiming:
                self.books.enter(job, "complete", ended.stuck)
            return
        self._fail(turn, ended, error)

    def _fail(self, turn: Turn, ended: Ended, error: BaseException) -> None:
        job = ended.job
        definition = self._registry.find(job.type)
        policy: Policy = DEFAULT_POLICY if definition is None else definition.options.retry
        if job.spec.details.retry is not None:
            policy = policy_from_json(job.spec.details.retry)
        decision = decide(
            job,
            error,
            policy,
            self._rng.random(),
            ended.at,
            retry_on=() if definition is None else definition.options.retry_on,
            give_up_on=() if definition is None else definition.options.give_up_on,
        )
        if isinstance(error, Stopped) and error.reason == "shutdown":
            self._stop_claiming(turn)  # cancelled from outside: the workers know it first
        after = advance(job, decision.step, ended.at, run_at=decision.run_at)
        kept = None if isinstance(error, Snooze) else ended.kept
        turn.batch.writes.append(Write(job=job, after=after, step=decision.step, error=kept))
        if not self._claiming:
            self.books.enter(job, decision.step, ended.stuck)
        if after.state == "dead" and job.spec.details.schedule is not None:
            text = "" if kept is None else f"{kept.type}: {kept.message}"
            turn.batch.schedule_errors.append(ScheduleError(name=job.spec.details.schedule, error=text))
        self._stir(job.queue)

    def _lose(self, turn: Turn, jobs: Sequence[JobRecord]) -> None:
        now = turn.batch.now
        for job in jobs:
            if job.stop in ("user", "superseded"):  # it was to end anyway, and its cancel was accepted
                turn.batch.writes.append(Write(job=job, after=advance(job, "cancel", now), step="cancel"))
                continue
            step: Step = "quarantine" if job.crashes + 1 >= MAX_CRASHES else "lose"
            error = AttemptError(
                attempt=job.attempt,
                type="worker_died",
                message=f"the process that ran it died ({job.crashes + 1} so far)",
                started_at=job.standing.started_at,
                failed_at=now,
            )
            turn.batch.writes.append(Write(job=job, after=advance(job, step, now), step=step, error=error))
            self._stir(job.queue)

    def _give_back(self, turn: Turn, jobs: Sequence[JobRecord]) -> None:
        for job in jobs:
            self._held.pop(job.id, None)
            self._told.discard(job.id)
            after = advance(job, "give_back", turn.batch.now)
            turn.batch.writes.append(Write(job=job, after=after, step="give_back"))
            self._stir(job.queue)
            if not self._claiming:
                self.books.enter(job, "give_back")

    # Folding: by hand

    async def _load(self, ids: Sequence[str]) -> dict[str, JobRecord]:
        while True:
            try:
                return await self._store.get(ids)
            except StoreError as error:
                self.degraded = error
                await trio.sleep(FIRST_PAUSE)

    async def _act(self, turn: Turn) -> None:
        acting, self._acting = self._acting, []
        known = await self._load([act.ids[index] for act, _, index in acting])
        for act, asking, index in acting:
            id = act.ids[index]
            job = known.get(id)
            if job is None:
                asking.decide(index, NotFound("job", id))
                continue
            try:
                self._act_on(turn, act, asking, index, job)
            except WrongState as error:
                asking.decide(index, error)

    def _act_on(self, turn: Turn, act: Act, asking: Asking[JobRecord], index: int, job: JobRecord) -> None:
        batch = turn.batch
        match act.verb:
            case "delete":
                if job.state not in FINAL:
                    raise WrongState(job.id, job.state, "be deleted")
                turn.deleted.append((len(batch.deletes), asking, index, act))
                batch.deletes.append(job)
            case "cancel" if job.state == "running":
                turn.stopped.append((len(batch.stops), asking, index, act, job))
                batch.stops.append(Stop(id=job.id, reason="user"))
            case "cancel" | "replay" | "promote" as step:
                after = advance(job, step, batch.now, run_at=batch.now if step == "promote" else None)
                turn.acted.append((len(batch.writes), asking, index, act))
                batch.writes.append(Write(job=job, after=after, step=step))
                self._stir(job.queue)
            case _:
                assert_never(act.verb)

    # Folding: schedules

    def _fire(self, turn: Turn, message: Fire) -> None:
        group = turn.new_group()
        turn.fired.append((message, len(turn.batch.schedule_moves)))
        turn.batch.schedule_moves.append(attrs.evolve(message.move, group=group))
        for order in message.orders:
            self._add_insert(turn, attrs.evolve(order.insert, group=group))

    # Claiming

    def _stir(self, queue: str) -> None:
        if (lane := self._lanes.get(queue)) is not None:
            lane.dry = False

    def _stir_all(self) -> None:
        for lane in self._lanes.values():
            lane.dry = False

    def _claim(self, turn: Turn) -> None:
        now = turn.batch.now
        for lane in self._lanes.values():
            if not lane.dry and (wanted := lane.wanted(now)):
                turn.batch.claims.append(Claim(queue=lane.queue, limit=wanted))

    def _take_back(self, turn: Turn) -> None:
        for lane in self._lanes.values():
            if lane.waiting_since is not None:
                self._give_back(turn, lane.take_back(turn.batch.now))

    def _stop_claiming(self, turn: Turn) -> None:
        if not self._claiming:
            return
        self._claiming = False
        for lane in self._lanes.values():
            self._give_back(turn, lane.take_all_back())
            lane.waiting_since = None
            lane.close()
        for waiting in self._full.values():
            for pending in waiting:
                error = ShuttingDown("the system is stopping: the queue is full and nothing is claimed any more")
                pending.asking.decide(pending.index, error)
        self._full.clear()

    # After the commit

    def _settle(self, turn: Turn, outcome: Outcome) -> None:
        batch = turn.batch
        self._next_due = outcome.next_due
        if batch.claims:
            self._hand_out(batch, outcome.claimed)
        for id, reason in outcome.stops:
            self._tell_to_stop(id, reason)
        refused = outcome.refused
        for index, pending in turn.asked:
            if refused and index in refused:
                self._refused(pending, refused[index])
            else:
                pending.asking.decide(pending.index, Accepted(batch.inserts[index].spec.id, created=True))
        if outcome.lost:
            self.late_reports += sum(index in outcome.lost for index in turn.ended)
        for number, asking, index, act in turn.acted:
            if number in outcome.lost:  # somebody else was faster: look again with the next tick
                self._acting.append((act, asking, index))
            else:
                write = batch.writes[number]
                asking.decide(index, attrs.evolve(write.job, standing=write.after))
        for number, asking, index, act in turn.deleted:
            if number in outcome.undeleted:
                self._acting.append((act, asking, index))
            else:
                asking.decide(index, batch.deletes[number])
        for number, asking, index, act, job in turn.stopped:
            if number in outcome.unstopped:
                self._acting.append((act, asking, index))
            else:
                asking.decide(index, attrs.evolve(job, stop="user"))
        for fire, move in turn.fired:
            answer(fire.reply, Fired(move not in outcome.lost_moves))
        for reply in turn.after:
            answer(reply, None)
        if self._full and (outcome.claimed or batch.writes or batch.deletes):
            self._admit_waiting({job.queue for job in outcome.claimed} | {write.job.queue for write in batch.writes})

    def _hand_out(self, batch: Batch, claimed: list[JobRecord]) -> None:
        by_queue: dict[str, list[JobRecord]]
        if len(batch.claims) == 1:
            by_queue = {batch.claims[0].queue: claimed}
        else:
            by_queue = {}
            for job in claimed:
                by_queue.setdefault(job.queue, []).append(job)
        for job in claimed:
            self._held[job.spec.id] = job
        for claim in batch.claims:
            lane = self._lanes[claim.queue]
            mine = by_queue.get(claim.queue, [])
            lane.dry = len(mine) < claim.limit
            if mine:
                lane.hand_out(mine, batch.now)

    def _tell_to_stop(self, id: str, reason: Reason) -> None:
        job = self._held.get(id)
        if job is None or id in self._told:
            return
        lane = self._lanes.get(job.queue)
        if lane is not None:
            self._told.add(id)
            lane.tell((job, reason))

    def _refuse_the_rest(self) -> None:
        """What is not answered at the end is refused, not dropped: nobody waits for ever."""
        for lane in self._lanes.values():
            lane.close()
            lane.stops.close()
        undecided = [*self._orders, *(pending for waiting in self._full.values() for pending in waiting)]
        acting = [(asking, index) for _, asking, index in self._acting]
        unanswered: list[Any] = []
        if self._current is not None:
            turn = self._current
            undecided += [pending for _, pending in turn.asked]
            acting += [(asking, index) for _, asking, index, _ in (*turn.acted, *turn.deleted)]
            acting += [(asking, index) for _, asking, index, _, _ in turn.stopped]
            unanswered += [*turn.after, *(fire.reply for fire, _ in turn.fired)]
        late = ShuttingDown("the system has stopped: the call was not answered and may not have happened")
        for pending in undecided:
            pending.asking.decide(pending.index, late)
        for asking, index in acting:
            asking.decide(index, late)
        while True:
            try:
                message: Any = self._inbox.receive_nowait()
            except (trio.WouldBlock, trio.EndOfChannel, trio.ClosedResourceError):
                break
            if (reply := getattr(message, "reply", None)) is not None:
                unanswered.append(reply)
        for reply in unanswered:
            answer(reply, late)
