"""How much is measured: the sizes that every part reads, full or quick."""

from __future__ import annotations

from pathlib import Path

import attrs


@attrs.frozen(kw_only=True)
class Settings:
    """Counts are of jobs unless said otherwise. `scratch` is a directory on a disk that really syncs."""

    scratch: Path
    runs: int = 3
    jobs: int = 50_000  # processed per measurement
    workers: int = 100
    crowd: tuple[int, ...] = (1, 10, 100, 1_000)  # workers of the bare queues
    single: int = 2_000  # enqueued by one caller who awaits each
    many: int = 20_000  # enqueued by several callers, each awaiting each
    bulk: int = 100_000  # enqueued by `enqueue_many`
    samples: int = 400  # latencies
    small_backlog: int = 10_000
    backlog: int = 1_000_000
    first: int = 4_000  # of a backlog, run through the system
    claimed: int = 2_000  # of a backlog, claimed from the store alone

    @classmethod
    def quick(cls, scratch: Path) -> Settings:
        """A few hundred jobs each: shows that everything runs, and nothing else."""
        return cls(
            scratch=scratch,
            runs=1,
            jobs=300,
            crowd=(1, 100),
            single=50,
            many=200,
            bulk=300,
            samples=20,
            small_backlog=2_000,
            backlog=3_000,
            first=200,
            claimed=100,
        )
