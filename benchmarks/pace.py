"""How fast jobs went, by the clock and by the processor; the second holds still where others use the machine too."""

from __future__ import annotations

import time

import attrs


@attrs.frozen
class Pace:
    """`rate` in jobs/s, `cpu` in microseconds of processor time per job, all threads together."""

    rate: float
    cpu: float

    def under(self, key: str) -> dict[str, float]:
        """Both numbers as a measurement's: `key`, and `key/cpu`."""
        return {key: self.rate, f"{key}/cpu": self.cpu}


class Stopwatch:
    """Runs from its making."""

    def __init__(self) -> None:
        self._wall = time.perf_counter()
        self._cpu = time.process_time()

    def pace(self, jobs: int) -> Pace:
        """The pace of `jobs` since then."""
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        return Pace(jobs / wall, cpu / jobs * 1e6)
