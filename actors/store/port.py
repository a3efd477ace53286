"""The store port: rows and compare-and-swap, no rules. Everything a store is told to write was computed by the core.

A store keeps jobs, their results, errors, notes, unique and idempotency keys, schedules with their cursors, and
settings. One
`commit` is one transaction. `actors.testing.check_store` is the conformance suite that every store passes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, Protocol

import attrs

from actors.core.events import Cursor
from actors.core.job import AttemptError, JobRecord, JobSpec, LogLine, Progress, Reason, Standing, State
from actors.core.lifecycle import Step
from actors.core.value import value

MOST_LINES: Final = 1_000  # log lines kept with a job
FIRST_LEASE: Final = 30.0  # seconds that a holder has for its first beat, where liveness is by beats
LOG_KEPT: Final = 600.0  # seconds that the event log goes back, and is written after it was last read
LOG_STEPS: Final = 200_000  # ... and about how many steps it goes back at most: some 25 MB

# What goes in


@value(kw_only=True)
class UniqueKey:
    """Refuse the insert while another job holds `key`: one whose state is in `states` and, if given, before
    `expires_at`.
    """

    key: str
    states: frozenset[State]
    expires_at: int | None = None


@value(kw_only=True)
class IdempotencyKey:
    """The same (scope, key) and digest names the same job until `expires_at`; another digest is a conflict."""

    scope: str
    key: str
    digest: str
    expires_at: int


@value(kw_only=True)
class Insert:
    """A new job. Its `standing.seq` is 0: the store numbers it, and never uses a number twice.

    Checked in this order: its group (`lost`), the idempotency key (`existing` or `conflict`), the id when `own_id`
    (`existing` when owner, type and payload are equal, else `conflict`), the unique key (`unique`), `limit` (`full`
    when the queue already has that many scheduled and pending jobs, those of this batch included).
    """

    spec: JobSpec
    standing: Standing
    own_id: bool = False
    unique: UniqueKey | None = None
    idempotency: IdempotencyKey | None = None
    limit: int | None = None
    group: int = 0
    past: JobRecord | None = None  # of a job that comes from another store, in whatever state, after at least one run:
    # its result, errors, progress, log lines, saved state and stop request come along


@value
class Write:
    """One step of one job: applies only if the stored version is still `job.standing.version` (and the job exists).

    `result` is kept with the job; `error` is appended to its history. A `replay` drops the result, the progress and the
    saved state, and keeps the errors. A write that ends the job clears the row's stop request, any other keeps it: a
    stop that crossed the report of a failure is still heard of.
    """

    job: JobRecord
    after: Standing
    step: Step
    result: str | None = None
    error: AttemptError | None = None
    group: int = 0


@value(kw_only=True)
class Stop:
    """Ask whoever runs job `id` to stop, beside the row: no new version. Applies only while it is running; the first
    reason stays until the job ends.
    """

    id: str
    reason: Reason


@value(kw_only=True)
class Note:
    """What a body said of itself while running. Applies only while the job is running its `run`-th run; bumps no
    version.

    Log lines are appended; the last `MOST_LINES` of a job are kept.
    """

    id: str
    run: int
    progress: Progress | None = None
    saved: str | None = None
    log: tuple[LogLine, ...] = ()


@value(kw_only=True)
class Claim:
    """Take up to `limit` pending jobs of `queue`, in order: priority downwards, front, run_at, seq. Nothing from a
    paused queue.
    """

    queue: str
    limit: int


@value(kw_only=True)
class ScheduleRecord:
    """A stored schedule. `definition` is one JSON object that the core made (timing, job type, payload, options)."""

    name: str
    definition: str
    cursor: int  # every slot up to this instant has been dealt with
    paused: bool = False
    fired: int = 0  # slots that became a job
    errors: int = 0  # its jobs that ended dead
    last_run: int | None = None  # the instant of the last fire
    last_job: str | None = None
    last_error: str | None = None


@value(kw_only=True)
class SlotRecord:
    """What became of one slot: a job, or a reason why there is none."""

    slot: int
    job: str | None = None
    reason: str | None = None


@value(kw_only=True)
class ScheduleMove:
    """Move schedule `name` on, only if its cursor is still `expect`; its group's inserts are refused (`lost`) when it
    is not.

    Adds one to `fired` and sets `last_run` and `last_job` for each slot with a job. Slots are kept, the newest 1 000
    per schedule.
    """

    name: str
    expect: int
    cursor: int
    slots: tuple[SlotRecord, ...] = ()
    fired_at: int | None = None
    group: int = 0


@value(kw_only=True)
class ScheduleError:
    """A job of schedule `name` ended dead: add one to `errors` and keep the text."""

    name: str
    error: str


@attrs.define(kw_only=True)
class Batch:
    """What one tick remembers. Applied in the order of the fields, in one transaction; a part that loses leaves the
    others alone.

    Items of one `group` (any number but 0) succeed or fail together: when a write or a schedule move of the group
    loses, the group's other writes change nothing and its inserts are refused as `lost`. (An `existing`, `unique`, ...
    insert is an answer, not a loss.)
    """

    now: int
    settings: dict[str, str | None] = attrs.Factory(dict)  # None removes the key
    schedules: list[ScheduleRecord] = attrs.Factory(
        list
    )  # inserted; where the name is known only definition and paused change
    forget_schedules: list[str] = attrs.Factory(list)
    schedule_moves: list[ScheduleMove] = attrs.Factory(list)
    schedule_errors: list[ScheduleError] = attrs.Factory(list)
    notes: list[Note] = attrs.Factory(list)
    writes: list[Write] = attrs.Factory(list)
    inserts: list[Insert] = attrs.Factory(list)
    stops: list[Stop] = attrs.Factory(list)
    deletes: list[JobRecord] = attrs.Factory(
        list
    )  # applies only at the same version; the job and all that is kept with it is gone
    claims: list[Claim] = attrs.Factory(
        list
    )  # after promoting what is due: scheduled jobs with run_at <= now become pending
    types: frozenset[str] = frozenset()  # the job types this program knows: nothing else is claimed
    list_promoted: bool = False
    listen: bool = False  # open the event log, if it is closed: this commit is the first to be written to it


# What comes out


Verdict = Literal["existing", "conflict", "unique", "full", "lost"]


@value
class Refusal:
    """Why an insert was not made; `id` and `state` are those of the job that was there first (not for `full` and
    `lost`).
    """

    verdict: Verdict
    id: str | None = None
    state: State | None = None


@attrs.define(kw_only=True)
class Outcome:
    """What a commit did. Sparse: an insert that is not in `refused` was made, a write that is not in `lost` was
    applied.
    """

    refused: dict[int, Refusal] = attrs.Factory(dict)  # by index into batch.inserts
    lost: set[int] = attrs.Factory(set)  # indexes into batch.writes
    lost_moves: set[int] = attrs.Factory(set)  # indexes into batch.schedule_moves
    undeleted: set[int] = attrs.Factory(set)  # indexes into batch.deletes
    unstopped: set[int] = attrs.Factory(
        set
    )  # indexes into batch.stops: the job was not running (asked before is no reason)
    claimed: list[JobRecord] = attrs.Factory(
        list
    )  # as they stand now (running), in claim order, `errors` and `saved_json` included
    promoted: list[JobRecord] = attrs.Factory(
        list
    )  # when `list_promoted`: as they stood after the promotion (without results and notes)
    stops: list[tuple[str, Reason]] = attrs.Factory(
        list
    )  # every unfinished job that somebody asked to stop, and that this holder or nobody holds
    next_due: int | None = None  # the earliest run_at among scheduled jobs
    log: Cursor | None = None  # when `listen`: where the event log stood before this commit


@value(kw_only=True)
class Query:
    """Which jobs, in which order. None means any. `after` is the cursor of the page before; an unreadable one is a
    `BadOption`.
    """

    states: frozenset[State] | None = None
    type: str | None = None
    queue: str | None = None
    tag: str | None = None
    owner: str | None = None
    holder: str | None = None
    text: str | None = None  # a substring of the id, the type or the last error's type or message
    order: Literal["newest", "finished"] = (
        "newest"  # by seq downwards, or by finished_at (then seq) downwards: final jobs only
    )
    limit: int = 100
    after: str | None = None


@value
class Page:
    """A page of jobs, and the cursor of the next page (None: this was the last).

    A page with a cursor may be short, or empty: where matches are rare a store need not look at all jobs at once.
    """

    jobs: list[JobRecord]
    after: str | None = None


@value(kw_only=True)
class Kept:
    """A job as a store keeps it, with the keys that were taken with it, those that have expired perhaps included.

    The `states` of its unique key are empty: who asks for a key brings them.
    """

    job: JobRecord
    unique: UniqueKey | None = None
    idempotency: IdempotencyKey | None = None


@value(kw_only=True)
class Counts:
    """How many jobs: `now` by (queue, priority rank, state); `ended`, the same for all that ever reached a final state
    (never falls).
    """

    now: Mapping[tuple[str, int, State], int]
    ended: Mapping[tuple[str, int, State], int]
    accepted: int  # ever inserted
    deleted: int  # ever deleted


@value(kw_only=True)
class Recount:
    """The counters, and what a walk over all jobs found at the same instant: how many by (queue, priority rank, state).

    What is stored but is no whole job counts in `jobs` under a state that is none.
    """

    counts: Counts
    jobs: Mapping[tuple[str, int, State], int]


LogWord = Step | Literal["insert", "note"]


@value
class LoggedStep:
    """One step of one job (or its insert, or the progress that a note told of), with all that an event of it needs: it
    outlives the job. `state`, `version`, `attempt` and `run_at` are those after the step.
    """

    word: LogWord
    id: str
    type: str
    queue: str
    owner: str | None
    state: State
    version: int
    attempt: int
    run_at: int
    error: tuple[str, str] | None = None  # type and message (its beginning) of the error that a write kept
    progress: Progress | None = None


@value
class LogEntry:
    """What one commit did to jobs, in the order in which it was applied: notes of progress, writes, inserts,
    promotions, claims. `first` numbers its first step in the log.
    """

    first: int
    at: int  # the batch's `now`
    holder: str
    steps: Sequence[LoggedStep]


@value
class LogPage:
    """Entries in the order of their commits, and the cursor after them. `gap`: between the cursor that was asked for
    and the first entry there was more, which is gone. `more`: there is more behind them.
    """

    entries: Sequence[LogEntry]
    cursor: Cursor
    gap: bool = False
    more: bool = False


class Store(Protocol):
    """Where jobs are kept. Errors are `StoreBusy`, `StoreFull` or `StoreError`; after one of them a commit may have
    happened or not. (A commit that raised `StoreFull`, or a `StoreBusy` that is no `StoreSilent`, has not,
    unless an earlier try of its tick has.)

    A store object may serve several holders (processes, or systems of one program) at a time. Reads see every commit
    that was answered.
    """

    async def open(self, holder: str, now: int) -> None:
        """Start serving `holder`. The first opening makes or migrates what is needed.

        Where liveness is by beats, a holder that dies before its first one has vanished `FIRST_LEASE` after `now` (by
        the clock of `beat`).
        """
        ...

    async def close(self, holder: str) -> None:
        """Stop serving `holder` and forget it; jobs it still holds count as held by one that vanished. The last closing
        frees everything.
        """
        ...

    async def commit(self, holder: str, tick: int, batch: Batch) -> Outcome:
        """Apply `batch` in one transaction and say what happened. Cancellation does not tear it: it waits for the
        answer.

        Idempotent: ticks of a holder grow by one, and a repeat of the last tick returns the first outcome and changes
        nothing.
        """
        ...

    async def get(self, ids: Sequence[str]) -> dict[str, JobRecord]:
        """The jobs with these ids; unknown ids are absent."""
        ...

    async def find(self, query: Query) -> Page:
        """One page of the jobs that match."""
        ...

    async def export(self, after: int, limit: int) -> list[Kept]:
        """The next jobs in the order of their numbers, from above `after`: at most `limit` (above 0), none at the end.

        Walks an index: to be taken from page to page, for whoever carries all jobs elsewhere.
        """
        ...

    async def counts(self) -> Counts:
        """All counters, without scanning jobs."""
        ...

    async def recount(self) -> Recount:
        """All counters, and all jobs counted one by one, both of the same instant. Walks all jobs: for audits."""
        ...

    async def settings(self) -> dict[str, str]:
        """All settings. The key `paused/<queue>` pauses a queue: claims read it in their own transaction."""
        ...

    async def schedules(self) -> list[ScheduleRecord]:
        """All stored schedules, by name."""
        ...

    async def slots(self, name: str, limit: int = 100) -> list[SlotRecord]:
        """What became of the newest slots of schedule `name`, newest first."""
        ...

    async def sweep(self, now: int) -> None:
        """Drop idempotency keys and unique keys that have expired or whose jobs are gone, and the event log's old part;
        all of it when nobody listens.
        """
        ...

    async def beat(self, holder: str, now: int, lease: float) -> float:
        """`holder` is alive, and may be silent for `lease` seconds from now. Answers after how many seconds to beat and
        look for vanished holders again: `math.inf` while there is no other holder to look after or to be seen by
        (`wakeup` returns when one opens).

        Here and in `vanished`, `now` is told in microseconds by a clock that nobody sets: a step of the wall clock
        takes no one's jobs.

        Raises `LeaseLost` shortly before the lease ends when the store could not be told in time (a store that sees by
        itself who lives has no leases): what `holder` runs must stop now.
        """
        ...

    async def vanished(self, holder: str, now: int) -> list[str]:
        """Other holders that hold running jobs and are gone (closed, died, or silent for longer than their lease).

        And `holder` itself, once, after the store has lost commits that it had answered (a server may): what is
        running there under its name and does not run here is to be given back.
        """
        ...

    async def others(self, holder: str, now: int) -> list[str]:
        """Other holders that are open and live, whether they hold jobs or not (`now` as in `beat`)."""
        ...

    async def wakeup(self, holder: str) -> bool:
        """Return when another holder opened, or may have changed something (new jobs, stops, settings, schedules); may
        return for nothing. True when `vanished` is to be asked at once.
        """
        ...

    async def events(self, now: int, after: Cursor | None = None) -> LogPage:
        """What was committed after this cursor, in pages of some thousand steps; None: nothing, but the cursor of now.
        An entry that the cursor divides comes without its first steps.

        A commit is written to the event log in its own transaction, and only while somebody listens: a log is open for
        `LOG_KEPT` seconds after it was last read. Reading opens it where it is closed, as a new log: cursors of the
        last one have a gap before it.
        """
        ...

    async def logged(self, holder: str) -> None:
        """Return when another holder may have added something to the event log since the last return; may return for
        nothing.
        """
        ...
