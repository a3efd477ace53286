"""What comes in: everything a caller can get wrong, ids, unique and idempotency keys, bounded queues, many at once."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import actors

BAD_TEXTS = ["\ud800", "nul\0", "", "x" * 10_000, 5, b"bytes", ["list"]]


@pytest.fixture
def jobs() -> actors.Registry:
    made = actors.Registry()

    @made.job()
    async def work(n: int) -> int:
        return n

    @made.job()
    @attrs.frozen
    class Mail:
        to: str
        cc: list[str] = attrs.Factory(list)

        async def execute(self, ctx: actors.JobContext) -> None: ...

    made.work, made.Mail = work, Mail
    return made


BAD_OPTIONS = [
    *[("delay", given) for given in (-1, -0.001, math.nan, math.inf, 1e18, "5", True)],
    *[("run_at", given) for given in (datetime(2026, 1, 1), "2026-01-01T00:00:00Z", 5, datetime.max)],
    *[("priority", given) for given in ("urgent", "", 1, None, ["high"])],
    *[("max_attempts", given) for given in (0, -1, 10**9, 1.0, "3", True, None)],
    *[("timeout", given) for given in (0, -1, math.nan, math.inf, 1e18, "5", True)],
    *[("queue", given) for given in (*BAD_TEXTS, "a b", "ä", None)],
    *[("id", given) for given in (*BAD_TEXTS, "a b", "../x", None, "x" * 129)],
    *[("tags", given) for given in ("word", ["\ud800"], ["a\0"], [""], ["x" * 101], [1], ["t"] * 21, {"a"}, None)],
    *[("owner", given) for given in BAD_TEXTS],
    *[("description", given) for given in BAD_TEXTS if given != ""],
    *[("idempotency_key", given) for given in (*BAD_TEXTS, None)],
    *[("unique", given) for given in ("key", True, {"key": "a"})],
    *[("retry", given) for given in ("fixed", 5, lambda attempt, error: 1.0)],
    *[("front", given) for given in ("yes", 1, None)],
]


async def test_each_bad_option_is_one_clear_error_that_changes_nothing(opened, autojump_clock, jobs):
    async with opened(jobs) as system:
        for option, given in BAD_OPTIONS:
            with pytest.raises(actors.BadOption) as bad:
                await system.enqueue(jobs.work(1), **{option: given})
                pytest.fail(f"{option}={given!r} was accepted")
            assert bad.value.option.startswith(option) and bad.value.expected
            assert len(str(bad.value)) < 400
            str(bad.value).encode()  # an error can be printed
        assert (await system.stats()).enqueued == 0
        await system.ping()


async def test_delay_and_run_at_exclude_each_other(memory, autojump_clock, jobs):
    async with memory(jobs) as system:
        with pytest.raises(actors.BadOption, match="either run_at or delay, not both"):
            await system.enqueue(jobs.work(1), delay=1, run_at=system.now())


@pytest.mark.parametrize(
    ("what", "error", "says"),
    [
        (lambda jobs: jobs.work, TypeError, r"work is a job type, not a job: call it, as in enqueue\(work\(\.\.\.\)\)"),
        (lambda jobs: jobs.Mail, TypeError, r"Mail is a job type, not a job: call it"),
        (lambda jobs: "work", TypeError, r"expected a job, made by calling a registered job type, not 'work'"),
        (lambda jobs: None, TypeError, "expected a job"),
        (lambda jobs: jobs.work("5"), actors.BadPayload, r"bad payload for work: n: expected an integer, not a string \('5'\)"),
        (lambda jobs: jobs.work(None), actors.BadPayload, "n: expected an integer, not null"),
        (lambda jobs: jobs.work(2**63), actors.BadPayload, "n: an integer beyond 64 bits"),
        (lambda jobs: jobs.Mail(5, ["a", 6]), actors.BadPayload, r"to: expected a string, not an integer \(5\); cc\[1\]: expected a string"),
        (lambda jobs: jobs.Mail("\ud800"), actors.BadPayload, "to: a lone surrogate"),
        (lambda jobs: jobs.Mail("a\0"), actors.BadPayload, "to: NUL"),
        (lambda jobs: jobs.Mail("a", "bcd"), actors.BadPayload, "cc: expected a list, not a string"),
        (lambda jobs: jobs.Mail("a" * 300_000), actors.BadPayload, "at most 262144"),
    ],
)  # fmt: skip
async def test_what_is_no_job_is_refused_and_says_why(opened, autojump_clock, jobs, what, error, says):
    async with opened(jobs) as system:
        with pytest.raises(error, match=says) as bad:
            await system.enqueue(what(jobs))
        assert len(str(bad.value)) < 500
        assert (await system.stats()).enqueued == 0


async def test_a_wrong_call_of_a_job_type_names_the_job_type(jobs):
    for call in (lambda: jobs.work(), lambda: jobs.work(1, 2), lambda: jobs.work(m=1)):
        with pytest.raises(TypeError, match=r"work\(\)"):
            call()


async def test_a_job_of_another_registry_is_unknown_here(memory, autojump_clock, jobs):
    async with memory(actors.Registry()) as system:
        for job in (jobs.work(1), jobs.Mail("a")):
            with pytest.raises(actors.UnknownType, match=r"registered types \(none\)"):
                await system.enqueue(job)


async def test_an_unknown_option_is_a_type_error(memory, autojump_clock, jobs):
    async with memory(jobs) as system:
        with pytest.raises(TypeError, match="unknown option 'prioriti': expected some of delay, description"):
            await system.enqueue(jobs.work(1), prioriti="high")


@pytest.mark.parametrize("id", ["\ud800", "\0", "", "a" * 100_000, "'; DROP TABLE job; --", "../../etc/passwd", "💥"])
async def test_a_hostile_id_is_just_not_found(opened, autojump_clock, jobs, id):
    async with opened(jobs) as system:
        calls = (
            system.get, system.cancel, system.retry, system.promote, system.dead_letters.retry, system.dead_letters.delete,
            lambda id: system.handle(id).record(), lambda id: system.handle(id).result(), lambda id: system.handle(id).cancel(),
        )  # fmt: skip
        for call in calls:
            with pytest.raises(actors.NotFound) as missing:
                await call(id)
            assert len(str(missing.value)) < 150
        for call in calls:
            with pytest.raises(actors.BadOption):
                await call(5)
        await system.ping()


@pytest.mark.parametrize("option", ["type", "queue", "tag", "owner", "text", "after"])
async def test_a_hostile_query_finds_nothing_and_harms_nobody(opened, autojump_clock, jobs, option):
    async with opened(jobs) as system:
        await system.enqueue(jobs.work(1), delay=1000)
        for text in ("\ud800", "\0", "", "x" * 10_000, "%_*?[]\"'\\", 5, b"x"):
            for find in (system.find, system.dead_letters.list):
                if find == system.find or option != "tag":
                    try:
                        page = await find(**{option: text})
                    except actors.BadOption:
                        continue
                    assert page.jobs == [] or text == "", page
        await system.ping()


async def test_an_own_id_makes_repeating_safe(opened, autojump_clock, jobs):
    async with opened(jobs) as system:
        first = await system.enqueue(jobs.work(1), id="order-17")
        again = await system.enqueue(jobs.work(1), id="order-17")
        assert (first.id, first.created, again.id, again.created) == ("order-17", True, "order-17", False)
        with pytest.raises(actors.Conflict, match="'order-17' is taken") as conflict:
            await system.enqueue(jobs.work(2), id="order-17")
        assert conflict.value.existing == "order-17"
        with pytest.raises(actors.Conflict):
            await system.enqueue(jobs.work(1), id="order-17", owner="eve")
        assert await again.result() == 1
        assert not (await system.enqueue(jobs.work(1), id="order-17")).created  # also when it has ended
        assert (await system.stats()).enqueued == 1


async def test_an_idempotency_key_names_one_job_for_a_day_per_owner(opened, autojump_clock, jobs):
    async with opened(jobs) as system:
        first = await system.enqueue(jobs.work(1), idempotency_key="k", owner="ada")
        again = await system.enqueue(jobs.work(1), idempotency_key="k", owner="ada")
        assert (again.id, again.created) == (first.id, False)
        with pytest.raises(actors.Conflict, match="idempotency key 'k' is taken") as conflict:
            await system.enqueue(jobs.work(2), idempotency_key="k", owner="ada")
        assert conflict.value.existing == first.id
        with pytest.raises(actors.Conflict):
            await system.enqueue(jobs.work(1), idempotency_key="k", owner="ada", priority="high")
        other = await system.enqueue(jobs.work(1), idempotency_key="k", owner="bob")
        assert other.created and other.id != first.id
        await first.result()
    async with opened(jobs) as system:
        assert (await system.enqueue(jobs.work(1), idempotency_key="k", owner="ada")).id == first.id
        await trio.sleep(24 * 3600 + 10)
        fresh = await system.enqueue(jobs.work(2), idempotency_key="k", owner="ada")
        assert fresh.created and fresh.id != first.id


async def test_a_repeat_within_one_tick_is_one_job(opened, autojump_clock, jobs):
    async with opened(jobs) as system:
        handles: list[actors.JobHandle[int]] = []

        async def enqueue(**options: object) -> None:
            handles.append(await system.enqueue(jobs.work(1), **options))

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(lambda: enqueue(idempotency_key="k"))
                nursery.start_soon(lambda: enqueue(id="own"))
                nursery.start_soon(lambda: enqueue(unique=actors.Unique(key="u")))
        assert len({handle.id for handle in handles}) == 3
        assert sum(handle.created for handle in handles) == 3


async def test_unique_skips_while_another_is_unfinished(opened, autojump_clock, jobs):
    async with opened(jobs, queues={"default": 1}) as system:
        unique = actors.Unique()
        first = await system.enqueue(jobs.work(1), unique=unique, delay=10)
        assert (await system.enqueue(jobs.work(1), unique=unique)).id == first.id
        assert (await system.enqueue(jobs.work(2), unique=unique)).created  # another payload, another key
        assert (await system.enqueue(jobs.work(1), unique=unique, owner="ada")).created  # an owner's keys are its own
        await first.result()
        assert (await system.enqueue(jobs.work(1), unique=unique)).created


async def test_unique_raises(opened, autojump_clock, jobs):
    async with opened(jobs) as system:
        unique = actors.Unique(key="one at a time", on_conflict="raise")
        first = await system.enqueue(jobs.work(1), unique=unique, delay=10)
        with pytest.raises(
            actors.Conflict, match=rf"unique key of this work is held by job {first.id} \(scheduled\)"
        ) as conflict:
            await system.enqueue(jobs.work(2), unique=unique)
        assert conflict.value.existing == first.id


async def test_unique_replaces_what_has_not_started_a_debounce(opened, autojump_clock):
    jobs = actors.Registry()
    ran: list[int] = []

    @jobs.job(unique=actors.Unique(key=lambda payload: "all", on_conflict="replace"))
    async def index(n: int) -> None:
        ran.append(n)
        await trio.sleep(10)

    async with opened(jobs) as system:
        first = await system.enqueue(index(1), delay=5)
        await trio.sleep(1)
        second = await system.enqueue(index(2), delay=5)
        assert second.created and second.id != first.id
        assert (await first.record()).state == "cancelled"
        await trio.sleep(6)
        assert ran == [2]
        third = await system.enqueue(index(3))  # it has started: skipped
        assert (third.id, third.created) == (second.id, False)
        await second.result()
        assert (await system.enqueue(index(4))).created
        handles = []

        async def enqueue(n: int) -> None:
            handles.append(await system.enqueue(index(n), delay=100))

        await system.queues["default"].drain()
        async with trio.open_nursery() as nursery:
            for n in range(10, 20):
                nursery.start_soon(enqueue, n)
        states = [(await handle.record()).state for handle in handles]
        assert sorted(states) == ["cancelled"] * 9 + ["scheduled"]


async def test_unique_within_is_a_throttle(opened, autojump_clock, jobs):
    async with opened(jobs) as system:
        unique = actors.Unique(key="hourly", within=3600)
        first = await system.enqueue(jobs.work(1), unique=unique)
        await first.result()
        await trio.sleep(3500)
        assert not (await system.enqueue(jobs.work(1), unique=unique)).created
        await trio.sleep(110)
        assert (await system.enqueue(jobs.work(1), unique=unique)).created


async def test_unique_states_say_when_the_key_is_held(opened, autojump_clock, jobs):
    async with opened(jobs) as system:
        unique = actors.Unique(key="k", states=frozenset({"completed"}))
        first = await system.enqueue(jobs.work(1), unique=unique, delay=5)
        second = await system.enqueue(jobs.work(1), unique=unique, delay=5)
        assert second.created
        await first.result()
        assert not (await system.enqueue(jobs.work(1), unique=unique)).created


@pytest.mark.parametrize("key", ["\ud800", "", "x" * 201, 5, b"k", None])
async def test_a_unique_key_function_that_answers_nonsense_is_refused(opened, autojump_clock, jobs, key):
    if key is None:
        return  # None: the whole payload
    async with opened(jobs) as system:
        with pytest.raises(actors.BadOption, match="unique key"):
            await system.enqueue(jobs.work(1), unique=actors.Unique(key=lambda payload: key))
        await system.ping()


async def test_a_full_queue_refuses(opened, autojump_clock):
    jobs = actors.Registry()

    @jobs.job()
    async def work(n: int) -> None:
        await trio.sleep(10)

    async with opened(jobs, queues={"default": actors.Queue(1, limit=3, when_full="reject"), "other": 1}) as system:
        await system.enqueue(work(0))
        await trio.sleep(1)
        for n in range(3):
            await system.enqueue(work(n), delay=n)  # what is scheduled waits too
        with pytest.raises(actors.QueueFull, match="queue 'default' is full: 3 jobs are waiting") as full:
            await system.enqueue(work(9))
        assert (full.value.queue, full.value.limit) == ("default", 3)
        await system.enqueue(work(9), queue="other")
        await trio.sleep(10)
        await system.enqueue(work(9))
        assert (await system.queues["default"].info()).limit == 3
        batch = await system.enqueue_batch([(work(1), {}), (work(2), {"queue": "other"})])
        assert isinstance(batch[0], actors.QueueFull) and not isinstance(batch[1], actors.ActorsError)


async def test_a_full_queue_makes_enqueuers_wait_in_order(opened, autojump_clock):
    jobs = actors.Registry()
    ran: list[int] = []

    @jobs.job()
    async def work(n: int) -> None:
        ran.append(n)
        await trio.sleep(10)

    async with opened(jobs, queues={"default": actors.Queue(1, limit=2, when_full="wait")}) as system:
        accepted: dict[int, float] = {}
        zero = trio.current_time()

        async def enqueue(n: int) -> None:
            await system.enqueue(work(n))
            accepted[n] = round(trio.current_time() - zero)

        async with trio.open_nursery() as nursery:
            for n in range(6):
                nursery.start_soon(enqueue, n)
                await wait_all_tasks_blocked()
            assert len(accepted) == 3
        times = [accepted[n] for n in range(6)]
        assert times == sorted(times) and times[:3] == [0, 0, 0] and times[3] >= 10 and times[5] >= 20
        with trio.move_on_after(1) as scope:
            await system.enqueue(work(99))
        assert scope.cancelled_caught
        await system.queues["default"].drain()
        assert ran == list(range(6))  # who has left is not enqueued


async def test_room_made_by_another_process_is_noticed(opened, autojump_clock, clock):
    jobs = actors.Registry()

    @jobs.job()
    async def work(n: int) -> None:
        await trio.sleep(10)

    async with (
        opened(jobs, queues={"default": actors.Queue(0, limit=1)}) as front,
        opened(jobs, queues={"default": 1}) as back,
    ):
        await back.queues["default"].pause()
        await front.enqueue(work(1))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(front.enqueue, work(2))
            await wait_all_tasks_blocked()
            assert (await front.stats()).enqueued == 1
            await back.queues["default"].resume()
            with trio.fail_after(30):
                while (await front.stats()).enqueued == 1:
                    await trio.sleep(1)


async def test_many_are_accepted_in_order(opened, autojump_clock, jobs):
    async with opened(jobs, queues={}) as system:
        handles = await system.enqueue_many([jobs.work(n) for n in range(2_500)], priority="low", tags=["bulk"])
        ids = [handle.id for handle in handles]
        assert ids == sorted(ids) and len(set(ids)) == 2_500
        assert (await system.get(ids[1_234])).payload == {"n": 1_234}
        assert (await system.stats()).priorities["low"].pending == 2_500
        assert await system.enqueue_many([]) == []
        for option in ("id", "idempotency_key"):
            with pytest.raises(actors.BadOption):
                await system.enqueue_many([jobs.work(1)], **{option: "x"})
        with pytest.raises(actors.BadPayload):
            await system.enqueue_many([jobs.work(1), jobs.work("x")])
        assert (await system.stats()).enqueued == 2_500


async def test_a_batch_takes_the_good_ones_and_answers_each_bad_one(opened, autojump_clock, jobs):
    async with opened(jobs) as system:
        await system.enqueue(jobs.work(0), id="taken")
        given = await system.enqueue_batch(
            [
                (jobs.work(1), {}),
                (jobs.work("x"), {}),
                (jobs.work(2), {"delay": -1}),
                (jobs.work(3), {"id": "taken"}),
                (jobs.work(4), {"id": "mine"}),
            ]
        )
        assert [type(one).__name__ for one in given] == ["Handle", "BadPayload", "BadOption", "Conflict", "Handle"]
        assert given[4].id == "mine" and await given[0].result() == 1
        assert await system.enqueue_batch([]) == []


async def test_ids_sort_by_age_and_replay_with_the_seed(memory, autojump_clock, jobs):
    async with memory(jobs, queues={}) as system:
        ids = []
        for n in range(50):
            ids.append((await system.enqueue(jobs.work(n))).id)
            if n % 10 == 0:
                await trio.sleep(0.01)
        assert ids == sorted(ids)


async def test_times_on_the_far_side_are_taken_or_refused_never_wrapped(opened, autojump_clock, jobs):
    async with opened(jobs) as system:
        near = await system.enqueue(jobs.work(1), run_at=system.now() + timedelta(days=3000))
        assert (await near.record()).run_at - (await near.record()).created_at == timedelta(days=3000)
        past = await system.enqueue(jobs.work(1), run_at=system.now() - timedelta(days=3000))
        assert await past.result() == 1
        for absurd in (system.now() + timedelta(days=4000), datetime.min.replace(tzinfo=system.now().tzinfo)):
            with pytest.raises(actors.BadOption, match="within ten years of now"):
                await system.enqueue(jobs.work(1), run_at=absurd)


@pytest.mark.parametrize(
    "options",
    [
        {"queues": {"default": -1}}, {"queues": {"default": True}}, {"queues": {"default": "4"}}, {"queues": {"a b": 1}}, {"lease": 0}, {"lease": -1},
        {"lease": math.nan}, {"grace": -1}, {"grace": math.inf}, {"threads": 0}, {"store": "mysql://x"}, {"store": "sqlite:"}, {"store": ""},
    ],
)  # fmt: skip
async def test_a_system_that_can_not_be_is_refused_at_the_door(memory, autojump_clock, jobs, options):
    with pytest.raises(actors.BadOption):
        async with memory(jobs, **options):
            pass


def test_a_queue_that_can_not_be_is_refused():
    for options in ({"workers": -1}, {"workers": 1.5}, {"limit": 0}, {"limit": "5"}, {"when_full": "drop"}):
        with pytest.raises(actors.BadOption):
            actors.Queue(**options)
