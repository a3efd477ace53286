"""Ask and answer over memory channels: a request carries its reply address, a one-place channel; the asker may have
left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import trio

from actors.core.errors import ActorsError, ShuttingDown

M = TypeVar("M")
T = TypeVar("T")

Reply = trio.MemorySendChannel[T | ActorsError]
"""Where an answer goes: the value, or the error to raise at the asker's."""


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
    send: trio.MemorySendChannel[T | ActorsError]
    receive: trio.MemoryReceiveChannel[T | ActorsError]
    send, receive = trio.open_memory_channel(1)  # (a subscript would be evaluated, and cost more than the channel)
    with receive:
        try:
            tell(inbox, request(send))
        except BaseException:
            send.close()
            raise
        try:
            given = await receive.receive()
        except trio.EndOfChannel:
            raise ShuttingDown("the system has stopped: the call was not answered and may not have happened") from None
    if isinstance(given, ActorsError):
        raise given
    return given


async def command(inbox: trio.MemorySendChannel[M], request: Callable[[Reply[None]], M]) -> None:
    """`ask` for what is only confirmed."""
    await ask(inbox, request)


def answer(reply: Reply[T], given: T | ActorsError) -> None:
    """Answer once. An asker that has left is no error."""
    with reply:
        try:
            reply.send_nowait(given)
        except trio.BrokenResourceError:
            pass


def decline(reply: trio.MemorySendChannel[Any], error: ActorsError) -> None:
    """Answer with an error, whatever was asked."""
    answer(reply, error)


def refuse(message: Any) -> None:
    """Tell whoever sent `message`, which was not served, that the actor has ended."""
    reply = message if isinstance(message, trio.MemorySendChannel) else getattr(message, "reply", None)
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


def has_left(reply: Reply[T]) -> bool:
    """Whether nobody waits for this answer any more."""
    return reply.statistics().open_receive_channels == 0
