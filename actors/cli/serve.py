"""`actors serve`: opens the store and the system, serves, and stops in order.

The server outlives the system, so that calls made during a shutdown get their 503; the watchdog outlives both.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final

import trio

from actors import Queue, System, logs, open_system
from actors.cli.banner import print_banner
from actors.cli.failure import Failure
from actors.cli.options import ServeOptions
from actors.cli.watchdog import Watchdog
from actors.core.errors import BadPayload, Conflict
from actors.core.registry import Registry
from actors.server.app import Application
from actors.server.listen import bind, url_of
from actors.server.listen import serve as serve_http
from actors.server.tokens import tokens_in

log: Final = logging.getLogger("actors.serve")

ANSWERS: Final = 0.25  # seconds for what is in flight before the system begins to stop
BEYOND_GRACE: Final = 1.0  # seconds after the grace at which the process ends, whatever holds it
AT_ONCE: Final = 0.9  # the same, after a second signal
COLLECT: Final = (
    10_000,
    20,
    50,
)  # allocations between collections; by default a fifth of a small job's cost goes there
STOPPED_BY: Final = (signal.SIGINT, signal.SIGTERM)


def serve(options: ServeOptions) -> int:
    """Run the command; the exit code."""
    logs.configure(options.log_format, options.log_level)
    options.check()
    registry = options.registry()
    _warm(registry)
    _spare_the_collector()
    queues = options.queues()
    sockets = bind(options.host, options.port)
    try:
        return trio.run(_Command(options, registry, queues, sockets).run)
    finally:
        for each in sockets:
            each.close()  # those that the server did not take over


def _warm(registry: Registry) -> None:
    """Make every type's decoder now: the first caller shall not wait for it."""
    for name in registry:
        with contextlib.suppress(BadPayload):
            registry.from_json(name, {})


def _spare_the_collector() -> None:
    """What was imported stays: the garbage collector need not look at it again, nor as often as for a short program."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT)


class _Command:
    """One run of the server."""

    def __init__(
        self,
        options: ServeOptions,
        registry: Registry,
        queues: Mapping[str, Queue],
        sockets: Sequence[socket.socket],
    ) -> None:
        self._options = options
        self._registry = registry
        self._queues = queues
        self._sockets = sockets
        self._system: System | None = None
        self._stop = trio.Event()  # the first signal
        self._hurry = trio.CancelScope()  # the second one
        self._watchdog = Watchdog(self._held_by)

    async def run(self) -> int:
        """Serve until a signal; 0."""
        if not self._options.is_local:
            await self._check_tokens()
        for number in STOPPED_BY:
            signal.signal(
                number, signal.SIG_IGN
            )  # what is put back at the end: one more signal shall not spoil the exit code
        with trio.open_signal_receiver(*STOPPED_BY) as signals:
            for number in STOPPED_BY:
                signal.signal(number, self._arming(signal.getsignal(number)))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._heed, signals)
                await self._serve()
                nursery.cancel_scope.cancel()
        self._watchdog.disarm()
        self._tell_the_end()
        return 0

    async def _serve(self) -> None:
        ended = trio.Event()
        options = self._options
        queues = self._queues
        async with trio.open_nursery() as edge:
            with self._hurry:
                async with open_system(
                    self._registry, store=options.store, queues=queues, grace=options.grace
                ) as system:
                    self._system = system
                    await _declare(system)
                    app = Application(system, options.server())
                    url = url_of(self._sockets, options.host)
                    await edge.start(serve_http, app, self._sockets, ended)
                    schedules = [f"{info.name} ({info.expression})" for info in await system.schedules.list()]
                    is_open = not tokens_in(await system.settings())
                    print_banner(
                        url,
                        options.store,
                        queues,
                        self._registry,
                        schedules,
                        open=is_open,
                        everywhere=not options.is_local,
                    )
                    log.info("serving", extra={"url": url, "holder": system.holder})
                    await self._stop.wait()
                    began = trio.current_time()
                    app.closing = True
                    with trio.move_on_after(min(ANSWERS, options.grace)):
                        await app.idle()
                    system.grace = max(0.0, options.grace - (trio.current_time() - began))
            ended.set()

    async def _check_tokens(self) -> None:
        """Refuse to be open to all the world. Asked before a single job is claimed."""
        options = self._options
        async with open_system(Registry(), store=options.store, queues={}) as system:
            tokens = tokens_in(await system.settings())
        if not tokens:
            raise Failure(
                f"--host {options.host} is open to other machines, and store {options.store} has no tokens: "
                "anybody could run jobs here. "
                f"Make one first: actors token create --owner YOU --role admin --store {options.store}"
            )

    def _arming(self, heed: Any) -> Callable[[int, Any], None]:
        """A handler that arms the watchdog, then does what `heed` does: the loop may be blocked, a handler runs all
        the same.
        """

        def handler(number: int, frame: Any) -> None:
            self._watchdog.arm(self._options.grace + BEYOND_GRACE)
            heed(number, frame)

        return handler

    async def _heed(self, signals: AsyncIterator[int]) -> None:
        async for number in signals:
            name = signal.Signals(number).name
            if not self._stop.is_set():
                log.info("stopping", extra={"signal": name, "grace": self._options.grace})
                self._stop.set()
            else:
                log.info("stopping at once", extra={"signal": name})
                self._watchdog.arm(AT_ONCE)
                self._hurry.cancel()

    def _held_by(self) -> list[str]:
        return [] if self._system is None else [one.job for one in self._system.workers() if one.job is not None]

    def _tell_the_end(self) -> None:
        report = None if self._system is None else self._system.report
        if report is None:
            return
        said = f"stopped: {report.finished} finished, {report.given_back} given back, {report.cancelled} cancelled"
        if report.stuck:
            said += f"; ignored being stopped: {', '.join(report.stuck)}"
        print(said, flush=True)


async def _declare(system: System) -> None:
    """The server's own schedules."""

    async def health_log() -> None:
        await system.ping()
        counted = await system.stats()
        extra = {
            "pending": counted.pending,
            "scheduled": counted.scheduled,
            "running": counted.running,
            "dead": counted.dead,
        }
        log.info("health", extra=extra)

    async def queue_stats() -> None:
        for queue in await system.queues.list():
            log.info(
                "queue",
                extra={
                    "queue": queue.name,
                    "workers": queue.workers,
                    "active": queue.active,
                    "paused": queue.paused,
                    "pending": queue.stats.pending,
                    "completed": queue.stats.completed,
                    "dead": queue.stats.dead,
                },
            )

    for name, when, call in (("health_log", "* * *", health_log), ("queue_stats", "*/5 * *", queue_stats)):
        try:
            await system.schedule(name, when, call)
        except Conflict as error:  # somebody keeps a job under that name: theirs
            log.warning("own schedule left out", extra={"schedule": name, "error": str(error)})
