"""A trial: one scenario, one store, one seed, one folder; what it measured, and which promises were not kept."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import attrs
import trio

import actors
from actors.testing.redis import RedisServer
from tests.faults.ledger import Ledger
from tests.faults.process import PATIENCE, ROOT, Program, Server, Worker, program, until
from tests.faults.stores import Place
from tests.faults.work import jobs

FIRST_AUDIT, NEXT_AUDIT = 1.0, 10.0  # seconds between two audits in the midst of a trial
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
    redis: RedisServer | None = None  # of this trial alone
    figures: dict[str, Any] = attrs.Factory(dict)
    broken: list[str] = attrs.Factory(list)
    programs: list[Program] = attrs.Factory(list)
    random: Random = attrs.field(init=False)
    store: str = attrs.field(init=False)
    ledger: Ledger = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.random = Random(f"{self.scenario} {self.seed}")
        self.store = self.place.within(self.folder) if self.redis is None else self.redis.url
        self.ledger = Ledger(self.folder / "ledger")

    def size(self, short: int, long: int) -> int:
        """How much, in this form."""
        return long if self.long else short

    def another(self, name: str) -> str:
        """The URL of another store at the same place."""
        if self.place.promise.is_file:
            return self.store.replace("jobs.db", f"{name}.db")
        return f"{self.store}{'&' if '?' in self.store else '?'}prefix={self.folder.name}/{name}"

    @property
    def server_of_its_own(self) -> RedisServer:
        """The Redis server, to be hurt."""
        assert self.redis is not None, f"{self.scenario} hurts the server: expected --store redis"
        return self.redis

    # Programs

    def program(self, name: str, word: str, **given: Any) -> Program:
        """One of `tests.faults.programs` on this trial's store."""
        made = program(self.folder, name, word, **{"store": self.store, **given})
        self.programs.append(made)
        return made

    def worker(self, name: str, *options: str) -> Worker:
        """`actors worker` on this trial's store."""
        made = Worker(self.folder, self.store, *options, name=name)
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

    def within(self, name: str, took: float, limit: float, *, loaded: float | None = None) -> None:
        """A figure with a limit of time; `loaded`: the limit on a machine that is not quiet, where that is another."""
        if self.slack > 1:
            limit = limit * self.slack if loaded is None else loaded
        self.figure(**{name: took})
        self.promise(f"{name} {took:.3f} <= {limit:g}", took <= limit)

    def count(self, numbers: Iterable[int], *, twice: int = 0) -> None:
        """Nothing of these lost; at most so many endings too many."""
        wanted = list(numbers)
        self.figure(jobs=len(wanted), lost=self.ledger.lost(wanted), twice=self.ledger.twice(wanted))
        self.promise(f"lost {self.figures['lost']}", self.figures["lost"] == 0)
        self.promise(f"twice {self.figures['twice']} <= {twice}", self.figures["twice"] <= twice)

    # Conservation

    async def verify(self) -> None:
        """`actors verify`, in the midst of whatever goes on (G22)."""
        command = [sys.executable, "-m", "actors", "verify", "--store", self.store, "--json"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
        done = await trio.run_process(
            command, capture_stdout=True, capture_stderr=True, check=False, cwd=self.folder, env=environment
        )
        said = json.loads(done.stdout) if done.stdout else {}
        self._audited(f"actors verify: {done.returncode}, {said}, {done.stderr[-500:]!r}", said, done.returncode == 0)

    async def ask_audit(self, server: Server) -> None:
        """`GET /healthz?audit=1`, in the midst of whatever goes on (G22)."""
        status, said = await server.call("GET", "/healthz?audit=1", patience=30.0)
        self._audited(f"GET /healthz?audit=1: {status}, {said}", said.get("audit", {}), status == 200)

    def _audited(self, what: str, said: dict[str, Any], answered: bool) -> None:
        self.figures["audits"] = self.figures.get("audits", 0) + 1
        sums = said.get("accepted") == sum(said.get("states", {}).values()) + said.get("deleted", 0)
        self.promise(what, answered and bool(said.get("ok")) and sums)

    async def verify_now_and_then(self) -> None:
        """Until cancelled."""
        pause = FIRST_AUDIT
        while True:
            await trio.sleep(pause)
            if Path(self.store.removeprefix("sqlite:///")).exists() or not self.place.promise.is_file:
                await self.verify()
            pause = NEXT_AUDIT

    async def settle(self, **states: int) -> None:
        """Wait until the store counts this for every state named; it is sound by its own audit of every job."""
        async with self.client() as system:
            with trio.move_on_after(PATIENCE):
                while True:
                    stats = await system.stats()
                    if all(getattr(stats, state) == number for state, number in states.items()):
                        break
                    await trio.sleep(0.05)
            for state, number in states.items():
                self.promise(f"{state}: {getattr(stats, state)} is {number}", getattr(stats, state) == number)
            audit = await system.audit(every_job=True)
            self._audited(f"audit: {audit}", attrs.asdict(audit) | {"ok": audit.ok}, True)

    async def numbers(self) -> Counter[int]:
        """How many jobs the store has of each number."""
        found: Counter[int] = Counter()
        async with self.client() as client:
            after = None
            while True:
                page = await client.find(type="work", limit=1_000, after=after)
                found.update(job.payload["number"] for job in page.jobs)
                if (after := page.after) is None:
                    return found

    @property
    def line(self) -> str:
        """The JSON line."""
        head = {"scenario": self.scenario, "store": self.place.kind, "seed": self.seed, "long": self.long}
        skeleton = dict.fromkeys(SKELETON)
        return json.dumps({**head, **skeleton, **self.figures, "broken": self.broken})


def tried(module: Mapping[str, Any]) -> list[str]:
    """The scenarios that the tests of a module are marked with."""
    return [mark.args[0] for each in module.values() for mark in getattr(each, "pytestmark", [])]


Scenario = Callable[[Trial], Awaitable[None]]


async def run(
    name: str, scenario: Scenario, place: Place, seed: int, *, long: bool, slack: float, audited: bool
) -> Trial:
    """One trial, audited in its midst or not. An error in it is a broken promise; its folder and programs are gone
    afterwards.
    """
    with tempfile.TemporaryDirectory(prefix=f"faults-{name}-") as path, ExitStack() as stack:
        folder, redis = Path(path), None
        if place.brings_server:
            redis = stack.enter_context(await trio.to_thread.run_sync(partial(RedisServer, parent=folder)))
        trial = Trial(scenario=name, place=place, seed=seed, long=long, slack=slack, folder=folder, redis=redis)
        try:
            async with trio.open_nursery() as nursery:
                if audited:
                    nursery.start_soon(trial.verify_now_and_then)
                await scenario(trial)
                nursery.cancel_scope.cancel()
        except Exception as error:
            while isinstance(error, ExceptionGroup):
                error = error.exceptions[0]
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
