"""A primary that dies while its replica lags, and Sentinels that promote the replica: failover."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from functools import partial

import attrs
import trio

from actors.testing.redis import RedisServer
from tests.faults.calls import CLIENTS
from tests.faults.posting import Posting
from tests.faults.process import until
from tests.faults.trial import Trial
from tests.relay import Relay

QUICK = {"repl-diskless-sync-delay": "0", "repl-timeout": "60"}
DOWN_AFTER = 1_000  # milliseconds without an answer after which the Sentinel takes the primary for dead
RESUMES = 15.0  # seconds from the death of the primary to the first post that is accepted again
CONFIRMED = "replicas=1&timeout=2"
UNCONFIRMED = "timeout=2"


@attrs.frozen
class Group:
    """A primary, a replica behind a relay, and a Sentinel that watches them."""

    primary: RedisServer
    replica: RedisServer
    sentinel: RedisServer
    relay: Relay

    def has_switched(self) -> bool:
        """Whether the Sentinel sends clients to the replica."""
        named = self.sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main")
        return str(self.replica.port).encode() in named

    def url(self, options: str) -> str:
        """The store."""
        return f"redis+sentinel://127.0.0.1:{self.sentinel.port}/main?{options}"


@asynccontextmanager
async def group(trial: Trial) -> AsyncIterator[Group]:
    """Start them, and wait until they know of each other."""
    with ExitStack() as stack:

        async def start(settings: dict[str, str], *, sentinel: bool = False) -> RedisServer:
            made = RedisServer(settings, sentinel=sentinel, parent=trial.folder)
            return await trio.to_thread.run_sync(partial(stack.enter_context, made))

        primary = await start(QUICK)
        async with Relay.to(primary.port) as relay:
            replica = await start({**QUICK, "replicaof": f"127.0.0.1 {relay.port}"})
            # the primary must be found under its own port: the Sentinel asks the replica whom it follows only later
            watch = {
                "sentinel monitor main 127.0.0.1": f"{primary.port} 1",
                "sentinel down-after-milliseconds main": str(DOWN_AFTER),
                "sentinel failover-timeout main": "5000",
            }
            sentinel = await start(watch, sentinel=True)
            await until(lambda: b"slaves=1" in sentinel.ask("INFO", "sentinel"), "the Sentinel knows the replica")
            await until(lambda: b"state=online" in primary.ask("INFO", "replication"), "the replica follows")
            yield Group(primary, replica, sentinel, relay)


async def failover(trial: Trial) -> None:
    """The replica lags, the primary dies, the replica is promoted: nothing that was accepted is lost with `replicas=1`.

    The same without: what is lost then is measured, and shows that the replica did lag.
    """
    async with group(trial) as servers:
        trial.store = servers.url(CONFIRMED)
        posting, took = await _fail_over(trial, servers, "confirmed")
        found = await trial.numbers()
        lost = len(set(posting.accepted) - set(found))
        trial.promise(f"accepted and lost with replicas=1: {lost}", lost == 0)
        trial.promise("every 2xx is exactly one job", set(found.values()) == {1})
        trial.within("recovery_s", took, RESUMES)
        await trial.ended(posting.accepted)
        await trial.settle(running=0, pending=0, completed=len(found))
        await trial.stop(trial.programs[-1])
        trial.count(sorted(posting.accepted), twice=len(found))
    async with group(trial) as servers:
        trial.store = servers.url(UNCONFIRMED)
        posting, _ = await _fail_over(trial, servers, "unconfirmed")
        lost = len(set(posting.accepted) - set(await trial.numbers()))
        trial.promise(f"the replica lagged: {lost} lost without replicas=1", lost > 0)
        trial.figure(accepted=len(posting.accepted), lost_without_replicas=lost)


async def _fail_over(trial: Trial, servers: Group, name: str) -> tuple[Posting, float]:
    """Post, let the replica fall behind, kill the primary, post on; the primary comes back, to follow."""
    server = trial.server("--workers", "4", name=name)
    await server.start()
    posting = Posting(server, trial.size(200, 1_000), enough=False)
    draw = trial.random.uniform
    async with trio.open_nursery() as nursery:
        nursery.start_soon(posting.clients, CLIENTS, lambda: draw(0.005, 0.02), lambda: draw(0.0, 0.02))
        await until(lambda: len(posting.accepted) > 50, "posts are answered")
        servers.relay.hold()
        await trio.sleep(1.0)
        servers.primary.kill()
        killed, so_far = time.monotonic(), len(posting.accepted)
        await servers.relay.cut_everything()
        await until(servers.has_switched, "the Sentinel names the replica")  # before that it names who is dead
        await trio.to_thread.run_sync(servers.primary.start)
        await until(lambda: len(posting.accepted) > so_far, "posts are answered again")
        took = time.monotonic() - killed
        await until(lambda: b"role:slave" in servers.primary.ask("INFO", "replication"), "the old primary follows")
        posting.enough = True
    return posting, took
