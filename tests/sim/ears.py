"""Ears: subscribers of one process, quick, slow, and some that resume, and what they must have heard: the steps of all
processes, in the order of their commits.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import attrs
import trio

import actors

if TYPE_CHECKING:
    from tests.sim.process import Process

AWAY: Final = 2.0  # seconds between two subscriptions of one that resumes


@attrs.define(eq=False)
class Ear:
    """One subscriber: where it stands in what all processes have done, once it has heard something."""

    pause: float  # seconds it takes over each event
    at: int | None = None
    missed: float = 0
    cursor: str | None = None  # of the last event


class Ears:
    """All subscribers of one process."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def listen(self, pause: float, buffer: int, leaves_after: int | None = None) -> None:
        """Subscribe, and follow until the end of the subscription; one that leaves after so many events resumes."""
        ear = Ear(pause)
        while await self._listen(ear, buffer, leaves_after):
            await trio.sleep(AWAY)

    async def _listen(self, ear: Ear, buffer: int, leaves_after: int | None) -> bool:
        """Whether it has left."""
        process = self._process
        assert process.system is not None
        heard = 0
        with process.system.events(buffer=buffer, after=ear.cursor) as events:
            async for event in events:
                with process.truth.judging(f"{process} tells {event.name} of {event.job}"):
                    self._hear(ear, event)
                heard += 1
                if heard == leaves_after and ear.cursor is not None:
                    return True
                if ear.pause:
                    await trio.sleep(ear.pause)
        if not ear.pause and ear.at is not None and process.left_clean and leaves_after is None:
            truth = process.truth
            with truth.judging(f"{process} has ended"):
                whose = truth.tellers[ear.at :]
                assert process not in whose, f"its last steps were not told: {truth.told[ear.at :]}"
        return False

    def _hear(self, ear: Ear, event: actors.Event) -> None:
        told = self._process.truth.told
        if event.name == "gap":
            missed = event.data["missed"]
            if missed is None:
                assert "step_clock" in self._process.world.mischief, "a gap, though nothing was lost"
                ear.missed = math.inf
                return
            assert ear.pause, "a gap, though it was quick"
            ear.missed += int(missed)
            return
        if event.job is None or event.version is None or event.name == "job:progress":
            ear.cursor = event.cursor or ear.cursor
            return
        fact = (event.job, event.version, event.state)
        if ear.at is None:
            assert fact in told, "nobody has done such a thing"
            ear.at = len(told) - told[::-1].index(fact)  # (an id may be given again)
            ear.cursor = event.cursor
            return
        index = told.index(fact, ear.at) if fact in told[ear.at :] else None
        assert index is not None, f"expected {told[ear.at : ear.at + 3]}"
        jumped = index - ear.at
        assert jumped <= ear.missed, f"{told[ear.at : index]} were not told, and {ear.missed} known to be missed"
        ear.at, ear.missed, ear.cursor = index + 1, 0, event.cursor
