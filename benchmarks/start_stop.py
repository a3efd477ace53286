"""Start and stop: of an empty system on a new database, in fresh interpreters; and what `import actors` takes."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

import attrs

from benchmarks.child import in_child
from benchmarks.figure import Figure, Goal, Taken, ratios
from benchmarks.rounds import Measure
from benchmarks.settings import Settings

START: Final = Goal("<=", 50)  # ms
STOP: Final = Goal("<=", 20)  # ms
IMPORT: Final = Goal("<=", 200)  # ms
MEMORY: Final = Goal("<=", 45)  # MB


@attrs.frozen
class StartStop:
    """The part."""

    settings: Settings

    def measures(self) -> Sequence[Measure]:
        """The same in several fresh interpreters."""
        return [
            Measure("import trio", partial(self._take, "trio")),
            Measure("import actors, start, stop", partial(self._take, "actors")),
        ]

    def _take(self, what: str) -> dict[str, float]:
        found: list[dict[str, float]] = []
        for _ in range(self.settings.starts):
            with TemporaryDirectory(dir=self.settings.scratch) as directory:
                found.append(in_child("benchmarks.start_stop", what, Path(directory) / "jobs.db"))
        return {f"{what}/{key}": median(one[key] for one in found) for key in found[0]}

    def figures(self, taken: Taken) -> Sequence[Figure]:
        """Import, start, stop."""
        note = f"the median of {self.settings.starts} fresh interpreters each run"
        of_store = partial(Figure, store="sqlite", note=note)
        return [
            Figure("import actors / import trio", "ratio", ratios(taken, "actors/import", "trio/import"), note=note),
            Figure("import actors", "ms", taken["actors/import"], goal=IMPORT, note=note),
            Figure("import trio", "ms", taken["trio/import"], note=note),
            Figure("RSS after import actors", "MB", taken["actors/rss"], goal=MEMORY, note=note),
            Figure("RSS after import trio", "MB", taken["trio/rss"], note=note),
            of_store("start of an empty system", "ms", taken["actors/start"], goal=START),
            of_store("stop of an idle system", "ms", taken["actors/stop"], goal=STOP),
            of_store("RSS of an idle system", "MB", taken["actors/idle"]),
        ]


def _print(what: str, path: Path) -> None:
    """In the fresh interpreter: milliseconds and MB, as JSON."""
    began = time.perf_counter()
    if what == "trio":
        import trio  # noqa: F401

        found = {"import": _since(began)}
    else:
        import actors  # noqa: F401

        found = {"import": _since(began)}
    from benchmarks.machine import rss

    found["rss"], _ = rss()
    if what == "actors":
        found |= _open(path)
    print(json.dumps(found))


def _open(path: Path) -> dict[str, float]:
    import trio
    import trio.testing

    import actors
    from benchmarks.machine import rss

    async def run() -> dict[str, float]:
        found: dict[str, float] = {}
        began = time.perf_counter()
        async with actors.open_system(actors.Registry(), store=f"sqlite:///{path}"):
            found["start"] = _since(began)
            await trio.testing.wait_all_tasks_blocked()
            found["idle"], _ = rss()
            began = time.perf_counter()
        found["stop"] = _since(began)
        return found

    return trio.run(run)


def _since(began: float) -> float:
    return (time.perf_counter() - began) * 1e3


if __name__ == "__main__":
    _print(sys.argv[1], Path(sys.argv[2]))
