"""Backlog: the same start, claims and first jobs, with few and with very many jobs waiting in SQLite."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import attrs
import trio

from actors.store.sqlite import SQLiteStore
from benchmarks.figure import Figure, Goal, Taken, ratios
from benchmarks.rounds import Measure
from benchmarks.settings import Settings
from benchmarks.waiting import fill

START: Final = Goal("<", 2.0)  # s
CLAIMS: Final = Goal("<=", 1.5)  # times as dear as with few waiting
MEMORY: Final = Goal("<", 150.0)  # MB
REFILLED: Final = 100_000  # a backlog above is made once: each round takes only a few thousand jobs off it
ROOT: Final = Path(__file__).parent.parent


@attrs.frozen
class Backlog:
    """The part."""

    settings: Settings

    def measures(self) -> Sequence[Measure]:
        """Few, many."""
        return [self._measure("few"), self._measure("many")]

    def _size(self, which: str) -> int:
        return self.settings.backlog if which == "many" else self.settings.small_backlog

    def _measure(self, which: str) -> Measure:
        return Measure(f"{self._size(which):,} waiting", lambda: self._take(which))

    def _take(self, which: str) -> dict[str, float]:
        path = self.settings.scratch / f"{which}.db"
        found: dict[str, float] = {}
        if self._size(which) <= REFILLED:
            for old in self.settings.scratch.glob(f"{which}.db*"):
                if old.is_file():
                    old.unlink()
        if not path.exists():
            found[f"{which}/fill"] = trio.run(fill, SQLiteStore(path), self._size(which))
        settings = self.settings
        numbers = [str(number) for number in (settings.first, settings.claimed, settings.workers)]
        command = [sys.executable, "-m", "benchmarks.waiting", str(path), *numbers]
        printed = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
        return found | {f"{which}/{key}": given for key, given in json.loads(printed).items()}

    def figures(self, taken: Taken) -> Sequence[Figure]:
        """Many against few, then each."""
        settings = self.settings
        of_store = partial(Figure, store="sqlite")
        many, few = (f"{self._size(which):,} waiting" for which in ("many", "few"))
        found = [
            of_store(
                f"cost of a claim, {many} / {few}",
                "ratio",
                ratios(taken, "many/claim", "few/claim"),
                jobs=settings.claimed,
                goal=CLAIMS,
            ),
            of_store(
                f"first jobs/s, {many} / {few}",
                "ratio",
                ratios(taken, "many/first", "few/first"),
                jobs=settings.first,
                workers=settings.workers,
            ),
        ]
        for which, here in (("many", many), ("few", few)):
            start, most = (START, MEMORY) if which == "many" else (None, None)
            size = self._size(which)
            found += [
                of_store(f"start to first line, {here}", "s", taken[f"{which}/start"], goal=start),
                of_store(f"RSS at most, {here}", "MB", taken[f"{which}/most"], goal=most),
                of_store(f"RSS, {here}", "MB", taken[f"{which}/rss"]),
                of_store(
                    f"first jobs, {here}",
                    "jobs/s",
                    taken[f"{which}/first"],
                    jobs=settings.first,
                    workers=settings.workers,
                ),
                of_store(f"cost of a claim, {here}", "µs/job", taken[f"{which}/claim"], jobs=settings.claimed),
                of_store(f"enqueue_many up to {here}", "jobs/s", taken[f"{which}/fill"], jobs=size),
            ]
        return found
