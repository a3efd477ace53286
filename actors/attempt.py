"""One attempt, from the payload to the result: the body made ready in its middleware or its thread, and its end made
storable.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Final

import attrs
import trio

from actors.body import as_coroutine, keep
from actors.core import strict_json
from actors.core.definition import JobDefinition
from actors.core.errors import (
    BadPayload,
    BadResult,
    Discard,
    Outcome,
)
from actors.core.job import AttemptError, JobRecord
from actors.run import Run

MAX_RESULT: Final = 1024 * 1024  # bytes of JSON


class ThreadCall:
    """A plain body in a thread of its own. When it is stopped the thread is told, not killed; `ended` tells when it is
    over.
    """

    def __init__(self, run: Run, definition: JobDefinition, payload: Any, limiter: trio.CapacityLimiter) -> None:
        self.ended = trio.Event()
        self.value: Any = None
        self.error: BaseException | None = None
        self._run = run
        self._definition = definition
        self._payload = payload
        self._limiter = limiter
        self._ticket = [None]  # whoever pops it decides whether the body begins (`list.pop` is atomic)

    async def __call__(self) -> Any:
        """The body's value or error. When cancelled, returns at once and leaves the thread running."""
        token = trio.lowlevel.current_trio_token()
        try:
            await trio.to_thread.run_sync(self._call, token, abandon_on_cancel=True, limiter=self._limiter)
        except trio.Cancelled:
            if self._take_ticket():
                self.ended.set()  # it never began, and never will
            raise
        if self.error is not None:
            raise self.error
        return self.value

    def _take_ticket(self) -> bool:
        try:
            self._ticket.pop()
        except IndexError:
            return False
        return True

    def _call(self, token: trio.lowlevel.TrioToken) -> None:
        if not self._take_ticket():
            return  # stopped before it began
        self._run.in_thread(token)
        try:
            self.value = self._definition.call(self._run, self._payload)
        except BaseException as error:
            self.error = error
        finally:
            try:
                token.run_sync_soon(self.ended.set)
            except trio.RunFinishedError:
                pass


def read_payload(definition: JobDefinition, job: JobRecord) -> Any:
    """The payload object; `Discard` when it can't be decoded, or when `authorize` says no."""
    try:
        payload = definition.decode(job.spec.payload)
    except BadPayload as error:
        raise Discard(str(error)) from error
    authorize = definition.options.authorize
    if authorize is not None and not authorize(job.spec.owner, payload):
        raise Discard(f"owner {job.spec.owner!r} may not run {definition.name}: its type's authorize said no")
    return payload


def make_body(run: Run, definition: JobDefinition, payload: Any, call: ThreadCall | None) -> Coroutine[Any, Any, Any]:
    """The body as a coroutine, in its type's middleware, the first one registered outermost."""
    middleware = definition.middleware
    if not middleware:
        return as_coroutine(definition.call(run, payload) if call is None else call())
    body: Callable[[], Awaitable[Any]] = partial(definition.call, run, payload) if call is None else call
    for wrap in reversed(middleware):
        body = partial(wrap, run, body)
    return as_coroutine(body())


def result_text(given: Any) -> str:
    """What a body returned, as JSON text; `BadResult`."""
    try:
        text = strict_json.dumps(given)
    except strict_json.NotJSON as error:
        raise BadResult(f"the job returned what is not JSON: {error}") from None
    except RecursionError:
        raise BadResult("the job returned what is not JSON: nested without end") from None
    if len(text) > MAX_RESULT:
        raise BadResult(f"the job returned {len(text)} bytes of JSON: expected at most {MAX_RESULT}")
    return text


def unwrapped(error: BaseException) -> BaseException:
    """An outcome raised inside a nursery comes as a group of one: it means the same."""
    inner = error
    while isinstance(inner, BaseExceptionGroup) and len(inner.exceptions) == 1:
        inner = inner.exceptions[0]
    return inner if isinstance(inner, Outcome) else error


def what_is_kept(error: BaseException, job: JobRecord, now: int) -> AttemptError:
    """What is kept of the error that ended this attempt."""
    kept = keep(error, attempt=job.attempt + 1, started_at=job.standing.started_at, failed_at=now)
    if isinstance(error, Discard) and isinstance(error.__cause__, BadPayload):
        return attrs.evolve(kept, type="bad_payload")
    return kept
