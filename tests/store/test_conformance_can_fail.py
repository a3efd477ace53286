"""The conformance suite can fail: stores that break one promise each, and the check that must say so."""

from __future__ import annotations

from functools import partial
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from actors.core.events import Cursor
from actors.core.job import STATES, JobRecord, Standing
from actors.core.lifecycle import bulk_claim
from actors.store.event_log import step_row
from actors.store.memory import MemoryStore
from actors.store.port import Batch, Counts, Kept, LogPage, Outcome, Page, Query, Recount, Write
from actors.testing import StoreNonconformance, check_store
from actors.testing.conformance.claims import place
from actors.testing.conformance.walk import walk
from actors.testing.store import CHECKS, check_promise


class Slow(MemoryStore):
    """A right store whose claims are made by sorting everything, so that each of their rules can be broken
    alone.
    """

    def key(self, job: JobRecord) -> tuple[Any, ...]:
        return place(job)

    def may(self, job: JobRecord, queue: str, types: frozenset[str]) -> bool:
        return job.queue == queue and job.type in types and f"paused/{queue}" not in self._settings

    def limit(self, limit: int) -> int:
        return limit

    def standing(self, old: Standing, new: Standing) -> Standing:
        return new

    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        served = self._serving(holder)
        repeated = served.tick == tick
        claims, batch = batch.claims, attrs.evolve(batch, claims=[])
        outcome = await super().commit(holder, tick, batch)
        if repeated:
            return outcome
        for claim in claims:
            ready = [
                job
                for job in self._jobs.shelf.values()
                if job.state == "pending" and self.may(job, claim.queue, batch.types)
            ]
            for old in sorted(ready, key=self.key)[: self.limit(claim.limit)]:
                sets, adds = bulk_claim(batch.now, holder).sets, bulk_claim(batch.now, holder).adds
                changes: dict[str, Any] = {
                    **sets,
                    **{name: getattr(old.standing, name) + n for name, n in adds.items()},
                }
                new = attrs.evolve(old, standing=self.standing(old.standing, attrs.evolve(old.standing, **changes)))
                was = self._jobs.shelf.row(old.id)
                self._jobs.shelf[old.id] = new
                self._jobs._leave(was)
                self._jobs.now[new.queue, new.spec.priority, new.state] += 1
                self._jobs._enter(self._jobs.shelf.row(new.id))
                outcome.claimed.append(new)
        if self._log.is_open and outcome.claimed:
            self._log.append(batch.now, holder, [step_row("claim", job.spec, job.standing) for job in outcome.claimed])
        return outcome


class NoVersionCheck(MemoryStore):
    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        writes = [attrs.evolve(write, job=self._jobs.shelf.get(write.job.id, write.job)) for write in batch.writes]
        return await super().commit(holder, tick, attrs.evolve(batch, writes=writes))


class VersionCheckIgnoresTheSequence(MemoryStore):
    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        def renumbered(write: Write) -> Write:
            stored = self._jobs.shelf.get(write.job.id)
            if stored is None or stored.version != write.job.version:
                return write
            return attrs.evolve(write, job=stored, after=attrs.evolve(write.after, seq=stored.standing.seq))

        return await super().commit(
            holder, tick, attrs.evolve(batch, writes=[renumbered(write) for write in batch.writes])
        )


class PriorityIgnored(Slow):
    def key(self, job: JobRecord) -> tuple[Any, ...]:
        return place(job)[1:]


class FrontIgnored(Slow):
    def key(self, job: JobRecord) -> tuple[Any, ...]:
        return (place(job)[0], *place(job)[2:])


class RunAtIgnored(Slow):
    def key(self, job: JobRecord) -> tuple[Any, ...]:
        return (*place(job)[:2], place(job)[3])


class LastInFirstOut(Slow):
    def key(self, job: JobRecord) -> tuple[Any, ...]:
        return (*place(job)[:3], -place(job)[3])


class RunsNotCounted(Slow):
    def standing(self, old: Standing, new: Standing) -> Standing:
        return attrs.evolve(new, runs=old.runs)


class ClaimKeepsTheVersion(Slow):
    def standing(self, old: Standing, new: Standing) -> Standing:
        return attrs.evolve(new, version=old.version)


class ClaimCountsAnAttempt(Slow):
    def standing(self, old: Standing, new: Standing) -> Standing:
        return attrs.evolve(new, attempt=old.attempt + 1)


class OneTooMany(Slow):
    def limit(self, limit: int) -> int:
        return limit + 1


class TypesIgnored(Slow):
    def may(self, job: JobRecord, queue: str, types: frozenset[str]) -> bool:
        return super().may(job, queue, types | {job.type})


class PauseIgnored(Slow):
    def may(self, job: JobRecord, queue: str, types: frozenset[str]) -> bool:
        return job.queue == queue and job.type in types


class PauseSeenOneCommitLate(Slow):
    """The settings are read before the transaction."""

    _seen: frozenset[str] = frozenset()

    def may(self, job: JobRecord, queue: str, types: frozenset[str]) -> bool:
        return job.queue == queue and job.type in types and f"paused/{queue}" not in self._seen

    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        self._seen = frozenset(self._settings)
        return await super().commit(holder, tick, batch)


class AttemptsNotCounted(MemoryStore):
    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        writes = [
            attrs.evolve(write, after=attrs.evolve(write.after, attempt=write.job.attempt)) for write in batch.writes
        ]
        return await super().commit(holder, tick, attrs.evolve(batch, writes=writes))


class OnlyTheLastErrorKept(MemoryStore):
    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        outcome = await super().commit(holder, tick, batch)
        for write in batch.writes:
            stored = self._jobs.shelf.get(write.job.id)
            if stored is not None and len(stored.errors) > 1:
                self._jobs.shelf[stored.id] = attrs.evolve(stored, errors=stored.errors[-1:])
        return outcome


class UniqueNeverExpires(MemoryStore):
    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        inserts = [
            attrs.evolve(insert, unique=insert.unique and attrs.evolve(insert.unique, expires_at=None))
            for insert in batch.inserts
        ]
        return await super().commit(holder, tick, attrs.evolve(batch, inserts=inserts))


class UniqueInEveryState(MemoryStore):
    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        inserts = [
            attrs.evolve(insert, unique=insert.unique and attrs.evolve(insert.unique, states=frozenset(STATES)))
            for insert in batch.inserts
        ]
        return await super().commit(holder, tick, attrs.evolve(batch, inserts=inserts))


class OneHolderPerKey(MemoryStore):
    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        outcome = await super().commit(holder, tick, batch)
        keys = self._jobs.keys
        keys._unique = {key: holders[-1:] for key, holders in keys._unique.items()}
        return outcome


class SweepForgetsTooMuch(MemoryStore):
    async def sweep(self, now: int) -> None:
        await super().sweep(now + 10_000_000)


class RepeatedTickHappensAgain(MemoryStore):
    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        self._serving(holder).tick = None
        return await super().commit(holder, tick, batch)


class TicksSharedByHolders(MemoryStore):
    _last: tuple[int, Outcome] | None = None

    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        if self._last is not None and self._last[0] == tick:
            return self._last[1]
        outcome = await super().commit(holder, tick, batch)
        self._last = tick, outcome
        return outcome


class GroupsIgnored(MemoryStore):
    def _lost_groups(self, batch: Batch) -> set[int]:
        return set()


class GroupsLookedAtOneByOne(MemoryStore):
    """What comes before the loser in its group has happened already."""

    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        first = {write.group: index for index, write in reversed(list(enumerate(batch.writes)))}
        writes = [
            attrs.evolve(write, group=0) if first[write.group] == index else write
            for index, write in enumerate(batch.writes)
        ]
        return await super().commit(holder, tick, attrs.evolve(batch, writes=writes))


class LastReasonWins(MemoryStore):
    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        for stop in batch.stops:
            if (job := self._jobs.shelf.get(stop.id)) is not None and job.stop is not None:
                self._jobs.stopping[stop.id] = stop.reason
        return await super().commit(holder, tick, batch)


class StopsToldOnce(MemoryStore):
    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        outcome = await super().commit(holder, tick, batch)
        outcome.stops = [(id, reason) for id, reason in outcome.stops if any(stop.id == id for stop in batch.stops)]
        return outcome


class StopForgottenByARetry(MemoryStore):
    """A cancel that crosses the report of a failure is lost."""

    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        outcome = await super().commit(holder, tick, batch)
        written = {write.job.id for write in batch.writes}
        for id in written & self._jobs.stopping.keys():
            del self._jobs.stopping[id]
        outcome.stops = [stop for stop in outcome.stops if stop[0] not in written]
        return outcome


class StopsOfOthersTold(MemoryStore):
    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        outcome = await super().commit(holder, tick, batch)
        outcome.stops = list(self._jobs.stopping.items())
        return outcome


class NotesOfAnyRun(MemoryStore):
    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        notes = [
            attrs.evolve(note, run=job.runs) if (job := self._jobs.shelf.get(note.id)) is not None else note
            for note in batch.notes
        ]
        return await super().commit(holder, tick, attrs.evolve(batch, notes=notes))


class ReplayKeepsTheResult(MemoryStore):
    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        writes = [attrs.evolve(write, step="promote") if write.step == "replay" else write for write in batch.writes]
        return await super().commit(holder, tick, attrs.evolve(batch, writes=writes))


class DeletesAnyVersion(MemoryStore):
    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        deletes = [self._jobs.shelf.get(job.id, job) for job in batch.deletes]
        return await super().commit(holder, tick, attrs.evolve(batch, deletes=deletes))


class EndedIsARecount(MemoryStore):
    async def counts(self) -> Counts:
        counts = await super().counts()
        now = {key: n for key, n in counts.now.items() if key[2] in ("completed", "cancelled", "dead")}
        return attrs.evolve(counts, ended=now)


class PagesOverlap(MemoryStore):
    async def find(self, query: Query) -> Page:
        page = await super().find(query)
        if page.after is None:
            return page
        order, _, seq = page.after.partition(".")
        return Page(page.jobs, f"{order}.{int(seq) + 1}") if query.limit > 2 else page


class BadCursorStartsAgain(MemoryStore):
    async def find(self, query: Query) -> Page:
        if query.after is not None and query.after[:1] not in ("n", "f"):
            query = attrs.evolve(query, after=None)
        return await super().find(query)


class TooEarly(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        promote = self._jobs.promote
        self._jobs.promote = lambda at, promoted: promote(at + 1, promoted)  # type: ignore[method-assign]


class CursorNotGuarded(MemoryStore):
    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        moves = [
            attrs.evolve(move, expect=cursor) if (cursor := self._timetable.cursor(move.name)) is not None else move
            for move in batch.schedule_moves
        ]
        return await super().commit(holder, tick, attrs.evolve(batch, schedule_moves=moves))


class WakeUpMissed(MemoryStore):
    """Only who waits is woken."""

    async def wakeup(self, holder: str) -> bool:
        served = self._serving(holder)
        while True:
            try:
                served.receive.receive_nowait()
            except trio.WouldBlock:
                break
        return await super().wakeup(holder)


class ClosedIsStillAlive(MemoryStore):
    async def vanished(self, holder: str, now: int) -> list[str]:
        return [other for other in await super().vanished(holder, now) if other in self._holders]


class StopsOfTheWaiting(MemoryStore):
    """The one who asks is told that a job that waits was asked to stop."""

    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        outcome = await super().commit(holder, tick, batch)
        known = {index for index in outcome.unstopped if batch.stops[index].id in self._jobs.shelf}
        return attrs.evolve(outcome, unstopped=outcome.unstopped - known)


class CountsLeftBehind(MemoryStore):
    """A delete does not lower what is counted."""

    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        outcome = await super().commit(holder, tick, batch)
        for index, job in enumerate(batch.deletes):
            if index not in outcome.undeleted:
                self._jobs.now[job.queue, job.spec.priority, job.state] += 1
        return outcome


class RecountIsTheCount(MemoryStore):
    """An audit that believes the books."""

    async def recount(self) -> Recount:
        counts = await self.counts()
        return Recount(counts=counts, jobs=counts.ended)


class NumbersUsedTwice(MemoryStore):
    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        self._jobs._seq = max((job.standing.seq for job in self._jobs.shelf.values()), default=0)
        return await super().commit(holder, tick, batch)


class PastForgotten(MemoryStore):
    """A carried job begins anew."""

    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        inserts = [attrs.evolve(insert, past=None) for insert in batch.inserts]
        return await super().commit(holder, tick, attrs.evolve(batch, inserts=inserts))


class CarriedStopUnheard(MemoryStore):
    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        asked = set(self._jobs.stopping)
        outcome = await super().commit(holder, tick, batch)
        for insert in batch.inserts:
            if insert.spec.id not in asked:
                self._jobs.stopping.pop(insert.spec.id, None)
        outcome.stops = [stop for stop in outcome.stops if stop[0] in self._jobs.stopping]
        return outcome


class ExportFromTheNewest(MemoryStore):
    async def export(self, after: int, limit: int) -> list[Kept]:
        return (await super().export(after, limit))[::-1]


class ExportWithoutKeys(MemoryStore):
    async def export(self, after: int, limit: int) -> list[Kept]:
        return [Kept(job=kept.job) for kept in await super().export(after, limit)]


class OthersAreThoseWhoWork(MemoryStore):
    async def others(self, holder: str, now: int) -> list[str]:
        return [other for other in await super().others(holder, now) if other in self._jobs.held]


class LoggedForNobody(MemoryStore):
    """Everybody pays for the log, though nobody listens."""

    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        outcome = await super().commit(holder, tick, attrs.evolve(batch, listen=True))
        return outcome if batch.listen else attrs.evolve(outcome, log=None)


class LogTellsWhatWasAsked(MemoryStore):
    """Also of late writes."""

    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        outcome = await super().commit(holder, tick, batch)
        lost = [batch.writes[index] for index in sorted(outcome.lost)]
        if self._log.is_open and lost:
            self._log.append(batch.now, holder, [step_row(write.step, write.job.spec, write.after) for write in lost])
        return outcome


class LogForgetsClaims(MemoryStore):
    async def events(self, now: int, after: Cursor | None = None) -> LogPage:
        page = await super().events(now, after)
        entries = [
            attrs.evolve(entry, steps=[step for step in entry.steps if step.word != "claim"]) for entry in page.entries
        ]
        return attrs.evolve(page, entries=[entry for entry in entries if entry.steps])


class GapNotTold(MemoryStore):
    async def events(self, now: int, after: Cursor | None = None) -> LogPage:
        return attrs.evolve(await super().events(now, after), gap=False)


class LogHeardByNewsOnly(MemoryStore):
    """Who listens is told of what concerns everybody."""

    async def logged(self, holder: str) -> None:
        await self.wakeup(holder)


class FindRaises(MemoryStore):
    async def find(self, query: Query) -> Page:
        raise RuntimeError("boom")


class CloseRaises(MemoryStore):
    async def close(self, holder: str) -> None:
        await super().close(holder)
        raise RuntimeError(f"cannot close {holder}")


class AllBroken(FindRaises, CloseRaises):
    """Fails, and then can't be closed either."""


MUTANTS: dict[type[MemoryStore], str] = {
    NoVersionCheck: "a_late_write_changes_nothing",
    VersionCheckIgnoresTheSequence: "a_write_to_a_job_that_is_gone_is_lost",
    PriorityIgnored: "claims_come_in_order",
    FrontIgnored: "claims_come_in_order",
    RunAtIgnored: "claims_come_in_order",
    LastInFirstOut: "claims_come_in_order",
    RunsNotCounted: "a_claim_is_the_step_of_the_core",
    ClaimKeepsTheVersion: "a_claim_is_the_step_of_the_core",
    ClaimCountsAnAttempt: "a_claim_is_the_step_of_the_core",
    OneTooMany: "several_claims_share_a_batch",
    TypesIgnored: "unknown_types_are_left",
    PauseIgnored: "a_paused_queue_gives_nothing",
    PauseSeenOneCommitLate: "a_paused_queue_gives_nothing",
    AttemptsNotCounted: "every_step_is_kept",
    OnlyTheLastErrorKept: "results_and_errors_are_kept",
    UniqueNeverExpires: "a_unique_key_expires",
    UniqueInEveryState: "a_unique_key_counts_in_its_states_only",
    OneHolderPerKey: "a_replayed_job_holds_its_key_again",
    SweepForgetsTooMuch: "a_sweep_drops_only_what_is_over",
    RepeatedTickHappensAgain: "a_repeated_tick_happens_once",
    TicksSharedByHolders: "a_tick_belongs_to_its_holder",
    GroupsIgnored: "a_lost_write_takes_its_group_along",
    GroupsLookedAtOneByOne: "a_lost_write_takes_its_group_along",
    LastReasonWins: "the_first_reason_stays",
    StopsToldOnce: "a_stop_reaches_the_holder",
    StopsOfTheWaiting: "only_the_running_are_stopped",
    StopForgottenByARetry: "a_stop_survives_what_does_not_end_the_job",
    StopsOfOthersTold: "a_stop_reaches_the_holder",
    NotesOfAnyRun: "a_note_belongs_to_its_run",
    ReplayKeepsTheResult: "a_replay_starts_afresh",
    DeletesAnyVersion: "a_late_delete_changes_nothing",
    EndedIsARecount: "counts_follow_every_step",
    CountsLeftBehind: "counts_follow_every_step",
    RecountIsTheCount: "counts_follow_every_step",
    NumbersUsedTwice: "numbers_only_grow",
    PagesOverlap: "a_query_finds_what_matches",
    BadCursorStartsAgain: "a_bad_cursor_is_refused",
    TooEarly: "nothing_starts_before_its_time",
    CursorNotGuarded: "a_move_is_guarded_by_the_cursor",
    WakeUpMissed: "news_is_not_missed",
    ClosedIsStillAlive: "who_is_closed_has_vanished",
    PastForgotten: "a_carried_job_stands_as_it_stood",
    CarriedStopUnheard: "a_carried_job_lives_on",
    ExportFromTheNewest: "an_export_is_every_job_in_order",
    ExportWithoutKeys: "keys_are_carried",
    OthersAreThoseWhoWork: "who_is_open_is_seen",
    LoggedForNobody: "only_what_is_heard_is_logged",
    LogTellsWhatWasAsked: "every_step_is_logged",
    LogForgetsClaims: "every_step_is_logged",
    GapNotTold: "what_is_gone_is_a_gap",
    LogHeardByNewsOnly: "who_listens_is_told_of_others",
    FindRaises: "a_query_finds_what_matches",
    CloseRaises: "an_empty_commit_is_fine",
}
"""Each mutant, and the check whose promise it breaks."""

HEART = [
    NoVersionCheck,
    PriorityIgnored,
    FrontIgnored,
    RunAtIgnored,
    LastInFirstOut,
    RunsNotCounted,
    ClaimKeepsTheVersion,
    OneTooMany,
    TypesIgnored,
    PauseIgnored,
    PauseSeenOneCommitLate,
    AttemptsNotCounted,
    OnlyTheLastErrorKept,
    UniqueNeverExpires,
    SweepForgetsTooMuch,
    RepeatedTickHappensAgain,
    GroupsIgnored,
    GroupsLookedAtOneByOne,
    LastReasonWins,
    NotesOfAnyRun,
    DeletesAnyVersion,
    EndedIsARecount,
    PagesOverlap,
    TooEarly,
    CursorNotGuarded,
    PastForgotten,
    ExportWithoutKeys,
    LogTellsWhatWasAsked,
    LogForgetsClaims,
]
"""Those that random walks must catch without the single checks."""


def _name(mutant: type[MemoryStore]) -> str:
    return mutant.__name__


async def test_a_slow_and_right_store_passes(autojump_clock: trio.testing.MockClock) -> None:
    await check_store(Slow)


@pytest.mark.parametrize("mutant", MUTANTS, ids=_name)
async def test_a_mutant_is_caught_by_the_promise_it_breaks(
    mutant: type[MemoryStore], autojump_clock: trio.testing.MockClock
) -> None:
    (check,) = (check for check in CHECKS if check.__name__ == MUTANTS[mutant])
    with pytest.raises(StoreNonconformance) as caught:
        await check_promise(check, mutant)
    assert caught.value.check == MUTANTS[mutant]
    assert check.__doc__ is not None and check.__doc__[:40] in str(caught.value), "the failure tells the promise"
    with pytest.raises(StoreNonconformance):
        await check_store(mutant)


@pytest.mark.parametrize("mutant", HEART, ids=_name)
async def test_random_walks_catch_it_too(mutant: type[MemoryStore]) -> None:
    with pytest.raises(StoreNonconformance, match=r"seed \d+, step \d+: "):
        for seed in range(8):
            await check_promise(partial(walk, seed=seed, steps=60), mutant)


async def test_an_error_of_the_store_is_a_failure_that_says_which() -> None:
    (check,) = (check for check in CHECKS if check.__name__ == "a_query_finds_what_matches")
    with pytest.raises(StoreNonconformance, match="RuntimeError: boom") as caught:
        await check_promise(check, AllBroken)
    assert "cannot close" not in str(caught.value), "what came first is told"


async def test_every_mutant_is_tried() -> None:
    mutants = {
        mutant
        for mutant in globals().values()
        if isinstance(mutant, type) and issubclass(mutant, MemoryStore) and mutant not in (MemoryStore, Slow, AllBroken)
    }
    assert mutants == set(MUTANTS)
