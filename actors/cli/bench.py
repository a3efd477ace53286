"""`actors bench`: how fast this machine is, and the disk of the working directory; a bar while it takes."""

from __future__ import annotations

import os
import platform
import resource
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal

import orjson
import trio
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from actors import Store
from actors.core.errors import BadOption
from actors.core.options import check_count
from actors.store.memory import MemoryStore
from actors.store.sqlite import SQLiteStore
from actors.testing.speed import cuts, enqueue, enqueue_many, latencies, process

Step = Literal["one", "crowd", "many", "no-op", "suspends", "latency"]
STEPS: Final[tuple[Step, ...]] = ("one", "crowd", "many", "no-op", "suspends", "latency")
STORES: Final = ("memory", "sqlite")
CALLERS: Final = 100
SAMPLES: Final = 200  # latencies
ALONE: Final = 10  # times fewer jobs for one task alone, which is slow on a disk
FIGURES: Final = {
    "one": ("enqueued by one task", "jobs/s"),
    "crowd": (f"enqueued by {CALLERS} tasks", "jobs/s"),
    "many": ("by enqueue_many", "jobs/s"),
    "no-op": ("run, never suspend", "jobs/s"),
    "suspends": ("run, suspend once", "jobs/s"),
    "p50": ("enqueue to first line, p50", "ms"),
    "p99": ("enqueue to first line, p99", "ms"),
}

Runs = dict[str, dict[str, list[float]]]  # store -> figure -> a number per run


def bench(jobs: int, workers: int, runs: int, as_json: bool) -> int:
    """Measure, and print; 0."""
    for name, given, least in (("jobs", jobs, CALLERS), ("workers", workers, 1), ("runs", runs, 1)):
        check_count(name, given, least, 100_000)
    if not os.access(".", os.W_OK):
        raise BadOption("directory", str(Path.cwd()), "a working directory that can be written to")
    found = _measure(jobs, workers, runs)
    report = {"machine": _machine(), "jobs": jobs, "workers": workers, "runs": runs, "stores": _stores(found)}
    if as_json:
        print(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode())
    else:
        _show(report)
    return 0


def _measure(jobs: int, workers: int, runs: int) -> Runs:
    found: Runs = {name: {} for name in STORES}
    console = Console(stderr=True)
    columns = (BarColumn(30), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=runs * len(STORES) * len(STEPS))
        for _ in range(runs):
            for name in STORES:
                for step in STEPS:
                    bar.update(task, description=f"{name}: {step}")
                    with _new_store(name) as store:
                        for key, given in _take(step, store, jobs, workers).items():
                            found[name].setdefault(key, []).append(given)
                    bar.advance(task)
    return found


def _take(step: Step, store: Store, jobs: int, workers: int) -> dict[str, float]:
    match step:
        case "one":
            return {step: trio.run(enqueue, store, jobs // ALONE, 1)}
        case "crowd":
            return {step: trio.run(enqueue, store, jobs, CALLERS)}
        case "many":
            return {step: trio.run(enqueue_many, store, jobs)}
        case "latency":
            p50, p99 = cuts(trio.run(latencies, store, SAMPLES))
            return {"p50": p50, "p99": p99}
        case kind:
            return {kind: trio.run(process, store, kind, jobs, workers).rate}


@contextmanager
def _new_store(name: str) -> Iterator[Store]:
    if name == "memory":
        yield MemoryStore()
        return
    with TemporaryDirectory(prefix="actors-bench-", dir=".") as directory:
        yield SQLiteStore(Path(directory) / "jobs.db")


def _machine() -> dict[str, Any]:
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "trio": version("trio"),
        "sqlite": sqlite3.sqlite_version,
        "rss": f"{most / 1e6:.0f} MB at most",
    }


def _stores(found: Runs) -> dict[str, dict[str, Any]]:
    return {
        store: {
            name: {"unit": FIGURES[name][1], "median": median(given), "low": min(given), "high": max(given)}
            for name, given in figures.items()
        }
        for store, figures in found.items()
    }


def _show(report: Mapping[str, Any]) -> None:
    console = Console()
    console.print(", ".join(f"{name} {given}" for name, given in report["machine"].items()), highlight=False)
    workers, runs = report["workers"], report["runs"]
    console.print(f"{report['jobs']:,} jobs, {workers} workers; medians of {runs}, half their spread", highlight=False)
    table = Table("", "", *report["stores"])
    for column in table.columns[2:]:
        column.justify = "right"
    for name, (title, unit) in FIGURES.items():
        table.add_row(title, unit, *(_cell(figures[name]) for figures in report["stores"].values()))
    console.print(table)


def _cell(figure: Mapping[str, Any]) -> str:
    middle = figure["median"]
    digits = ",.2f" if figure["unit"] == "ms" else ",.0f"
    return f"{middle:{digits}} ± {(figure['high'] - figure['low']) / 2 / middle:.0%}"
