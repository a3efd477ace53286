"""Rules: what people do to jobs, queues and schedules."""

from __future__ import annotations

from functools import partial
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

import actors
from actors.core.job import FINAL, UNFINISHED, JobRecord
from tests.machines.process import QUEUES
from tests.machines.promise import promise
from tests.machines.world import OWNERS, World

LEGAL: dict[str, frozenset[str]] = {
    "cancel": frozenset(UNFINISHED),
    "retry": frozenset({"dead", "cancelled"}),
    "promote": frozenset({"scheduled"}),
    "delete": frozenset({"dead"}),
}
SCHEDULES = ("tick", "tock")
PICK = st.integers(0, 999)


class ByHand(World):
    """What people do."""

    @precondition(lambda self: self.ledger.model.jobs)
    @rule(
        pick=PICK,
        verb=st.sampled_from(["cancel", "cancel", "retry", "retry", "promote", "delete"]),
        legal=st.integers(0, 2),
    )
    def by_hand(self, pick: int, verb: str, legal: int) -> None:
        self.begin()
        jobs = sorted(self.ledger.model.jobs.values(), key=lambda job: job.standing.seq)
        jobs = [job for job in jobs if (job.state in LEGAL[verb]) == bool(legal)] or jobs
        before = jobs[pick % len(jobs)]
        system, number = self.pick_live(pick).system, 16 if verb == "cancel" else 12
        act = system.dead_letters.delete if verb == "delete" else getattr(system, verb)
        try:
            after = self.guest(act, before.id)
        except (actors.NotFound, actors.WrongState):
            promise(number, self.guest.waited or before.state not in LEGAL[verb], f"{verb} of {before} was refused")
            return
        except actors.StoreError:  # a read that failed: nothing was done
            return
        if self.guest.waited:
            return
        promise(number, before.state in LEGAL[verb], f"{verb} of {before} was accepted")
        now = self.job(before.id)
        if verb == "delete":
            promise(1, now is None, f"{now} was deleted")
        elif verb == "retry":
            promise(9, (after.state, after.attempt, after.crashes) == ("pending", 0, 0), f"{after} was replayed")
            promise(9, now is not None and now.errors == before.errors, f"{now} was {before}")
        elif verb == "cancel":
            self._check_cancel(before, after, now)

    def _check_cancel(self, before: JobRecord, after: JobRecord, now: JobRecord | None) -> None:
        running = before.state == "running"
        promise(16, after.state == ("running" if running else "cancelled"), f"cancel of {before}: {after}")
        promise(16, now is not None and (running or now.state == "cancelled"), f"{now} was cancelled")
        assert now is not None
        obeys = any(
            process.witness.calm and before.standing.holder == process.holder
            and (before.id, before.runs) in process.bodies for process in self.live
        )  # fmt: skip
        if running and obeys and process_is_whole(self, before):
            promise(16, now.state in FINAL, f"{now} was cancelled, and its body obeys")

    @rule(pick=PICK, owner=st.sampled_from([None, *OWNERS]))
    def replay_all(self, pick: int, owner: str | None) -> None:
        self.begin()
        jobs = list(self.ledger.model.jobs.values())
        dead = [job for job in jobs if job.state == "dead" and owner in (None, job.owner)]
        try:
            replayed = self.guest(partial(self.pick_live(pick).system.dead_letters.retry_all, owner=owner))
        except actors.StoreError:
            return
        promise(9, self.guest.waited or replayed == len(dead), f"{replayed} of {len(dead)} were replayed")

    @rule(pick=PICK, queue=st.sampled_from(QUEUES), pause=st.booleans())
    def pause_or_resume(self, pick: int, queue: str, pause: bool) -> None:
        self.begin()
        handle = self.pick_live(pick).system.queues[queue]
        self.guest(handle.pause if pause else handle.resume)

    @rule(
        pick=PICK,
        name=st.sampled_from(SCHEDULES),
        often=st.booleans(),
        overlap=st.sampled_from(["skip", "allow", "queue", "cancel_previous"]),
        catch_up=st.sampled_from(["latest", "none", "all"]),
    )
    def schedule(self, pick: int, name: str, often: bool, overlap: Any, catch_up: Any) -> None:
        self.begin()
        if often and (catch_up == "all" or overlap in ("queue", "allow")):
            often = False  # a day of them would be thousands
        work = self.jobs.work(0)
        options: dict[str, Any] = {"overlap": overlap, "catch_up": catch_up, "max_attempts": 2, "queue": "other"}
        when = actors.Every(20 if often else 1_800)
        self._try(self.pick_live(pick).system.schedule, name, when, work, **options)

    @precondition(lambda self: self.ledger.model.schedules)
    @rule(pick=PICK, verb=st.sampled_from(["pause", "resume", "resume", "run", "remove"]))
    def control_a_schedule(self, pick: int, verb: str) -> None:
        self.begin()
        names = sorted(self.ledger.model.schedules)
        name = names[pick % len(names)]
        self._try(getattr(self.pick_live(pick).system.schedules[name], verb))
        if name not in self.ledger.model.schedules:
            self.ledger.forget_slots(name)

    def _try(self, ask: Any, *given: Any, **options: Any) -> None:
        try:
            self.guest(partial(ask, *given, **options))
        except (actors.StoreError, actors.NotFound, actors.Conflict):
            pass


def process_is_whole(world: World, job: JobRecord) -> bool:
    """Whether the holder of this job has not been taken for dead meanwhile."""
    return job.standing.holder not in world.ledger.lapsed
