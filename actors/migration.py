"""Migration: everything that one store keeps is carried to another one, in pages, so that memory does not grow.

Rule: what comes is committed together with the mark of how far it came, so a repeat goes on there, and brings nothing
twice and nothing back. The marks are settings of the destination, under a name that the source is given.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any, Final, TypeVar

import attrs
import orjson
import trio

from actors.clock import Clock, SystemClock
from actors.core.errors import BadOption, LeaseLost, StoreBusy
from actors.core.job import FINAL, STATES, JobRecord, State
from actors.core.lifecycle import advance
from actors.core.retry import decide_lost
from actors.store import Store, store_from_url
from actors.store.port import Batch, Insert, Kept, Outcome, ScheduleMove, ScheduleRecord, SlotRecord

T = TypeVar("T")

HOLDER: Final = "migration-"  # how the holders of a migration are named
NAME: Final = "migration/name"  # the setting of a source: what the marks in a destination call it
MARKS: Final = "migration/"  # of the settings that are not carried
LEASE: Final = 5.0  # seconds after which a killed migration no longer counts as a user of its source
PATIENCE: Final = 30.0  # seconds for which a store that is out of reach on the way is waited for
FIRST_PAGE: Final = 50  # jobs; those after it are as long as
MOST: Final = 500  # ... these at most, while they are about as large as
BYTES: Final = 2_000_000  # ... this: also of a commit, which holds up whoever works in the destination
SLOTS: Final = 1_000  # of a schedule: all that stores keep
MOST_CONFLICTS: Final = 100  # told; the rest is counted


@attrs.frozen(kw_only=True)
class Migration:
    """What a migration did. `found` conflicts: what the destination has otherwise, and what was left as it is there.

    `jobs` that came now, by the state in which they came; `lost` of them were running, and their process is dead;
    `there` came before; `gone` came before, and were deleted since; `keys_left`: their idempotency keys belong to other
    jobs of the destination.
    """

    jobs: Mapping[State, int]
    lost: int = 0
    there: int = 0
    gone: int = 0
    keys_left: int = 0
    schedules: int = 0
    settings: int = 0
    found: int = 0
    conflicts: tuple[str, ...] = ()  # the first `MOST_CONFLICTS`

    @property
    def carried(self) -> int:
        """How many jobs came now."""
        return sum(self.jobs.values())

    @property
    def ok(self) -> bool:
        """Whether the destination has everything."""
        return not self.found


async def migrate(
    source: str | Store,
    destination: str | Store,
    *,
    clock: Clock | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Migration:
    """Carry every job, schedule and setting of `source` to `destination`, which may hold others.

    Jobs come as they stand, in their order, with all that is kept with them and the keys that still hold. One that is
    running, and whose process is dead, comes as the next start would have found it: lost. The source stays as it is,
    but for the name that it is given, and is not to be served any more: both would run its jobs. A live process in it
    is `StoreBusy`. Interrupted at any point, a repeat goes on; `progress` is told (jobs looked at, jobs there).
    """
    source = store_from_url(source) if isinstance(source, str) else source
    destination = store_from_url(destination) if isinstance(destination, str) else destination
    clock = clock or SystemClock()
    name = HOLDER + uuid.uuid4().hex
    async with _open(source, name, clock):
        carrier = _Carrier(source, destination, name, clock, progress)
        await carrier.wait_for_the_source()
        async with _open(destination, f"{name}-to", clock):
            if f"{name}-to" in await source.others(name, clock.steady()):
                raise BadOption("to", destination, "another store than the source")
            return await carrier.carry()


@asynccontextmanager
async def _open(store: Store, holder: str, clock: Clock) -> AsyncGenerator[None]:
    await store.open(holder, clock.steady())
    try:
        yield
    finally:
        await store.close(holder)


class _Carrier:
    """One migration under way."""

    def __init__(
        self, source: Store, to: Store, holder: str, clock: Clock, progress: Callable[[int, int], None]
    ) -> None:
        self._source = source
        self._to = to
        self._holder = holder
        self._clock = clock
        self._progress = progress
        self._name = ""
        self._patience = 0.0  # seconds for which a store that is out of reach is waited for
        self._tick = 0
        self._jobs = Counter[State]()
        self._found = Counter[str]()  # by the names of the other numbers of a `Migration`
        self._conflicts: list[str] = []

    async def carry(self) -> Migration:
        """All of it: pauses before the jobs that they hold, schedules after those that they have fired."""
        self._name = await self._name_of_source()
        self._patience = PATIENCE  # both have been reached
        await self._carry_settings()
        await self._carry_jobs()
        await self._carry_schedules()
        return Migration(
            jobs={state: self._jobs[state] for state in STATES}, conflicts=tuple(self._conflicts), **self._found
        )

    def _conflict(self, text: str) -> None:
        self._found["found"] += 1
        if len(self._conflicts) < MOST_CONFLICTS:
            self._conflicts.append(text)

    # The stores

    async def wait_for_the_source(self) -> None:
        """Return when nobody else is in the source. A migration that was killed leaves it with its lease; whoever else
        lives there is `StoreBusy`.
        """
        until = trio.current_time() + 2 * LEASE
        while True:
            now = self._clock.steady()
            with suppress(LeaseLost):  # it holds no jobs
                await self._patiently(self._source.beat, self._holder, now, LEASE)
            others = await self._patiently(self._source.others, self._holder, now)
            if not others:
                return
            if trio.current_time() > until or not all(one.startswith(HOLDER) for one in others):
                named = " and ".join(f"process {one}" for one in sorted(others))
                raise StoreBusy(
                    f"the source is used by {named}: expected no one (on Redis a killed one counts until its lease is "
                    "over, 30 s by default)"
                )
            await trio.sleep(LEASE / 10)

    async def _patiently(self, call: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """The answer of a store that may be out of reach for a while."""
        until, pause = trio.current_time() + self._patience, 0.05
        while True:
            try:
                return await call(*arguments)
            except StoreBusy:
                if trio.current_time() + pause > until:
                    raise
            await trio.sleep(pause)
            pause = min(2 * pause, 2.0)

    async def _commit(self, batch: Batch) -> Outcome:
        self._tick += 1  # a repeat of a tick that had happened after all changes nothing
        return await self._patiently(self._to.commit, f"{self._holder}-to", self._tick, batch)

    async def _name_of_source(self) -> str:
        """What the source is called in the marks: not where it lies, which may be spelled in many ways, or change."""
        known = (await self._source.settings()).get(NAME)
        if known is None:
            known = uuid.uuid4().hex
            await self._source.commit(self._holder, 1, Batch(now=self._clock.now(), settings={NAME: known}))
        return known

    def _mark(self, what: str) -> str:
        return f"{MARKS}{self._name}/{what}"

    # Settings

    async def _carry_settings(self) -> None:
        there, mark = await self._to.settings(), self._mark("settings")
        came: set[str] = set(orjson.loads(there.get(mark, "[]")))
        new: dict[str, str | None] = {}
        for key, text in sorted((await self._source.settings()).items()):
            if key.startswith(MARKS) or key in came:
                continue
            if key not in there:
                new[key] = text
            elif there[key] != text:
                self._conflict(f"setting {key}: the destination has another value, which stays")
        if new:
            keys = orjson.dumps(sorted(came | new.keys())).decode()
            await self._commit(Batch(now=self._clock.now(), settings={**new, mark: keys}))
            self._found["settings"] += len(new)

    # Jobs

    async def _carry_jobs(self) -> None:
        total = sum((await self._source.counts()).now.values())
        marked = int((await self._to.settings()).get(self._mark("jobs"), "0"))
        looked_at = 0
        self._progress(0, total)
        async with aclosing(self._pages()) as pages:
            async for page in pages:
                there = await self._patiently(self._to.get, [kept.job.id for kept in page])
                coming: list[Kept] = []
                size = 0
                for kept in page:
                    job = kept.job
                    if (known := there.get(job.id)) is not None:
                        self._compare(job, known)
                    elif job.standing.seq <= marked:
                        self._found["gone"] += 1
                    else:
                        coming.append(kept)
                        size += _size(job)
                        if size > BYTES:
                            await self._commit_jobs(coming, job.standing.seq)
                            coming, size = [], 0
                last = page[-1].job.standing.seq
                if last > marked:
                    await self._commit_jobs(coming, last)
                looked_at += len(page)
                self._progress(looked_at, max(looked_at, total))

    async def _pages(self) -> AsyncGenerator[list[Kept]]:
        """All jobs of the source, oldest first, while it is left alone."""
        limit, after = FIRST_PAGE, 0
        while page := await self._patiently(self._source.export, after, limit):
            await self.wait_for_the_source()
            yield page
            after = page[-1].job.standing.seq
            limit = max(1, min(MOST, BYTES * len(page) // sum(_size(kept.job) for kept in page)))

    def _compare(self, job: JobRecord, known: JobRecord) -> None:
        """The destination has a job of this id: the one that came, which may have moved on there, or another one."""
        was, there = self._as_it_comes(job).version, known.version
        if known.spec != job.spec:
            self._conflict(f"job {job.id}: the destination has another job of this id, which stays")
        elif there < was:
            self._conflict(
                f"job {job.id} has moved on since it came (version {was}, there {there}): expected a source that was "
                "not served since; an empty destination takes it as it is"
            )
        else:
            self._found["there"] += 1

    def _as_it_comes(self, job: JobRecord) -> JobRecord:
        """The job as it is carried: one that is running was lost with its process, as nobody is in the source."""
        if job.state != "running":
            return job
        now = self._clock.now()
        step, error = decide_lost(job, now)
        after = advance(job, step, now)
        errors = job.errors if error is None else (*job.errors, error)
        stop = None if after.state in FINAL else job.stop
        return attrs.evolve(job, standing=after, errors=errors, stop=stop)

    async def _commit_jobs(self, coming: list[Kept], last: int) -> None:
        """Insert these, and mark that all up to number `last` have come."""
        batch = Batch(now=self._clock.now(), settings={self._mark("jobs"): str(last)})
        asked: list[tuple[Kept, JobRecord, range]] = []  # and which inserts are those of the job
        for kept in coming:
            job, first = self._as_it_comes(kept.job), len(batch.inserts)
            batch.inserts += _inserts(kept, job, batch.now)
            asked.append((kept, job, range(first, len(batch.inserts))))
        refused = (await self._commit(batch)).refused
        for kept, job, inserts in asked:
            made = [index for index in inserts if index not in refused]
            if not made:
                self._conflict(f"job {job.id}: another job has come there under this id meanwhile, which stays")
                continue
            self._jobs[job.state] += 1
            self._found["lost"] += kept.job.state == "running"
            self._found["keys_left"] += made[0] > inserts[0]

    # Schedules

    async def _carry_schedules(self) -> None:
        there = {schedule.name: schedule for schedule in await self._to.schedules()}
        mark = self._mark("schedules")
        came: set[str] = set(orjson.loads((await self._to.settings()).get(mark, "[]")))
        batch = Batch(now=self._clock.now())
        for schedule in await self._source.schedules():
            if schedule.name in came:
                continue
            if (known := there.get(schedule.name)) is not None:
                if known.definition != schedule.definition:
                    self._conflict(f"schedule {schedule.name}: the destination has another one, which stays")
                continue
            slots = await self._patiently(self._source.slots, schedule.name, SLOTS)
            record, move = _with_slots(schedule, slots[::-1])
            batch.schedules.append(record)
            if move is not None:
                batch.schedule_moves.append(move)
            if sum(len(move.slots) for move in batch.schedule_moves) + len(batch.schedules) > SLOTS:
                await self._commit_schedules(batch, came, mark)
                batch = Batch(now=self._clock.now())
        await self.wait_for_the_source()
        await self._commit_schedules(batch, came, mark)

    async def _commit_schedules(self, batch: Batch, came: set[str], mark: str) -> None:
        if batch.schedules:
            came.update(schedule.name for schedule in batch.schedules)
            batch.settings[mark] = orjson.dumps(sorted(came)).decode()
            await self._commit(batch)
            self._found["schedules"] += len(batch.schedules)


def _inserts(kept: Kept, job: JobRecord, now: int) -> list[Insert]:
    """What makes the job. Where it has an idempotency key a second insert does without: the first is refused when
    another job has that key there, the second when the first was made.
    """
    unique, given = kept.unique, kept.idempotency
    if unique is not None and unique.expires_at is not None and unique.expires_at <= now:
        unique = None
    if given is not None and given.expires_at <= now:
        given = None
    standing = attrs.evolve(job.standing, seq=0)
    past = job if job.runs else None
    made = Insert(spec=job.spec, standing=standing, own_id=True, unique=unique, past=past)
    return [made] if given is None else [attrs.evolve(made, idempotency=given), made]


def _with_slots(schedule: ScheduleRecord, slots: list[SlotRecord]) -> tuple[ScheduleRecord, ScheduleMove | None]:
    """The schedule less what its newest slots (oldest first) have done to it, and the move that does this again."""
    if not slots:
        return schedule, None
    fired = sum(slot.job is not None for slot in slots)
    move = ScheduleMove(
        name=schedule.name,
        expect=schedule.cursor,
        cursor=schedule.cursor,
        slots=tuple(slots),
        fired_at=schedule.last_run,
    )
    return attrs.evolve(schedule, fired=schedule.fired - fired), move


def _size(job: JobRecord) -> int:
    """About how many bytes a job is."""
    beside = len(job.result_json or "") + len(job.saved_json or "") + sum(len(line.text) + 50 for line in job.log)
    return 500 + len(job.spec.payload) + beside + sum(len(error.message) + len(error.traceback) for error in job.errors)
