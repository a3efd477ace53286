"""Clocks that step, and schedules of several processes: clock, scheduler."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import trio

import actors
from actors.core.job import instant
from tests.faults.clock import FileClock
from tests.faults.process import until
from tests.faults.trial import Trial
from tests.faults.work import jobs, slot, work

HOUR = 3_600.0
DAY = 24 * HOUR
ZONE = "Europe/Berlin"
NIGHTS = {  # two seconds before 02:30 would come, or comes: what is skipped in spring fires after the gap, once
    "spring": (datetime(2027, 3, 28, 0, 59, 58, tzinfo=UTC), datetime(2027, 3, 28, 1, 0, tzinfo=UTC)),
    "autumn": (datetime(2027, 10, 31, 0, 29, 58, tzinfo=UTC), datetime(2027, 10, 31, 0, 30, tzinfo=UTC)),
}


async def clock(trial: Trial) -> None:
    """The wall clock is stepped under two running processes (G15): leases don't care, delayed jobs and schedules follow it."""
    path = trial.folder / "clock"
    wall = FileClock(path)
    workers = [trial.program(f"worker{n}", "worker", workers=4, lease=1.0, clock=str(path)) for n in range(2)]
    for worker in workers:
        await worker.start()
    await _steps(trial, wall)
    for worker in workers:
        await trial.stop(worker)
    began = trial.ledger.counts("began")
    trial.figure(lost=0, twice=sum(times - 1 for times in began.values()))
    trial.promise(f"nothing runs twice: {began}", set(began.values()) == {1})


async def _steps(trial: Trial, wall: FileClock) -> None:
    # holders that are alive keep their jobs over every step, with a lease of one second
    async with actors.open_system(jobs, store=trial.store, queues={}, clock=wall) as client:
        running = [await client.enqueue(work(number, 600.0)) for number in range(2)]
        await trial.begun(range(2))
        for number, step in enumerate((HOUR, -HOUR, DAY, -DAY), start=10):
            soon = await client.enqueue(work(number), delay=abs(step) / 2)
            wall.step(step)
            if step > 0:
                stepped = time.monotonic()
                await trial.ended([number])
                trial.within("delayed_s", time.monotonic() - stepped, 2.5)
            else:
                await trio.sleep(1.5)  # twice as long as a look at the clock
                trial.promise("a delayed job follows the wall clock", (await soon.record()).state == "scheduled")
                await soon.cancel()
        for handle in running:
            record = await handle.record()
            trial.promise(f"a lease minds no step: {record.state}", (record.state, record.crashes) == ("running", 0))
        for name, (before, at) in NIGHTS.items():
            await _night(trial, wall, client, name, before, at)
        for handle in running:
            await handle.cancel()


async def _night(
    trial: Trial, wall: FileClock, client: actors.System, name: str, before: datetime, at: datetime
) -> None:
    """A daily 02:30 fires once, though the hour is skipped or repeated; and not again when the clock goes back."""
    wall.set(instant(before - timedelta(hours=2)))
    number = 100 + 10 * list(NIGHTS).index(name)
    await client.schedule(f"{name}-daily", "30 2 * * *", slot(number), tz=ZONE)
    await client.schedule(f"{name}-noon", "0 12 * * *", slot(number + 1), tz="UTC")
    wall.set(instant(before))
    await until(lambda: len(trial.ledger.of("began", [number])) == 1, f"{name}: 02:30 fires")
    wall.set(instant(at + timedelta(minutes=59, seconds=58)))  # and into what would be 02:30 once more
    await trio.sleep(3.5)
    wall.step(-HOUR)
    await trio.sleep(1.5)
    slots = await client._links.store.slots(f"{name}-daily")
    fired = [one.slot for one in slots if one.job is not None]
    trial.promise(f"{name}: {slots} fires {at} once", fired == [instant(at)])
    trial.promise(f"{name}: one job", trial.ledger.counts("began")[number] == 1)
    trial.promise(f"{name}: other slots keep still", trial.ledger.counts("began")[number + 1] == 0)
    await client.schedules[f"{name}-daily"].remove()
    await client.schedules[f"{name}-noon"].remove()


async def scheduler(trial: Trial) -> None:
    """Three processes fire the same schedules, one is killed every few seconds (G17): one job a slot, and none missing."""
    schedules, seconds, pause = trial.size(40, 200), trial.size(8, 60), trial.size(2, 5)
    given = {"workers": 4, "lease": trial.place.promise.lease, "schedules": schedules, "every": 1.0}
    processes = [trial.program(f"process{n}", "worker", **given) for n in range(3)]
    for process in processes:
        await process.start()
    began = time.monotonic()
    kills = 0
    while (left := began + seconds - time.monotonic()) > 0:
        await trio.sleep(min(pause, left))
        if left > pause:
            killed = processes[kills % 3]
            kills += 1
            await killed.kill()
            await killed.launch()  # and comes up while the others go on
    for process in processes:
        await until(lambda process=process: process.is_ready, "all are up again")  # type: ignore[misc]
        await trial.stop(process, 6.0)
    fired = missed = 0
    late = gap = 0.0
    async with trial.client() as client:
        found: dict[str, actors.JobRecord] = {}
        after = None
        while True:
            page = await client.find(limit=1_000, after=after)
            found.update((job.id, job) for job in page.jobs)
            if (after := page.after) is None:
                break
        store = client._links.store
        named: list[str] = []
        for number in range(schedules):
            slots = sorted(await store.slots(f"every-{number}", 1_000), key=lambda one: one.slot)
            named += [one.job for one in slots if one.job is not None]
            fired += len([one for one in slots if one.job is not None])
            missed += len([one for one in slots if one.job is None])
            instants = [one.slot for one in slots]
            steps = {later - earlier for earlier, later in zip(instants, instants[1:], strict=False)}
            trial.promise(f"every-{number}: a slot a second, each recorded once: {steps}", steps == {1_000_000})
            at = sorted(instant(found[one.job].created_at) for one in slots if one.job)
            late = max([late, *((instant(found[one.job].created_at) - one.slot) / 1e6 for one in slots if one.job)])
            gap = max([gap, *((later - earlier) / 1e6 for earlier, later in zip(at, at[1:], strict=False))])
    trial.promise("one job per slot, one slot per job", len(named) == len(set(named)) and set(named) == set(found))
    trial.promise(f"enough slots: {fired}", fired >= schedules * (seconds - 2))
    trial.figure(lost=missed, twice=len(named) - len(set(named)), fired=fired, kills=kills)
    trial.promise(f"skipped {missed}", missed == 0)
    trial.within("late_s", late, 3.0)
    trial.within("gap_s", gap, 3.0)
