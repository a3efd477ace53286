"""Where a job is kept: the sorted set of its state, its member there, and the counter that counts it."""

from __future__ import annotations

from typing import Any, Final

from actors.core.job import FINAL, JobSpec, Standing, State
from actors.core.lifecycle import PROMOTION, bulk_claim
from actors.store.redis.rows import stamp

LATER: Final = PROMOTION.source
READY: Final = PROMOTION.target
BUSY: Final = bulk_claim(0, "").target


def counter(priority: int, state: State, queue: str) -> str:
    """The counter of a (queue, priority rank, state)."""
    return f"{priority}|{state}|{queue}"


def read_counter(text: str) -> tuple[str, int, State]:
    """The inverse of `counter`."""
    priority, state, queue = text.split("|", 2)
    return queue, int(priority), state  # type: ignore[return-value]  # it was written by `counter`


def family(state: State) -> str:
    """The set, or the word for the sets, of all jobs of a state."""
    if state == LATER:
        return "later"
    if state == READY:
        return "ready"
    return "held" if state == BUSY else f"ended:{state}"


def held(holder: str | None) -> str:
    """The set of what a holder holds."""
    return f"held:{holder or ''}"


def member(standing: Standing, tail: str) -> str:
    """The member of a job in the set of its state."""
    state = standing.state
    if state == BUSY:
        return tail
    if state in FINAL:
        return stamp(standing.finished_at or 0) + tail
    return stamp(standing.run_at) + tail


class Places:
    """The places that a batch names, each once: (set, counter, whether it is an end, sets where the set is entered)."""

    __slots__ = ("_known", "table")

    def __init__(self) -> None:
        self.table: list[Any] = []
        self._known: dict[tuple[Any, ...], int] = {}

    def index(self, spec: JobSpec, standing: Standing) -> int:
        """The number of the place of this job in the table, from one."""
        state, queue, priority = standing.state, spec.queue, spec.priority
        key: tuple[Any, ...] = (state, queue, priority)
        if state == READY:
            key = (*key, spec.type)
        elif state == BUSY:
            key = (*key, standing.holder)
        number = self._known.get(key)
        if number is None:
            self.table.append(_place(spec, standing))
            number = self._known[key] = len(self.table)
        return number


def _place(spec: JobSpec, standing: Standing) -> tuple[str, str, bool, list[tuple[str, str]]]:
    state, queue, priority = standing.state, spec.queue, spec.priority
    counted = counter(priority, state, queue)
    if state == READY:
        lane = f"{priority}{spec.type}"
        return f"ready:{lane}|{queue}", counted, False, [(f"lanes:{queue}", lane), ("queues", queue)]
    if state == BUSY:
        return held(standing.holder), counted, False, [("holding", standing.holder or "")]
    return family(state), counted, state in FINAL, []
