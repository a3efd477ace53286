"""One run of a job: the context its body sees, and the mailbox slot in which it leaves word for the queue."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar, Unpack

import orjson
import trio

from actors.clock import Clock
from actors.core import strict_json
from actors.core.context import Job, JobHandle
from actors.core.errors import BadOption
from actors.core.job import JobRecord, LogLine, Progress, Reason
from actors.core.options import Options
from actors.core.registry import Registry
from actors.core.value import value
from actors.intake import Intake, Order
from actors.mailbox import command, nobody, tell
from actors.queue import Enqueue, Message, Noted, Save
from actors.store.port import Note

R = TypeVar("R")
T = TypeVar("T")

LONGEST_LINE: Final = 8_000  # characters of a log line
MOST_STATE: Final = 1024 * 1024  # bytes of a saved state


@value(kw_only=True)
class Desk:
    """What the runs of one system share."""

    inbox: trio.MemorySendChannel[Message]
    registry: Registry
    intake: Intake
    clock: Clock
    resources: tuple[object, ...]
    handle: Callable[[str, bool], JobHandle[Any]]


class Run:
    """The running job as its body sees it (`JobContext`). Made per run; its methods may also be called from the body's
    thread.
    """

    __slots__ = (
        "_desk",
        "_dirty",
        "_lines",
        "_progress",
        "_saved",
        "_thread",
        "_token",
        "abandoned",
        "children",
        "job",
        "reason",
        "scope",
        "stuck",
    )

    def __init__(self, job: JobRecord, desk: Desk) -> None:
        self.job = job
        self.reason: Reason | None = None
        self.children: list[Order] | None = None  # made by the first one
        self.scope: trio.CancelScope | None = None  # set once the body has suspended: from then on it can be stopped
        self.stuck = False  # it ignores that it was stopped
        self.abandoned = False  # its thread is left to itself
        self._desk = desk
        self._dirty = False
        self._progress: Progress | None = None
        self._lines: list[LogLine] | None = None  # made by the first one
        self._saved = job.saved_json
        self._token: trio.lowlevel.TrioToken | None = None
        self._thread: int | None = None  # the body's thread, when it has one of its own

    # The body's side

    @property
    def fence(self) -> int:
        """Grows from run to run of this job."""
        return self.job.standing.runs

    @property
    def state(self) -> Any:
        """What `save` kept last; None when nothing was."""
        return None if self._saved is None else orjson.loads(self._saved)

    @property
    def cancelled_because(self) -> Reason | None:
        """Why the body is being stopped; None while it is not."""
        if self._in_its_thread:  # by the token, which does not raise when the body has been stopped
            return trio.from_thread.run_sync(self._because, trio_token=self._token)
        because = self._because()
        if because is None and self.scope is not None and trio.current_effective_deadline() == -math.inf:
            return "shutdown"
        return because

    def progress(self, done: float, total: float | None = None, message: str | None = None) -> None:
        """Say how far it is; the last word of a tick wins."""
        for name, given in (("done", done), ("total", total)):
            number = isinstance(given, (int, float)) and not isinstance(given, bool)
            if (given is not None or name == "done") and not (number and -1e15 < given < 1e15):  # type: ignore[operator]
                raise BadOption(name, given, "a finite number")
        text = None if message is None else _line(message)
        self._note(lambda: setattr(self, "_progress", Progress(done=done, total=total, message=text)))

    def log(self, text: str, /) -> None:
        """Keep a line with the job."""
        line = _line(text)

        def add() -> None:
            if self._lines is None:
                self._lines = []
            self._lines.append(LogLine(at=self._desk.clock.now(), run=self.fence, text=line))

        self._note(add)

    async def save(self, state: Any) -> None:
        """Keep a durable cursor: returns once it is committed."""
        text = strict_json.dumps(state)
        if len(text) > MOST_STATE:
            raise BadOption("state", f"{len(text)} bytes of JSON", f"at most {MOST_STATE}")
        note = Note(id=self.job.id, run=self.fence, saved=text)
        await command(self._desk.inbox, lambda reply: Save(note, reply))
        self._saved = text

    def enqueue(self, job: Job[R], /, *, now: bool = False, **options: Unpack[Options]) -> JobHandle[R]:
        """Enqueue another job with this attempt's success, or at once. It belongs to the same owner unless told
        otherwise.
        """
        options.setdefault("owner", self.job.owner)

        def accept() -> str:
            order = self._desk.intake.order(job, options)
            if now:
                tell(self._desk.inbox, Enqueue(orders=[order], reply=nobody(), exempt=True))
            else:
                if self.children is None:
                    self.children = []
                self.children.append(order)
            return order.insert.spec.id

        return self._desk.handle(self._on_loop(accept), True)

    def resource(self, kind: type[T]) -> T:
        """The resource of this type; `LookupError` when the system was given none."""
        for resource in self._desk.resources:
            if isinstance(resource, kind):
                return resource
        known = ", ".join(sorted(type(resource).__qualname__ for resource in self._desk.resources)) or "none"
        raise LookupError(f"no resource of type {kind.__qualname__}: open_system was given {known}")

    # The worker's side

    def in_thread(self, token: trio.lowlevel.TrioToken) -> None:
        """Called first thing in the body's thread."""
        self._token = token
        self._thread = threading.get_ident()

    def _because(self) -> Reason | None:
        if self.reason is None and self.scope is not None and self.scope.cancel_called:
            return "timeout"
        return self.reason

    @property
    def _in_its_thread(self) -> bool:
        return self._thread is not None and threading.get_ident() == self._thread

    def take(self) -> Note | None:
        """What the body said since this was last asked; None when it said nothing."""
        if not self._dirty:
            return None
        self._dirty = False
        lines, self._lines = self._lines or (), None
        progress, self._progress = self._progress, None
        return Note(id=self.job.spec.id, run=self.fence, progress=progress, log=tuple(lines))

    def _note(self, change: Callable[[], None]) -> None:
        def noted() -> None:
            change()
            if not self._dirty:
                self._dirty = True
                tell(self._desk.inbox, Noted(self.take))

        self._on_loop(noted)

    def _on_loop(self, call: Callable[[], T]) -> T:
        """Call on trio's thread. From the body's thread this is also where it notices that it is to stop: it raises
        `trio.Cancelled`.
        """
        if self._in_its_thread:
            done = trio.from_thread.run_sync(call)
            trio.from_thread.check_cancelled()
            return done
        return call()


def _line(text: object) -> str:
    cut = str(text)[:LONGEST_LINE]
    return cut.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()
