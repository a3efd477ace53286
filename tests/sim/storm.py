"""The storm: what users, operators and accidents do, one after the other, while the store fails."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import trio

from tests.sim.callers import Callers
from tests.sim.process import Process
from tests.sim.world import LEASE

if TYPE_CHECKING:
    from tests.sim.run import House

STEPS: Final = (0.5, 5.0, 3_600.0, 86_400.0)  # seconds by which a clock is set, either way


class Storm:
    """Draws what happens next, and does it."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.world = house.world
        self.truth = house.truth
        self.rng = random.Random(f"{house.world.seed} storm")
        self.stepped = 0.0  # seconds by which the wall clock is off
        self.has_stepped = False
        self.callers = callers = Callers(house, self.rng)
        moves: dict[str, tuple[Callable[[], None], int]] = {
            "enqueue": (callers.enqueue, 12),
            "crash": (self.crash, 2),
            "silence": (self.silence, 2),
            "stop": (self.stop, 2),
            "cancel_process": (self.cancel_process, 2),
            "step_clock": (self.step_clock, 2),
            "by_hand": (callers.by_hand, 6),
            "pause": (callers.pause, 2),
            "resize": (callers.resize, 2),
            "schedule": (callers.schedule, 2),
            "schedule_by_hand": (callers.schedule_by_hand, 2),
            "keys": (callers.keys, 4),
            "many": (callers.many, 2),
            "wait": (callers.wait, 2),
            "subscribe": (callers.subscribe, 2),
            "letters": (callers.letters, 1),
            "poison": (callers.poison, 5),
            "look": (callers.look, 2),
        }
        if (network := house.network) is not None and self.world.restarts:
            moves["restart"] = (network.restart, 2)
        known = {"enqueue", "restart", *self.world.mischief}
        self._moves = [move for name, (move, _) in moves.items() if name in known]
        self._weights = [weight for name, (_, weight) in moves.items() if name in known]

    async def rage(self) -> None:
        """Do as many things as the world says."""
        for _ in range(self.world.moves):
            (move,) = self.rng.choices(self._moves, self._weights)
            move()
            await trio.sleep(self.rng.expovariate(1.0) * self.world.rush if self.rng.random() < 0.7 else 0.0)
            if len(self.house.processes) < self.world.processes and self.rng.random() < 0.5:
                self.house.start()
            self._revive()

    def _revive(self) -> None:
        if not any(not (one.dead or one.ended.is_set()) for one in self.house.processes):
            self.house.start()

    # Accidents

    def _any(self) -> Process | None:
        up = self.house.up()
        return self.rng.choice(up) if up else None

    def crash(self) -> None:
        """A process dies, at whatever moment."""
        processes = [one for one in self.house.processes if not one.dead and not one.ended.is_set()]
        if processes:
            self.rng.choice(processes).crash()

    def silence(self) -> None:
        """A process can't reach the store for a while, shorter or longer than its lease."""
        if (process := self._any()) is not None and not process.port.silent:
            self.truth.say(process, "falls silent")
            process.port.fall_silent()
            self.house.nursery.start_soon(self._come_back, process, LEASE * self.rng.choice([0.2, 1.1, 3.0]))

    async def _come_back(self, process: Process, after: float) -> None:
        await trio.sleep(after)
        if process.port.silent:
            self.truth.say(process, "comes back")
            process.port.come_back()

    def stop(self) -> None:
        """A process stops in order."""
        if (process := self._any()) is not None:
            process.stop()

    def cancel_process(self) -> None:
        """A process is cancelled from outside."""
        if (process := self._any()) is not None:
            process.cancel()

    def step_clock(self) -> None:
        """Somebody sets the wall clock; now and then it is set right."""
        seconds = self.rng.choice(STEPS) * self.rng.choice([1, -1])
        if self.stepped:
            seconds = -self.stepped
        self.set_clock(seconds)

    def set_clock(self, seconds: float) -> None:
        """Step the wall clock."""
        self.has_stepped = True
        self.stepped += seconds
        self.truth.say("clock", f"steps by {seconds:g} s")
        self.house.clock.step(seconds)
