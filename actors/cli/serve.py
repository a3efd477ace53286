"""`actors serve`: opens the store and the system, serves, and stops in order.

The server outlives the system, so that calls made during a shutdown get their 503; the watchdog outlives both.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping, Sequence
from typing import Final

import trio

from actors import Queue, System, logs, open_system
from actors.cli.arguments import HttpArguments, WorkArguments
from actors.cli.banner import print_banner, print_facts, without_password
from actors.cli.failure import Failure
from actors.cli.lifetime import Lifetime, make_ready
from actors.cli.options import check_http, check_work, is_local, queues_of, registry_of, server_settings
from actors.cli.stores import with_strictness
from actors.core.errors import Conflict, StoreBusy
from actors.core.registry import Registry
from actors.server.app import Application
from actors.server.calls.about import version
from actors.server.listen import bind, url_of
from actors.server.listen import serve as serve_http
from actors.server.tokens import tokens_in

log: Final = logging.getLogger("actors.serve")

ANSWERS: Final = 0.25  # seconds for what is in flight before the system begins to stop
LOOK_AGAIN: Final = 0.25  # seconds between two looks for a store that is not there at the start


def serve(given: WorkArguments, http: HttpArguments) -> int:
    """Run the command; the exit code."""
    logs.configure(given.log_format, given.log_level)
    check_work(given)
    check_http(http)
    registry = registry_of(given)
    make_ready(registry)
    queues = queues_of(given)
    sockets = bind(http.host, http.port)
    try:
        return trio.run(_Command(given, http, registry, queues, sockets).run)
    finally:
        for each in sockets:
            each.close()  # those that the server did not take over


class _Command:
    """One run of the server."""

    def __init__(
        self,
        given: WorkArguments,
        http: HttpArguments,
        registry: Registry,
        queues: Mapping[str, Queue],
        sockets: Sequence[socket.socket],
    ) -> None:
        self._given = given
        self._http = http
        self._registry = registry
        self._queues = queues
        self._sockets = sockets
        self._life = Lifetime(given.grace)

    async def run(self) -> int:
        """Serve until a signal; 0."""
        return await self._life.run(self._serve)

    async def _serve(self) -> None:
        if not is_local(self._http) and not await self._may_be_public():
            return
        ended = trio.Event()
        given, queues, life = self._given, self._queues, self._life
        store = with_strictness(given.store, given.strict)
        async with trio.open_nursery() as edge:
            with life.hurry:
                async with open_system(
                    self._registry, store=store, queues=queues, lease=given.lease, grace=given.grace
                ) as system:
                    life.system = system
                    app = Application(system, server_settings(self._http))
                    url = url_of(self._sockets, self._http.host)
                    await edge.start(serve_http, app, self._sockets, ended)
                    async with trio.open_nursery() as front:
                        front.start_soon(self._introduce, system, url)
                        await life.stop.wait()
                        front.cancel_scope.cancel()
                    began = trio.current_time()
                    app.closing = True
                    with trio.move_on_after(min(ANSWERS, given.grace)):
                        await app.idle()
                    system.grace = max(0.0, given.grace - (trio.current_time() - began))
            ended.set()

    async def _introduce(self, system: System, url: str) -> None:
        """Declare the server's own schedules, and say what it is: at once, or when the store is there. The API answers
        before that, too: 503, and how it is.
        """
        waits = False
        while True:
            try:
                await _declare(system)
                schedules = [f"{info.name} ({info.expression})" for info in await system.schedules.list()]
                is_open = not tokens_in(await system.settings())
                break
            except StoreBusy as error:
                if not waits:
                    waits = True
                    print_facts(f"actors {version()} listens on {url}, and waits for its store", {"store": str(error)})
            await trio.sleep(LOOK_AGAIN)
        print_banner(
            url,
            self._given.store,
            self._queues,
            self._registry,
            schedules,
            open=is_open,
            everywhere=not is_local(self._http),
        )
        log.info("serving", extra={"url": url, "holder": system.holder})

    async def _may_be_public(self) -> bool:
        """Whether it may, as soon as the store is there to tell; False when it was stopped before."""
        while not self._life.stop.is_set():
            try:
                await self._check_tokens()
            except StoreBusy as error:
                log.warning("waiting for the store, to see whether there are tokens: %s", error)
                with trio.move_on_after(1.0):
                    await self._life.stop.wait()
            else:
                return True
        return False

    async def _check_tokens(self) -> None:
        """Refuse to be open to all the world. Asked before a single job is claimed."""
        given, host = self._given, self._http.host
        async with open_system(Registry(), store=with_strictness(given.store, given.strict), queues={}) as system:
            tokens = tokens_in(await system.settings())
        store = without_password(given.store)
        if not tokens:
            raise Failure(
                f"--host {host} is open to other machines, and store {store} has no tokens: "
                "anybody could run jobs here. "
                f"Make one first: actors token create --owner YOU --role admin --store {store}"
            )


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
