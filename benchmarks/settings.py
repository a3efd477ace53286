"""How much is measured: the sizes that every part reads, full or quick."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

import attrs

StoreName = Literal["memory", "sqlite", "redis"]
STORES: Final[tuple[StoreName, ...]] = ("memory", "sqlite", "redis")


@attrs.frozen(kw_only=True)
class Settings:
    """Counts are of jobs unless said otherwise. `scratch` is a directory on a disk that really syncs; `redis` the URL
    of an empty server, where there is one.
    """

    scratch: Path
    stores: tuple[StoreName, ...] = ("memory", "sqlite")  # those that are there
    redis: str | None = None
    peer_python: str | None = None  # for peers that need another Python
    runs: int = 3
    jobs: int = 50_000  # processed per measurement
    workers: int = 100
    crowd: tuple[int, ...] = (1, 10, 100, 1_000, 10_000)  # workers of the part `workers` and of the bare queues
    single: int = 2_000  # enqueued by one caller who awaits each
    many: int = 20_000  # enqueued by several callers, each awaiting each
    bulk: int = 100_000  # enqueued by `enqueue_many`
    samples: int = 400  # latencies
    small_backlog: int = 10_000
    backlog: int = 1_000_000
    growth: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)  # backlogs that are kept at this size
    steady: int = 50_000  # processed while a backlog is kept at its size
    first: int = 4_000  # of a backlog, run through the system
    claimed: int = 5_000  # of a backlog, claimed from the store alone
    kept: int = 200_000  # that wait in memory, to be weighed
    starts: int = 5  # fresh interpreters per measurement
    requests: int = 6_000  # HTTP requests per measurement
    batches: int = 30  # HTTP batches of 1 000
    peer_jobs: int = 20_000  # processed per peer and kind; a tenth for those that are slow

    @classmethod
    def quick(cls, scratch: Path) -> Settings:
        """A few hundred jobs each: shows that everything runs, and nothing else."""
        return cls(
            scratch=scratch,
            runs=1,
            jobs=300,
            crowd=(1, 100, 200),
            single=50,
            many=200,
            bulk=300,
            samples=20,
            small_backlog=1_000,
            backlog=2_000,
            growth=(500,),
            steady=500,
            first=200,
            claimed=100,
            kept=2_000,
            starts=1,
            requests=100,
            batches=2,
            peer_jobs=200,
        )
