"""The line to the server: one client and one subscription for a store, in a system task of their own.

A store is opened and closed in no nested order and from any task; a client is a nursery. So it lives in a system task,
which comes up again by itself after the server was away.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Final

import trio
from coredis.retry import NoRetryPolicy

from actors.core.errors import StoreBusy, StoreSilent
from actors.store.redis import library
from actors.store.redis.faults import first_contact, redis_errors
from actors.store.redis.library import Client
from actors.store.redis.server import Endpoint
from actors.store.redis.url import Options

log = logging.getLogger("actors")

FIRST_PAUSE: Final = 0.02  # seconds before the line is tried again; doubles up to LONGEST_PAUSE
LONGEST_PAUSE: Final = 0.5


class Line:
    """Calls functions of the library, and hears what others tell: `hear` gets each message, and None after a gap."""

    def __init__(self, server: Endpoint, options: Options, hear: Callable[[bytes | None], None]) -> None:
        self._server = server
        self._options = options
        self._hear = hear
        self._prefix = f"{{{options.prefix}}}:"  # one hash tag: all keys of a system are in one slot of a cluster
        self._client: Client | None = None
        self._trouble: BaseException | None = None
        self._answered = False  # it has been the right server, so whatever is wrong is not the URL
        self._tried = trio.Event()  # whether the line is up, or can't be
        self._scope = trio.CancelScope()
        self._ended = trio.Event()

    async def start(self) -> None:
        """Bring it up; returns also when the server is away, and goes on trying."""
        trio.lowlevel.spawn_system_task(self._run, name="actors.store.redis")
        with trio.move_on_after(self._options.timeout):
            await self._tried.wait()

    async def stop(self) -> None:
        """Hang up."""
        self._scope.cancel()
        await self._ended.wait()

    async def call(self, function: str, *arguments: str | bytes | int, confirm: bool = False) -> bytes:
        """The answer of a function within the timeout, or a `StoreError`. `confirm`: not before it is kept as the
        options ask.
        """
        client = self._client
        try:
            with redis_errors(str(self._server)):
                if client is None:
                    raise self._trouble or TimeoutError("no connection yet")
                kept = self._confirming(client) if confirm else nullcontext()
                with trio.fail_after(self._options.timeout), kept:
                    reply = await library.call(client, function, self._prefix, *arguments)
        except StoreBusy as error:
            if client is not None and isinstance(error.__cause__, (trio.TooSlowError, TimeoutError)):
                client.connection_pool.disconnect()  # who is silent for so long may be gone without a word
            if client is None and isinstance(error, StoreSilent):
                cause, error = error.__cause__, StoreBusy(str(error))  # it was not even asked
                error.__cause__ = cause
            if self._answered:
                raise error
            raise first_contact(error, tls=self._server.tls is not None) from error.__cause__
        self._answered = True
        return reply

    def _confirming(self, client: Client) -> AbstractContextManager[object]:
        options = self._options
        milliseconds = round(options.timeout * 1_000)
        if options.fsync:
            kept: AbstractContextManager[object] = client.ensure_persistence(1, options.replicas, milliseconds)
            return kept
        if options.replicas:
            copied: AbstractContextManager[object] = client.ensure_replication(options.replicas, milliseconds)
            return copied
        return nullcontext()

    async def _run(self) -> None:
        pause = FIRST_PAUSE
        try:
            with self._scope:
                while True:
                    try:
                        async with self._server.connect(f"actors:{self._options.prefix}") as self._client:
                            pause = FIRST_PAUSE
                            await self._listen(self._client)
                    except* Exception as error:  # a client that is cancelled may fail beside it
                        self._trouble = error
                    self._client = None
                    self._tried.set()
                    await trio.sleep(pause)
                    pause = min(LONGEST_PAUSE, pause * 2)
        except* Exception as error:  # when it was cancelled; a system task must not raise
            log.debug("the line was hung up: %s", error)
        finally:
            self._client = None
            self._ended.set()

    async def _listen(self, client: Client) -> None:
        pause, gap = FIRST_PAUSE, False
        while True:
            try:
                async with client.pubsub(
                    channels=[f"{self._prefix}news"],
                    ignore_subscribe_messages=True,
                    retry_policy=NoRetryPolicy(),
                    subscription_timeout=self._options.timeout,
                ) as subscription:
                    self._tried.set()
                    pause = FIRST_PAUSE
                    if gap:
                        self._hear(None)
                    gap = True
                    while True:
                        message = await subscription.get_message(timeout=math.inf)
                        if message is not None:
                            self._hear(message["data"])
            except* Exception as error:
                self._trouble = error
            self._tried.set()
            await trio.sleep(pause)
            pause = min(LONGEST_PAUSE, pause * 2)
