"""The truth: sees every commit, beat and body of every process, and says at once when a promise is broken.

It takes nothing from what the system says of itself: what the store was told and what it answered is all it believes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs
import orjson
import trio

import actors
from actors.core.errors import Cancel, Discard, Retry, Snooze
from actors.store.port import Batch, Outcome, ScheduleMove, Write
from tests.sim.ledger import Entry, Ledger, expected_stops, stands_as
from tests.sim.rules import check_step
from tests.sim.slots import check_move

if TYPE_CHECKING:
    from tests.sim.process import Process


class Broken(AssertionError):
    """A promise was broken; the message says which, when and by whom."""


@attrs.define(eq=False)
class Body:
    """One run of one job's body."""

    process: Process
    id: str
    fence: int
    began: float  # by trio's clock, as are all times here but `ended_at`
    ended: float | None = None
    ended_at: int | None = None  # by the wall clock
    said: str | None = None
    is_stubborn: bool = False  # it may ignore for a while that it is stopped

    @property
    def may_outlast_its_lease(self) -> bool:
        """Whether nobody can stop it in time."""
        return self.process.dead or self.is_stubborn


class Truth:
    """One history's ledger, bodies and trace."""

    def __init__(self, clock: actors.TrioClock) -> None:
        self.clock = clock
        self.ledger = Ledger()
        self.trace: list[str] = []
        self.broken: str | None = None
        self.scope = trio.CancelScope()
        self.processes: dict[str, Process] = {}  # by holder
        self.bodies: dict[tuple[str, int], Body] = {}
        self.active: list[Body] = []
        self.commits = 0
        self.told: list[tuple[str, int, str]] = []  # what all subscribers must hear: job, version, state
        self.tellers: list[Process] = []  # ... and whose doing it is
        self.calm = False  # faults are off
        self._ticks: dict[str, tuple[int, list[Outcome]]] = {}  # the last of each holder, and what was said of it

    # Saying

    def say(self, who: object, what: str) -> None:
        """One line of the history."""
        self.trace.append(f"{trio.current_time():9.3f} {who} {what}")

    def break_off(self, what: str) -> None:
        """A promise is broken: the history ends here."""
        if self.broken is None:
            self.broken = f"at {trio.current_time():.3f} s: {what}"
            self.say("!", what)
            self.scope.cancel()

    @contextmanager
    def judging(self, what: str) -> Iterator[None]:
        """What is asserted within breaks the history off."""
        try:
            yield
        except AssertionError as error:
            self.break_off(f"{what}: {error}")

    # Commits

    def committed(self, process: Process, tick: int, batch: Batch, outcome: Outcome, *, fresh: bool = False) -> None:
        """The store has answered a commit, perhaps for the second time (`fresh`: then with the stops of that time)."""
        if self.broken is not None:
            return
        holder = process.holder
        last = self._ticks.get(holder)
        with self.judging(f"{process} tick {tick}"):
            if last is not None and last[0] == tick:
                self._repeated(process, last[1], outcome, fresh=fresh)
                return
            assert last is None or tick > last[0], f"after tick {last and last[0]}"
            self._ticks[holder] = tick, [outcome]
            self.commits += 1
            assert self.commits < 20_000, "no end of commits"
            self._follow(process, batch, outcome)

    def is_repeat(self, process: Process, tick: int) -> bool:
        """Whether this tick was committed."""
        last = self._ticks.get(process.holder)
        return last is not None and last[0] == tick

    def answered(self, process: Process, tick: int, outcome: Outcome) -> None:
        """A process has heard what became of its commit: what the store has said, then or at a repeat."""
        last = self._ticks.get(process.holder)
        with self.judging(f"{process} tick {tick}"):
            assert last is not None and last[0] == tick, f"it was answered, and is not the last: {last}"
            assert outcome in last[1], f"answered {outcome}, expected one of {last[1]}"

    def _repeated(self, process: Process, told: list[Outcome], outcome: Outcome, *, fresh: bool) -> None:
        first = told[0]
        if not fresh:
            assert outcome == first, "a repeat was answered otherwise"
            return
        held = [job for job in first.claimed if self.ledger.still(job)]
        names = ("refused", "lost", "lost_moves", "undeleted", "unstopped")
        for name in names:
            was, is_ = getattr(first, name), getattr(outcome, name)
            assert is_ == was, f"a repeat was answered otherwise: {name} {is_}, expected {was}"
        for name, jobs, wanted in (("claimed", outcome.claimed, held), ("promoted", outcome.promoted, first.promoted)):
            was, is_ = ([(job.spec, job.standing) for job in given] for given in (wanted, jobs))
            assert is_ == was, f"a repeat was answered otherwise: {name} {is_}, expected {was}"
        self._check_stops(process, outcome)
        told.append(outcome)

    def _check_stops(self, process: Process, outcome: Outcome) -> None:
        stops = expected_stops(self.ledger, process.holder)
        assert sorted(outcome.stops) == sorted(stops), f"stops {outcome.stops}, expected {stops}"
        due = [entry.standing.run_at for entry in self.ledger.jobs.values() if entry.standing.state == "scheduled"]
        assert outcome.next_due == min(due, default=None), "next_due"

    def _follow(self, process: Process, batch: Batch, outcome: Outcome) -> None:
        ledger, lines = self.ledger, list[str]()
        ledger.settle(batch)
        lines += [f"set {key}={text}" for key, text in batch.settings.items()]
        lost_groups = ledger.lost_groups(batch)
        for index, move in enumerate(batch.schedule_moves):
            won = move.group not in lost_groups and ledger.move(move)
            assert won == (index not in outcome.lost_moves), f"move of {move.name}: won {not won}"
            lines.append(f"{'move' if won else 'lost move'} {move.name} to {move.cursor}: {told_slots(move)}")
            if won:
                check_move(ledger, move, batch)
        for note in batch.notes:
            ledger.note(note)
        for index, write in enumerate(batch.writes):
            applied = write.group not in lost_groups and ledger.still(write.job)
            name = f"{short(write.job.id)} {write.step} v{write.after.version}"
            assert applied == (index not in outcome.lost), f"{name}: applied {not applied}, though {self._why(write)}"
            lines.append(name if applied else f"lost {name}")
            if applied:
                self._step(process, ledger.jobs[write.job.id], write)
                ledger.write(write)
                self._tell(process, write.job.id, write.after.version, write.after.state)
        for index, insert in enumerate(batch.inserts):
            verdict = "lost" if insert.group in lost_groups else ledger.insert(insert, batch.now)
            refusal = outcome.refused.get(index)
            name = f"{short(insert.spec.id)} insert"
            assert verdict == (None if refusal is None else refusal.verdict), f"{name}: {refusal}, expected {verdict}"
            lines.append(f"{name} {insert.spec.payload}" if verdict is None else f"{name} {verdict}")
            if verdict is None:
                standing = insert.standing
                assert standing.state == ("pending" if standing.run_at <= insert.spec.created_at else "scheduled"), name
                assert (standing.attempt, standing.runs, standing.crashes) == (0, 0, 0), name
                self._tell(process, insert.spec.id, standing.version, standing.state)
                for run in [run for run in self.bodies if run[0] == insert.spec.id]:
                    del self.bodies[run]  # of a deleted job whose id it was given
        for index, stop in enumerate(batch.stops):
            assert ledger.stop(stop) == (index not in outcome.unstopped), f"stop {short(stop.id)}"
            lines.append(f"{short(stop.id)} stop")
        for index, job in enumerate(batch.deletes):
            assert ledger.delete(job) == (index not in outcome.undeleted), f"delete {short(job.id)}"
            lines.append(f"{short(job.id)} delete")
        self._promoted(process, batch, outcome, lines)
        self._claimed(process, batch, outcome, lines)
        self._check_stops(process, outcome)
        wanted = " ".join(f"{claim.queue} {claim.limit}" for claim in batch.claims)
        self.say(process, "; ".join(lines) + (f" (wants {wanted})" if wanted else ""))

    def _tell(self, process: Process, id: str, version: int, state: str) -> None:
        self.told.append((id, version, state))
        self.tellers.append(process)

    def _promoted(self, process: Process, batch: Batch, outcome: Outcome, lines: list[str]) -> None:
        promoted = self.ledger.promote(batch.now)
        assert {job.id for job in outcome.promoted} == {entry.spec.id for entry in promoted}, "promoted"
        for job in outcome.promoted:
            assert stands_as(self.ledger.jobs[job.id], job), f"promoted {job}"
            self._tell(process, job.id, job.version, job.state)
            lines.append(f"{short(job.id)} promote v{job.version}")

    def _claimed(self, process: Process, batch: Batch, outcome: Outcome, lines: list[str]) -> None:
        before = {job.id: self._standing(job.id) for job in outcome.claimed}
        expected: list[Entry] = []
        for claim in batch.claims:
            expected += self.ledger.claim(claim, batch, process.holder, trio.current_time())
        ids, wanted = [job.id for job in outcome.claimed], [entry.spec.id for entry in expected]
        assert ids == wanted, f"claimed {ids} which stood as {before}, expected {wanted}"
        for job, entry in zip(outcome.claimed, expected, strict=True):
            assert stands_as(entry, job), f"claimed {job}, expected {entry}"
            assert (len(job.errors), job.saved_json) == (entry.errors, entry.saved), f"claimed {job}"
            self._tell(process, job.id, job.version, job.state)
            lines.append(f"{short(job.id)} claim v{job.version}")

    def _standing(self, id: str) -> str:
        entry = self.ledger.jobs.get(id)
        return "nothing" if entry is None else f"{entry.standing.state} of {entry.standing.holder}"

    def _why(self, write: Write) -> str:
        entry = self.ledger.jobs.get(write.job.id)
        return "the job is gone" if entry is None else f"it stands at {entry.standing}, group {write.group}"

    def _step(self, process: Process, entry: Entry, write: Write) -> None:
        holder = self.processes.get(entry.standing.holder or "")
        body = self.bodies.get((entry.spec.id, entry.standing.runs))
        check_step(process, holder, entry, write, body)
        if holder is process:
            process.reports += 1

    # Bodies

    @contextmanager
    def body(self, process: Process, ctx: actors.JobContext) -> Iterator[None]:
        """A body runs."""
        words = orjson.loads(ctx.job.spec.payload)["words"]
        is_stubborn = words[ctx.fence - 1 : ctx.fence] == ["stubborn"]
        body = Body(process, ctx.job.id, ctx.fence, trio.current_time(), is_stubborn=is_stubborn)
        self._began(body, ctx)
        try:
            yield
        except BaseException as error:
            body.said = _word(error)
            raise
        else:
            body.said = "ok"
        finally:
            body.ended, body.ended_at = trio.current_time(), self.clock.now()
            self.active.remove(body)
            self.say(process, f"body of {short(body.id)} run {body.fence}: {body.said}")

    def _began(self, body: Body, ctx: actors.JobContext) -> None:
        process, id = body.process, body.id
        self.say(process, f"body of {short(id)} run {body.fence} begins")
        with self.judging(f"{process} runs {short(id)}"):
            if process.port.leases_end and not process.dead:
                for other in self.active:
                    assert other.id != id or other.may_outlast_its_lease, f"{other.process} has not stopped it"
            assert (id, body.fence) not in self.bodies or process.dead, "the same run twice"
            entry = self.ledger.jobs.get(id)
            if not process.dead and entry is not None and not process.lapsed_since(entry.claimed_at):
                if entry.standing.holder == process.holder or body.fence == entry.standing.runs:
                    assert stands_as(entry, ctx.job), f"it was claimed as {ctx.job}, and stands as {entry}"
                    assert ctx.job.saved_json == entry.saved, f"state {ctx.job.saved_json}, kept {entry.saved}"
                    assert entry.asked is None or entry.asked >= body.fence - 1, "its cancel was accepted long ago"
                self._check_alone(body, entry)
                for other in self.active:
                    assert other.id != id or other.process.lapsed_since(other.began), f"{other.process} runs it too"
        self.bodies[id, body.fence] = body
        self.active.append(body)

    def _check_alone(self, body: Body, entry: Entry) -> None:
        """A job that has taken two processes with it runs alone: it is to take no other along."""
        for other in self.active:
            there = self.ledger.jobs.get(other.id)
            if other.process is not body.process or there is None or there.standing.runs != other.fence:
                continue
            timeout = there.spec.timeout or 0.0
            if there.asked is not None or trio.current_time() - other.began > timeout:
                continue  # it was stopped, may be stuck, and may never end
            assert entry.standing.crashes < 2, f"it is to run alone, and {short(other.id)} runs"
            assert there.standing.crashes < 2, f"{short(other.id)} is to run alone"

    def saved(self, process: Process, ctx: actors.JobContext, state: Any) -> None:
        """`ctx.save` has returned."""
        entry = self.ledger.jobs.get(ctx.job.id)
        if entry is not None and entry.standing.runs == ctx.fence and entry.standing.state == "running":
            with self.judging(f"{process} saved for {short(ctx.job.id)}"):
                assert entry.saved is not None and orjson.loads(entry.saved) == state, f"kept {entry.saved}"


def short(id: str) -> str:
    """The end of an id, which tells it from the others."""
    return id[-6:]


def told_slots(move: ScheduleMove) -> str:
    """What became of a move's slots, in short."""
    told = [f"{slot.slot} {short(slot.job) if slot.job else slot.reason}" for slot in move.slots]
    return ", ".join(told if len(told) < 5 else [*told[:2], f"and {len(told) - 4} more", *told[-2:]])


def _word(error: BaseException) -> str:
    match error:
        case trio.Cancelled():
            return "stopped"
        case Retry():
            return "retry after"
        case Snooze():
            return "snooze"
        case Discard():
            return "discard"
        case Cancel():
            return "cancel"
        case ValueError():
            return "fail"
        case _:
            return repr(error)
