"""Callers: what users and operators ask of processes, with limited patience, and what the answers must agree with."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import trio

import actors
from tests.sim.jobs import KILLER, POISON, POLICIES, WORDS
from tests.sim.process import Process
from tests.sim.truth import short
from tests.sim.world import QUEUES

if TYPE_CHECKING:
    from tests.sim.run import House

PATIENCE: Final = 40.0  # seconds that a caller waits for an answer
SCHEDULES: Final = ("tick", "tock")


class Callers:
    """Each method sends somebody with a request to a process that is up, and does not wait for the answer."""

    def __init__(self, house: House, rng: random.Random) -> None:
        self.house = house
        self.world = house.world
        self.truth = house.truth
        self.rng = rng
        self.ids: list[str] = []  # of jobs that were accepted
        self.asking = 0  # those who wait for an answer
        self._n = 1  # 0 and 1 are the children's

    # Asking

    def _ask(self, what: str, call: Callable[[Process], Awaitable[Any]], *allowed: type[BaseException]) -> None:
        """Ask a process that is up, as a caller with limited patience would. Its answer may be one of these errors."""
        up = self.house.up()
        if up:
            self.asking += 1
            self.house.nursery.start_soon(self._asking, self.rng.choice(up), what, call, allowed)

    async def _asking(
        self,
        process: Process,
        what: str,
        call: Callable[[Process], Awaitable[Any]],
        allowed: tuple[type[BaseException], ...],
    ) -> None:
        truth = self.truth
        patience = PATIENCE if self.rng.random() < 0.8 else self.rng.random()
        with trio.move_on_after(patience):
            try:
                with truth.judging(f"{process} was asked to {what}"):
                    await call(process)
                    truth.say(process, f"did {what}")
            except (actors.ShuttingDown, actors.StoreError, *allowed) as error:
                truth.say(process, f"did not {what}: {type(error).__name__}")
            except Exception as error:
                truth.break_off(f"{process} was asked to {what}, and answered {error!r}")
        self.asking -= 1

    # Jobs

    def _job(self) -> Any:
        self._n += 1
        known = POISON if "crash" in self.world.mischief else WORDS
        words = self.rng.choices(known, k=self.rng.randint(1, 5))
        takes = self.rng.choice([0.0, 0.001, 0.5, 3.0])
        name = self.rng.choice(list(POLICIES))
        return self.house.jobs.types[name](n=self._n, words=words, takes=takes)

    def _options(self) -> dict[str, Any]:
        rng = self.rng
        given: dict[str, Any] = {"queue": rng.choice(QUEUES), "max_attempts": rng.randint(1, 3)}
        given["timeout"] = rng.choice([1.0, 5.0, 20.0])  # always: some bodies hang
        if rng.random() < 0.3:
            given["delay"] = rng.choice([0.0, 1.0, 6.0, 30.0])
        if rng.random() < 0.3:
            given["priority"] = rng.choice(["low", "normal", "high", "critical"])
        if rng.random() < 0.1:
            given["front"] = True
        if rng.random() < 0.2:
            given["owner"] = rng.choice(["ada", "bob"])
        return given

    def enqueue(self) -> None:
        """One job."""
        self._enqueue(self._job(), self._options(), actors.QueueFull)

    def poison(self) -> None:
        """A job that takes its process with it, again and again."""
        self._n += 1
        words = [*KILLER[: self.rng.randint(2, 4)], "ok"]
        self._enqueue(self.house.jobs.types["work"](n=self._n, words=words, takes=0.0), {"priority": "high"})

    def _enqueue(self, job: Any, options: dict[str, Any], *allowed: type[BaseException]) -> None:
        async def enqueue(process: Process) -> None:
            assert process.system is not None
            handle = await process.system.enqueue(job, **options)
            self._accepted(process, handle)

        self._ask("enqueue", enqueue, *allowed)

    def _accepted(self, process: Process, handle: Any) -> None:
        assert handle.id in self.truth.ledger.accepted, f"{handle.id} was accepted and is not there"
        if handle.created:
            self.ids.append(handle.id)

    def many(self) -> None:
        """Several at once."""
        jobs = [(self._job(), self._options()) for _ in range(self.rng.randint(2, 8))]

        async def enqueue(process: Process) -> None:
            assert process.system is not None
            for given in await process.system.enqueue_batch(jobs):  # type: ignore[arg-type]
                if not isinstance(given, actors.ActorsError):
                    self._accepted(process, given)

        self._ask("enqueue many", enqueue)

    def keys(self) -> None:
        """A job with a key that others have too, or with an id of the caller's, asked for again and again."""
        rng, job, options = self.rng, self._job(), self._options()
        options.pop("delay", None)
        match rng.choice(["unique", "id", "idempotency"]):
            case "unique":
                conflict = rng.choice(["skip", "raise", "replace"])
                within = rng.choice([None, None, 5.0])
                options["unique"] = actors.Unique(key=rng.choice("ab"), on_conflict=conflict, within=within)
                options["delay"] = rng.choice([0.0, 5.0])
            case "id":
                options["id"] = rng.choice(["mine", "yours", "theirs"])
            case _:
                options["idempotency_key"] = rng.choice(["k", "l"])
                options["owner"] = None
        for _ in range(rng.randint(1, 3)):
            self._enqueue(job, options, actors.Conflict, actors.QueueFull)

    def by_hand(self) -> None:
        """Cancel, replay, promote or delete one job; half of the cancels meet one that runs."""
        verb = self.rng.choice(["cancel", "cancel", "cancel", "retry", "promote", "delete"])
        running = [entry.spec.id for entry in self.truth.ledger.running()]
        ids = running if verb == "cancel" and running and self.rng.random() < 0.5 else self.ids
        if not ids:
            return
        id = self.rng.choice(ids)

        async def act(process: Process) -> None:
            system = process.system
            assert system is not None
            on = system.dead_letters if verb == "delete" else system
            await getattr(on, verb)(id)

        self._ask(f"{verb} {short(id)}", act, actors.NotFound, actors.WrongState)

    def wait(self) -> None:
        """Wait for a job's result; what it says is what has become of the job."""
        if not self.ids:
            return
        id = self.rng.choice(self.ids)

        async def wait(process: Process) -> None:
            assert process.system is not None
            ended: str
            try:
                result = await process.system.handle(id).result()
                ended = "completed"
            except actors.JobFailed:
                ended = "dead"
            except actors.JobCancelled:
                ended = "cancelled"
            entry = self.truth.ledger.jobs.get(id)
            if entry is not None:
                assert any(state == ended for _, _, state in entry.told), f"it has never been {ended}"
                if ended == "completed":
                    assert entry.result == str(result), f"the result is {entry.result}, not {result}"

        self._ask(f"wait for {short(id)}", wait, actors.NotFound)

    def letters(self) -> None:
        """Replay all dead letters."""

        async def replay(process: Process) -> None:
            assert process.system is not None
            await process.system.dead_letters.retry_all()

        self._ask("replay all", replay)

    # Queues

    def pause(self) -> None:
        """Pause or resume a queue."""
        queue, verb = self.rng.choice(QUEUES), self.rng.choice(["pause", "resume"])

        async def act(process: Process) -> None:
            assert process.system is not None
            await getattr(process.system.queues[queue], verb)()

        self._ask(f"{verb} {queue}", act)

    def resize(self) -> None:
        """Another number of workers."""
        queue, number = self.rng.choice(QUEUES), self.rng.choice([0, 1, 3, 5])

        async def act(process: Process) -> None:
            assert process.system is not None
            process.system.queues[queue].set_workers(number)

        self._ask(f"have {number} workers of {queue}", act)

    def look(self) -> None:
        """Audit everything, at whatever moment: it adds up, and no counter is behind."""

        async def look(process: Process) -> None:
            assert process.system is not None
            before = self.truth.ledger.counters()
            audit = await process.system.audit(every_job=True)
            assert audit.ok, audit.problems
            stats = await process.system.stats()
            counts = (stats.enqueued, stats.deleted, stats.completed, stats.dead, stats.cancelled)
            for then, count, now in zip(before, counts, self.truth.ledger.counters(), strict=True):
                assert then <= count <= now, f"{counts}, expected {before} to {self.truth.ledger.counters()}"

        self._ask("look", look)

    def subscribe(self) -> None:
        """A listener: quick, slow, or one that leaves and resumes."""
        up = self.house.up()
        if up:
            how = self.rng.choice([(0.0, 10_000, None), (0.3, 3, None), (0.0, 10_000, 7)])
            self.house.nursery.start_soon(self._listen, self.rng.choice(up), *how)

    async def _listen(self, process: Process, pause: float, buffer: int, leaves_after: int | None) -> None:
        with suppress(actors.ShuttingDown):
            await process.ears.listen(pause, buffer, leaves_after)

    # Schedules

    def schedule(self) -> None:
        """Declare a schedule, or declare it again."""
        rng, name = self.rng, self.rng.choice(SCHEDULES)
        steps = "step_clock" in self.world.mischief  # a day of slots would be caught up
        every = actors.Every(rng.choice([1.0, 1.0, 4.0]))
        overlap = rng.choice(["skip", "allow", "cancel_previous", "skip" if steps else "queue"])
        catch_up = rng.choice(["none", "latest", "none" if steps else "all"])
        words = [rng.choice(["ok", "ok", "fail", "quick", "stubborn"])]
        job = self.house.jobs.types["fixed"](n=2, words=words, takes=rng.choice([0.0, 0.5, 3.0]))

        async def declare(process: Process) -> None:
            assert process.system is not None
            await process.system.schedule(
                name, every, job, overlap=overlap, catch_up=catch_up, max_attempts=2, timeout=5.0
            )

        self._ask(f"schedule {name} {every} {overlap} {catch_up}", declare)

    def schedule_by_hand(self) -> None:
        """Pause, resume, run, change or remove a schedule."""
        name = self.rng.choice(SCHEDULES)
        verb = self.rng.choice(["pause", "resume", "resume", "run", "remove", "change"])
        given = {"when": actors.Every(self.rng.choice([1.0, 2.0]))} if verb == "change" else {}

        async def act(process: Process) -> None:
            assert process.system is not None
            await getattr(process.system.schedules[name], verb)(**given)

        self._ask(f"{verb} schedule {name}", act, actors.NotFound, actors.AlreadyRunning)
