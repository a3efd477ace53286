"""Backlog: the same start, claims and first jobs, with few and with very many jobs waiting in SQLite."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

import attrs
import trio

from actors.store.sqlite import SQLiteStore
from benchmarks.figure import Figure, Goal, Taken, ratios
from benchmarks.rounds import Measure
from benchmarks.settings import Settings
from benchmarks.waiting import SHAPES, Shape, claim, database, meet

CLAIMS: Final[dict[Shape, Goal]] = {  # times as dear as with few waiting
    "plain": Goal("<=", 1.2),
    "interleaved": Goal("<=", 1.3),  # page locality: what is claimed together does not lie together
    "random": Goal("<=", 3.0),
}
NAMES: Final[dict[Shape, str]] = {
    "plain": "",
    "interleaved": ", four interleaved priorities",
    "random": ", random run_at",
}


@attrs.frozen
class Backlog:
    """The part."""

    settings: Settings

    def measures(self) -> Sequence[Measure]:
        """Few, many; in every shape."""
        if "sqlite" not in self.settings.stores:
            return []
        return [self._measure(shape, size) for shape in SHAPES for size in self._sizes()]

    def _sizes(self) -> tuple[int, int]:
        return self.settings.small_backlog, self.settings.backlog

    def _measure(self, shape: Shape, size: int) -> Measure:
        settings = self.settings

        def take() -> dict[str, float]:
            store = SQLiteStore(database(settings.scratch, shape, size))
            found: dict[str, float] = {}
            if shape == "plain":
                found |= trio.run(meet, store, settings.first, settings.workers)
            found |= trio.run(claim, store, settings.claimed)
            return {f"{shape}/{size}/{key}": given for key, given in found.items()}

        return Measure(f"{size:,} waiting{NAMES[shape]}", take)

    def figures(self, taken: Taken) -> Sequence[Figure]:
        """Many against few, then each."""
        if "sqlite" not in self.settings.stores:
            return []
        settings = self.settings
        of_store = partial(Figure, store="sqlite")
        few, many = self._sizes()
        found: list[Figure] = []
        for shape in SHAPES:
            dearer = ratios(taken, f"{shape}/{many}/claim", f"{shape}/{few}/claim")
            name = f"cost of a claim, {many:,} waiting / {few:,}{NAMES[shape]}"
            found.append(of_store(name, "ratio", dearer, jobs=settings.claimed, goal=CLAIMS[shape]))
        faster = ratios(taken, f"plain/{many}/first", f"plain/{few}/first")
        name = f"first jobs/s, {many:,} waiting / {few:,}"
        found.append(of_store(name, "ratio", faster, jobs=settings.first, workers=settings.workers))
        for size in (many, few):
            here = f"{size:,} waiting"
            plain = f"plain/{size}"
            found.append(of_store(f"start to first line, {here}", "s", taken[f"{plain}/start"]))
            pace = partial(of_store, jobs=settings.first, workers=settings.workers)
            found.append(pace(f"first jobs, {here}", "jobs/s", taken[f"{plain}/first"]))
            for shape in SHAPES:
                cost = taken[f"{shape}/{size}/claim"]
                found.append(of_store(f"cost of a claim, {here}{NAMES[shape]}", "µs/job", cost, jobs=settings.claimed))
        return found
