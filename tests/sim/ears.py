"""Ears: subscribers of one process, quick and slow, and what they must have heard."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio

import actors

if TYPE_CHECKING:
    from tests.sim.process import Process


@attrs.define(eq=False)
class Ear:
    """One subscriber: where it stands in what its process has done, once it has heard something."""

    pause: float  # seconds it takes over each event
    at: int | None = None
    missed: int = 0


class Ears:
    """All subscribers of one process."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def listen(self, pause: float, buffer: int) -> None:
        """Subscribe, and follow until the end of the subscription."""
        process = self._process
        assert process.system is not None
        ear = Ear(pause)
        with process.system.events(buffer=buffer) as events:
            async for event in events:
                with process.truth.judging(f"{process} tells {event.name} of {event.job}"):
                    self._hear(ear, event)
                if pause:
                    await trio.sleep(pause)
        if not pause and ear.at is not None and process.left_clean:
            with process.truth.judging(f"{process} has ended"):
                rest = process.told[ear.at :]
                assert not rest, f"the last {len(rest)} steps were not told: {rest}"

    def _hear(self, ear: Ear, event: actors.Event) -> None:
        told = self._process.told
        if event.name == "gap":
            assert ear.pause, "a gap, though it was quick"
            ear.missed += int(event.data["missed"])
            return
        if event.job is None or event.version is None or event.name == "job:progress":
            return
        fact = (event.job, event.version, event.state)
        if ear.at is None:
            assert fact in told, "it has done no such thing"
            ear.at = told.index(fact) + 1
            return
        index = told.index(fact, ear.at) if fact in told[ear.at :] else None
        assert index is not None, f"expected {told[ear.at : ear.at + 3]}"
        jumped = index - ear.at
        assert jumped <= ear.missed, f"{told[ear.at : index]} were not told, and {ear.missed} known to be missed"
        ear.at, ear.missed = index + 1, 0
