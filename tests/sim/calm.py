"""The calm after the storm: faults off, everybody up, everything resumed. Now all must end, and all counts must agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs
import trio

import actors
from actors.store.port import FIRST_LEASE
from tests.sim.storm import STEPS
from tests.sim.truth import short
from tests.sim.world import LEASE, QUEUES

if TYPE_CHECKING:
    from tests.sim.run import House
    from tests.sim.storm import Storm

REAPED: Final = max(FIRST_LEASE, LEASE * 4 / 3) + 4.0  # seconds: the longest lease, a late wake-up, and the commits
SETTLED: Final = 10.0  # seconds: a late wake-up, and the run that a slot waits for
DRAINED: Final = 1_500.0  # seconds: every back-off, timeout and delay of every job, one after the other
PUNCTUAL: Final = 3_000_000  # microseconds that a schedule may lag behind


async def calm(house: House, storm: Storm) -> None:
    """Raise nothing; what is broken is told to the truth."""
    truth = house.truth
    truth.say("calm", "begins")
    truth.calm = True
    if storm.has_stepped:  # what was put off by a clock that was ahead is due by now
        storm.set_clock(max(STEPS) + 100.0 - storm.stepped)
    if house.network is not None:
        house.network.come_up()
    for process in house.processes:
        process.port.calm = True
        process.port.come_back()
    system = await _somebody(house)
    while storm.callers.asking:  # the last of them may be to pause a queue
        await trio.sleep(0.1)
    if house.network is not None:
        await house.network.all_arrived()
    for queue in QUEUES:
        await system.queues[queue].resume()
        for process in house.up():
            assert process.system is not None
            process.system.queues[queue].set_workers(2)
    await trio.sleep(SETTLED)
    with truth.judging("after a while"):
        _schedules_are_punctual(house)
    for name in sorted(truth.ledger.schedules):
        await system.schedules[name].remove()
    await trio.sleep(REAPED - SETTLED)
    with truth.judging("after a lease and the reaper's round"):
        _no_orphans(house)
    await _drain(house)
    with truth.judging("at the end"):
        await _compare(house, system)
    truth.say("calm", "stops everybody")
    for process in house.up():
        process.stop()
    for process in house.processes:
        await process.ended.wait()


async def _somebody(house: House) -> actors.System:
    """A process that is up; its system."""
    if not any(not (one.dead or one.leaving or one.ended.is_set()) for one in house.processes):
        house.start().port.calm = True
    while not house.up():
        await trio.sleep(0.1)
    for process in house.processes:
        while process.leaving is not None and not process.ended.is_set():
            await trio.sleep(0.1)
    system = house.up()[0].system
    assert system is not None
    return system


def _no_orphans(house: House) -> None:
    living = {process.holder: process for process in house.up()}
    for entry in house.truth.ledger.running():
        holder = entry.standing.holder
        assert holder in living, f"{short(entry.spec.id)} is an orphan of {house.truth.processes.get(holder or '')}"


def _schedules_are_punctual(house: House) -> None:
    now = house.clock.now()
    for name, schedule in house.truth.ledger.schedules.items():
        waits = '"overlap":"queue"' in schedule.definition.replace(" ", "")
        if not schedule.paused and not waits:
            lag = now - schedule.cursor
            assert lag <= PUNCTUAL + 4_000_000, f"schedule {name} is {lag / 1e6} s behind"


async def _drain(house: House) -> None:
    """Everything ends."""
    until = trio.current_time() + DRAINED
    while left := house.truth.ledger.unfinished():
        if trio.current_time() > until:
            told = [(short(entry.spec.id), entry.standing, entry.told[-6:]) for entry in left]
            house.truth.break_off(f"{len(left)} jobs do not end: {told}")
            return
        await trio.sleep(1.0)


async def _compare(house: House, system: actors.System) -> None:
    """What the store holds and counts is what the ledger says."""
    ledger = house.truth.ledger
    found: dict[str, actors.JobRecord] = {}
    after: str | None = None
    while True:
        page = await system.find(limit=7, after=after)
        for job in page.jobs:
            assert job.id not in found, f"{job.id} is on two pages"
            found[job.id] = job
        if (after := page.after) is None:
            break
    assert found.keys() == ledger.jobs.keys(), "conservation"
    for id, job in found.items():
        entry = ledger.jobs[id]
        assert attrs.evolve(job.standing, seq=0) == attrs.evolve(entry.standing, seq=0), f"{job}, expected {entry}"
        assert job.spec == entry.spec, f"{job}, expected {entry}"
        assert (job.result_json, len(job.errors)) == (entry.result, entry.errors), f"{job}, expected {entry}"
        if entry.asked is not None:
            assert job.state in ("cancelled", "completed", "dead"), f"{job} was to be cancelled"
    stats = await system.stats()
    counts = (stats.enqueued, stats.deleted, stats.completed, stats.dead, stats.cancelled)
    assert counts == ledger.counters(), f"{counts}, expected {ledger.counters()}"
    assert (stats.pending, stats.scheduled, stats.running) == (0, 0, 0), f"{stats}"
    audit = await system.audit(every_job=True)
    assert audit.ok and audit.checked == len(found), audit
