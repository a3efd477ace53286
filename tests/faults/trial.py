"""A trial: one scenario, one store, one seed, one folder; what it measured, and which promises were not kept."""

from __future__ import annotations

import json
import sys
import tempfile
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import attrs
import trio

import actors
from tests.faults.ledger import Ledger
from tests.faults.process import PATIENCE, Program, Server, program, until
from tests.faults.stores import Place
from tests.faults.work import jobs

SKELETON = ("lost", "twice", "recovery_s", "exit_code", "exit_s")  # in every line; null where nothing was measured


@attrs.define(kw_only=True)
class Trial:
    """What a scenario is given. It runs programs through it, so that none outlives it."""

    scenario: str
    place: Place
    seed: int
    long: bool
    slack: float  # factor on limits of time: 1 on a quiet machine
    folder: Path
    figures: dict[str, Any] = attrs.Factory(dict)
    broken: list[str] = attrs.Factory(list)
    programs: list[Program] = attrs.Factory(list)
    random: Random = attrs.field(init=False)
    store: str = attrs.field(init=False)
    ledger: Ledger = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.random = Random(f"{self.scenario} {self.seed}")
        self.store = self.place.within(self.folder)
        self.ledger = Ledger(self.folder / "ledger")

    def size(self, short: int, long: int) -> int:
        """How much, in this form."""
        return long if self.long else short

    # Programs

    def program(self, name: str, word: str, **given: Any) -> Program:
        """One of `tests.faults.programs` on this trial's store."""
        made = program(self.folder, name, word, **{"store": self.store, **given})
        self.programs.append(made)
        return made

    def server(self, *options: str, name: str = "server", store: str | None = None) -> Server:
        """`actors serve` on this trial's store."""
        made = Server(self.folder, self.store if store is None else store, *options, name=name)
        self.programs.append(made)
        return made

    async def stop(self, stopped: Program, limit: float = 1.0) -> None:
        """SIGTERM: it ends with code 0 within `limit` seconds. (The worst exit of a trial is in its line.)"""
        code, seconds = await stopped.stop()
        self.figures["exit_code"] = max(code, self.figures.get("exit_code", 0), key=abs)
        self.figure(exit_s=max(seconds, self.figures.get("exit_s", 0.0)))
        self.promise(f"{stopped.name} exits in {seconds:.3f} <= {limit:g} s", seconds <= limit * self.slack)
        self.promise(f"{stopped.name} exits with code 0, not {code}", code == 0)
        self.promise(f"{stopped.name} says no traceback", "Traceback" not in stopped.said)

    @asynccontextmanager
    async def client(self, store: str | None = None) -> AsyncIterator[actors.System]:
        """A system in this process that only enqueues and reads."""
        async with actors.open_system(jobs, store=self.store if store is None else store, queues={}) as system:
            yield system

    async def begun(self, numbers: Iterable[int], times: int = 1, patience: float = PATIENCE) -> None:
        """Wait until each of these has begun so often."""
        wanted = list(numbers)

        def met() -> bool:
            counts = self.ledger.counts("began")
            return all(counts[number] >= times for number in wanted)

        await until(met, f"{len(wanted)} jobs begin", patience)

    async def ended(self, numbers: Iterable[int], patience: float = PATIENCE) -> None:
        """Wait until all of these have ended."""
        wanted = set(numbers)
        await until(lambda: wanted <= set(self.ledger.counts("ended")), f"{len(wanted)} jobs end", patience)

    # Figures and promises

    def figure(self, **figures: Any) -> None:
        """Put into the line."""
        for name, figure in figures.items():
            self.figures[name] = round(figure, 4) if isinstance(figure, float) else figure

    def promise(self, what: str, kept: bool) -> None:
        """Something that has to be so."""
        if not kept:
            self.broken.append(what)

    def within(self, name: str, seconds: float, limit: float) -> None:
        """A figure with a limit of time."""
        self.figure(**{name: seconds})
        self.promise(f"{name} {seconds:.3f} <= {limit:g}", seconds <= limit * self.slack)

    def count(self, numbers: Iterable[int], *, twice: int = 0) -> None:
        """Nothing of these lost; at most so many endings too many."""
        wanted = list(numbers)
        self.figure(jobs=len(wanted), lost=self.ledger.lost(wanted), twice=self.ledger.twice(wanted))
        self.promise(f"lost {self.figures['lost']}", self.figures["lost"] == 0)
        self.promise(f"twice {self.figures['twice']} <= {twice}", self.figures["twice"] <= twice)

    async def settle(self, **states: int) -> None:
        """Wait until the store counts this for every state named, and is sound by its own audit."""
        async with self.client() as system:
            with trio.move_on_after(PATIENCE):
                while True:
                    stats = await system.stats()
                    if all(getattr(stats, state) == number for state, number in states.items()):
                        break
                    await trio.sleep(0.05)
            for state, number in states.items():
                self.promise(f"{state}: {getattr(stats, state)} is {number}", getattr(stats, state) == number)

    @property
    def line(self) -> str:
        """The JSON line."""
        head = {"scenario": self.scenario, "store": self.place.kind, "seed": self.seed, "long": self.long}
        skeleton = dict.fromkeys(SKELETON)
        return json.dumps({**head, **skeleton, **self.figures, "broken": self.broken})


Scenario = Callable[[Trial], Awaitable[None]]


async def run(name: str, scenario: Scenario, place: Place, seed: int, *, long: bool, slack: float) -> Trial:
    """One trial. An error in it is a broken promise; its folder and programs are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix=f"faults-{name}-") as folder:
        trial = Trial(scenario=name, place=place, seed=seed, long=long, slack=slack, folder=Path(folder))
        try:
            await scenario(trial)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            trial.broken.append(f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})")
            print("".join(traceback.format_exception(error)), file=sys.stderr)
            for one in trial.programs:
                print(f"--- {one.name} said:\n{one.said[-3000:]}", file=sys.stderr)
        finally:
            with trio.CancelScope(shield=True):
                for one in trial.programs:
                    if one.lives:
                        await one.kill()
        return trial
