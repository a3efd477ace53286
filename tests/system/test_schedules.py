"""Schedules on simulated time: stored ones fire a job once for all processes, callables run here; overlap, catch-up, jitter and bounds."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import attrs
import pytest
import trio

import actors
from actors.store.memory import MemoryStore
from actors.store.port import Batch, Outcome, ScheduleMove, ScheduleRecord, SlotRecord

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def jobs() -> actors.Registry:
    made = actors.Registry()
    made.ran = []

    @made.job(max_attempts=1)
    async def work(name: str = "x", seconds: float = 0.0, fail: bool = False) -> None:
        made.ran.append((name, round(trio.current_time(), 3)))
        await trio.sleep(seconds)
        if fail:
            raise ValueError("bad day")

    made.work = work
    return made


def times(jobs: actors.Registry) -> list[float]:
    return [at for _, at in jobs.ran]


async def test_a_month_of_cron_takes_no_time(memory, autojump_clock, jobs):
    began = time.perf_counter()
    async with memory(jobs) as system:
        await system.schedule("nightly", "30 2 * * *", jobs.work())
        await system.schedule("hourly", "@hourly", jobs.work("hour"))
        await trio.sleep(31 * 86_400 + 60)
        info = await system.schedules["nightly"].info()
    assert time.perf_counter() - began < 4.0
    nights = [at for name, at in jobs.ran if name == "x"]
    assert len(nights) == 31 and all(
        round(late - early) == 86_400 for early, late in zip(nights, nights[1:], strict=False)
    )
    assert len(jobs.ran) == 31 + 31 * 24
    assert (info.run_count, info.error_count, info.last_run) == (31, 0, START + timedelta(days=30, hours=2, minutes=30))
    assert info.next_run == START + timedelta(days=31, hours=2, minutes=30)


async def test_a_schedule_tells_how_it_stands(opened, autojump_clock, jobs):
    async with opened(jobs) as system:
        handle = await system.schedule(
            "report", "*/10 * * * *", jobs.work(seconds=60, fail=True), owner="ada", tz="Europe/Berlin"
        )
        info = await handle.info()
        assert (info.name, info.expression, info.tz, info.job_type, info.owner) == (
            "report",
            "*/10 * * * *",
            "Europe/Berlin",
            "work",
            "ada",
        )
        assert (info.is_running, info.paused, info.run_count, info.error_count, info.last_run, info.last_error) == (
            False,
            False,
            0,
            0,
            None,
            None,
        )
        assert info.next_run == START + timedelta(minutes=10)
        await trio.sleep(610)
        assert (await handle.info()).is_running
        await trio.sleep(100)
        info = await handle.info()
        assert (info.is_running, info.run_count, info.error_count, info.last_run) == (
            False,
            1,
            1,
            START + timedelta(minutes=10),
        )
        assert info.last_error is not None and "bad day" in info.last_error
        assert [one.name for one in await system.schedules.list()] == ["report"]
        (job,) = (await system.find()).jobs
        assert job.owner == "ada" and job.spec.details.schedule == "report"


async def test_every_and_at(opened, autojump_clock, jobs):
    async with opened(jobs) as system:
        zero = trio.current_time()
        await system.schedule("every", actors.Every(7.5), jobs.work("every"))
        await system.schedule("at", actors.At(START + timedelta(seconds=20)), jobs.work("at"))
        await trio.sleep(31)
        assert [round(at - zero, 3) for name, at in jobs.ran if name == "every"] == [7.5, 15.0, 22.5, 30.0]
        assert [round(at - zero, 2) for name, at in jobs.ran if name == "at"] == [20.0]
        infos = {info.name: info for info in await system.schedules.list()}
        assert infos["at"].next_run is None and infos["every"].next_run == START + timedelta(seconds=37.5)


@pytest.mark.parametrize("stored", [True, False], ids=["job", "callable"])
@pytest.mark.parametrize(
    ("overlap", "starts", "most"),
    [("skip", [10, 40, 70], 1), ("allow", [10, 20, 30, 40, 50, 60, 70], 3), ("queue", [10, 35, 60], 1), ("cancel_previous", [10, 20, 30, 40, 50, 60, 70], 2)],
)  # fmt: skip
async def test_overlap_decides_what_a_slot_does_while_the_run_before_it_goes_on(
    opened, autojump_clock, stored, overlap, starts, most
):
    jobs = actors.Registry()
    ran: list[float] = []
    running = seen = 0

    @jobs.job()
    async def work() -> None:
        await call()

    async def call() -> None:
        nonlocal running, seen
        running += 1
        seen = max(seen, running)
        ran.append(trio.current_time() - zero)
        try:
            await trio.sleep(25)
        finally:
            running -= 1

    async with opened(jobs, queues={"default": 5}) as system:
        zero = trio.current_time()
        await system.schedule("s", actors.Every(10), work() if stored else call, overlap=overlap)
        await trio.sleep(76)
        assert len(ran) == len(starts), ran
        assert all(-0.001 <= at - wanted <= 2.0 for at, wanted in zip(ran, starts, strict=True)), ran
        assert seen <= most
        await system.schedules["s"].remove()


async def test_a_slot_that_waits_for_the_run_before_it_is_not_a_missed_one(opened, autojump_clock, jobs):
    """overlap="queue": every slot runs, one after the other, however late that makes it; also with catch_up="none"."""
    async with opened(jobs) as system:
        zero = trio.current_time()
        await system.schedule("s", actors.Every(10), jobs.work(seconds=25), overlap="queue", catch_up="none", limit=5)
        await trio.sleep(200)
        assert [round(at - zero) for at in times(jobs)] == pytest.approx([10, 35, 60, 85, 110], abs=6)


@pytest.mark.parametrize(("catch_up", "extra"), [("none", 0), ("latest", 1), ("all", 5)])
async def test_catch_up_decides_what_becomes_of_slots_missed_in_a_downtime(
    opened, store, autojump_clock, jobs, catch_up, extra
):
    async with opened(jobs) as system:
        await system.schedule("s", actors.Every(60), jobs.work(), overlap="allow", catch_up=catch_up)
        await trio.sleep(61)
        assert len(jobs.ran) == 1
    await trio.sleep(310)  # down: five slots
    async with opened(jobs) as system:
        await trio.sleep(1)
        assert len(jobs.ran) == 1 + extra
        await trio.sleep(60)
        assert len(jobs.ran) == 2 + extra
        await store.open("looker", 0)
        slots = await store.slots("s")
        await store.close("looker")
        assert len({slot.slot for slot in slots}) == len(slots) == 7
        assert sum(slot.job is not None for slot in slots) == 2 + extra
        assert all(slot.job or slot.reason for slot in slots)


async def test_slots_stay_in_the_schedules_bounds(opened, autojump_clock, jobs):
    async with opened(jobs) as system:
        zero = trio.current_time()
        bounds = {"start": START + timedelta(seconds=25), "end": START + timedelta(seconds=55)}
        await system.schedule("bounded", actors.Every(10), jobs.work("bounded"), **bounds)
        await system.schedule("limited", actors.Every(10), jobs.work("limited"), limit=3)
        await trio.sleep(200)
        assert [round(at - zero) for name, at in jobs.ran if name == "bounded"] == [25, 35, 45, 55]
        assert [round(at - zero) for name, at in jobs.ran if name == "limited"] == [10, 20, 30]
        infos = {info.name: info for info in await system.schedules.list()}
        assert infos["bounded"].next_run is None and infos["limited"].next_run is None


async def test_jitter_delays_each_slot_by_at_most_so_much_and_spreads(opened, autojump_clock, jobs):
    async with opened(jobs) as system:
        zero = trio.current_time()
        for n in range(5):
            await system.schedule(f"s{n}", actors.Every(100), jobs.work(f"s{n}"), jitter=30)
        await trio.sleep(1030)
        late = [(at - zero) % 100 for _, at in jobs.ran]
        assert len(late) == 50 and max(late) <= 30.1 and max(late) > 20 and min(late) < 10
        assert len({round(at, 1) for at in late}) > 20


@pytest.mark.parametrize("stored", [True, False], ids=["job", "callable"])
async def test_a_schedule_is_paused_resumed_run_changed_and_removed_while_it_runs(opened, autojump_clock, jobs, stored):
    async def call() -> None:
        jobs.ran.append(("x", round(trio.current_time(), 3)))

    async with opened(jobs) as system:
        zero = trio.current_time()
        handle = await system.schedule("s", actors.Every(10), jobs.work() if stored else call)
        await trio.sleep(15)
        await handle.pause()
        info = await handle.info()
        assert info.paused and info.next_run is None
        await handle.run()  # by hand: also while it is paused
        await trio.sleep(40)
        await handle.resume()
        await handle.resume()
        await trio.sleep(10)
        await handle.change(when=actors.Every(100))
        await trio.sleep(195)
        assert (await handle.info()).expression == "every 100 s"
        await handle.remove()
        await trio.sleep(1000)
        assert [round(at - zero) for at in times(jobs)] == [10, 15, 60, 165]
        for ask in (
            handle.info,
            handle.pause,
            handle.resume,
            handle.run,
            handle.remove,
            lambda: handle.change(jitter=1),
        ):
            with pytest.raises(actors.NotFound, match="schedule 's' not found"):
                await ask()


async def test_a_run_by_hand_leaves_the_slots_where_they_are(opened, autojump_clock, jobs):
    async with opened(jobs) as system:
        zero = trio.current_time()
        handle = await system.schedule("s", actors.Every(100), jobs.work(seconds=5))
        await trio.sleep(50)
        await handle.run()
        with pytest.raises(actors.AlreadyRunning, match="'s' is running already") as running:
            await handle.run()
        assert isinstance(running.value, actors.Conflict)
        await trio.sleep(60)
        assert [round(at - zero) for at in times(jobs)] == [50, 100]
        assert (await handle.info()).run_count == 2
        await handle.change(overlap="allow")
        await handle.run()
        await handle.run()
        await trio.sleep(1)
        assert len(jobs.ran) == 4


@pytest.mark.parametrize("overlap", ["skip", "allow"])
async def test_of_two_processes_that_run_it_at_once_one_does_unless_overlap_is_allowed(
    opened, autojump_clock, jobs, overlap
):
    async with opened(jobs) as one, opened(jobs) as two:
        await one.schedule("s", "@daily", jobs.work(seconds=10), overlap=overlap)
        said = []

        async def run(system: actors.System) -> None:
            try:
                await system.schedules["s"].run()
            except actors.AlreadyRunning:
                said.append("already running")

        for _ in range(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run, one)
                nursery.start_soon(run, two)
            await trio.sleep(20)
        info = await two.schedules["s"].info()
    ran = 5 if overlap == "skip" else 10
    assert (len(jobs.ran), info.run_count, len(said)) == (ran, ran, 10 - ran)


async def test_a_run_by_hand_passes_no_slot_however_near(opened, autojump_clock, jobs):
    async with opened(jobs) as system:
        await trio.sleep(1)
        next = system.now() + timedelta(microseconds=1)
        await system.schedule("s", actors.At(next), jobs.work(), overlap="allow")
        await system.schedules["s"].run()
        await trio.sleep(5)
        assert len(jobs.ran) == 2


async def test_a_callable_that_runs_already_says_so(memory, autojump_clock):
    async def slow() -> None:
        await trio.sleep(50)

    async with memory(actors.Registry()) as system:
        handle = await system.schedule("s", "@daily", slow)
        await handle.run()
        await trio.sleep(1)
        assert (await handle.info()).is_running and (await handle.info()).job_type is None
        with pytest.raises(actors.AlreadyRunning):
            await handle.run()
        await trio.sleep(50)
        assert not (await handle.info()).is_running
        await handle.run()


async def test_a_stored_schedule_survives_a_restart_with_its_counts(opened, autojump_clock, jobs):
    async with opened(jobs) as system:
        zero = trio.current_time()
        await system.schedule(
            "s",
            actors.Every(100),
            jobs.work(),
            tags=["a"],
            priority="high",
            retry=actors.Fixed(3),
            unique=actors.Unique(key="k"),
        )
        await trio.sleep(250)
        before = await system.schedules["s"].info()
    async with opened(jobs) as system:
        assert await system.schedules["s"].info() == before
        await trio.sleep(100)
        assert [round(at - zero) for at in times(jobs)] == [100, 200, 300]
        job = (await system.find(limit=1)).jobs[0]
        assert (job.tags, job.priority, job.spec.details.retry) == (("a",), "high", {"policy": "fixed", "seconds": 3})


async def test_declaring_a_schedule_again_keeps_its_cursor_and_counts(opened, autojump_clock, jobs):
    for _ in range(4):
        async with opened(jobs) as system:
            await system.schedule("s", actors.Every(100), jobs.work())
            await trio.sleep(60)
    async with opened(jobs) as system:
        await system.schedule("s", actors.Every(100), jobs.work("other payload"))
        info = await system.schedules["s"].info()
        assert info.run_count == len(jobs.ran) == 2
        await trio.sleep(61)
        assert [name for name, _ in jobs.ran] == ["x", "x", "other payload"]
        assert [round(at) % 100 for at in times(jobs)] == [0, 0, 0]


async def test_several_systems_on_one_store_fire_each_slot_once(opened, store, autojump_clock, jobs):
    async with opened(jobs) as one, opened(jobs) as two, opened(jobs) as three:
        for system in (one, two, three):
            await system.schedule("s", actors.Every(5), jobs.work("s"))
            await system.schedule("t", "*/10 * * * * *", jobs.work("t"), overlap="allow")
        await trio.sleep(101)
        assert sorted(name for name, _ in jobs.ran) == ["s"] * 20 + ["t"] * 10
        slots = await store.slots("s")
        assert len(slots) == len({slot.slot for slot in slots}) == 20
        for system in (one, two, three):
            assert (await system.schedules["s"].info()).run_count == 20


async def test_what_another_system_does_to_a_schedule_is_noticed(opened, autojump_clock, jobs):
    async with opened(jobs) as one, opened(jobs, queues={}) as two:
        await two.schedule("s", actors.Every(10), jobs.work())
        await trio.sleep(25)
        assert len(jobs.ran) == 2
        await two.schedules["s"].pause()
        await trio.sleep(30)
        assert len(jobs.ran) == 2 and (await one.schedules["s"].info()).paused
        await one.schedules["s"].resume()
        await two.schedules["s"].change(when=actors.Every(1))
        await trio.sleep(5.5)
        assert len(jobs.ran) == 7
        await two.schedules["s"].remove()
        await trio.sleep(30)
        assert len(jobs.ran) == 7


async def test_a_type_that_this_program_does_not_know_is_left_for_others(opened, autojump_clock, jobs):
    async with opened(jobs, queues={}) as system:
        await system.schedule("s", actors.Every(10), jobs.work())
    async with opened(actors.Registry()) as stranger:
        await trio.sleep(100)
        assert (await stranger.stats()).enqueued == 0
        assert (await stranger.schedules["s"].info()).run_count == 0


async def test_a_stored_schedule_that_can_not_be_read_harms_nobody(opened, store, autojump_clock, jobs):
    await store.open("newer", 0)
    strange = [
        ScheduleRecord(name=f"strange {n}", definition=text, cursor=0)
        for n, text in enumerate(["{}", "[]", "nonsense", '{"timing": {"when": {"moon": 1}}}'])
    ]
    await store.commit("newer", 1, Batch(now=0, schedules=strange))
    await store.close("newer")
    async with opened(jobs) as system:
        await system.schedule("s", actors.Every(10), jobs.work())
        await trio.sleep(15)
        assert len(jobs.ran) == 1
        assert [info.name for info in await system.schedules.list()] == ["s"]
        await system.ping()


async def test_a_slot_whose_job_can_not_be_made_is_recorded_and_the_next_one_comes(opened, store, autojump_clock, jobs):
    newer = actors.Registry()

    @newer.job(type="work")
    async def other(quite: int) -> None: ...

    async with opened(newer, queues={}) as system:
        await system.schedule("s", actors.Every(10), other(1))
    async with opened(jobs) as system:
        await trio.sleep(35)
        assert (await system.stats()).enqueued == 0
        assert all("not fired" in (slot.reason or "") for slot in await store.slots("s"))
        await system.ping()


async def test_a_unique_key_over_slots_records_what_was_not_made(opened, store, autojump_clock, jobs):
    async with opened(jobs) as system:
        await system.schedule(
            "s", actors.Every(10), jobs.work(seconds=25), overlap="allow", unique=actors.Unique(key="one")
        )
        await trio.sleep(45)
        assert len(jobs.ran) == 2
        await system.ping()


async def test_the_wall_clock_decides_when_it_is_stepped(store, autojump_clock, jobs):
    clock = actors.TrioClock(patience=1.0)
    async with actors.open_system(jobs, store=store, clock=clock) as system:
        await system.schedule("s", "0 * * * *", jobs.work())
        late = await system.enqueue(jobs.work("delayed"), delay=7200)
        await trio.sleep(10)
        clock.step(3600)
        await trio.sleep(2)
        assert [name for name, _ in jobs.ran] == ["x"]
        clock.step(-3600)
        await trio.sleep(3600)  # the same wall-clock hour again: its slot does not fire twice
        assert [name for name, _ in jobs.ran] == ["x"]
        clock.step(86_400)
        await trio.sleep(2)
        assert (await late.record()).state == "completed"


BAD = [
    (("s", "nonsense"), {}), (("s", "61 * * * *"), {}), (("s", "30 2 30 2 *"), {}), (("s", "x" * 10_000), {}), (("s", "\ud800"), {}), (("", "@daily"), {}),
    (("a/b", "@daily"), {}), (("x" * 101, "@daily"), {}), (("\0", "@daily"), {}), (("s", "@daily"), {"tz": "Mars/Phobos"}), (("s", "@daily"), {"overlap": "maybe"}),
    (("s", "@daily"), {"catch_up": "some"}), (("s", "@daily"), {"jitter": -1}), (("s", "@daily"), {"jitter": float("nan")}), (("s", "@daily"), {"limit": 0}),
    (("s", "@daily"), {"start": datetime(2026, 1, 1)}), (("s", "@daily"), {"id": "own"}), (("s", "@daily"), {"run_at": START}),
    (("s", "@daily"), {"idempotency_key": "k"}), (("s", "@daily"), {"retry": lambda a, e: 1.0}), (("s", "@daily"), {"delay": -1}),
    (("s", "@daily"), {"unique": actors.Unique(key=lambda payload: "k")}), (("s", "@daily"), {"priority": "urgent"}),
    (("s", "@daily"), {"start": START + timedelta(1), "end": START}),
]  # fmt: skip


@pytest.mark.parametrize(("given", "options"), BAD, ids=range(len(BAD)))
async def test_a_schedule_that_can_not_be_is_refused_and_keeps_nothing(memory, autojump_clock, jobs, given, options):
    async with memory(jobs) as system:
        with pytest.raises((ValueError, actors.ActorsError)) as bad:
            await system.schedule(*given, jobs.work(), **options)
        assert len(str(bad.value)) < 500
        assert await system.schedules.list() == []
        await system.ping()


async def test_what_is_no_job_and_no_callable_is_refused(memory, autojump_clock, jobs):
    async with memory(jobs) as system:
        with pytest.raises(TypeError, match="call it"):
            await system.schedule("s", "@daily", jobs.work)
        with pytest.raises(TypeError, match="expected a job or an async callable"):
            await system.schedule("s", "@daily", 5)
        with pytest.raises(actors.BadPayload):
            await system.schedule("s", "@daily", jobs.work(5))
        with pytest.raises(TypeError, match="no job options: priority"):
            await system.schedule("s", "@daily", lambda: trio.sleep(0), priority="high")
        with pytest.raises((TypeError, ValueError)):
            await system.schedule("s", 5, jobs.work())
        await system.schedule("s", "@daily", jobs.work())
        with pytest.raises(actors.Conflict, match="stored with a job"):
            await system.schedule("s", "@daily", lambda: trio.sleep(0))
        await system.schedule("local", "@daily", lambda: trio.sleep(0))
        with pytest.raises(actors.Conflict, match="runs a callable"):
            await system.schedule("local", "@daily", jobs.work())
        for change in ({"when": "61 * * * *"}, {"tz": "Mars"}, {"jitter": -1}, {"nonsense": 1}):
            for name in ("s", "local"):
                with pytest.raises((actors.ActorsError, ValueError, TypeError)):
                    await system.schedules[name].change(**change)
        assert (await system.schedules["s"].info()).expression == "@daily"


async def test_a_class_job_can_be_scheduled(opened, autojump_clock):
    jobs = actors.Registry()
    ran: list[int] = []

    @jobs.job()
    @attrs.frozen
    class Count:
        n: int

        async def execute(self, ctx: actors.JobContext) -> None:
            ran.append(self.n)

    async with opened(jobs) as system:
        await system.schedule("s", actors.Every(1), Count(3))
        await trio.sleep(2.5)
    assert ran == [3, 3]


async def test_a_system_without_queues_fires_no_schedules(opened, autojump_clock, jobs):
    async with opened(jobs, queues={}) as system:
        await system.schedule("s", actors.Every(1), jobs.work())
        await trio.sleep(10)
        assert (await system.stats()).enqueued == 0


async def test_schedule_events_tell_of_each_slot(memory, autojump_clock, jobs):
    async with memory(jobs) as system:
        with system.events() as events:
            await system.schedule("s", actors.Every(10), jobs.work(seconds=15))
            await trio.sleep(25)
            names = []
            with trio.move_on_after(0.01):
                async for event in events:
                    if event.name.startswith("schedule:"):
                        names.append((event.name, event.data["schedule"], event.job is not None))
    assert names == [("schedule:fired", "s", True), ("schedule:skipped", "s", False)]


class Watched(MemoryStore):
    """Counts what it is asked, and lets a test come between the scheduler's reading and its commit."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()
        self.inserts: list[int] = []  # of each commit that moves schedules
        self.faster: list[ScheduleMove] = []  # committed by another process before these schedules are fired here

    async def schedules(self) -> list[ScheduleRecord]:
        self.asked["schedules"] += 1
        return await super().schedules()

    async def get(self, ids: Sequence[str]) -> dict[str, actors.JobRecord]:
        self.asked["get"] += 1
        return await super().get(ids)

    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        self.asked["commit"] += 1
        if batch.schedule_moves:
            self.inserts.append(len(batch.inserts))
            if self.faster:
                await self.open("another", batch.now)
                await super().commit("another", 1, Batch(now=batch.now, schedule_moves=[self.faster.pop()]))
                await self.close("another")
        return await super().commit(holder, tick, batch)


async def test_a_pass_asks_the_store_as_often_however_many_schedules_are_due(autojump_clock, clock, jobs):
    asked: dict[int, Counter[str]] = {}
    for number in (1, 200):
        store = Watched()
        async with actors.open_system(jobs, store=store, clock=clock, rng=random.Random(7)) as system:
            due = clock.now() + 60_000_000
            for one in range(number):  # the jobs are of a queue without workers: nothing but the scheduler has work
                every = actors.Every(60)
                await system.schedule(f"every-{one}", every, jobs.work(), queue="idle", overlap="cancel_previous")
            await trio.sleep((due - clock.now()) / 1e6 + 59)  # once: there are runs to be replaced
            store.asked.clear()
            await trio.sleep(2)
            asked[number] = store.asked
            assert (await system.stats()).queues["idle"].cancelled == number
    assert asked[200] == asked[1], "schedules, last jobs, the runs that are replaced, and the commits"


async def test_a_schedule_that_another_process_fired_first_leaves_the_others_of_the_pass_alone(
    autojump_clock, clock, jobs
):
    store = Watched()
    async with actors.open_system(jobs, store=store, clock=clock, rng=random.Random(7)) as system:
        for name in ("a", "b", "c"):
            await system.schedule(name, actors.Every(60), jobs.work(name))
        (cursor,) = {record.cursor for record in await store.schedules()}
        slot = cursor + 60_000_000
        elsewhere = SlotRecord(slot=slot, reason="another process had it")
        store.faster.append(ScheduleMove(name="b", expect=cursor, cursor=slot, slots=(elsewhere,)))
        await trio.sleep(61)
        assert sorted(name for name, _ in jobs.ran) == ["a", "c"]
        assert await store.slots("b", 10) == [elsewhere]
        assert store.inserts == [3], "one commit: the two others were not tried again"
        await trio.sleep(60)
        assert sorted(name for name, _ in jobs.ran) == ["a", "a", "b", "c", "c"]


async def _fires_elsewhere(store: MemoryStore, cursor: int, slot: int) -> bool:
    """Whether another process, that has read the schedule with this cursor, may still fire a slot of it."""
    await store.open("another", 0)
    try:
        move = ScheduleMove(name="s", expect=cursor, cursor=slot, slots=(SlotRecord(slot=slot, job="job"),))
        return not (await store.commit("another", 1, Batch(now=0, schedule_moves=[move]))).lost_moves
    finally:
        await store.close("another")


@pytest.mark.parametrize("change", ["pause", "change"])
async def test_what_another_process_is_just_firing_loses_against_a_pause_and_a_new_timing(
    autojump_clock, clock, jobs, change
):
    store = Watched()
    async with actors.open_system(jobs, store=store, clock=clock, rng=random.Random(7)) as system:
        schedule = await system.schedule("s", actors.Every(60), jobs.work())
        (before,) = await store.schedules()
        await (schedule.pause() if change == "pause" else schedule.change(when=actors.Every(30)))
        assert not await _fires_elsewhere(store, before.cursor, before.cursor + 60_000_000)


async def test_a_pause_that_came_too_late_for_one_slot_holds_for_the_next(autojump_clock, clock, jobs):
    store = Watched()
    async with actors.open_system(jobs, store=store, clock=clock, rng=random.Random(7)) as system:
        schedule = await system.schedule("s", actors.Every(60), jobs.work())
        (before,) = await store.schedules()
        slot = before.cursor + 60_000_000
        faster = ScheduleMove(name="s", expect=before.cursor, cursor=slot, slots=(SlotRecord(slot=slot, job="job"),))
        store.faster.append(faster)
        await schedule.pause()
        assert not store.faster and not await _fires_elsewhere(store, slot, slot + 60_000_000)
        assert [one.slot for one in await store.slots("s", 10)] == [slot]


async def test_a_downtime_of_many_schedules_is_caught_up_in_commits_of_bounded_size(autojump_clock, clock, jobs):
    store = Watched()
    async with actors.open_system(jobs, store=store, clock=clock, rng=random.Random(7)) as system:
        for one in range(30):
            await system.schedule(
                f"every-{one}", actors.Every(1), jobs.work(), queue="idle", overlap="allow", catch_up="all"
            )
    await trio.sleep(300)
    store.inserts.clear()
    async with actors.open_system(jobs, store=store, clock=clock, rng=random.Random(8)) as system:
        await trio.sleep(0.1)
        assert sum(store.inserts) == 30 * 300 and max(store.inserts) < 1_300
        assert (await system.stats()).queues["idle"].pending == 30 * 300
