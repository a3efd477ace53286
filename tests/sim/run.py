"""One history: a world, its processes, a storm, and then the calm in which everything must end.

trio's task order, the clock, the ids, the faults and the moves all come from the seed: the same seed is the same history.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import attrs
import trio
import trio.testing

import actors
from actors.store.memory import MemoryStore
from actors.store.sqlite import SQLiteStore
from tests.sim.calm import calm
from tests.sim.jobs import Jobs
from tests.sim.port import Port
from tests.sim.process import MakePort, Process
from tests.sim.redis.network import Network
from tests.sim.redis.port import RedisPort
from tests.sim.storm import Storm
from tests.sim.truth import Broken, Truth
from tests.sim.world import StoreName, World, draw

FAST_DISK: Final = Path("/dev/shm")
JOBS: Final = Jobs()


@attrs.frozen(kw_only=True)
class History:
    """What has happened under one seed; `broken` None: all promises were kept."""

    seed: int
    store: StoreName
    broken: str | None
    trace: list[str]
    commits: int
    jobs: int

    def check(self) -> None:
        """Raise `Broken`, saying how to see it again."""
        if self.broken is not None:
            again = f"python -m tests.sim --seed {self.seed} --store {self.store} --trace"
            raise Broken(f"seed {self.seed} ({self.store}), {self.broken}\nto see it again: {again}")


class House:
    """Everything of one history."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.clock = actors.TrioClock(patience=world.patience)
        self.truth = Truth(self.clock)
        self.jobs = JOBS
        self.processes: list[Process] = []
        self.started = 0
        self.nursery: trio.Nursery
        self.network: Network | None = None  # where the store is a server
        self.make_port: MakePort

    async def run(self) -> None:
        """From the first process to the last check."""
        truth = self.truth
        async with trio.open_nursery() as self.nursery:
            with truth.scope:
                for _ in range(self.world.processes):
                    self.start()
                storm = Storm(self)
                await storm.rage()
                await calm(self, storm)
            for process in self.processes:
                if not process.ended.is_set():
                    process.crash()
            self.nursery.cancel_scope.cancel()

    def start(self) -> Process:
        """Another process."""
        self.started += 1
        process = Process(f"p{self.started}", self.world, self.truth, self.make_port)
        self.processes = [one for one in self.processes if not (one.dead or one.ended.is_set())]
        self.processes.append(process)
        self.truth.say(process, "starts")
        self.nursery.start_soon(process.live, self.jobs.registry)
        return process

    def up(self) -> list[Process]:
        """The processes that can be asked something."""
        return [process for process in self.processes if process.is_up]


def simulate(seed: int, store: StoreName = "memory") -> History:
    """Live through one seed."""
    world = draw(seed, store)
    house = House(world)
    with tempfile.TemporaryDirectory(dir=FAST_DISK if FAST_DISK.is_dir() else None) as directory:
        match store:
            case "sqlite":
                path = Path(directory) / "jobs.db"
                house.make_port = lambda process, rng: Port(SQLiteStore(path, inline=True), process, rng)
            case "redis":
                network = house.network = Network(house)
                house.make_port = lambda process, rng: RedisPort(network, process, rng)
            case "memory":
                memory = MemoryStore()
                house.make_port = lambda process, rng: Port(memory, process, rng)
        with in_order(seed), quiet():
            trio.run(house.run, clock=trio.testing.MockClock(autojump_threshold=0))
    truth = house.truth
    return History(
        seed=seed,
        store=store,
        broken=truth.broken,
        trace=truth.trace,
        commits=truth.commits,
        jobs=len(truth.ledger.accepted),
    )


@contextmanager
def in_order(seed: int) -> Iterator[None]:
    """trio's choice among tasks that are ready comes from the seed."""
    internals = trio._core._run  # type: ignore[attr-defined]  # there is no public way
    before, state = internals._ALLOW_DETERMINISTIC_SCHEDULING, internals._r.getstate()
    internals._ALLOW_DETERMINISTIC_SCHEDULING = True
    internals._r.seed(seed)
    try:
        yield
    finally:
        internals._ALLOW_DETERMINISTIC_SCHEDULING = before
        internals._r.setstate(state)


@contextmanager
def quiet() -> Iterator[None]:
    """Faults are what this is about: the system's warnings of them are not worth their time."""
    log = logging.getLogger("actors")
    before = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(before)
