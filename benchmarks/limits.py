"""The bare limits: what trio and SQLite give on this machine before anything of this project is added."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

import attrs
import trio

from actors.testing.speed import KINDS, Kind
from benchmarks.bare_mirror import fused_loop, mirror_loop
from benchmarks.bare_queue import push, share
from benchmarks.bare_tick import single_commits, tick_loop
from benchmarks.figure import Figure, Taken
from benchmarks.rounds import Measure
from benchmarks.settings import Settings, StoreName
from benchmarks.stores import empty
from benchmarks.work import BODIES

LOOPS: Final[tuple[tuple[str, StoreName, str], ...]] = (
    ("tick", "sqlite", "bare tick loop"),
    ("mirror", "sqlite", "bare mirrored loop"),
    ("fused", "redis", "bare fused loop with scopes"),
)


def push_measure(settings: Settings, kind: Kind, workers: int) -> Measure:
    """The bare queue actor that pushes, under its own key."""
    return Measure(
        f"bare queue, {kind}, {workers} workers",
        lambda: trio.run(push, settings.jobs, workers, BODIES[kind]).under(f"push/{kind}/{workers}"),
    )


def tick_measure(settings: Settings, kind: Kind) -> Measure:
    """The bare tick loop, under its own key."""
    loop = partial(tick_loop, settings.scratch, settings.jobs, settings.workers, BODIES[kind])
    return Measure(f"bare tick loop, {kind}", lambda: trio.run(loop).under(f"tick/{kind}"))


def mirror_measure(settings: Settings, kind: Kind) -> Measure:
    """The bare loop with its ready jobs in memory, under its own key."""
    loop = partial(mirror_loop, settings.scratch, settings.jobs, settings.workers, BODIES[kind])
    return Measure(f"bare mirrored loop, {kind}", lambda: trio.run(loop).under(f"mirror/{kind}"))


def fused_measure(settings: Settings, kind: Kind) -> Measure:
    """The bare loop on Redis, under its own key."""

    def take() -> dict[str, float]:
        assert settings.redis is not None
        empty(settings.redis)
        loop = partial(fused_loop, settings.redis, settings.jobs, settings.workers, BODIES[kind])
        return trio.run(loop).under(f"fused/{kind}")

    return Measure(f"bare fused loop, {kind}", take)


def commit_measure(settings: Settings) -> Measure:
    """Single-row commits, under the key `commits`."""
    return Measure("single-row commits", lambda: {"commits": single_commits(settings.scratch, settings.single)})


@attrs.frozen
class Limits:
    """The part."""

    settings: Settings

    def measures(self) -> Sequence[Measure]:
        """The lone commit, the durable loops, both bare queues with few and many workers."""
        settings = self.settings
        found: list[Measure] = []
        if "sqlite" in settings.stores:
            found.append(commit_measure(settings))
        for kind in KINDS:
            if "sqlite" in settings.stores:
                found += [tick_measure(settings, kind), mirror_measure(settings, kind)]
            if "redis" in settings.stores:
                found.append(fused_measure(settings, kind))
            for workers in settings.crowd:
                found.append(push_measure(settings, kind, workers))
                found.append(self._share(kind, workers))
        return found

    def _share(self, kind: Kind, workers: int) -> Measure:
        return Measure(
            f"bare shared channel, {kind}, {workers} workers",
            lambda: trio.run(share, self.settings.jobs, workers, BODIES[kind]).under(f"share/{kind}/{workers}"),
        )

    def figures(self, taken: Taken) -> Sequence[Figure]:
        """Jobs/s each."""
        settings = self.settings
        found: list[Figure] = []
        for kind in KINDS:
            for way, name in (("push", "push to an idle worker"), ("share", "shared channel")):
                for workers in settings.crowd:
                    runs = taken[f"{way}/{kind}/{workers}"]
                    found.append(Figure(f"bare {name}, {kind}", "jobs/s", runs, jobs=settings.jobs, workers=workers))
        for kind in KINDS:
            for key, store, name in LOOPS:
                if store in settings.stores:
                    of = partial(Figure, store=store, jobs=settings.jobs, workers=settings.workers)
                    found.append(of(f"{name}, {kind}", "jobs/s", taken[f"{key}/{kind}"]))
        if "sqlite" in settings.stores:
            found.append(Figure("single-row commits", "/s", taken["commits"], store="sqlite", jobs=settings.single))
        return found
