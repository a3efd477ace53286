"""Rules: new jobs, one and many, good and bad, with keys and owners."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

import actors
from actors.core.job import UNFINISHED
from tests.machines.process import QUEUES
from tests.machines.promise import promise
from tests.machines.world import OWNERS, World

MOST_WAITING = 40  # new jobs only while fewer wait
BAD: tuple[dict[str, Any], ...] = (
    {"delay": math.nan}, {"delay": -1}, {"delay": 1e18}, {"delay": math.inf}, {"priority": "urgent"}, {"max_attempts": 0}, {"timeout": 0},
)  # fmt: skip
DAY = 24 * 3600 * 1_000_000
PICK = st.integers(0, 999)


class Enqueuing(World):
    """What callers do."""

    def __init__(self) -> None:
        self.keys: dict[tuple[str | None, str], tuple[int, str, int]] = {}  # -> body, id, expiry
        super().__init__()

    def _has_room(self) -> bool:
        return sum(job.state in UNFINISHED for job in self.ledger.model.jobs.values()) < MOST_WAITING

    def _next(self) -> int:
        self.jobs_made += 1
        return self.jobs_made

    def _ask(self, ask: Any, numbers: set[int], *given: Any, **options: Any) -> Any:
        """The answer, or the error. Refused: none of these `numbers` (payloads) has become a job; answered: it is there."""
        before = set(self.ledger.model.jobs)
        refused: Any = None
        try:
            answer = self.guest(partial(ask, *given, **options))
        except actors.StoreFull:
            answer = []
        except actors.Conflict as conflict:
            answer, refused = [], conflict
        if answer == []:
            new = [job for job in self.ledger.model.jobs.values() if job.id not in before]
            promise(1, not any(job.payload["n"] in numbers for job in new), f"refused, and there: {new}")
            return refused
        for handle in answer if isinstance(answer, list) else [answer]:
            if not isinstance(handle, actors.ActorsError):
                promise(1, handle.id in self.ledger.model.jobs, f"{handle.id} was accepted, and is not there")
                promise(10, handle.created == (handle.id not in before), f"{handle.id}: created is {handle.created}")
        return answer

    @precondition(_has_room)
    @rule(
        pick=PICK,
        priority=st.sampled_from(["normal", "normal", "normal", "high", "low", "critical"]),
        front=st.booleans(),
        delay=st.sampled_from([0, 0, 0, 5, 60]),
        max_attempts=st.integers(1, 3),
        queue=st.sampled_from(QUEUES),
        owner=st.sampled_from([None, *OWNERS]),
        jitter=st.sampled_from([None, None, "none", "equal", "full"]),
        timeout=st.sampled_from([None, None, 20]),
        count=st.sampled_from([1, 1, 3]),
    )
    def enqueue(self, *, pick: int, jitter: Any, count: int, **options: Any) -> None:
        self.begin()
        if jitter is not None:
            options["retry"] = actors.Exponential(2.0, factor=3.0, cap=50.0, jitter=jitter)
        process = self.pick_live(pick)
        for _ in range(count):
            n = self._next()
            self._ask(process.system.enqueue, {n}, self.jobs.work(n), **options)

    @precondition(_has_room)
    @rule(
        pick=PICK,
        count=st.integers(0, 4),
        bad=st.lists(st.sampled_from(BAD), max_size=2),
        owner=st.sampled_from(OWNERS),
    )
    def enqueue_batch(self, *, pick: int, count: int, bad: list[Any], owner: str) -> None:
        self.begin()
        process = self.pick_live(pick)
        numbers = [self._next() for _ in range(count)]
        items: list[Any] = [(self.jobs.work(n), {"owner": owner}) for n in numbers]
        items[1:1] = [(self.jobs.work(0), options) for options in bad]
        answers = self._ask(process.system.enqueue_batch, {0, *numbers}, items)
        for (job, options), given in zip(items, answers or [], strict=False):
            refused = isinstance(given, actors.BadOption)
            promise(7, refused == (options in BAD) or isinstance(given, actors.StoreFull), f"{options}: {given!r}")

    @precondition(_has_room)
    @rule(pick=PICK, n=st.sampled_from([1, 1, 2]), key=st.sampled_from("kl"), owner=st.sampled_from([None, *OWNERS]))
    def enqueue_again(self, *, pick: int, n: int, key: str, owner: str | None) -> None:
        """An idempotency key names one job for a day."""
        self.begin()
        process, now = self.pick_live(pick), self.wall()
        body, id, expiry = self.keys.get((owner, key), (0, "", 0))
        known = id in self.ledger.model.jobs and now < expiry
        sure = abs(now - expiry) > 60_000_000  # time may pass before the answer
        options = {"owner": owner, "idempotency_key": key}
        given = self._ask(process.system.enqueue, {n}, self.jobs.work(n), **options)
        if given is None:
            return
        if isinstance(given, actors.Conflict):
            kept = known and body != n and given.existing == id
        elif known:
            kept = (body, given.id) == (n, id) and not given.created
        else:
            kept = given.created
        promise(10, kept or not sure, f"{key} of {owner} named {id} ({body}), and now {given!r} ({n})")
        if not isinstance(given, actors.Conflict) and given.created:
            self.keys[owner, key] = n, given.id, now + DAY

    @precondition(_has_room)
    @rule(
        pick=PICK,
        key=st.sampled_from("ab"),
        owner=st.sampled_from([None, "ada"]),
        on_conflict=st.sampled_from(["skip", "raise", "replace"]),
        delay=st.sampled_from([0, 5]),
    )
    def enqueue_unique(self, *, pick: int, key: str, owner: str | None, on_conflict: Any, delay: float) -> None:
        self.begin()
        process = self.pick_live(pick)
        jobs = list(self.ledger.model.jobs.values())
        there = {
            job.id: job.state for job in jobs
            if job.state in UNFINISHED and job.owner == owner and (job.spec.details.unique_key or "").endswith(f" {key}")
        }  # fmt: skip
        unique = actors.Unique(key=key, on_conflict=on_conflict)
        options: dict[str, Any] = {"unique": unique, "owner": owner, "delay": delay}
        n = self._next()
        given = self._ask(process.system.enqueue, {n}, self.jobs.work(n), **options)
        if given is None or self.guest.waited:
            return
        if isinstance(given, actors.Conflict):
            promise(10, on_conflict == "raise" and given.existing in there, f"no conflict: {there}")
        elif given.created:
            waits = any(state != "running" for state in there.values())
            promise(10, not there or (on_conflict == "replace" and waits), f"{key} of {owner} was held by {there}")
        else:
            promise(10, given.id in there and on_conflict != "raise", f"{given.id} is none of {there}")
