"""Throughput: the work of the bare limits through the whole system, each run beside its limit."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

import attrs
import trio

from actors.testing.speed import KINDS, Kind, process
from benchmarks.figure import Figure, Goal, Taken, ratios
from benchmarks.limits import fused_measure, mirror_measure, push_measure, tick_measure
from benchmarks.rounds import Measure
from benchmarks.settings import Settings, StoreName
from benchmarks.stores import new_store

Limit = tuple[str, str, dict[Kind, Goal]]  # key of its pace, name, what the system is to reach of it

_SHARES: Final[dict[StoreName, tuple[Limit, ...]]] = {
    "memory": (("push", "bare queue that pushes", {"no-op": Goal(">=", 0.50), "suspends": Goal(">=", 0.50)}),),
    "sqlite": (
        ("tick", "bare tick loop", {"no-op": Goal(">=", 0.60), "suspends": Goal(">=", 0.45)}),
        ("mirror", "bare mirrored loop", {"no-op": Goal(">=", 0.25)}),
    ),
    "redis": (("fused", "bare fused loop with scopes", {"no-op": Goal(">=", 0.30)}),),
}


@attrs.frozen
class Throughput:
    """The part."""

    settings: Settings

    def measures(self) -> Sequence[Measure]:
        """Limits, system; store by store."""
        settings = self.settings
        found: list[Measure] = []
        for kind in KINDS:
            for store in settings.stores:
                match store:
                    case "memory":
                        found.append(push_measure(settings, kind, settings.workers))
                    case "sqlite":
                        found += [tick_measure(settings, kind), mirror_measure(settings, kind)]
                    case "redis":
                        found.append(fused_measure(settings, kind))
                found.append(self._measure(store, kind))
        return found

    def _measure(self, store: StoreName, kind: Kind) -> Measure:
        def take() -> dict[str, float]:
            with new_store(store, self.settings) as fresh:
                pace = trio.run(process, fresh, kind, self.settings.jobs, self.settings.workers)
            return pace.under(f"{store}/{kind}")

        return Measure(f"system on {store}, {kind}", take)

    def figures(self, taken: Taken) -> Sequence[Figure]:
        """The ratios, then what they are of: by the clock, and by the processor time that a job takes."""
        shares: list[Figure] = []
        paces: list[Figure] = []
        for store in self.settings.stores:
            figure = partial(Figure, store=store, jobs=self.settings.jobs, workers=self.settings.workers)
            for kind in KINDS:
                system = f"{store}/{kind}"
                named = [("system", system)]
                for key, limit, goals in _SHARES[store]:
                    bare = f"push/{kind}/{self.settings.workers}" if key == "push" else f"{key}/{kind}"
                    share, cpu = ratios(taken, system, bare), ratios(taken, f"{bare}/cpu", f"{system}/cpu")
                    shares.append(figure(f"system / {limit}, {kind}", "ratio", share, goal=goals.get(kind)))
                    shares.append(figure(f"CPU of the {limit} / system's, {kind}", "ratio", cpu))
                    named.append((limit, bare))
                for name, of in named:
                    paces.append(figure(f"{name}, {kind}", "jobs/s", taken[of]))
                    paces.append(figure(f"CPU, {name}, {kind}", "µs/job", taken[f"{of}/cpu"]))
        return [*shares, *paces]
