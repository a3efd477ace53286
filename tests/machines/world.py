"""The world of a machine: one store, up to three processes on it, one clock; and what must hold of them after every step."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis.stateful import RuleBasedStateMachine, invariant

import actors
from actors.core.job import FINAL, JobRecord
from actors.store.port import Page, Query
from actors.testing.conformance.pages import answer
from actors.testing.conformance.tallies import present
from tests.machines.guest import Guest
from tests.machines.ledger import LEASE, Ledger
from tests.machines.process import QUEUES, WORKERS, Process, make_registry
from tests.machines.promise import promise

STEP = 3.0  # seconds that pass at one go: a process that lives beats in time
REAPED = LEASE * 4 / 3 + 3 * STEP  # seconds in which what a gone process held is given back
PATIENCE = 1.0  # of the clock: it may be set
OWNERS = ("ada", "bob")
ALONE_FROM = 2  # crashes
WAITS_FOR_ROOM = 1.1  # seconds in which nothing is begun after the disk was full


class World(RuleBasedStateMachine):
    """`make_store` gives a new process its store; `bury` does what the kernel would after it was killed."""

    leases = True

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.stores: list[Any] = []
        self.clock = actors.TrioClock(patience=PATIENCE)
        self.ledger = Ledger()
        self.guest = Guest(self.is_busy, self.ledger.check)
        self.ledger.leases = self.leases
        self.jobs = make_registry()
        self.processes: list[Process] = []  # live or silent
        self.opened = 0
        self.jobs_made = 9  # payloads: one number each, the first few for those that are asked for again
        self.ended: dict[Any, int] = {}
        self.completed: dict[str, JobRecord] = {}
        self.orphans: dict[tuple[str, int], float] = {}  # since when nobody has run them
        self.calm_since = 0.0
        self.looks = 0
        self.set_ahead = False  # the wall clock, by more than the event log goes back
        self.whole = True  # every promise held until now
        try:
            self.open()
        except BaseException:
            self.guest.close()
            raise

    def make_store(self) -> Any:
        """The store of a process that is about to open."""
        raise NotImplementedError

    async def bury(self, process: Process) -> None:
        """The process was killed."""

    def is_busy(self) -> bool:
        """Whether threads are at work."""
        return False

    # The processes

    @property
    def live(self) -> list[Process]:
        """Those that answer."""
        return [process for process in self.processes if not process.witness.silent]

    def pick_live(self, number: int) -> Process:
        """One of those that answer."""
        return self.live[number % len(self.live)]

    def open(self) -> None:
        """Another process."""
        self.opened += 1
        store = self.make_store()
        if store not in self.stores:
            self.stores.append(store)
        process = Process(self.opened, self.jobs, store, self.ledger, self.clock)
        self.guest.start(process.live)
        self.processes.append(process)
        process.begin_to_listen()

    def leave(self, process: Process) -> None:
        """A process has ended."""
        self.processes.remove(process)
        if not self.live:
            self.open()

    def pass_time(self, seconds: float) -> None:
        """In steps in which everybody who lives can beat."""
        while seconds > 0:
            self.guest.jump(min(STEP, seconds))
            seconds -= STEP

    def now(self) -> float:
        """By trio's clock."""
        return self.guest.clock.current_time()

    def wall(self) -> int:
        """By the wall clock."""

        async def now() -> int:
            return self.clock.now()

        wall: int = self.guest(now)
        return wall

    def job(self, id: str) -> JobRecord | None:
        """As it must be."""
        return self.ledger.model.jobs.get(id)

    def begin(self) -> None:
        """A rule begins: until the look after it nothing is known to hold."""
        self.whole = False

    # What must hold

    @invariant()
    def all_promises_hold(self) -> None:
        """After every step."""
        self.whole = False
        self.guest.jump(0.03)  # what was claimed ahead and not started is given back by then
        if not all(process.witness.calm for process in self.live):
            self.calm_since = self.now()
        self.guest(self.look)
        for process in self.live:
            if process.witness.calm:
                self._look_at(process)
        self._look_for_orphans()
        if all(process.witness.calm for process in self.live):
            waits = [
                job for job in self.ledger.model.jobs.values() if job.stop == "user" and job.standing.holder is None
            ]
            promise(16, not waits, f"{waits} were cancelled, and wait to run again")
        self.whole = True

    async def look(self) -> None:
        """Read all that is stored, and compare it with what must be."""
        store, model = self.live[0].witness.store, self.ledger.model
        self.looks += 1
        async with self.ledger.lock:
            jobs = {job.id: job for job in (await self._pages(store, Query(limit=1_000)))}
            counts = await store.counts()
            settings, schedules = await store.settings(), await store.schedules()
            slots = {one.name: await store.slots(one.name, 1_000) for one in schedules}
            as_user = Query(owner=OWNERS[self.looks % 2], order="newest" if self.looks % 3 else "finished", limit=4)
            read = await self._pages(store, as_user)
        promise(1, jobs.keys() == model.jobs.keys(), f"stored {jobs.keys()}, accepted {model.jobs.keys()}")
        for id, job in jobs.items():
            must = model.jobs[id]
            promise(12, id not in self.completed or job == self.completed[id], f"{job} was completed")
            promise(9, job.spec == must.spec, f"{job.spec}, expected {must.spec}")
            promise(4, job.standing == must.standing, f"{job.standing}, expected {must.standing}")
            promise(9, job.errors == must.errors, f"{job.errors}, expected {must.errors}")
            promise(4, job == must, f"{job}, expected {must}")
            if job.state == "completed":
                self.completed[id] = job
        want = model.counts()
        promise(18, present(counts.now) == present(want.now), f"{counts}, expected {want}")
        promise(18, present(counts.ended) == present(want.ended), f"{counts}, expected {want}")
        promise(18, all(counts.ended.get(key, 0) >= n for key, n in self.ended.items()), f"{counts} after {self.ended}")
        promise(1, (counts.accepted, counts.deleted) == (want.accepted, want.deleted), f"{counts}, expected {want}")
        promise(1, counts.accepted == len(jobs) + counts.deleted, counts)
        self.ended = dict(counts.ended)
        promise(13, settings == model.settings, settings)
        promise(13, schedules == [model.schedules[name] for name in sorted(model.schedules)], schedules)
        for name, kept in slots.items():
            promise(13, kept == model.slots.get(name, [])[::-1][:1_000], kept)
        own = [job for job in model.jobs.values() if job.owner == as_user.owner]
        alone = answer(own, Query(order=as_user.order))  # a user reads the same as if nobody else's jobs existed
        promise(11, read == alone, f"{as_user.owner} reads {read}, expected {alone}")

    async def _pages(self, store: Any, query: Query) -> list[JobRecord]:
        jobs: list[JobRecord] = []
        after: str | None = None
        while True:
            page: Page = await store.find(
                Query(owner=query.owner, order=query.order, states=query.states, limit=query.limit, after=after)
            )
            jobs += page.jobs
            if (after := page.after) is None:
                return jobs

    def _look_at(self, process: Process) -> None:
        process.check_events(may_lose=self.set_ahead)
        running = [job for job in self.ledger.model.jobs.values() if job.standing.holder == process.holder]
        held = {(job.id, job.runs) for job in running}
        bodies = set(process.bodies)
        if process.holder in self.ledger.lapsed:  # it may run what others have taken over
            promise(20, bodies >= held, f"{held - bodies} are held, and nobody runs them")
            return
        if self._look_for_suspects(process, running):
            return
        promise(4, bodies == held, f"bodies {bodies}, held {held}")
        promise(16, all(job.stop != "user" for job in running), f"{running} were cancelled, and their bodies obey")
        for name in QUEUES:
            busy = sum(job.queue == name for job in running)
            promise(8, busy <= WORKERS, f"{busy} jobs run in {name}")
            waits_for_room = self.now() - process.witness.full_at <= WAITS_FOR_ROOM
            if f"paused/{name}" not in self.ledger.model.settings and not busy and not waits_for_room:
                waits = [
                    job.id for job in self.ledger.model.jobs.values() if job.state == "pending" and job.queue == name
                ]
                promise(20, not waits, f"{waits} wait in {name} beside an idle worker")

    def _look_for_suspects(self, process: Process, running: list[JobRecord]) -> bool:
        """Whether one of these jobs may kill its process: it waits until all others have ended, and runs alone."""
        suspects = {(job.id, job.runs) for job in running if job.crashes >= ALONE_FROM}
        bodies = set(process.bodies)
        promise(9, not suspects & bodies or len(bodies) == 1, f"{suspects} do not run alone: {bodies}")
        promise(20, not suspects or bodies, f"{suspects} wait for nobody")
        return bool(suspects)

    def _look_for_orphans(self) -> None:
        running = [job for job in self.ledger.model.jobs.values() if job.state == "running"]
        orphans = {(job.id, job.runs) for job in running if self.is_orphan(job)}
        self.orphans = {one: self.orphans.get(one, self.now()) for one in orphans}
        for one, since in self.orphans.items():
            age = self.now() - max(since, self.calm_since)
            promise(5, age <= REAPED, f"{one} is held by nobody for {age} s")

    def is_orphan(self, job: JobRecord) -> bool:
        """Whether the holder of a running job is dead or closed (one that is silent may come back)."""
        return all(job.standing.holder != process.holder for process in self.processes)

    # The end

    def teardown(self) -> None:
        """Faults off, everything ends; then the run is closed."""
        try:
            if self.whole:
                self._end_everything()
        finally:
            try:
                self.guest.close()
            finally:
                shutil.rmtree(self.directory)

    def _end_everything(self) -> None:
        for process in self.processes:
            process.witness.faults.clear()
            self.guest(process.oblige)
            self.come_back(process)
        self.pass_time(2 * STEP)
        system = self.live[0].system
        for name in list(self.ledger.model.schedules):
            self.guest(system.schedules[name].remove)
        for name in QUEUES:
            self.guest(system.queues[name].resume)
        self.pass_time(REAPED)
        for _ in range(4):  # a wait that was under way, its retry
            waits = [job.standing.run_at for job in self.ledger.model.jobs.values() if job.state == "scheduled"]
            if waits:
                self.set_ahead = True
                self.clock.step(max(0.0, (max(waits) - self.wall()) / 1e6))
            self.pass_time(PATIENCE * 2)
        left = [job for job in self.ledger.model.jobs.values() if job.state not in FINAL]
        promise(20, not left, f"never ended: {left}")
        self.all_promises_hold()

    def come_back(self, process: Process) -> None:
        """A silent process goes on; perhaps too late."""
        if process.witness.silent:
            if self.leases and self.now() - process.witness.last_beat >= LEASE:
                self.ledger.lapsed[process.holder] = self.now()
            process.witness.come_back()
            self.guest.rest()
