"""Plain callables on a schedule: they run in this process, inside the scheduler's nursery, and are not stored."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Iterator
from typing import Literal, assert_never

import attrs
import trio

from actors.body import keep, was_cancelled
from actors.clock import Clock
from actors.core.errors import AlreadyRunning
from actors.core.job import moment
from actors.core.schedule import Timing, due, keep_anchor, next_slot, overlap
from actors.timetable import Coming, ScheduleInfo, expression, quiet, until

log = logging.getLogger("actors")


@attrs.define(kw_only=True, eq=False)
class Local:
    """A plain callable on a schedule: it runs in this process and is not stored."""

    name: str
    timing: Timing
    call: Callable[[], Awaitable[object]]
    cursor: int
    coming: Coming | None = None
    paused: bool = False
    fired: int = 0
    errors: int = 0
    last_run: int | None = None
    last_error: str | None = None
    scopes: list[trio.CancelScope] = attrs.Factory(list)  # of its runs that have not ended
    queued: int = 0  # slots that wait for the run before them

    def info(self, now: int) -> ScheduleInfo:
        """As it can be looked at."""
        spent = self.timing.limit is not None and self.fired >= self.timing.limit
        coming = None if self.paused or spent else next_slot(self.timing, max(self.cursor, now))
        return ScheduleInfo(
            name=self.name,
            expression=expression(self.timing),
            tz=self.timing.tz,
            job_type=None,
            owner=None,
            is_running=bool(self.scopes),
            paused=self.paused,
            run_count=self.fired,
            error_count=self.errors,
            last_run=None if self.last_run is None else moment(self.last_run),
            next_run=None if coming is None else moment(coming),
            last_error=self.last_error,
        )


class Callables:
    """The callables of one process: when they run, and how that went."""

    def __init__(self, clock: Clock) -> None:
        self.nursery: trio.Nursery  # the scheduler's, once it runs
        self._clock = clock
        self._locals: dict[str, Local] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._locals

    def declare(self, name: str, timing: Timing, call: Callable[[], Awaitable[object]]) -> None:
        """Run `call` on a schedule; one of that name keeps its cursor and counts."""
        known = self._locals.get(name)
        if known is None:
            self._locals[name] = Local(name=name, timing=timing, call=call, cursor=self._clock.now())
        else:
            known.timing, known.call, known.coming = keep_anchor(timing, known.timing), call, None

    def change(self, name: str, change: Callable[[Timing], Timing]) -> None:
        """Give one another timing, from now on."""
        local = self._locals[name]
        local.timing, local.coming = change(local.timing), None
        local.cursor = max(local.cursor, self._clock.now())

    def control(self, name: str, verb: Literal["pause", "resume", "run", "remove"]) -> None:
        """Pause, resume, run now (`AlreadyRunning`) or forget the callable of this name."""
        local = self._locals[name]
        match verb:
            case "pause":
                local.paused = True
            case "resume":
                if local.paused:
                    local.paused, local.cursor = False, max(local.cursor, self._clock.now())
            case "remove":
                del self._locals[name]
            case "run":
                if local.scopes and local.timing.overlap == "skip":
                    raise AlreadyRunning(name)
                self._start(local, self._clock.now())
            case _:
                assert_never(verb)

    def infos(self, now: int) -> Iterator[ScheduleInfo]:
        """All of them, as they can be looked at."""
        return (local.info(now) for local in self._locals.values())

    def fire_all(self) -> list[float]:
        """Start what is due; for each the seconds until its next slot."""
        return [self._fire(local) for local in list(self._locals.values())]

    def _fire(self, local: Local) -> float:
        if local.paused:
            return math.inf
        now = self._clock.now()
        if (pause := quiet(local, now)) is not None:
            return pause
        found = due(local.name, local.timing, cursor=local.cursor, now=now, fired=local.fired)
        local.cursor = found.cursor
        for _ in found.fire:
            match overlap(local.timing.overlap, bool(local.scopes)):
                case "fire":
                    self._start(local, now)
                case "skip":
                    pass
                case "wait":
                    local.queued += 1
                case "replace":
                    for scope in local.scopes:
                        scope.cancel()
                    self._start(local, now)
                case never:
                    assert_never(never)
        return until(local, found.next, now)

    def _start(self, local: Local, now: int) -> None:
        local.fired += 1
        local.last_run = now
        scope = trio.CancelScope()
        local.scopes.append(scope)
        self.nursery.start_soon(self._call, local, scope, name=f"schedule {local.name}")

    @trio.lowlevel.enable_ki_protection
    async def _call(self, local: Local, scope: trio.CancelScope) -> None:
        try:
            with scope:
                await local.call()
        except BaseException as error:  # whatever it raises is its failure, also a Cancelled that was made by hand
            if was_cancelled(error) and trio.current_effective_deadline() == -math.inf:
                return  # the shutdown's
            now = self._clock.now()
            kept = keep(error, attempt=local.fired, started_at=local.last_run, failed_at=now)
            local.errors += 1
            local.last_error = f"{kept.type}: {kept.message}"[:500]
            log.error("schedule %s failed: %s", local.name, local.last_error)
        finally:
            local.scopes.remove(scope)
            if local.queued and not local.scopes:
                local.queued -= 1
                self._start(local, self._clock.now())
