"""Ask and answer: a request goes into an inbox and carries its reply address; the asker may have left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Generic, TypeVar, cast

import trio

from actors.core.errors import ActorsError, ShuttingDown

M = TypeVar("M")
T = TypeVar("T")

_NOTHING: Final = object()


class Reply(Generic[T]):
    """Where one answer goes: a value, or the error to raise at the asker's. One task waits for it.

    A memory channel of one place does the same; but every enqueue has a reply, and the two ends of a channel, what
    they share and the wait between them cost 6 µs more than a place where one task is parked.
    """

    __slots__ = ("_asker", "_given", "_left")

    def __init__(self) -> None:
        self._asker: trio.lowlevel.Task | None = None
        self._given: Any = _NOTHING
        self._left = False

    @property
    def has_left(self) -> bool:
        """Whether nobody waits for this answer any more."""
        return self._left

    def leave(self) -> None:
        """Nobody will wait for the answer."""
        self._left = True

    def give(self, given: T | ActorsError) -> None:
        """Answer once."""
        if self._given is not _NOTHING:
            raise RuntimeError("a request is answered once")
        self._given = given
        if self._asker is not None:
            trio.lowlevel.reschedule(self._asker)
            self._asker = None

    async def wait(self) -> T:
        """The answer; raises the error that came instead of one. Cancelled, the asker has left."""
        try:
            if self._given is _NOTHING:
                self._asker = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(self._abort)
            else:
                await trio.lowlevel.checkpoint()
        except BaseException:
            self._left = True
            raise
        if isinstance(self._given, ActorsError):
            raise self._given
        return cast("T", self._given)

    def _abort(self, _: Any) -> trio.lowlevel.Abort:
        self._asker = None
        return trio.lowlevel.Abort.SUCCEEDED


def tell(inbox: trio.MemorySendChannel[M], message: M) -> None:
    """Put `message` into an inbox. Never waits: inboxes are bounded by what their senders may have under way.

    (One ask per waiting task, one report per claimed job, one note per running job.) `ShuttingDown` when the actor has
    ended.
    """
    try:
        inbox.send_nowait(message)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        raise ShuttingDown("the system is stopping: it takes no more calls") from None


async def ask(inbox: trio.MemorySendChannel[M], request: Callable[[Reply[T]], M]) -> T:
    """Send `request(reply)` and wait for the answer; raises the error that came instead of one.

    Cancelling the wait does not take the request back: it may be carried out. `ShuttingDown` when the actor has ended
    or ends first.
    """
    reply: Reply[T] = Reply()  # (a subscript would be evaluated)
    tell(inbox, request(reply))
    return await reply.wait()


def nobody() -> Reply[Any]:
    """A reply address at which nobody waits."""
    reply: Reply[Any] = Reply()
    reply.leave()
    return reply


async def command(inbox: trio.MemorySendChannel[M], request: Callable[[Reply[None]], M]) -> None:
    """`ask` for what is only confirmed."""
    await ask(inbox, request)


def answer(reply: Reply[T], given: T | ActorsError) -> None:
    """Answer once. An asker that has left is no error."""
    reply.give(given)


def decline(reply: Reply[Any], error: ActorsError) -> None:
    """Answer with an error, whatever was asked."""
    reply.give(error)


def refuse(message: Any) -> None:
    """Tell whoever sent `message`, which was not served, that the actor has ended."""
    reply = message if isinstance(message, Reply) else getattr(message, "reply", None)
    if reply is not None:
        decline(reply, ShuttingDown("the system has stopped: the call was not answered and may not have happened"))


@contextmanager
def refusing_the_rest(inbox: trio.MemoryReceiveChannel[Any]) -> Iterator[None]:
    """On leaving, what is left in `inbox` is refused, not dropped: nobody waits for ever. (It is to be closed without
    an await after.)
    """
    try:
        yield
    finally:
        while True:
            try:
                refuse(inbox.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel):
                break
