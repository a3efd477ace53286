"""Large batches take other statements than small ones: they have the same outcomes as on `MemoryStore`."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from actors.core.errors import WrongState
from actors.core.ids import IdMaker
from actors.core.job import NO_DETAILS, AttemptError, Details, JobRecord, JobSpec, LogLine, Progress, Standing
from actors.core.lifecycle import STEPS, TRANSITIONS, advance
from actors.store.memory import MemoryStore
from actors.store.port import Batch, Claim, Insert, Note, Query, Store, Write
from actors.store.sqlite import SQLiteStore

TYPES = frozenset({"a", "b"})
QUEUES = ("q", "r")
SIZES = (1, 2, 7, 8, 9, 63, 64, 65, 130, 511, 512, 513, 700)


class Walk:
    """The same batches for two stores, drawn from what the second one answered."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.ids = IdMaker(self.draw)
        self.now = 1_000_000
        self.known: dict[str, list[JobRecord]] = {}  # every record that was seen, the stale ones too

    def see(self, records: list[JobRecord]) -> None:
        for record in records:
            self.known.setdefault(record.id, []).append(record)

    def insert(self, group: int, alike: bool) -> Insert:
        draw = self.draw
        later = not alike and draw.random() < 0.3
        odd = not alike and draw.random() < 0.1
        spec = JobSpec(
            self.ids.make(self.now),
            draw.choice(("a", "b", "c")),
            '{"text": "é\\n\\"\\u2028"}' if odd else "{}",
            draw.choice(QUEUES),
            draw.randrange(4),
            -self.now if odd else 0,
            3,
            draw.random() if odd else None,
            self.now,
            "ann" if odd else None,
            Details(tags=("x", "y"), description="d") if odd else NO_DETAILS,
        )
        run_at = self.now + (draw.randrange(3_000) if later else 0)
        standing = Standing(0, "scheduled" if later else "pending", 0, 0, 0, 0, run_at, None, None, None)
        return Insert(spec=spec, standing=standing, group=group)

    def write(self, group: int, alike: bool) -> Write | None:
        draw = self.draw
        versions = self.known[draw.choice(list(self.known))]
        record = versions[-1] if alike or draw.random() < 0.8 else draw.choice(versions)
        legal = [step for step in STEPS if record.state in TRANSITIONS[step] and step not in ("claim", "promote")]
        if not legal:
            return None
        step = "complete" if "complete" in legal and draw.random() < 0.7 else draw.choice(legal)
        run_at = self.now + 500 if step in ("retry", "snooze") else None
        try:
            after = advance(record, step, self.now, run_at=run_at)
        except WrongState:
            return None
        result = draw.choice((None, "null", '"é"')) if step == "complete" and not alike else None
        error = AttemptError(attempt=1, type="E", message="m") if step in ("retry", "bury") else None
        return Write(job=record, after=after, step=step, result=result, error=error, group=group)

    def note(self) -> Note:
        record = self.known[self.draw.choice(list(self.known))][-1]
        line = LogLine(at=self.now, run=record.runs, text="hello")
        return Note(id=record.id, run=record.runs, progress=Progress(done=0.1 + 0.2), saved="[1]", log=(line, line))

    def batch(self) -> Batch:
        draw = self.draw
        self.now += draw.randrange(1_000)
        alike, grouped = draw.random() < 0.5, draw.random() < 0.2
        inserts = [self.insert(draw.randrange(4) if grouped else 0, alike) for _ in range(draw.choice((0, *SIZES)))]
        writes: dict[str, Write] = {}
        for _ in range(draw.choice((0, *SIZES)) if self.known else 0):
            write = self.write(draw.randrange(4) if grouped else 0, alike)
            if write is not None:
                writes.setdefault(write.job.id, write)
        notes = [self.note() for _ in range(draw.choice((0, 0, 3, 20)))] if self.known else []
        stale = [draw.choice(versions) for versions in draw.sample(list(self.known.values()), min(5, len(self.known)))]
        return Batch(
            now=self.now,
            writes=list(writes.values()),
            inserts=inserts,
            notes=notes,
            deletes=stale if draw.random() < 0.2 else [],
            claims=[Claim(queue=queue, limit=draw.choice((0, *SIZES))) for queue in QUEUES],
            types=TYPES,
            list_promoted=draw.random() < 0.5,
        )


async def all_jobs(store: Store) -> dict[str, JobRecord]:
    found: dict[str, JobRecord] = {}
    after: str | None = None
    while True:
        page = await store.find(Query(limit=1_000, after=after))
        found |= {record.id: record for record in page.jobs}
        if page.after is None:
            return found
        after = page.after


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32))
async def test_large_batches_have_the_outcomes_of_the_memory_store(seed: int) -> None:
    walk = Walk(seed)
    with tempfile.TemporaryDirectory() as directory:
        memory, sqlite = MemoryStore(), SQLiteStore(Path(directory) / "jobs.db", inline=True)
        for store in (memory, sqlite):
            await store.open("h", 0)
        for tick in range(1, 9):
            batch = walk.batch()
            want, got = await memory.commit("h", tick, batch), await sqlite.commit("h", tick, batch)
            assert [record.id for record in got.claimed] == [record.id for record in want.claimed]
            assert [record.standing for record in got.claimed] == [record.standing for record in want.claimed]
            assert [record.errors for record in got.claimed] == [record.errors for record in want.claimed]
            assert [record.saved_json for record in got.claimed] == [record.saved_json for record in want.claimed]
            assert sorted(r.id for r in got.promoted) == sorted(r.id for r in want.promoted)
            assert (got.refused, got.lost, got.undeleted) == (want.refused, want.lost, want.undeleted)
            assert (got.next_due, sorted(got.stops)) == (want.next_due, sorted(want.stops))
            stored = await all_jobs(memory)
            assert await all_jobs(sqlite) == stored
            counted, kept = await memory.counts(), await sqlite.counts()
            assert dict(kept.now) == {key: jobs for key, jobs in counted.now.items() if jobs}
            assert dict(kept.ended) == {key: jobs for key, jobs in counted.ended.items() if jobs}
            assert (kept.accepted, kept.deleted) == (counted.accepted, counted.deleted)
            walk.see(list(stored.values()))
        for store in (memory, sqlite):
            await store.close("h")
