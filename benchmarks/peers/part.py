"""The part `peers`: every peer that is there, and this system in the same shape, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from tempfile import TemporaryDirectory
from typing import Final

from benchmarks.child import ROOT, read_child
from benchmarks.figure import Figure, Goal, Taken
from benchmarks.peers.drive import peers
from benchmarks.peers.shape import Peer, Sizes
from benchmarks.rounds import Measure
from benchmarks.settings import STORES, Settings
from benchmarks.stores import empty

OURS: Final = "trio-actors"
SLOW: Final = 10  # times fewer jobs
KEYS: Final = {
    "no-op": ("process, no-op", "jobs/s"),
    "suspends": ("process, suspends once", "jobs/s"),
    "enqueue": ("enqueue", "jobs/s"),
    "bulk": ("bulk enqueue", "jobs/s"),
    "p50": ("enqueue to first line, p50", "ms"),
    "p99": ("enqueue to first line, p99", "ms"),
}
Among = Callable[[str, Peer], bool]
# store -> (whose fastest, whom that means, what this system's pace is to be of it)
GOALS: Final[dict[str, tuple[tuple[str, Among, Goal], ...]]] = {
    "memory": (("the fastest peer", lambda name, peer: True, Goal(">=", 2.0)),),
    "sqlite": (
        ("huey, fsync on", lambda name, peer: peer.name == "huey, fsync on", Goal(">=", 10.0)),
        ("huey, fsync off", lambda name, peer: peer.name == "huey, fsync off", Goal(">=", 2.0)),
    ),
    "redis": (
        ("ardiq (Rust)", lambda name, peer: peer.rust, Goal(">=", 2.0)),
        ("the fastest pure Python peer", lambda name, peer: not peer.rust, Goal(">=", 6.0)),
    ),
}


class Peers:
    """The part. `missing` says who was left out, and why."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.missing: dict[str, str] = {}
        self._there: dict[str, tuple[Peer, str, str]] = {}  # key -> peer, interpreter, versions
        for key, peer in sorted(peers().items(), key=lambda item: STORES.index(item[1].store)):
            if (why := self._no_store(peer)) is not None:
                self.missing[f"peer {key}"] = why
                continue
            found = _probe(sys.executable, key)
            python = sys.executable
            if "missing" in found and settings.peer_python is not None and peer.name != OURS:
                python = settings.peer_python
                found = _probe(python, key)
            if "missing" in found:
                self.missing[f"peer {key}"] = found["missing"]
            else:
                versions = ", ".join(f"{name} {version}" for name, version in found.items())
                self._there[key] = (peer, python, versions)

    def _no_store(self, peer: Peer) -> str | None:
        if peer.name == OURS and peer.store not in self._settings.stores:
            return f"no store on {peer.store}"
        if peer.store == "redis" and self._settings.redis is None:
            return "no Redis server"
        return None

    def measures(self) -> Sequence[Measure]:
        """Each that is there."""
        return [Measure(key, partial(self._take, key)) for key in list(self._there)]

    def _jobs(self, peer: Peer) -> int:
        return max(100, self._settings.peer_jobs // (SLOW if peer.slow else 1))

    def _take(self, key: str) -> dict[str, float]:
        peer, python, _ = self._there[key]
        settings = self._settings
        if settings.redis is not None:
            empty(settings.redis)
        with TemporaryDirectory(dir=settings.scratch) as directory:
            sizes = Sizes(self._jobs(peer), settings.samples, directory, settings.redis or "")
            try:
                taken = read_child(python, ["-m", "benchmarks.peers.drive", key, json.dumps(vars(sizes))], quiet=True)
            except RuntimeError as error:  # the others go on
                self.missing[f"peer {key}"] = str(error)
                del self._there[key]
                return {}
        return {f"{key}/{name}": given for name, given in taken.items()}

    def figures(self, taken: Taken) -> Sequence[Figure]:
        """This system against the fastest of each kind, run by run; then each peer, with its settings."""
        ratios: list[Figure] = []
        for store, goals in GOALS.items():
            for kind in ("no-op", "suspends"):
                for name, is_among, goal in goals:
                    rivals = [key for key, (peer, _, _) in self._there.items() if peer.store == store]
                    rivals = [key for key in rivals if self._there[key][0].name != OURS]
                    rivals = [key for key in rivals if is_among(key, self._there[key][0]) and f"{key}/{kind}" in taken]
                    if f"{store}/{OURS}/{kind}" not in taken or not rivals:
                        continue
                    ours = taken[f"{store}/{OURS}/{kind}"]
                    fastest = [
                        max(paces) for paces in zip(*(taken[f"{rival}/{kind}"] for rival in rivals), strict=True)
                    ]
                    pace = [one / other for one, other in zip(ours, fastest, strict=True)]
                    asked = goal if kind == "no-op" else None
                    ratios.append(Figure(f"process, {kind}: ours / {name}", "ratio", pace, store=store, goal=asked))
        each: list[Figure] = []
        for name, (title, unit) in KEYS.items():
            for key, (peer, _, versions) in self._there.items():
                if f"{key}/{name}" in taken:
                    note = f"{peer.name} on {peer.store}: {versions}; {peer.settings}; keeps: {peer.keeps}"
                    runs = taken[f"{key}/{name}"]
                    jobs = self._settings.samples if unit == "ms" else self._jobs(peer)
                    cell = (f"{peer.store}: {peer.name}", name if unit == "ms" else f"{name}/s")
                    named = f"{title}: {peer.name}"
                    each.append(Figure(named, unit, runs, store=peer.store, jobs=jobs, note=note, cell=cell))
        return [*ratios, *each]


def _probe(python: str, key: str) -> dict[str, str]:
    ran = subprocess.run(
        [python, "-m", "benchmarks.peers.drive", key, "probe"], cwd=ROOT, capture_output=True, text=True
    )
    if ran.returncode != 0:
        return {"missing": f"{python} can't say: {ran.stderr.strip().splitlines()[-1:]}"}
    found: dict[str, str] = json.loads(ran.stdout)
    return found
