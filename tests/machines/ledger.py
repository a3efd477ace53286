"""The ledger: every commit of every process in the order in which the store made it, beside the naive model of a store, under the rules that GUARANTEES gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import orjson
import trio

import actors
from actors.core.events import NAMES, QUEUED
from actors.core.job import FINAL, UNFINISHED, JobRecord
from actors.core.lifecycle import TRANSITIONS
from actors.core.retry import policy_from_json
from actors.core.schedule import timing_from_json
from actors.store.port import Batch, Outcome, ScheduleMove, Write
from actors.testing.conformance.model import Model, commit
from tests.machines.promise import Broken, promise

LEASE = 10.0
BACK_OFF = actors.Exponential(2.0, factor=3.0, cap=50.0, jitter="none")
SNOOZE, RETRY_AFTER = 7, 11  # seconds
MOST_CRASHES = 4
SECOND = 1_000_000


class Seen(Protocol):
    """What is known of a process."""

    dead: bool
    last_beat: float
    holder: str


class Said(NamedTuple):
    """How a body was told to end, and when (wall clock)."""

    how: str
    at: int


class Fact(NamedTuple):
    """What a listener must hear of."""

    job: str
    version: int
    state: str
    name: str


class Ledger:
    """What every job must be. `committed` is called once per commit that was made or repeated."""

    def __init__(self) -> None:
        self.model = Model()
        self.lock = trio.Lock()
        self.said: dict[tuple[str, int], Said] = {}  # by job and run
        self.facts: list[Fact] = []  # what all listeners must hear, whoever did it
        self.stopping: set[str] = set()  # holders whose shutdown has begun
        self.lapsed: dict[str, float] = {}  # holders that came back after their lease, and when
        self.leases = True  # whether a silent process loses its jobs
        self._open: dict[str, Seen] = {}
        self._last: dict[str, tuple[int, Outcome]] = {}
        self._claimed_at: dict[tuple[str, int], float] = {}  # by trio's clock
        self._ever: set[str] = set()
        self._slots: set[tuple[str, int]] = set()
        self.broken: AssertionError | None = None
        self._latest = 0  # what the wall clock showed at most

    def opened(self, process: Seen) -> None:
        """Somebody is there."""
        self._open[process.holder] = process

    def closed(self, holder: str) -> None:
        """Somebody has left, or died."""
        self._open.pop(holder, None)

    def is_gone(self, holder: str, job: JobRecord | None = None) -> bool:
        """Whether nobody may rely on this holder: it died, left, or was silent for longer than its lease."""
        there = self._open.get(holder)
        if there is None or there.dead:
            return True
        if not self.leases:
            return False
        if trio.current_time() - there.last_beat >= LEASE:
            return True
        back = self.lapsed.get(holder)
        return job is not None and back is not None and self._claimed_at[job.id, job.runs] <= back

    # One commit

    def committed(self, holder: str, tick: int, batch: Batch, outcome: Outcome, numbers: Mapping[str, int]) -> None:
        """It was made, or (the same tick) asked for again."""
        if (last := self._last.get(holder)) is not None and last[0] == tick:
            if outcome != last[1]:
                self.broken = self.broken or Broken(1, f"tick {tick} happened twice: {outcome} after {last[1]}")
            return
        self._last[holder] = tick, outcome
        try:
            self._commit(holder, batch, outcome, numbers)
        except AssertionError as error:  # the process must not see it: it would end, and hide what is wrong
            self.broken = self.broken or error

    def check(self) -> None:
        """Raise what was found wrong with a commit."""
        if self.broken is not None:
            raise self.broken

    def _commit(self, holder: str, batch: Batch, outcome: Outcome, numbers: Mapping[str, int]) -> None:
        self._latest = max(self._latest, batch.now)
        before = self.model
        self.model, want = commit(before, holder, batch)
        self._compare(batch, outcome, want)
        self._check_moves(before, batch, outcome)
        self._check_writes(holder, before, batch, outcome)
        self._check_inserts(before, batch, outcome)
        self._check_claims(holder, outcome)
        self.model.adopt({id: seq for id, seq in numbers.items() if id in self.model.jobs})
        self._note_facts(batch, outcome)

    def _compare(self, batch: Batch, outcome: Outcome, want: Outcome) -> None:
        def ids(jobs: list[JobRecord]) -> list[tuple[str, int]]:
            return [(job.id, job.version) for job in jobs]

        for number, what, got, wanted in (
            (4, "lost writes", outcome.lost, want.lost),
            (13, "lost moves", outcome.lost_moves, want.lost_moves),
            (10, "refused inserts", outcome.refused, want.refused),
            (1, "refused deletes", outcome.undeleted, want.undeleted),
            (16, "refused stops", outcome.unstopped, want.unstopped),
            (16, "stops of this holder", sorted(outcome.stops), sorted(want.stops)),
            (8, "claims", ids(outcome.claimed), ids(want.claimed)),
            (7, "promoted jobs", sorted(ids(outcome.promoted)), sorted(ids(want.promoted))),
            (20, "the next job due", outcome.next_due, want.next_due),
        ):
            promise(number, got == wanted, f"{what} {got}, expected {wanted}, of {batch}")

    # Steps

    def _check_writes(self, holder: str, before: Model, batch: Batch, outcome: Outcome) -> None:
        for index, write in enumerate(batch.writes):
            if index in outcome.lost:
                continue
            old, new, step = write.job.standing, write.after, write.step
            what = f"{step} of {write.job.id}: {old} -> {new}"
            promise(3, TRANSITIONS[step].get(old.state) == new.state, what)
            promise(3, (new.finished_at is not None) == (new.state in FINAL) and new.holder is None, what)
            promise(4, new.version == old.version + 1 and new.seq == old.seq, what)
            attempt = 0 if step == "replay" else old.attempt + (step in ("retry", "bury"))
            crashes = 0 if step == "replay" else old.crashes + (step in ("lose", "quarantine"))
            promise(2, (new.attempt, new.crashes, new.runs) == (attempt, crashes, old.runs), what)
            promise(2, 0 <= new.attempt <= write.job.max_attempts, what)
            if old.state == "running":
                self._check_end(holder, before, write, what)

    def _check_end(self, holder: str, before: Model, write: Write, what: str) -> None:
        """A run is over: by its holder, as its body was told to end, or by somebody else when its holder is gone."""
        job, new, error = write.job, write.after, write.error
        mine = job.standing.holder == holder
        stop = before.jobs[job.id].stop
        said = self.said.get((job.id, job.runs), Said("", 0))
        what = f"{what}, said {said}, stop {stop}"
        if write.step in ("lose", "quarantine"):
            promise(5, self.is_gone(str(job.standing.holder), job), f"{what}: its process lives")
            promise(9, (write.step == "quarantine") == (new.crashes >= MOST_CRASHES), what)
        elif write.step == "cancel":
            promise(16, stop == "user" or (mine and said.how == "cancel"), what)
            promise(4, mine or self.is_gone(str(job.standing.holder), job), what)
        else:
            promise(4, mine, f"{what} by {holder}")
        match write.step:
            case "complete":
                promise(12, said.how in ("succeed", "child"), what)
                promise(9, write.result == str(job.payload["n"]), f"{what}: the result is {write.result}")
            case "retry" | "bury":
                promise(9, error is not None, what)
                assert error is not None and error.failed_at is not None
                promise(9, (write.step == "bury") == (new.attempt == job.max_attempts), what)
                if error.type == "JobTimeout":
                    began = self._claimed_at[job.id, job.runs]
                    promise(2, job.timeout is not None and trio.current_time() >= began + job.timeout, what)
                else:
                    promise(2, said.how in ("fail", "retry after") and said.at == error.failed_at, what)
                if write.step == "retry":
                    self._check_delay(job, new.attempt, new.run_at - error.failed_at, said.how, what)
            case "snooze":
                promise(2, said.how == "snooze", what)
                promise(6, new.run_at - said.at == SNOOZE * SECOND, what)
            case "discard":
                promise(9, said.how == "discard", what)
            case "give_back":
                promise(2, not said.how, what)

    def _check_delay(self, job: JobRecord, attempt: int, delay: int, how: str, what: str) -> None:
        if how == "retry after":
            promise(6, delay == RETRY_AFTER * SECOND, what)
            return
        policy = BACK_OFF if job.spec.details.retry is None else policy_from_json(job.spec.details.retry)
        longest = min(50.0, 2.0 * 3.0 ** (attempt - 1))  # as GUARANTEES has it, not as the core does it
        least = {"none": longest, "equal": longest / 2, "full": 0.0}[getattr(policy, "jitter", "none")]
        promise(6, least - 1e-6 <= delay / SECOND <= longest + 1e-6, f"{what}: {delay} µs, {policy}")

    # New jobs

    def _check_inserts(self, before: Model, batch: Batch, outcome: Outcome) -> None:
        ended = {write.job.id for n, write in enumerate(batch.writes) if n not in outcome.lost}
        ended = {id for id in ended if self.model.jobs.get(id) is None or self.model.jobs[id].state in FINAL}
        holding = {
            job.spec.details.unique_key
            for job in before.jobs.values()
            if job.state in UNFINISHED and job.id not in ended
        }
        for index, insert in enumerate(batch.inserts):
            if index in outcome.refused:
                continue
            spec, new = insert.spec, insert.standing
            promise(1, spec.id not in self._ever, f"{spec.id} was accepted twice")
            self._ever.add(spec.id)
            promise(3, new.state in ("pending", "scheduled") and new.holder is None, new)
            promise(2, (new.version, new.attempt, new.runs, new.crashes) == (1, 0, 0, 0), new)
            if (key := spec.details.unique_key) is not None:
                promise(10, key not in holding, f"two unfinished jobs hold {key}")
                holding.add(key)

    def _check_claims(self, holder: str, outcome: Outcome) -> None:
        for job in outcome.claimed:
            promise(15, holder not in self.stopping, f"{job.id} was claimed after the shutdown had begun")
            promise(7, job.standing.run_at <= self._latest, f"{job.id} was claimed before its time")
            promise(2, job.runs == job.standing.runs > 0, job)
            self._claimed_at[job.id, job.runs] = trio.current_time()

    # Schedules

    def _check_moves(self, before: Model, batch: Batch, outcome: Outcome) -> None:
        made = {one.spec.id for index, one in enumerate(batch.inserts) if index not in outcome.refused}
        refused = {one.spec.id for index, one in enumerate(batch.inserts) if index in outcome.refused}
        for index, move in enumerate(batch.schedule_moves):
            if index in outcome.lost_moves:
                continue
            for slot in move.slots:
                promise(13, (slot.job is None) != (slot.reason is None), f"{slot}: a job or a reason")
                promise(13, slot.job is None or slot.job in made | refused, f"{slot} has no job")
            if move.group:  # else it is a resume, or another timing
                self._check_slots(before, move)

    def _check_slots(self, before: Model, move: ScheduleMove) -> None:
        timing = timing_from_json(orjson.loads(before.schedules[move.name].definition)["timing"])
        period: Any = getattr(timing.when, "period")
        first = (move.expect - timing.anchor) // period + 1
        last = (move.cursor - timing.anchor) // period
        wanted = {timing.anchor + n * period for n in range(max(1, first), last + 1)}
        slots = [slot.slot for slot in move.slots]
        if len(slots) == 1 and move.cursor <= move.expect + 1:  # a run by hand: it moves the cursor past no slot
            promise(13, not wanted or slots == [*wanted], f"{move}: the slots {sorted(wanted)} are skipped")
            return
        if not any("slots from" in (slot.reason or "") for slot in move.slots):  # a long run is told as one
            promise(13, sorted(slots) == sorted(wanted), f"{move}: expected the slots {sorted(wanted)}")
        for slot in slots:
            promise(13, (move.name, slot) not in self._slots, f"slot {slot} of {move.name} was dealt with twice")
            self._slots.add((move.name, slot))

    def forget_slots(self, name: str) -> None:
        """The schedule begins anew: it was removed, or has got another timing."""
        self._slots = {one for one in self._slots if one[0] != name}

    # Events

    def _note_facts(self, batch: Batch, outcome: Outcome) -> None:
        facts = self.facts
        for index, write in enumerate(batch.writes):
            if index not in outcome.lost:
                facts.append(Fact(write.job.id, write.after.version, write.after.state, NAMES[write.step]))
        for index, insert in enumerate(batch.inserts):
            if index not in outcome.refused:
                facts.append(Fact(insert.spec.id, insert.standing.version, insert.standing.state, QUEUED))
        facts += [Fact(job.id, job.version, job.state, NAMES["promote"]) for job in outcome.promoted]
        facts += [Fact(job.id, job.version, job.state, NAMES["claim"]) for job in outcome.claimed]
