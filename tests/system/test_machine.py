"""A rule machine over a live system: whatever is done in whatever order, the invariants of GUARANTEES (section 2) hold after every step.

The system runs as a trio guest on a `MockClock`; each rule sends a coroutine into the run and waits until all is quiet.
"""

from __future__ import annotations

import queue
import random
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import outcome
import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

import actors
from actors.core.job import FINAL, UNFINISHED
from actors.core.lifecycle import MAX_CRASHES, STEPS, TRANSITIONS
from actors.store.memory import MemoryStore
from actors.store.sqlite import SQLiteStore

QUEUES = ("default", "other")
WORKERS = 1  # of each queue: the fewer, the more wait, and the more the order matters
LEASE = 10.0
BACK_OFF = actors.Exponential(2.0, factor=3.0, cap=50.0, jitter="none")
ENDS = ("succeed", "fail", "snooze", "discard", "cancel", "retry after")


class Guest:
    """A trio run that goes on only while the host pumps it."""

    def __init__(self) -> None:
        self.clock = trio.testing.MockClock()
        self._todo: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._ended: outcome.Outcome[Any] | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._nursery: trio.Nursery
        trio.lowlevel.start_guest_run(
            self._main,
            run_sync_soon_threadsafe=self._todo.put,
            done_callback=self._done,
            clock=self.clock,
            host_uses_signal_set_wakeup_fd=True,
        )
        self._pump(lambda: self._token is not None)

    async def _main(self) -> None:
        async with trio.open_nursery() as self._nursery:
            self._token = trio.lowlevel.current_trio_token()
            await trio.sleep_forever()

    def _done(self, ended: outcome.Outcome[Any]) -> None:
        self._ended = ended

    def _pump(self, until: Callable[[], bool]) -> None:
        while not until():
            if self._ended is not None:
                self._ended.unwrap()
                raise RuntimeError("the run has ended")
            self._todo.get(timeout=30)()

    def __call__(self, work: Callable[..., Awaitable[Any]], *given: Any) -> Any:
        """Run `work(*given)` and let all tasks come to rest; its value, or its error."""
        answers: list[outcome.Outcome[Any]] = []

        async def task() -> None:
            answer = await outcome.acapture(work, *given)
            await trio.testing.wait_all_tasks_blocked()
            answers.append(answer)

        assert self._token is not None
        self._token.run_sync_soon(partial(self._nursery.start_soon, task))
        self._pump(lambda: bool(answers))
        return answers[0].unwrap()

    def start(self, work: Callable[..., Awaitable[Any]], *given: Any) -> Any:
        """Start a task that goes on; what it says when it has started."""
        return self(partial(self._nursery.start, work, *given))

    def close(self) -> None:
        def end() -> None:
            self.clock.autojump_threshold = 0  # whoever waits for time at the end is given it
            self._nursery.cancel_scope.cancel()

        assert self._token is not None
        self._token.run_sync_soon(end)
        while self._ended is None:
            self._todo.get(timeout=30)()


class Mortal:
    """A store as a process sees it that can die or fall silent: once `dead`, nothing it does comes through; while `silent`, it waits."""

    def __init__(self, store: Any) -> None:
        self.dead = self.silent = False
        self._back = trio.Event()
        self._store = store

    def come_back(self) -> None:
        self.silent = False
        self._back.set()

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def call(*given: Any) -> Any:
            if self.dead:
                await trio.sleep_forever()
            if self.silent:
                await self._back.wait()
            return await getattr(self._store, name)(*given)

        return call

    async def close(self, holder: str) -> None:
        if not self.dead:
            await self._store.close(holder)


class Expected:
    """What this test knows of one job."""

    def __init__(self, payload: dict[str, Any], max_attempts: int) -> None:
        self.payload = payload
        self.max_attempts = max_attempts
        self.attempt = 0  # failures since it was last replayed
        self.errors = 0  # failures, discards and deaths of its processes, ever
        self.crashes = 0
        self.claims = 0
        self.state = ""
        self.version = 0
        self.may_be_dead = False


class Machine(RuleBasedStateMachine):
    """The rules. `make_store` is set per store."""

    make_store: Callable[[Path], Any]

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.guest = Guest()
        self.clock = actors.TrioClock()
        self.store = self.make_store(self.directory)
        self.jobs = actors.Registry()
        self.bodies: dict[str, trio.MemorySendChannel[str]] = {}
        self.known: dict[str, Expected] = {}
        self.deleted: set[str] = set()
        self.records: dict[str, actors.JobRecord] = {}
        self.ready: dict[str, set[str]] = {name: set() for name in QUEUES}  # by the events, in their order
        self.paused: set[str] = set()
        self.ended = (0, 0, 0)
        self.log: list[actors.Event] = []
        self.seen = 0
        self.opens = 0

        @self.jobs.job(retry=BACK_OFF)
        async def work(ctx: actors.JobContext, n: int) -> int:
            send, receive = trio.open_memory_channel[str](1)
            self.bodies[ctx.job.id] = send
            try:
                how = await receive.receive()
            finally:
                if self.bodies.get(ctx.job.id) is send:
                    del self.bodies[ctx.job.id]
            match how:
                case "fail":
                    raise ValueError(n)
                case "snooze":
                    raise actors.Snooze(7)
                case "discard":
                    raise actors.Discard("enough")
                case "cancel":
                    raise actors.Cancel("stop")
                case "retry after":
                    raise actors.Retry(after=11)
            return n

        self.work = work
        self._open()

    # The system

    def _open(self) -> None:
        self.opens += 1
        self.mortal = Mortal(self.store)
        self.scope = trio.CancelScope()

        async def live(task_status: trio.TaskStatus[actors.System]) -> None:
            with self.scope:
                async with actors.open_system(
                    self.jobs,
                    store=self.mortal,
                    queues=dict.fromkeys(QUEUES, 0),
                    clock=self.clock,
                    rng=random.Random(self.opens),
                    lease=LEASE,
                    grace=0.0,
                ) as system:
                    events = system.events(buffer=100_000)
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._collect, events)
                        task_status.started(system)
                        await system.until_stop()
                        nursery.cancel_scope.cancel()
                await self._collect(events)

        self.system = self.guest.start(live)
        self._catch_up()
        for name in QUEUES:  # only now, so that no start is missed
            self.guest(self._set_workers, name, WORKERS)

    def _catch_up(self) -> None:
        """What the process did while it opened, before anybody could listen: give back what the last one left."""
        self._look_at_events()
        for job in self.guest(partial(self.system.find, limit=1_000)).jobs:
            expected = self.known[job.id]
            if job.version == expected.version:
                continue
            assert job.version == expected.version + 1
            match expected.state, job.state:
                case "running", "pending" | "dead":
                    expected.crashes += 1
                    expected.errors += 1
                    expected.may_be_dead = expected.crashes >= MAX_CRASHES
                case "running", "cancelled":
                    assert self.records[job.id].stop == "user"
                case "scheduled", "pending":
                    pass
                case other:
                    raise AssertionError(other)
            expected.version, expected.state = job.version, job.state
            if job.state == "pending":
                self.ready[job.queue].add(job.id)

    async def _collect(self, events: Any) -> None:
        async for event in events:
            self.log.append(event)

    async def _stop(self) -> None:
        self.system.stop()
        await trio.testing.wait_all_tasks_blocked()

    def teardown(self) -> None:
        try:
            self.guest.close()
        finally:
            shutil.rmtree(self.directory)

    # The rules

    @rule(
        priority=st.sampled_from(["normal", "normal", "normal", "high", "low", "critical"]),
        front=st.booleans(),
        delay=st.sampled_from([0, 0, 0, 5, 60]),
        max_attempts=st.integers(1, 3),
        queue=st.sampled_from(QUEUES),
        owner=st.sampled_from([None, "ada", "bob"]),
        key=st.sampled_from([None, None, "a", "b"]),
        on_conflict=st.sampled_from(["skip", "raise", "replace"]),
        count=st.sampled_from([1, 1, 3, 5]),
    )
    def enqueue(self, *, key: str | None, on_conflict: Any, count: int, **options: Any) -> None:
        if key is not None:
            options["unique"] = actors.Unique(key=key, on_conflict=on_conflict)
        for _ in range(1 if key is not None else count):
            n = len(self.known)
            there = {
                id for id, job in self.records.items()
                if key is not None and job.state in UNFINISHED and job.owner == options["owner"] and (job.spec.details.unique_key or "").endswith(f" {key}")
            }  # fmt: skip
            waiting = {id for id in there if self.records[id].state != "running"}
            try:
                handle = self.guest(partial(self.system.enqueue, self.work(n), **options))
            except actors.Conflict as conflict:
                assert on_conflict == "raise" and conflict.existing in there
                return
            if handle.created:
                assert not there or (on_conflict == "replace" and waiting)
                self.known[handle.id] = Expected({"n": n}, options["max_attempts"])
            else:
                assert handle.id in there and on_conflict != "raise"
            self._look()

    @precondition(lambda self: self.bodies)
    @rule(pick=st.integers(0, 100), how=st.sampled_from(ENDS))
    def a_body_ends(self, pick: int, how: str) -> None:
        id = sorted(self.bodies)[pick % len(self.bodies)]
        job, expected = self.records[id], self.known[id]
        now = self.guest(self._now)

        async def tell() -> None:
            self.bodies[id].send_nowait(how)

        self.guest(tell)
        after = self.guest(self.system.get, id)
        if how in ("fail", "retry after"):
            expected.attempt += 1
            expected.errors += 1
            if expected.attempt == expected.max_attempts:
                assert after.state == "dead"
                expected.may_be_dead = True
            else:
                wait = 11 if how == "retry after" else min(50, 2 * 3 ** (expected.attempt - 1))
                assert after.state == "scheduled" and after.standing.run_at == now + wait * 1_000_000
        elif how == "snooze":
            assert after.state == "scheduled" and after.standing.run_at == now + 7_000_000
        elif how == "discard":
            expected.errors += 1
            expected.may_be_dead = True
            assert after.state == "dead"
        else:
            expected.errors += how == "cancel"
            assert after.state == ("completed" if how == "succeed" else "cancelled")
            assert after.result == (expected.payload["n"] if how == "succeed" else None)
        assert job.standing.holder is not None and after.standing.holder is None

    @precondition(lambda self: self.known)
    @rule(pick=st.integers(0, 1_000), verb=st.sampled_from(["cancel", "cancel", "retry", "promote", "delete"]))
    def by_hand(self, pick: int, verb: str) -> None:
        id = sorted(self.known)[pick % len(self.known)]
        job = self.records.get(id)
        legal = {"cancel": UNFINISHED, "retry": {"dead", "cancelled"}, "promote": {"scheduled"}, "delete": {"dead"}}[
            verb
        ]
        act = self.system.dead_letters.delete if verb == "delete" else getattr(self.system, verb)
        try:
            after = self.guest(act, id)
        except actors.NotFound:
            assert id in self.deleted
            return
        except actors.WrongState:
            assert job is not None and job.state not in legal
            return
        assert job is not None and job.state in legal
        if verb == "delete":
            self.deleted.add(id)
        elif verb == "retry":
            expected = self.known[id]
            expected.attempt = expected.crashes = 0
            expected.may_be_dead = False
            assert (after.state, after.attempt) == ("pending", 0)
        elif verb == "cancel":
            assert after.state == ("running" if job.state == "running" else "cancelled")
            now = self.guest(self.system.get, id)
            if job.standing.holder == self.system.holder or job.state != "running":
                assert now.state == "cancelled"  # these bodies obey

    @rule(queue=st.sampled_from(QUEUES), pause=st.booleans())
    def pause_or_resume(self, queue: str, pause: bool) -> None:
        if pause:
            self.guest(self.system.queues[queue].pause)
            self._look()
            self.paused.add(queue)
        else:
            self.paused.discard(queue)
            self.guest(self.system.queues[queue].resume)

    @rule(seconds=st.sampled_from([0.001, 1, 3, 12, 100]))
    def time_passes(self, seconds: float) -> None:
        for part in (seconds / 2, seconds / 2):
            self.guest.clock.jump(part)
            self.guest(trio.lowlevel.checkpoint)

    @rule(how=st.sampled_from(["reopen", "crash", "silent"]), says=st.sampled_from(ENDS))
    def the_process_goes(self, how: str, says: str) -> None:
        match how:
            case "reopen":
                self.reopen()
            case "crash":
                self.crash()
            case _:
                self.come_back_too_late(says)

    def reopen(self) -> None:
        self.guest(self._stop)
        report = self.system.report
        assert report is not None and report.stuck == ()
        assert report.given_back == sum(job.standing.holder == self.system.holder for job in self.records.values())
        assert not self.bodies
        self._look_at_events()
        self._open()

    def crash(self) -> None:
        self.mortal.dead = True
        self.guest(self._cancel)
        self.bodies.clear()
        self.guest.clock.jump(2.0)  # its last words are waited for in vain
        self.guest(trio.lowlevel.checkpoint)
        self._open()

    def come_back_too_late(self, how: str) -> None:
        """A silent process's jobs run elsewhere by then: what it says of them changes nothing."""
        zombie, mortal, bodies = self.system, self.mortal, self.bodies
        for name in QUEUES:
            self.guest(self._set_workers, name, 0)  # its own new claims are not what this is about
        self._look_at_events()
        mortal.silent = True
        self.bodies = {}
        self._open()
        for _ in range(5):
            self.guest.clock.jump(LEASE / 2)
            self.guest(trio.lowlevel.checkpoint)
        self._look()
        for body in list(bodies.values()):
            self.guest(body.send, how)
        mortal.come_back()
        self.guest(trio.lowlevel.checkpoint)
        zombie.stop()
        for _ in range(3):
            self.guest.clock.jump(1.0)
            self.guest(trio.lowlevel.checkpoint)
        assert zombie.report is not None

    async def _set_workers(self, name: str, number: int) -> None:
        self.system.queues[name].set_workers(number)

    async def _cancel(self) -> None:
        self.scope.cancel()

    async def _now(self) -> int:
        return self.clock.now()

    # The invariants

    @invariant()
    def all_promises_hold(self) -> None:
        self._look()
        self._look_at_stats()

    def _look(self) -> None:
        """Read everything, and compare it with what is known."""
        self.guest.clock.jump(0.03)  # what was claimed ahead and not started is given back by then
        self.guest(trio.lowlevel.checkpoint)
        page = self.guest(partial(self.system.find, limit=1_000))
        old, self.records = self.records, {job.id: job for job in page.jobs}
        assert len(page.jobs) == len(self.records) and self.records.keys() == self.known.keys() - self.deleted  # 1
        self._look_at_events()
        now = self.guest(self._now)
        for id, job in self.records.items():
            expected, standing = self.known[id], job.standing
            assert job.payload == expected.payload
            assert (job.state, job.version, job.runs) == (expected.state, expected.version, expected.claims)  # 3, 17
            assert job.attempt == expected.attempt <= job.max_attempts == expected.max_attempts  # 2
            assert (job.crashes, len(job.errors)) == (expected.crashes, expected.errors)  # 2, 9
            assert (standing.finished_at is not None) == (job.state in FINAL)  # 3
            assert (standing.holder is not None) == (job.state == "running")  # 3
            assert (job.state == "dead") == expected.may_be_dead  # 9
            assert (job.result is not None) == (job.state == "completed")
            if job.state == "running":
                assert standing.started_at is not None and standing.started_at >= standing.run_at  # 6, 7
                if standing.holder == self.system.holder:
                    assert id in self.bodies
            if job.state == "scheduled":
                assert standing.run_at > now
            before = old.get(id)
            if before is not None:
                assert job.version >= before.version and job.runs >= before.runs  # 4
                assert before.state != "completed" or job == before  # 12
        assert set(self.bodies) == {id for id, job in self.records.items() if job.standing.holder == self.system.holder}
        for name in QUEUES:
            busy = sum(job.standing.holder == self.system.holder and job.queue == name for job in self.records.values())
            assert busy <= WORKERS  # 8: never more than any limit
            if name not in self.paused:  # 20: nobody idles beside work
                assert busy == WORKERS or not any(
                    job.state == "pending" and job.queue == name for job in self.records.values()
                )

    def _look_at_events(self) -> None:
        """Follow each job along its events, and each claim among what was ready at that moment."""
        for event in self.log[self.seen :]:
            assert event.name != "gap"
            if event.job is None:
                continue
            id, expected = event.job, self.known.get(event.job)
            if expected is None:  # the answer to this enqueue has not come back yet
                expected = self.known[id] = Expected({"n": len(self.known)}, 0)
            assert event.version is not None and event.state is not None and event.queue is not None
            if event.name == "job:queued":
                assert event.version == 1 and expected.version == 0
            else:
                assert event.version == expected.version + 1, event  # 17
                assert any(TRANSITIONS[step].get(expected.state) == event.state for step in STEPS), event  # type: ignore[call-overload]
            expected.version, expected.state = event.version, event.state
            ready = self.ready[event.queue]
            if event.name == "job:started":
                assert event.queue not in self.paused  # 16
                assert id in ready
                assert id == min(ready, key=self._order), (id, sorted(ready, key=self._order))  # 8
                expected.claims += 1
            if event.name == "job:lost" or (
                event.name == "job:dead" and event.data.get("error", {}).get("type") == "worker_died"
            ):
                expected.crashes += 1
                expected.errors += 1
                expected.may_be_dead = expected.crashes >= MAX_CRASHES
            if event.state == "pending":
                ready.add(id)
            else:
                ready.discard(id)
        self.seen = len(self.log)

    def _order(self, id: str) -> tuple[int, int, int, int]:
        job = self.records[id]
        run_at = job.standing.run_at
        return (-job.spec.priority, job.spec.front, run_at, job.standing.seq)

    def _look_at_stats(self) -> None:
        stats = self.guest(self.system.stats)
        states = [job.state for job in self.records.values()]
        assert stats.enqueued == len(self.known) and stats.deleted == len(self.deleted)  # 1, 18
        for state in ("pending", "scheduled", "running"):
            assert getattr(stats, state) == states.count(state)
        ended = (stats.completed, stats.dead, stats.cancelled)
        assert all(new >= old for new, old in zip(ended, self.ended, strict=True))
        assert all(
            stored >= states.count(state)
            for stored, state in zip(ended, ("completed", "dead", "cancelled"), strict=True)
        )
        self.ended = ended


class OverMemory(Machine):
    """The live system over the memory store."""

    make_store = staticmethod(lambda directory: MemoryStore())


class OverSQLite(Machine):
    """The live system over SQLite, called inline."""

    make_store = staticmethod(lambda directory: SQLiteStore(directory / "jobs.db", inline=True))


@pytest.mark.parametrize(("machine", "examples"), [(OverMemory, 60), (OverSQLite, 15)], ids=["memory", "sqlite"])
def test_the_promises_hold_whatever_happens(machine: type[Machine], examples: int):
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
