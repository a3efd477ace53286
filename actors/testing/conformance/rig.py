"""The rig of a check: a fresh store, a clock that only the check moves, and short words to drive both."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

import trio

from actors.core.ids import IdMaker
from actors.core.job import NO_DETAILS, AttemptError, Details, JobRecord, JobSpec, Standing, State
from actors.core.lifecycle import Step, advance
from actors.store.port import (
    Batch,
    Claim,
    IdempotencyKey,
    Insert,
    Outcome,
    Query,
    Store,
    UniqueKey,
    Write,
)

T = TypeVar("T")

START: Final = 1_767_225_600_000_000  # 2026-01-01, microseconds
SECOND: Final = 1_000_000
TYPES: Final = frozenset({"a", "b", "c"})
PATIENCE: Final = 30.0  # real seconds that a wake-up may take before it counts as lost


def expect(truth: object, detail: str) -> None:
    """Raise `AssertionError` with `detail` unless `truth`."""
    if not truth:
        raise AssertionError(detail)


def equal(got: object, want: object, what: str) -> None:
    """Raise `AssertionError` naming `what` unless `got == want`."""
    if got != want:
        raise AssertionError(f"{what}\n    is       {got!r}\n    expected {want!r}")


class Rig:
    """A fresh store with the holder `one` open, and what a check says to it.

    `reopen` (None: the store does not persist, or can't be seen by two) makes another store object on the
    same data.
    """

    def __init__(self, make_store: Callable[[], Store], reopen: Callable[[], Store] | None) -> None:
        self.store = make_store()
        self.now = START
        self._reopen = reopen
        self._ids = IdMaker(random.Random(7))
        self._ticks: dict[str, int] = {}
        self._opened: list[tuple[Store, str]] = []

    # Stores and holders

    @property
    def persists(self) -> bool:
        """Whether `another_store` can be asked."""
        return self._reopen is not None

    def another_store(self) -> Store:
        """Another store object on the same data; nobody is open on it yet."""
        assert self._reopen is not None
        return self._reopen()

    async def open(self, holder: str, store: Store | None = None) -> None:
        """Open `holder`, to be closed at the end of the check."""
        store = store or self.store
        await store.open(holder, self.now)
        self._opened.append((store, holder))

    async def close(self, holder: str, store: Store | None = None) -> None:
        """Close `holder` now."""
        store = store or self.store
        self._opened.remove((store, holder))
        await store.close(holder)

    async def close_all(self) -> None:
        """Close whoever is open, the last one first."""
        while self._opened:
            store, holder = self._opened.pop()
            await store.close(holder)

    async def restart(self) -> None:
        """Close everybody and go on with another store object on the same data, with `one` open."""
        store = self.another_store()
        await self.close_all()
        self.store = store
        await self.open("one")

    # Commits

    def tick(self, holder: str) -> int:
        """The number of the next tick of `holder`."""
        self._ticks[holder] = self._ticks.get(holder, 0) + 1
        return self._ticks[holder]

    def last_tick(self, holder: str) -> int:
        """The number of the last tick of `holder`."""
        return self._ticks[holder]

    def batch(self, **parts: Any) -> Batch:
        """A batch of the instant `now` that knows all `TYPES`."""
        return Batch(**{"now": self.now, "types": TYPES, **parts})

    async def commit(self, *, holder: str = "one", store: Store | None = None, **parts: Any) -> Outcome:
        """Commit a batch with these parts as the next tick of `holder`."""
        return await (store or self.store).commit(holder, self.tick(holder), self.batch(**parts))

    # Jobs

    def job(
        self,
        *,
        id: str | None = None,
        type: str = "a",
        payload: str = "{}",
        queue: str = "q",
        priority: int = 1,
        front: int = 0,
        max_attempts: int = 3,
        timeout: float | None = None,
        owner: str | None = None,
        details: Details = NO_DETAILS,
        state: State = "pending",
        run_at: int | None = None,
        unique: UniqueKey | None = None,
        idempotency: IdempotencyKey | None = None,
        limit: int | None = None,
        group: int = 0,
    ) -> Insert:
        """An insert; with an `id` it is the caller's own."""
        made = id if id is not None else self._ids.make(self.now)
        spec = JobSpec(made, type, payload, queue, priority, front, max_attempts, timeout, self.now, owner, details)
        at = self.now if run_at is None else run_at
        return Insert(
            spec=spec,
            standing=Standing(0, state, 0, 0, 0, 0, at, None, None, None),
            own_id=id is not None,
            unique=unique,
            idempotency=idempotency,
            limit=limit,
            group=group,
        )

    def later(self, seconds: float, **fields: Any) -> Insert:
        """An insert that is scheduled for `seconds` from now."""
        return self.job(state="scheduled", run_at=self.now + round(seconds * SECOND), **fields)

    async def add(self, *inserts: Insert) -> list[JobRecord]:
        """Insert; the records as the store has them."""
        outcome = await self.commit(inserts=list(inserts))
        equal(outcome.refused, {}, "the refusals of inserts that nothing stands against")
        return await self.records(inserts)

    async def records(self, inserts: Sequence[Insert]) -> list[JobRecord]:
        """The records of these inserts; all must be there."""
        return await self.records_of([insert.spec.id for insert in inserts])

    async def records_of(self, ids: Sequence[str]) -> list[JobRecord]:
        """The records of these jobs; all must be there."""
        return [await self.get(id) for id in ids]

    async def get(self, id: str) -> JobRecord:
        """The record of a job that must be there."""
        found = await self.store.get([id])
        expect(id in found, f"job {id} is not there")
        return found[id]

    async def gone(self, id: str) -> bool:
        """Whether there is no job with this id."""
        return not await self.store.get([id])

    async def claim(
        self, limit: int = 1, *, queue: str = "q", holder: str = "one", types: frozenset[str] = TYPES
    ) -> list[JobRecord]:
        """Claim, and nothing else."""
        outcome = await self.commit(holder=holder, claims=[Claim(queue=queue, limit=limit)], types=types)
        return outcome.claimed

    async def claim_through(self, store: Store, holder: str) -> list[JobRecord]:
        """Claim one job of the queue `q` through another store object."""
        return (await self.commit(holder=holder, store=store, claims=[Claim(queue="q", limit=1)])).claimed

    async def running(self, holder: str = "one", **fields: Any) -> JobRecord:
        """A new job that `holder` runs."""
        queue = f"of {holder}"
        (job,) = await self.add(self.job(**{"queue": queue, **fields}))
        (claimed,) = await self.claim(queue=job.queue, holder=holder)
        equal(claimed.id, job.id, "the id of the claimed job")
        return claimed

    def write(self, job: JobRecord, step: Step, **fields: Any) -> Write:
        """The step as `advance` makes it. `run_at` moves its time; the rest goes into the `Write`."""
        run_at: int | None = fields.pop("run_at", None)
        return Write(job=job, after=advance(job, step, self.now, run_at=run_at), step=step, **fields)

    async def step(self, job: JobRecord, step: Step, *, holder: str = "one", **fields: Any) -> JobRecord:
        """Write one step, which must apply; the record after it."""
        outcome = await self.commit(holder=holder, writes=[self.write(job, step, **fields)])
        equal(outcome.lost, set[int](), f"the lost writes of a {step} at the current version")
        return await self.get(job.id)

    async def all_of(self, queue: str) -> list[JobRecord]:
        """Every job of a queue."""
        return await self.every(Query(queue=queue))

    async def states(self) -> dict[str, State]:
        """The state of every job, by id."""
        return {job.id: job.state for job in await self.every(Query())}

    async def every(self, query: Query) -> list[JobRecord]:
        """All pages of `query`, which may be short, put together."""
        jobs: list[JobRecord] = []
        while True:
            page = await self.store.find(query)
            expect(len(page.jobs) <= query.limit, f"a page of {len(page.jobs)} jobs: the limit was {query.limit}")
            jobs += page.jobs
            if page.after is None:
                return jobs
            query = following(query, page.after)


def following(query: Query, after: str) -> Query:
    """The same query, for the page after this cursor."""
    return Query(
        states=query.states,
        type=query.type,
        queue=query.queue,
        tag=query.tag,
        owner=query.owner,
        holder=query.holder,
        text=query.text,
        order=query.order,
        limit=query.limit,
        after=after,
    )


def failure(attempt: int, text: str = "it broke") -> AttemptError:
    """An error of this attempt."""
    return AttemptError(attempt=attempt, type="ValueError", message=text, failed_at=START)


async def soon(what: str, call: Callable[[], Awaitable[T]]) -> T:
    """The answer of `call`, which must not take longer than `PATIENCE`."""
    with trio.move_on_after(PATIENCE):
        return await call()
    raise AssertionError(f"{what} took longer than {PATIENCE:g} s")


Check = Callable[[Rig], Awaitable[None]]
