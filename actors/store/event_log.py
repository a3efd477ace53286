"""The event log as every store keeps it: steps as rows, and the page that a reader gets.

A log has a name, the instant at which it was opened, and numbers its steps from one. A commit is known by the number of
its last step. Where commits are kept is the store's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from actors.core.events import Cursor
from actors.core.job import AttemptError, JobRecord, JobSpec, Progress, Standing
from actors.store.port import Batch, LogEntry, LoggedStep, LogPage, LogWord, Outcome

PAGE_STEPS: Final = 2_000  # of one read; a commit is never divided
RENEWED: Final = 0.9  # of the lease: with less left, a read renews it
MESSAGE: Final = 500  # characters of an error's message

Row = Sequence[Any]
"""A step: the fields of `LoggedStep` in their order; an error as a pair, a progress as (done, total, message)."""


def step_row(
    word: LogWord,
    spec: JobSpec,
    standing: Standing,
    error: AttemptError | None = None,
    progress: Progress | None = None,
) -> Row:
    """A step of the job with this spec, which stands like this after it."""
    return (
        word,
        spec.id,
        spec.type,
        spec.queue,
        spec.owner,
        standing.state,
        standing.version,
        standing.attempt,
        standing.run_at,
        None if error is None else said(error),
        None if progress is None else (progress.done, progress.total, progress.message),
    )


def said(error: AttemptError) -> tuple[str, str]:
    """What the log keeps of an error."""
    return error.type, error.message[:MESSAGE]


def rows_of(batch: Batch, outcome: Outcome, promoted: Iterable[JobRecord]) -> list[Row]:
    """What a commit did but its notes, in the order in which it was applied."""
    rows = [
        step_row(write.step, write.job.spec, write.after, write.error)
        for index, write in enumerate(batch.writes)
        if index not in outcome.lost
    ]
    rows += [
        step_row("insert", insert.spec, insert.standing)
        for index, insert in enumerate(batch.inserts)
        if index not in outcome.refused
    ]
    rows += [step_row("promote", job.spec, job.standing) for job in promoted]
    rows += [step_row("claim", job.spec, job.standing) for job in outcome.claimed]
    return rows


def start(log: int, last: int, after: Cursor | None) -> int:
    """The number after which to read in the log `log`, whose last step has the number `last`."""
    if after is None:
        return last
    return min(after.number, last) if after.log == log else 0


def page(log: int, last: int, after: Cursor | None, commits: Iterable[tuple[int, int, str, Sequence[Row]]]) -> LogPage:
    """The page of these commits (number, instant, holder, steps), the first ones after `start`."""
    begin = start(log, last, after)
    entries: list[LogEntry] = []
    # a number that is not there yet: the store has lost what it had answered
    gap = after is not None and (after.log != log or after.number > last)
    for number, at, holder, rows in commits:
        first = number - len(rows) + 1
        if not entries:
            gap = gap or first > begin + 1
            if first <= begin:
                rows, first = rows[begin + 1 - first :], begin + 1
        entries.append(LogEntry(first, at, holder, [_step(one) for one in rows]))
        begin = number
    if not entries and begin != last:
        gap, begin = True, last  # what there was is gone
    return LogPage(entries, Cursor(log, begin), gap, begin < last)


def _step(row: Row) -> LoggedStep:
    word, id, type, queue, owner, state, version, attempt, run_at, error, progress = row
    return LoggedStep(
        word,
        id,
        type,
        queue,
        owner,
        state,
        version,
        attempt,
        run_at,
        None if error is None else (error[0], error[1]),
        None if progress is None else Progress(done=progress[0], total=progress[1], message=progress[2]),
    )
