"""The store on a cluster and behind Sentinels; long, so only with `--redis=long`."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import trio

from actors.core.errors import StoreBusy
from actors.core.ids import IdMaker
from actors.core.job import NO_DETAILS, JobSpec, Standing
from actors.store.port import Batch, Insert
from actors.store.redis import RedisStore
from actors.testing.redis import RedisServer, free_port
from actors.testing.store import check_store

NOW = 1_767_225_600_000_000
PATIENCE = 60.0
IDS = IdMaker(random.Random(7))


@pytest.fixture(autouse=True)
def _only_long(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--redis") != "long":
        pytest.skip("with --redis=long")


def _batch() -> Batch:
    spec = JobSpec(IDS.make(NOW), "a", "{}", "q", 1, 0, 3, None, NOW, None, NO_DETAILS)
    return Batch(
        now=NOW, inserts=[Insert(spec=spec, standing=Standing(0, "pending", 0, 0, 0, 0, NOW, None, None, None))]
    )


def _until(true, what: str) -> None:
    """Look until it is so: other processes have to find each other."""
    until = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < until, what
        time.sleep(0.02)


@pytest.fixture(scope="module")
def cluster() -> Iterator[list[RedisServer]]:
    settings = {"cluster-enabled": "yes", "cluster-node-timeout": "1000"}
    buses = [free_port() for _ in range(3)]  # by itself a node takes the port 10 000 above its own, whoever has it
    with ExitStack() as stack:
        nodes = [stack.enter_context(RedisServer({**settings, "cluster-port": str(bus)})) for bus in buses]
        for number, node in enumerate(nodes):
            first, last = number * 16_384 // 3, (number + 1) * 16_384 // 3 - 1
            node.ask("CLUSTER", "ADDSLOTSRANGE", str(first), str(last))
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
            node.ask("CLUSTER", "MEET", "127.0.0.1", str(nodes[0].port), str(buses[0]))
        for node in nodes:
            _until(lambda node=node: b"cluster_state:ok" in node.ask("CLUSTER", "INFO"), "the cluster did not form")
            _until(lambda node=node: b"cluster_known_nodes:3" in node.ask("CLUSTER", "INFO"), "nodes are missing")
        yield nodes


async def test_a_cluster_keeps_the_promises(cluster: list[RedisServer]) -> None:
    last = ""
    url = "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in cluster)

    def make() -> RedisStore:
        nonlocal last
        last = uuid.uuid4().hex
        return RedisStore(url, prefix=last)

    await check_store(make, reopen=lambda: RedisStore(url, prefix=last), seeds=range(3))
    used = [int(node.ask("DBSIZE").strip()[1:]) for node in cluster]
    assert all(used), "several systems were spread over the nodes"


async def _commit(store: RedisStore, tick: int, batch: Batch) -> None:
    """As the queue does: again and again."""
    with trio.fail_after(PATIENCE):
        while True:
            try:
                outcome = await store.commit("one", tick, batch)
                assert not outcome.refused
                return
            except StoreBusy:
                await trio.sleep(0.05)


async def test_a_failover_loses_nothing_that_a_replica_has_confirmed() -> None:
    quick = {"repl-diskless-sync-delay": "0"}
    with ExitStack() as stack:
        primary = stack.enter_context(RedisServer(quick))
        replica = stack.enter_context(RedisServer({**quick, "replicaof": f"127.0.0.1 {primary.port}"}))
        watch = {
            "sentinel monitor main 127.0.0.1": f"{primary.port} 1",
            "sentinel down-after-milliseconds main": "500",
            "sentinel failover-timeout main": "3000",
        }
        sentinel = stack.enter_context(RedisServer(watch, sentinel=True))
        _until(lambda: b"slaves=1" in sentinel.ask("INFO", "sentinel"), "the Sentinel does not know the replica")
        store = RedisStore(f"redis+sentinel://127.0.0.1:{sentinel.port}/main?replicas=1&timeout=2")
        await store.open("one", NOW)
        for tick in range(1, 51):
            await _commit(store, tick, _batch())
        primary.kill()
        began = time.monotonic()
        # the new primary has no replica, so nothing more would be acknowledged; without `replicas` it goes on
        other = RedisStore(f"redis+sentinel://127.0.0.1:{sentinel.port}/main?timeout=2")
        await other.open("one", NOW)
        await _commit(other, 51, _batch())
        print(f"failover: {time.monotonic() - began:.1f} s")
        recount = await other.recount()
        assert (recount.counts.accepted, sum(recount.jobs.values())) == (51, 51)
        assert b"role:master" in replica.ask("INFO", "replication")
        await other.close("one")
        await store.close("one")
