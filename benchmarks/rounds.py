"""Rounds: every measurement once, then all of them again, so that what disturbs the machine disturbs all alike."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import attrs

from benchmarks.figure import Figure, Taken


@attrs.frozen
class Measure:
    """One measurement: what it is called while it runs, and how it is taken: numbers by key."""

    name: str
    take: Callable[[], Mapping[str, float]]


class Part(Protocol):
    """A group of measurements that belong in one run, and the figures that they make."""

    def measures(self) -> Sequence[Measure]:
        """The measurements of one round, in order."""
        ...

    def figures(self, taken: Taken) -> Sequence[Figure]:
        """What the rounds say, ratios first."""
        ...


def take(part: Part, runs: int, tell: Callable[[str], None]) -> Sequence[Figure]:
    """Measure `runs` rounds, telling the name of each measurement before it is taken."""
    taken: dict[str, list[float]] = {}
    for _ in range(runs):
        for measure in part.measures():
            tell(measure.name)
            gc.collect()  # what the one before left is not this one's to clear away
            for key, given in measure.take().items():
                taken.setdefault(key, []).append(given)
    return part.figures(taken)
