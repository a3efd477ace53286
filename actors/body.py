"""Running one body: stepping its coroutine, carrying what it raised, and turning errors into what is kept of them."""

from __future__ import annotations

import traceback
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Final

import trio

from actors.core.errors import Discard
from actors.core.job import AttemptError

LONGEST_TEXT: Final = 8_000  # characters kept of a message or a traceback
MOST_CHILDREN: Final = 50  # members kept of each exception group
DEEPEST: Final = 8  # levels kept of nested groups


@types.coroutine
def drive(body: Coroutine[Any, Any, Any], step: Callable[..., Any], trap: Any) -> Generator[Any, Any, Any]:
    """Await the rest of `body`, which has suspended at `trap`; `step` calls in its context."""
    while True:
        thrown: BaseException | None = None
        given: Any = None
        try:
            given = yield trap
        except BaseException as error:
            thrown = error
        try:
            trap = step(body.send, given) if thrown is None else step(body.throw, thrown)
        except StopIteration as stop:
            return stop.value


def as_coroutine(given: Any) -> Coroutine[Any, Any, Any]:
    """What a body's call returned, as a coroutine; `TypeError` when it is not awaitable."""
    if type(given) is types.CoroutineType:
        return given
    return _await(given)


async def _await(given: Awaitable[Any]) -> Any:
    return await given


def was_cancelled(error: BaseException) -> bool:
    """Whether `error` is a `trio.Cancelled`, or a group with one in it."""
    left = [error]  # a body may nest them as deep as it likes
    while left:
        one = left.pop()
        if isinstance(one, trio.Cancelled):
            return True
        if isinstance(one, BaseExceptionGroup):
            left.extend(one.exceptions)
    return False


def without_cancelled(error: BaseException) -> BaseException | None:
    """What is left of `error` without every `trio.Cancelled` in it; None when nothing is."""
    if isinstance(error, BaseExceptionGroup):
        try:
            return error.split(trio.Cancelled)[1]
        except RecursionError:  # nested deeper than Python can split: kept whole
            return error
    return None if isinstance(error, trio.Cancelled) else error


def keep(error: BaseException, *, attempt: int, started_at: int | None, failed_at: int, depth: int = 0) -> AttemptError:
    """What is kept of an error: texts cut at `LONGEST_TEXT`, a group's tree cut at `MOST_CHILDREN` and `DEEPEST`. Never
    raises.
    """
    children: tuple[AttemptError, ...] = ()
    if isinstance(error, BaseExceptionGroup) and depth < DEEPEST:
        children = tuple(
            keep(member, attempt=attempt, started_at=started_at, failed_at=failed_at, depth=depth + 1)
            for member in error.exceptions[:MOST_CHILDREN]
        )
    return AttemptError(
        attempt=attempt,
        type="discarded" if isinstance(error, Discard) else _clean(type(error).__qualname__),
        message=_text(error),
        traceback=_traceback(error) if depth == 0 else "",
        started_at=started_at,
        failed_at=failed_at,
        children=children,
    )


def _text(error: BaseException) -> str:
    try:
        return _clean(str(error))
    except BaseException as second:
        return f"<{type(error).__qualname__}, whose str() raised {type(second).__qualname__}>"


def _traceback(error: BaseException) -> str:
    try:
        lines = traceback.format_exception(type(error), error, error.__traceback__, limit=-30)
        text = "".join(lines)
    except BaseException as second:  # a hostile __str__ or __repr__ of the job's
        return f"<no traceback: formatting it raised {type(second).__qualname__}>"
    return _clean(text if len(text) <= LONGEST_TEXT else "…" + text[1 - LONGEST_TEXT :])


def _clean(text: str) -> str:
    """What every store can keep: no lone surrogates, no NUL, not too long."""
    if len(text) > LONGEST_TEXT:
        text = text[: LONGEST_TEXT - 1] + "…"
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()
