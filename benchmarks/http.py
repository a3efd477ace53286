"""HTTP: enqueuing through the server, beside an endpoint of the same server that does nothing; the client is a process
of its own.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final, Literal

import attrs

from benchmarks.child import ROOT, in_child
from benchmarks.figure import Figure, Goal, Taken, ratios
from benchmarks.http_client import BATCH_CONNECTIONS, CONNECTIONS
from benchmarks.rounds import Measure
from benchmarks.settings import Settings, StoreName

SHARE: Final = Goal(">=", 0.70)
BATCH: Final = Goal(">=", 30_000)  # jobs/s
NOTE: Final = (
    f"{CONNECTIONS} connections kept alive ({BATCH_CONNECTIONS} for batches), each waits for its answer; the client is "
    "another process; no log, no token; the jobs wait, so that only enqueuing is paid for"
)
BY_CPU: Final = f"processor time of the server's process, all its threads; {NOTE}"


@contextmanager
def _server(store: StoreName | Literal["bare"], settings: Settings) -> Iterator[str]:
    """The URL of a server on a new store, a process of its own that ends when its input is closed."""
    arguments = [store, str(settings.scratch), settings.redis or ""]
    command = [sys.executable, "-m", "benchmarks.http_server", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.stdin.close()


@attrs.frozen
class Http:
    """The part."""

    settings: Settings

    def measures(self) -> Sequence[Measure]:
        """Each store, with a server of its own, and bare anycorn."""
        stores = [Measure(f"HTTP on {store}", partial(self._take, store)) for store in self.settings.stores]
        return [*stores, Measure("HTTP on bare anycorn", self._take_bare)]

    def _take_bare(self) -> dict[str, float]:
        with _server("bare", self.settings) as url:
            client = in_child("benchmarks.http_client", url, self.settings.requests)
            return {f"bare/{key}": rate for key, rate in client.items()}

    def _take(self, store: StoreName) -> dict[str, float]:
        settings = self.settings
        found: dict[str, float] = {}
        with _server(store, settings) as url:
            client = in_child("benchmarks.http_client", url, settings.requests, settings.batches)
            found |= {f"{store}/{key}": rate for key, rate in client.items()}
        return found

    def figures(self, taken: Taken) -> Sequence[Figure]:
        """The share of the empty endpoint, then each."""
        settings = self.settings
        found: list[Figure] = []
        for store in settings.stores:
            of = partial(Figure, store=store, note=NOTE)
            share = ratios(taken, f"{store}/one", f"{store}/empty")
            found.append(of("POST /jobs / empty endpoint", "ratio", share, jobs=settings.requests, goal=SHARE))
            cpu = partial(Figure, store=store, note=BY_CPU)
            for name, above, below in (
                ("POST /jobs / empty endpoint, by processor", f"{store}/empty cpu", f"{store}/one cpu"),
                ("POST /jobs / bare anycorn's, by processor", "bare/empty cpu", f"{store}/one cpu"),
                ("empty endpoint / bare anycorn's, by processor", "bare/empty cpu", f"{store}/empty cpu"),
            ):
                found.append(cpu(name, "ratio", ratios(taken, above, below), jobs=settings.requests))
        for store in settings.stores:
            of = partial(Figure, store=store, note=NOTE)
            batched = [rate * 1_000 for rate in taken[f"{store}/batch"]]
            found += [
                of("POST /jobs/batch of 1 000", "jobs/s", batched, jobs=settings.batches * 1_000, goal=BATCH),
                of("POST /jobs", "/s", taken[f"{store}/one"], jobs=settings.requests),
                of("empty endpoint", "/s", taken[f"{store}/empty"], jobs=settings.requests),
            ]
        found.append(
            Figure("bare anycorn, empty endpoint", "/s", taken["bare/empty"], jobs=settings.requests, note=NOTE)
        )
        return found
