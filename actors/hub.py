"""The hub: turns committed ticks into events for whoever listens, log lines, and answers for those who wait for a job's
end.

Events are built only while somebody listens. Each subscriber's channel is bounded: a slow one gets an explicit `gap`,
nobody waits for it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, assert_never

import attrs
import trio

from actors.clock import Clock
from actors.core.events import GAP, NAMES, PROGRESS, QUEUED, Event, job_event
from actors.core.job import FINAL, JobRecord, Progress
from actors.core.value import value
from actors.mailbox import Reply, answer
from actors.queue import Ticked
from actors.store.port import Write

log = logging.getLogger("actors")


End = trio.MemorySendChannel[JobRecord | None]


@value
class Subscribe:
    """Send every event from now on to this channel."""

    events: trio.MemorySendChannel[Event]


@value
class Await:
    """Send the job to this one-place channel when it ends in this process, and close it; `None` means: look yourself.

    (No `Reply`: who waits for an end waits with a timer, and asks again.)
    """

    id: str
    reply: End


@value
class Tell:
    """An event that is not about a job's step: a schedule's, a queue's."""

    event: Event


@value
class Ping:
    """Answered at once."""

    reply: Reply[None]


Message = Ticked | Subscribe | Await | Tell | Ping


@attrs.define
class Subscriber:
    """One listener and how many events it has missed since it last kept up."""

    channel: trio.MemorySendChannel[Event]
    missed: int = 0

    def send(self, event: Event) -> bool:
        """Whether it still listens."""
        try:
            if self.missed:
                self.channel.send_nowait(Event(name=GAP, at=event.at, data={"missed": self.missed}))
                self.missed = 0
            self.channel.send_nowait(event)
        except trio.WouldBlock:
            self.missed += 1
        except trio.BrokenResourceError:
            self.channel.close()
            return False
        return True


class Hub:
    """The actor."""

    def __init__(self, inbox: trio.MemoryReceiveChannel[Message], clock: Clock) -> None:
        self._inbox = inbox
        self._clock = clock
        self._subscribers: list[Subscriber] = []
        self._waiting: dict[str, list[End]] = {}

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until every sender has closed its end; then all subscriptions end and all who wait are told to look
        themselves.
        """
        with self._inbox:
            task_status.started()
            try:
                async for message in self._inbox:
                    match message:
                        case Ticked():
                            self._ticked(message)
                        case Subscribe():
                            self._subscribers.append(Subscriber(message.events))
                        case Await():
                            self._wait(message)
                        case Tell():
                            self._tell([message.event])
                        case Ping():
                            answer(message.reply, None)
                        case _:
                            assert_never(message)
            finally:
                for subscriber in self._subscribers:
                    subscriber.channel.close()
                for replies in self._waiting.values():
                    for reply in replies:
                        _send(reply, None)

    def _wait(self, message: Await) -> None:
        if len(self._waiting) > 1_000:  # those whose askers have left
            for id in [id for id, replies in self._waiting.items() if all(map(_has_left, replies))]:
                for reply in self._waiting.pop(id):
                    reply.close()
        replies = self._waiting.setdefault(message.id, [])
        for reply in [reply for reply in replies if _has_left(reply)]:
            replies.remove(reply)
            reply.close()
        replies.append(message.reply)

    def _ticked(self, tick: Ticked) -> None:
        if self._waiting:
            self._answer_waiting(tick)
        if log.isEnabledFor(logging.WARNING):
            self._log(tick)
        if self._subscribers:
            self._tell(list(_events(tick)))

    def _answer_waiting(self, tick: Ticked) -> None:
        lost = tick.outcome.lost
        for index, write in enumerate(tick.batch.writes):
            if write.after.state in FINAL and index not in lost:
                for reply in self._waiting.pop(write.job.spec.id, ()):
                    _send(reply, _after(write.job, write))
        for job in tick.batch.deletes:
            for reply in self._waiting.pop(job.id, ()):
                _send(reply, None)

    def _tell(self, events: list[Event]) -> None:
        for event in events:
            gone = [subscriber for subscriber in self._subscribers if not subscriber.send(event)]
            for subscriber in gone:
                self._subscribers.remove(subscriber)

    def _log(self, tick: Ticked) -> None:
        """One line per start, end and failure, with the job's id, type, attempt and duration; never its payload."""
        every = log.isEnabledFor(logging.INFO)
        if every:
            for job in tick.outcome.claimed:
                _write_line(logging.INFO, "job:started", job)
        for index, write in enumerate(tick.batch.writes):
            if (write.step == "complete" and not every) or index in tick.outcome.lost:
                continue
            match write.after.state:
                case "dead":
                    level = logging.ERROR
                case "scheduled" if write.step == "retry":
                    level = logging.WARNING
                case _:
                    level = logging.INFO
            if log.isEnabledFor(level) and write.step != "promote":
                _write_line(level, NAMES[write.step], _after(write.job, write))


def _send(reply: End, given: JobRecord | None) -> None:
    with reply:
        try:
            reply.send_nowait(given)
        except trio.BrokenResourceError:
            pass  # it waits no longer


def _has_left(reply: End) -> bool:
    return reply.statistics().open_receive_channels == 0


def _write_line(level: int, what: str, job: JobRecord) -> None:
    extra: dict[str, Any] = {
        "job": job.id,
        "type": job.type,
        "queue": job.queue,
        "attempt": job.attempt,
        "run": job.runs,
    }
    if job.duration is not None:
        extra["duration"] = round(job.duration, 6)
    last = job.error
    if level >= logging.WARNING and last is not None:
        extra["error"] = f"{last.type}: {last.message}"[:500]
    text = " ".join(f"{name}={given!r}" if name == "error" else f"{name}={given}" for name, given in extra.items())
    log.log(level, "%s %s", what, text, extra=extra)


def _after(job: JobRecord, write: Write) -> JobRecord:
    errors = job.errors if write.error is None else (*job.errors, write.error)
    return JobRecord(job.spec, write.after, write.result, errors, job.progress, job.log, job.saved_json)


def _events(tick: Ticked) -> Iterator[Event]:
    """What a commit did, in the order in which it was applied."""
    batch, outcome = tick.batch, tick.outcome
    at = batch.now
    for job, note in zip(tick.noted, batch.notes, strict=True):
        if note.progress is not None:
            yield _progress(job, note.progress, at)
    for index, write in enumerate(batch.writes):
        if index not in outcome.lost:
            data: dict[str, Any] = {"attempt": write.after.attempt}
            if write.error is not None:
                data["error"] = {"type": write.error.type, "message": write.error.message}
            if write.step == "retry":
                data["runAt"] = write.after.run_at
            yield job_event(NAMES[write.step], write.job, write.after, at, **data)
    for index, insert in enumerate(batch.inserts):
        if index not in outcome.refused:
            yield job_event(QUEUED, JobRecord(insert.spec, insert.standing), insert.standing, at)
    for job in outcome.promoted:
        yield job_event(NAMES["promote"], job, job.standing, at)
    for job in outcome.claimed:
        yield job_event(NAMES["claim"], job, job.standing, at)


def _progress(job: JobRecord, progress: Progress, at: int) -> Event:
    return job_event(
        PROGRESS,
        job,
        job.standing,
        at,
        progress=progress.percent,
        done=progress.done,
        total=progress.total,
        message=progress.message,
    )
