"""huey: threads; SQLite with and without fsync, and memory. Its dequeue deletes: at most once."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.peers.shape import Peer, Sizes, lines, measure_threads, package

THREADS = 4


class _Huey:
    def __init__(self, huey: Any) -> None:
        self.huey = huey
        self.consumer: Any = None

        @huey.task()
        def no_op() -> None:
            lines.append(time.perf_counter())

        self.enqueue = no_op

    def start(self) -> None:
        Consumer: type[Any] = package("huey.consumer").Consumer

        class Quiet(Consumer):
            def _set_signal_handlers(self) -> None: ...

        # no schedule is looked at, the shortest pause between looks at an empty queue that it documents
        options = {"workers": THREADS, "periodic": False, "initial_delay": 0.001, "max_delay": 0.001, "backoff": 1.0}
        self.consumer = Quiet(self.huey, **options)
        self.consumer.start()


def _measure(kind: str, sizes: Sizes) -> dict[str, float]:
    huey = package("huey")

    path = str(Path(sizes.scratch) / "huey.db")
    match kind:
        case "memory":
            made = huey.MemoryHuey("bench", results=False)
        case "redis":
            made = huey.RedisHuey("bench", results=False, url=sizes.redis)
        case _:
            made = huey.SqliteHuey("bench", filename=path, results=False, fsync=kind == "fsync")
    return measure_threads(_Huey(made), sizes)


_SETTINGS = f"{THREADS} threads, no results, looks each 1 ms"
PEERS = [
    Peer("huey", "memory", ("huey",), _SETTINGS, "nothing", partial(_measure, "memory")),
    Peer("huey, fsync off", "sqlite", ("huey",), _SETTINGS, "at most once", partial(_measure, "no fsync")),
    Peer("huey, fsync on", "sqlite", ("huey",), _SETTINGS, "at most once", partial(_measure, "fsync"), slow=True),
]
