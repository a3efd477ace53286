"""Bodies that misbehave: hung, blocked_loop."""

from __future__ import annotations

import time

from tests.faults.process import until
from tests.faults.trial import Trial
from tests.faults.work import block, hang, ignore, work

TIMEOUT = 1.0  # of `hang` and `ignore`


async def hung(trial: Trial) -> None:
    """A hung job fails at its timeout, one that ignores that is marked stuck: the slot is free again (G12)."""
    worker = trial.program("worker", "worker", workers=1)
    await worker.start()
    async with trial.client() as client:
        handle = await client.enqueue(hang(1))
        await client.enqueue(work(2))
        await trial.ended([2])
        (began,), (freed,) = trial.ledger.of("began", [1]), trial.ledger.of("began", [2])
        record = await handle.record()
        trial.promise(f"dead by its timeout: {record.errors}", record.errors[-1].type == "JobTimeout")
        error = record.errors[-1]
        took = (error.failed_at - (error.started_at or 0)) / 1e6
        trial.figure(failed_after_s=took)
        trial.promise(f"failed at {took:.3f} s: 1 +- 0.2", TIMEOUT - 0.2 <= took <= TIMEOUT + 0.2 * trial.slack)
        trial.within("slot_free_hung_s", freed.at - began.at - TIMEOUT, 2.0)

        stuck = await client.enqueue(ignore(3, 4.0))
        await client.enqueue(work(4))
        await trial.ended([4])
        (began,), (freed,) = trial.ledger.of("began", [3]), trial.ledger.of("began", [4])
        trial.within("slot_free_stuck_s", freed.at - began.at - TIMEOUT, 2.0)
        trial.promise("another worker took its place", (await stuck.record()).state == "running")
        await trial.ended([3])
        await trial.settle(completed=2, dead=2, running=0)
        trial.promise(
            "what ended late has failed by its timeout", (await stuck.record()).errors[-1].type == "JobTimeout"
        )
    trial.promise("marked stuck", "ignores that it was stopped" in worker.said)
    await trial.stop(worker)
    trial.count([2, 4])


async def blocked_loop(trial: Trial) -> None:
    """A job blocks the loop for two leases: it is seen and named at once, and not taken for dead (G9)."""
    lease = 1.5
    given = {"workers": 1, "lease": lease}
    server, other = trial.server("--workers", "1"), trial.program("other", "worker", **given)
    await server.start()
    async with trial.client() as client:
        handle = await client.enqueue(block(1, 2 * lease))
    await trial.begun([1])
    await other.start()
    await until(lambda: "loop_blocked" in server.said, "it is seen", 10.0)
    (began,) = trial.ledger.of("began", [1])
    trial.within("seen_after_s", time.monotonic() - began.at, 2.0)  # 1 s, and a beat of half a second
    trial.promise("seen while it blocks", not trial.ledger.of("ended", [1]))
    trial.promise("its job and its line are named", handle.id in server.said and "time.sleep(seconds)" in server.said)
    await trial.ended([1])
    status, health = await server.call("GET", "/healthz")
    trial.figure(health=health.get("status"))
    trial.promise(f"health: {status} {health}", (status, health["status"]) == (200, "degraded") and health["reasons"])
    await trial.ask_audit(server)
    await trial.stop(server)

    # the same in a program, which hears of it by an event; a third process has the store open, too
    third = trial.program("third", "worker", workers=0, lease=lease)
    await third.start()
    async with trial.client() as client:
        handle = await client.enqueue(block(2, 2 * lease))
    await trial.ended([2])
    await trial.settle(completed=2, running=0)
    told = other.told()
    trial.promise(
        f"an event names the job and the stack: {told}", told["job"] == handle.id and "block" in told["stack"]
    )
    for program in (other, third):
        await trial.stop(program)
    trial.count([1, 2])
    trial.promise("each ran once", set(trial.ledger.counts("began").values()) == {1})
