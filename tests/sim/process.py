"""A process: one system on the shared store, that can stop, be cancelled, crash, or fall silent and come back."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import trio

import actors
from actors.body import without_cancelled
from tests.sim.ears import Ears
from tests.sim.port import Port
from tests.sim.world import LEASE, QUEUES, World

if TYPE_CHECKING:
    from tests.sim.truth import Body, Truth

SLACK = 1.0  # seconds that slow store calls may add to a stop

MakePort = Callable[["Process", random.Random], Port]


class Process:
    """One process, from its start to its end; what comes after it is another one."""

    def __init__(self, name: str, world: World, truth: Truth, make_port: MakePort) -> None:
        self.name = name
        self.world = world
        self.truth = truth
        self.rng = random.Random(f"{world.seed} {name}")
        self.port = make_port(self, random.Random(f"{world.seed} {name} port"))
        self.ears = Ears(self)
        self.scope = trio.CancelScope()
        self.ended = trio.Event()
        self.holder = ""
        self.system: actors.System | None = None
        self.dead = False  # crashed: nothing it does comes through
        self.leaving: Literal["stop", "cancel"] | None = None
        self.reports = 0  # its own steps of running jobs
        self._reports_before: int | None = None  # when it began to leave
        self._left_at = math.nan
        self._was_clean = False
        self._closed = False
        self.lives_until = math.inf  # until when nobody may take its jobs, as far as the store knows
        self._last_lapse: float | None = None
        self._stopped_all: list[float] = []

    def __repr__(self) -> str:
        return self.name

    @property
    def is_up(self) -> bool:
        """Whether something can be asked of it."""
        return self.system is not None and not self.dead and self.leaving is None

    # Life

    async def live(self, registry: actors.Registry) -> None:
        """Until it leaves or dies."""
        world = self.world
        queues = {
            QUEUES[0]: actors.Queue(world.workers, world.limit and 4 * world.limit, "wait"),
            QUEUES[1]: actors.Queue(world.workers, world.limit, "wait" if world.waits else "reject"),
        }
        try:
            with self.scope:
                async with actors.open_system(
                    registry,
                    store=self.port,
                    queues=queues,
                    lease=LEASE,
                    grace=world.grace,
                    clock=self.truth.clock,
                    rng=self.rng,
                    resources=(self,),
                ) as self.system:
                    self.truth.say(self, "is up")
                    await self.system.until_stop()
        except trio.Cancelled:
            raise
        except BaseException as error:
            rest = without_cancelled(error)
            if rest is not None and not self.dead:
                self.truth.break_off(f"{self} ended with {rest!r}")
        finally:
            self.ended.set()
        if not self.dead:
            self._left()

    def stop(self) -> None:
        """Stop in order."""
        assert self.system is not None
        self._leave("stop")
        self.system.stop()

    def cancel(self) -> None:
        """Be cancelled from outside: everything is given back at once."""
        self._leave("cancel")
        self.scope.cancel()

    def _leave(self, how: Literal["stop", "cancel"]) -> None:
        self.truth.say(self, how)
        self._was_clean = not (self.port.is_troubled or self.lapsed_since(-math.inf))
        self.port.calm = True
        self.leaving = how
        self._reports_before = self.reports
        self._left_at = trio.current_time()

    def crash(self) -> None:
        """Forget everything; not even its goodbye arrives."""
        self.truth.say(self, "crash")
        self.dead = True
        self.port.die()
        self.scope.cancel()

    @property
    def left_clean(self) -> bool:
        """Whether it leaves in order, and its store has done what it was told to."""
        return self.leaving is not None and self._was_clean and not self.dead

    def is_disturbed(self) -> None:
        """What happens now may hold up its end, if it is on its way out."""
        self._was_clean = False

    async def be_killed(self) -> None:
        """A body takes its process with it (but not in the calm)."""
        if not self.truth.calm:
            self.crash()
            await trio.sleep_forever()

    def _left(self) -> None:
        """What must be true after an orderly end."""
        truth, system = self.truth, self.system
        truth.say(self, f"has left: {system and system.report}")
        if system is None or self.leaving is None:
            return
        with truth.judging(f"{self} has left ({self.leaving})"):
            held = [entry.spec.id for entry in truth.ledger.running(self.holder)]
            took = trio.current_time() - self._left_at
            if self._was_clean:
                assert not held, f"it still holds {held}"
                assert system.report is not None
                report, before = system.report, self._reports_before or 0
                booked = report.finished + report.given_back + report.cancelled
                assert booked <= self.reports - before, f"{report}, but {self.reports - before} reports"
                grace = self.world.grace if self.leaving == "stop" else 0.0
                stubborn = max([b.ended - self._left_at for b in self._bodies() if b.ended is not None], default=0.0)
                most = max(grace, stubborn) + 1.0 + SLACK
                assert took <= most, f"it took {took} s, expected {most} s"

    def _bodies(self) -> list[Body]:
        return [body for body in self.truth.bodies.values() if body.process is self]

    # Liveness, as the port sees it

    def opens(self, holder: str) -> None:
        """It takes a name."""
        self.holder = holder
        self.truth.processes[holder] = self
        self.lives_until = trio.current_time() + LEASE

    def closes(self) -> None:
        """It says goodbye."""
        self._closed = True

    def beats(self, at: float) -> None:
        """It was alive at `at`."""
        self.is_alive(at + LEASE)

    def is_alive(self, until: float) -> None:
        """The store has heard of it, and takes it for alive until then."""
        if trio.current_time() > self.lives_until:
            self._last_lapse = trio.current_time()
        self.lives_until = until

    def stops_all(self) -> None:
        """It knows that its lease may be over: what runs is given back."""
        self.truth.say(self, "stops what it runs")
        self._stopped_all.append(trio.current_time())

    def stopped_all_since(self, at: float) -> bool:
        """Whether what has run since `at` may have been given back because of its lease."""
        return any(stopped >= at for stopped in self._stopped_all)

    def lapsed_since(self, at: float) -> bool:
        """Whether its jobs that it has claimed at `at` could rightly be taken from it."""
        overdue = trio.current_time() > self.lives_until
        has_lapsed = self._last_lapse is not None and self._last_lapse >= at
        return self.dead or self._closed or overdue or has_lapsed
