"""Rules: bodies end, time passes, clocks are set, stores fail, processes come, stop, die, fall silent and come back."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from actors.store.port import LOG_KEPT
from tests.machines.process import ENDS, Process
from tests.machines.promise import promise
from tests.machines.witness import FAULTS, SLOW, Fault
from tests.machines.world import World

PICK = st.integers(0, 999)
MOST_LIVE = 2


class Lives(World):
    """What happens."""

    def _bodies(self) -> list[tuple[Process, tuple[str, int]]]:
        return [(process, key) for process in self.processes for key in sorted(process.bodies)]

    @precondition(lambda self: self._bodies())
    @rule(pick=PICK, how=st.sampled_from([*ENDS, "fail", "fail"]))
    def a_body_ends(self, pick: int, how: str) -> None:
        self.begin()
        bodies = self._bodies()
        process, key = bodies[pick % len(bodies)]
        self.guest(process.tell, key, how)

    @precondition(lambda self: self._bodies())
    @rule(how=st.sampled_from(ENDS))
    def all_bodies_end(self, how: str) -> None:
        self.begin()
        for process, key in self._bodies():
            if key in process.bodies:
                self.guest(process.tell, key, how)

    @precondition(lambda self: self._bodies())
    @rule(pick=PICK)
    def a_body_speaks(self, pick: int) -> None:
        self.begin()
        bodies = [(process, key) for process, key in self._bodies() if not process.witness.silent]
        if bodies:
            process, key = bodies[pick % len(bodies)]
            self.guest(process.tell, key, "speak")

    @rule(seconds=st.sampled_from([0.001, 1, 3, 12, 100]))
    def time_passes(self, seconds: float) -> None:
        self.begin()
        self.pass_time(seconds)

    @rule(seconds=st.sampled_from([-0.01, 30, -30, 3_600, -3_600, 86_400, -86_400]))
    def the_clock_is_set(self, seconds: float) -> None:
        self.begin()
        self.clock.step(seconds)
        self.set_ahead = self.set_ahead or seconds > LOG_KEPT
        self.pass_time(1.1)

    @rule(pick=PICK, faults=st.lists(st.sampled_from(FAULTS), min_size=1, max_size=2))
    def the_store_will_fail(self, pick: int, faults: list[Fault]) -> None:
        self.begin()
        self.pick_live(pick).witness.faults += faults

    @rule(pick=PICK, count=st.integers(1, 5))
    def a_slow_listener_reads(self, pick: int, count: int) -> None:
        self.begin()
        process = self.pick_live(pick)
        for _ in range(count):
            self.guest(process.let_the_slow_one_read)

    # Processes

    @precondition(lambda self: len(self.live) < MOST_LIVE)
    @rule()
    def a_process_opens(self) -> None:
        self.begin()
        self.open()

    @rule(pick=PICK, grace=st.sampled_from([0.0, 2.0, 6.0]), end=st.integers(0, 2), how=st.sampled_from(ENDS))
    def a_process_stops(self, pick: int, grace: float, end: int, how: str) -> None:
        """In order: what ends within the grace has ended, the rest is given back, and the report says so."""
        self.begin()
        process, began = self.pick_live(pick), self.now()
        witness = process.witness
        whole, hurt = witness.calm and process.holder not in self.ledger.lapsed, witness.hurt
        held = [job for job in self.ledger.model.jobs.values() if job.standing.holder == process.holder]
        if whole:
            self.ledger.stopping.add(process.holder)
        self.guest(process.stop, grace)
        while process.ended_at is None:
            promise(
                15, self.now() - began <= grace + 1 + 3 * SLOW, f"the stop takes {self.now() - began} s, grace {grace}"
            )
            if end and process.bodies:
                end -= 1
                self.guest(process.tell, min(process.bodies), how)
            self.guest.jump(0.2)
        report = process.system.report
        assert report is not None
        promise(15, report.stuck == (), report)
        if whole and witness.hurt == hurt:
            accounted = report.finished + report.given_back + report.cancelled
            promise(15, accounted == len(held), f"{report}, held {held}")
            left = [job for job in self.ledger.model.jobs.values() if job.standing.holder == process.holder]
            promise(15, not left, f"{left} are held by a process that has stopped")
            finished = sum((job.id, job.runs) in self.ledger.said for job in held)
            timed = any(job.timeout for job in held)
            promise(
                15, timed or report.finished + report.cancelled == finished, f"{report}, {finished} of {held} ended"
            )
            process.check_events(may_lose=self.set_ahead)
        self.leave(process)

    @rule(pick=PICK)
    def a_process_dies(self, pick: int) -> None:
        self.begin()
        process = self.processes[pick % len(self.processes)]
        self.guest(process.die)
        self.guest.jump(2.0)  # its last words are waited for in vain
        process.bodies.clear()
        self.guest(self.bury, process)
        self.leave(process)

    @precondition(lambda self: len(self.live) == len(self.processes))
    @rule(pick=PICK)
    def a_process_falls_silent(self, pick: int) -> None:
        self.begin()
        process = self.pick_live(pick)
        process.witness.fall_silent()
        if not self.live:
            self.open()

    @precondition(lambda self: len(self.live) < len(self.processes))
    @rule()
    def a_silent_process_comes_back(self) -> None:
        self.begin()
        for process in self.processes:
            self.come_back(process)
