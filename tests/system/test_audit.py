"""The audit finds what does not add up, and nothing else."""

from __future__ import annotations

import sqlite3

import attrs
import pytest

import actors
from actors.audit import audit, job_problems, sum_problems
from actors.store.port import Counts, Recount
from actors.store.sqlite import SQLiteStore

FINE = Recount(
    counts=Counts(
        now={("q", 1, "pending"): 2, ("q", 1, "dead"): 1}, ended={("q", 1, "dead"): 3}, accepted=5, deleted=2
    ),
    jobs={("q", 1, "pending"): 2, ("q", 1, "dead"): 1},
)


def test_what_adds_up_is_fine():
    assert sum_problems(FINE) == []


@pytest.mark.parametrize(
    ("counts", "jobs", "said"),
    [
        ({"accepted": 6}, {}, "6 jobs were accepted: expected 5"),
        ({}, {("q", 1, "pending"): 1}, "queue 'q', priority 1: 2 pending jobs are counted, 1 are there"),
        ({"ended": {("q", 1, "dead"): 0}}, {}, "1 jobs are dead, but only 0 ever were"),
        ({}, {("r", 0, "half"): 1}, "1 jobs of queue 'r' are in no known state ('half')"),
    ],
)
def test_what_does_not_add_up_is_told(counts, jobs, said):
    wrong = Recount(counts=attrs.evolve(FINE.counts, **counts), jobs={**FINE.jobs, **jobs})
    assert any(said in problem for problem in sum_problems(wrong)), sum_problems(wrong)


@pytest.fixture
def jobs():
    made = actors.Registry()

    @made.job(max_attempts=1)
    async def work(fails: bool = False) -> int:
        if fails:
            raise ValueError
        return 1

    made.work = work
    return made


async def test_a_system_that_has_worked_adds_up(opened, autojump_clock, jobs):
    said = []
    async with opened(jobs) as system:
        await system.enqueue_many([jobs.work(n % 3 == 0) for n in range(700)])
        await system.queues["default"].drain()
        await system.enqueue(jobs.work(), delay=100)
        await system.dead_letters.delete((await system.dead_letters.list()).jobs[0].id)
        found = await system.audit(every_job=True, progress=lambda done, total: said.append((done, total)))
    assert found.ok and found.checked == 700 and said[-1] == (700, 700)
    assert found.states == {"scheduled": 1, "pending": 0, "running": 0, "completed": 466, "cancelled": 0, "dead": 233}
    assert (found.accepted, found.deleted) == (701, 1)


BREAKS = {
    "DELETE FROM standing WHERE seq = 1": "in no known state ('half')",
    "DELETE FROM job WHERE seq = 1": "in no known state ('half')",
    "DELETE FROM standing WHERE seq = 1; DELETE FROM job WHERE seq = 1": "3 jobs were accepted: expected 2",
    "UPDATE standing SET state = 'cancelled' WHERE seq = 1": "completed jobs are counted",
    "UPDATE standing SET holder = 'x' WHERE seq = 1": "completed, held by x",
    "UPDATE standing SET finished_at = NULL WHERE seq = 1": "completed, ended at None",
    "UPDATE standing SET attempt = 7 WHERE seq = 1": "attempt is 7: expected 0 to 1",
    "UPDATE tally SET accepted = 9": "9 jobs were accepted: expected 3",
}


@pytest.mark.parametrize("sql", BREAKS)
async def test_a_row_that_somebody_broke_is_found(opened, autojump_clock, jobs, tmp_path, sql):
    store = SQLiteStore(tmp_path / "broken.db", inline=True)
    async with opened(jobs, store=store) as system:
        for _ in range(3):
            await (await system.enqueue(jobs.work())).result()
        file = sqlite3.connect(tmp_path / "broken.db")
        file.executescript(sql)
        file.close()
        found = await audit(store, every_job=True)
    assert not found.ok and any(BREAKS[sql] in problem for problem in found.problems), found


async def test_the_rules_of_rows_hold_for_every_job_of_a_life(opened, autojump_clock, jobs):
    async with opened(jobs, queues={}) as system:
        record = await (await system.enqueue(jobs.work())).record()
    assert job_problems(record) == []
    for changed in ({"state": "running"}, {"finished_at": 1}, {"holder": "x"}, {"attempt": -1}, {"runs": 9}):
        assert job_problems(attrs.evolve(record, standing=attrs.evolve(record.standing, **changed)))
