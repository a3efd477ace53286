"""`actors worker`: workers without the API, as many processes as one likes beside an `actors serve --workers 0`."""

from __future__ import annotations

from functools import partial

import trio

from actors import Queue, logs, open_system
from actors.cli.arguments import WorkArguments
from actors.cli.banner import print_facts, print_unworked, without_password
from actors.cli.lifetime import Lifetime, log, make_ready
from actors.cli.options import check_work, queues_of, registry_of
from actors.cli.stores import check_lasts, with_strictness
from actors.core.registry import Registry
from actors.server.calls.about import version


def worker(given: WorkArguments) -> int:
    """Run the command; the exit code."""
    logs.configure(given.log_format, given.log_level)
    check_work(given)
    check_lasts(given.store, "no one could give these workers a job in")
    registry, queues = registry_of(given), queues_of(given)
    make_ready(registry)
    life = Lifetime(given.grace)
    return trio.run(life.run, partial(_work, life, given, registry, queues))


async def _work(life: Lifetime, given: WorkArguments, registry: Registry, queues: dict[str, Queue]) -> None:
    store = with_strictness(given.store, given.strict)
    with life.hurry:
        async with open_system(registry, store=store, queues=queues, lease=given.lease, grace=given.grace) as system:
            life.system = system
            facts = {
                "store": without_password(given.store),
                "queues": ", ".join(f"{name}={queue.workers}" for name, queue in queues.items()),
                "types": ", ".join(registry),
            }
            print_facts(f"actors {version()} works as {system.holder}", facts)
            print_unworked(registry, queues)
            log.info("working", extra={"holder": system.holder})
            await life.stop.wait()
