"""The hub: turns committed ticks into log lines, and answers for those who wait for a job's end; and has an audience:
all who listen to events.

Events are built, and the log that they come from is written, only while somebody listens. Each subscriber's channel is
bounded: a slow one gets an explicit `gap`, nobody waits for it.
"""

from __future__ import annotations

import logging
from typing import Any, assert_never

import trio

from actors.audience import Audience
from actors.clock import Clock
from actors.core.events import NAMES, Cursor, Event
from actors.core.job import FINAL, JobRecord
from actors.core.value import value
from actors.mailbox import Reply, answer
from actors.queue import Ticked
from actors.store.port import Store, Write

log = logging.getLogger("actors")


End = trio.MemorySendChannel[JobRecord | None]


@value
class Subscribe:
    """Send every event to this channel: from now on (the queue is to be told to `Listen` after this), or those after a
    cursor.
    """

    events: trio.MemorySendChannel[Event]
    after: Cursor | None = None


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


class Hub:
    """The actor."""

    def __init__(self, inbox: trio.MemoryReceiveChannel[Message], holder: str, store: Store, clock: Clock) -> None:
        self._inbox = inbox
        self._audience = Audience(holder, store, clock)
        self._waiting: dict[str, list[End]] = {}

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until every sender has closed its end; then all who wait are told to look themselves, and all subscriptions
        end, once the last commits were told of.
        """
        with self._inbox:
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._audience.run)
                    task_status.started()
                    async for message in self._inbox:
                        self._hear(message)
                    self._dismiss()
                    self._audience.finish()
            finally:
                self._dismiss()
                self._audience.close()

    def _hear(self, message: Message) -> None:
        match message:
            case Ticked():
                self._ticked(message)
            case Subscribe():
                self._audience.join(message.events, message.after)
            case Await():
                self._wait(message)
            case Tell():
                if self._audience.is_there:
                    self._audience.tell(message.event)
            case Ping():
                answer(message.reply, None)
            case _:
                assert_never(message)

    def _dismiss(self) -> None:
        for replies in self._waiting.values():
            for reply in replies:
                _send(reply, None)
        self._waiting.clear()

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
        if self._audience.is_there:
            self._audience.ticked(tick.outcome.log)

    def _answer_waiting(self, tick: Ticked) -> None:
        lost = tick.outcome.lost
        for index, write in enumerate(tick.batch.writes):
            if write.after.state in FINAL and index not in lost:
                for reply in self._waiting.pop(write.job.spec.id, ()):
                    _send(reply, _after(write.job, write))
        for job in tick.batch.deletes:
            for reply in self._waiting.pop(job.id, ()):
                _send(reply, None)

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
