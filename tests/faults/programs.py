"""The embedded programs, run by `python -m tests.faults.programs WORD JSON`: each says `ready`, and ends in order on SIGTERM.

What one has measured it tells in a line of JSON at its end.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trio
import trio.testing

import actors
from actors.store import Store, store_from_url
from tests.faults.clock import FileClock
from tests.faults.uncertain import Uncertain
from tests.faults.work import jobs, nothing, slot, work


def tell(**figures: Any) -> None:
    """A line of figures for the harness."""
    print(json.dumps(figures), flush=True)


async def until_stopped() -> None:
    """Say that all is up; return on SIGTERM."""
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        print("ready", flush=True)
        async for _ in signals:
            return


def store_of(given: Mapping[str, Any]) -> str | Store:
    """The store as this trial wants it: as it is, failing, or with liveness by lease."""
    url = str(given["store"])
    if given.get("by_lease"):
        from actors.store.sqlite import SQLiteStore

        return SQLiteStore(url.removeprefix("sqlite:///"), inline=True)
    if (seed := given.get("uncertain")) is not None:
        return Uncertain(store_from_url(url), random.Random(seed))
    return url


async def worker(given: Mapping[str, Any]) -> None:
    """Runs jobs; fires `schedules`, if any."""
    clock = FileClock(Path(given["clock"])) if "clock" in given else None
    store = store_of(given)
    queues = {"default": given.get("workers", 4)}
    async with actors.open_system(
        jobs, store=store, queues=queues, lease=given.get("lease", 30.0), grace=given.get("grace", 5.0), clock=clock
    ) as system:
        for number in range(given.get("schedules", 0)):
            await system.schedule(
                f"every-{number}", actors.Every(given.get("every", 1.0)), slot(number), overlap="allow", catch_up="all"
            )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(say_blocks, system)
            nursery.start_soon(feed, system, given)
            await until_stopped()
            nursery.cancel_scope.cancel()
    report = system.report
    assert report is not None
    tell(
        finished=report.finished,
        given_back=report.given_back,
        faults=getattr(store, "faults", None),
        late=system.late_reports,
    )


async def feed(system: actors.System, given: Mapping[str, Any]) -> None:
    """Enqueue jobs of the numbers in `enqueue`, one by one."""
    for number in given.get("enqueue", ()):
        await system.enqueue(work(number, given["seconds"]))


async def say_blocks(system: actors.System) -> None:
    """Tell of each blocked loop that is heard of."""
    with system.events() as events:
        async for event in events:
            if event.name == "loop_blocked":
                tell(event=event.name, job=event.job, **(event.data or {}))


async def saturate(given: Mapping[str, Any]) -> None:
    """Keeps a store as busy as it can: jobs in, jobs done, without a pause."""
    done = 0
    async with actors.open_system(jobs, store=given["store"], queues={given["queue"]: 100}) as system:
        async with trio.open_nursery() as nursery:

            async def feed() -> None:
                nonlocal done
                while True:
                    handles = await system.enqueue_many([nothing() for _ in range(100)], queue=given["queue"])
                    await handles[-1].result()
                    done += 100

            for _ in range(3):
                nursery.start_soon(feed)
            began = time.monotonic()
            await until_stopped()
            nursery.cancel_scope.cancel()
        tell(rate=round(done / (time.monotonic() - began)))


async def now_and_then(given: Mapping[str, Any]) -> None:
    """Enqueues one job at a time, with pauses, and tells how long each commit took."""
    draw = random.Random(given["seed"])
    took = []
    async with actors.open_system(jobs, store=given["store"], queues={}) as system:
        print("ready", flush=True)
        for _ in range(given["times"]):
            await trio.sleep(draw.uniform(0.0, 2 * given["pause"]))
            began = time.perf_counter()
            await system.enqueue(nothing(), queue="third")
            took.append(time.perf_counter() - began)
    took.sort()
    tell(p50_ms=took[len(took) // 2] * 1e3, p99_ms=took[int(len(took) * 0.99)] * 1e3, most_ms=took[-1] * 1e3)


async def cycles(given: Mapping[str, Any]) -> None:
    """Opens and closes a system so often, with a job in each."""
    print("ready", flush=True)
    warm = max(20, given["times"] // 10)
    done, before = 0, {}
    path = Path(str(given["store"]).removeprefix("sqlite:///") + "-wal")
    wal = 0
    for number in range(given["times"]):
        async with actors.open_system(jobs, store=given["store"]) as system:
            await (await system.enqueue(nothing())).result()
            done += 1
            wal = max(wal, path.stat().st_size) if path.exists() else wal
        if number == warm:
            before = await possessions()
    tell(done=done, before=before, after=await possessions(), wal_mb=wal / 1e6)


async def steady(given: Mapping[str, Any]) -> None:
    """Enqueues at a steady rate and runs jobs beside others; compares itself at its end with what it was at SIGUSR1."""
    sent, before = 0, {}
    pause = 1.0 / given["rate"]
    warm, stop = trio.Event(), trio.Event()

    async def feed(system: actors.System) -> None:
        nonlocal sent
        while not stop.is_set():
            await system.enqueue(work(sent, 0.005))
            sent += 1
            await trio.sleep(pause)

    async with actors.open_system(jobs, store=given["store"], queues={"default": given["workers"]}) as system:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(feed, system)
            nursery.start_soon(heed, warm, stop)
            await warm.wait()
            before = await possessions()
            await stop.wait()
            after = await possessions()
        await system.queues["default"].drain()
    tell(sent=sent, before=before, after=after)


async def heed(warm: trio.Event, stop: trio.Event) -> None:
    """Say that all is up; `warm` is set on SIGUSR1, `stop` on SIGTERM."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGUSR1) as signals:
        print("ready", flush=True)
        async for number in signals:
            if number == signal.SIGTERM:
                stop.set()
                return
            warm.set()


async def possessions() -> dict[str, Any]:
    """What this program has now."""
    await trio.testing.wait_all_tasks_blocked()
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "tasks": trio.lowlevel.current_statistics().tasks_living,
        "threads": threading.active_count(),
        "files": len(os.listdir("/proc/self/fd")),
        "rss_mb": round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1),
    }


WORDS = {each.__name__: each for each in (worker, saturate, now_and_then, cycles, steady)}


async def main(word: str, given: Mapping[str, Any]) -> None:
    """Run the program `word`."""
    await WORDS[word](given)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("actors").setLevel(logging.WARNING)
    trio.run(main, sys.argv[1], json.loads(sys.argv[2]))
