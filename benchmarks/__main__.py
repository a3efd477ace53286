"""The command: `python -m benchmarks [PART ...]`. No test: a goal missed on a busy machine is no failure."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Final

import attrs

from benchmarks.backlog import Backlog
from benchmarks.enqueue import Enqueue
from benchmarks.figure import Figure
from benchmarks.growth import Growth
from benchmarks.http import Http
from benchmarks.latency import Latency
from benchmarks.limits import Limits
from benchmarks.machine import machine
from benchmarks.memory import Memory
from benchmarks.peers import Peers
from benchmarks.processes import Processes
from benchmarks.report import as_report, print_missing, print_report, print_summary, progress, write_json
from benchmarks.rounds import Part, take
from benchmarks.settings import STORES, Settings
from benchmarks.start_stop import StartStop
from benchmarks.stores import redis_server, why_no_redis_store
from benchmarks.throughput import Throughput
from benchmarks.workers import Workers

PARTS: Final[dict[str, Callable[[Settings], Part]]] = {
    "throughput": Throughput,
    "latency": Latency,
    "enqueue": Enqueue,
    "http": Http,
    "workers": Workers,
    "processes": Processes,
    "start_stop": StartStop,
    "memory": Memory,
    "backlog": Backlog,
    "growth": Growth,
    "limits": Limits,
    "peers": Peers,
}
OF_ITSELF: Final = tuple(name for name in PARTS if name != "peers")


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, measure, report."""
    given = _parser().parse_args(arguments)
    unknown = [name for name in given.part if name not in PARTS]
    if unknown:
        _parser().error(f"unknown part {unknown[0]!r}: expected some of {', '.join(PARTS)}")
    wanted = {*(given.part or OF_ITSELF), *(("peers",) if given.peers else ())}
    with ExitStack() as stack:
        scratch = stack.enter_context(TemporaryDirectory(prefix="actors-bench-", dir=given.dir))
        settings, missing = _with_redis(_settings(given, Path(scratch)), given, stack)
        if settings.backlog < settings.small_backlog:
            _parser().error(f"--backlog {settings.backlog}: expected at least {settings.small_backlog}")
        facts = machine(settings.scratch)
        parts = {name: PARTS[name](settings) for name in PARTS if name in wanted}
        found: dict[str, Sequence[Figure]] = {}
        with progress(settings.runs * sum(len(part.measures()) for part in parts.values())) as tell:
            for name, part in parts.items():
                found[name] = take(part, settings.runs, tell)
                if isinstance(part, Peers):
                    missing |= part.missing
    print_report(facts, found)
    print_summary(found)
    print_missing(missing)
    if given.quick:
        print("\n--quick: far too few jobs for these figures to mean anything")
    report = as_report(facts, attrs.asdict(settings), missing, found)
    if given.json is not None:
        write_json(given.json, report)
    if given.plots is not None:
        from benchmarks.plots import plot  # matplotlib is heavy, and only the `bench` extra has it

        plot(report, given.plots)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks", description="How fast the system is on this machine.")
    parser.add_argument("part", nargs="*", help=f"some of {', '.join(PARTS)}; all but peers when none is given")
    parser.add_argument("--peers", action="store_true", help="the peers of the extra `bench` that are installed, too")
    parser.add_argument(
        "--peer-python",
        metavar="PYTHON",
        help="an interpreter with the extra `bench-other`: peers that need a newer Python or an older client",
    )
    parser.add_argument("--store", action="append", choices=STORES, help="several times; all that are there (default)")
    parser.add_argument("--runs", type=_count, help="measurements of each figure, interleaved (3)")
    parser.add_argument("--jobs", type=_count, help="jobs per measurement of throughput (50 000)")
    parser.add_argument("--workers", type=_count, help="workers (100)")
    parser.add_argument("--backlog", type=_count, help="the many jobs that wait (1 000 000)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there as well")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="draw what grows there, as PNG")
    parser.add_argument("--dir", type=Path, default=_disk(), help="for databases: on a disk that syncs (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="a few hundred jobs each: only shows that everything runs")
    return parser


def _settings(given: argparse.Namespace, scratch: Path) -> Settings:
    settings = Settings.quick(scratch) if given.quick else Settings(scratch=scratch)
    chosen = {name: getattr(given, name) for name in ("runs", "jobs", "workers", "backlog", "peer_python")}
    changed = {name: one for name, one in chosen.items() if one is not None}
    if given.backlog is not None:
        changed["growth"] = tuple(size for size in settings.growth if size <= given.backlog)
    return attrs.evolve(settings, **changed)


def _with_redis(settings: Settings, given: argparse.Namespace, stack: ExitStack) -> tuple[Settings, dict[str, str]]:
    """The stores that are there, and why others are not."""
    wanted = tuple(given.store or STORES)
    missing: dict[str, str] = {}
    url: str | None = None
    if "redis" in wanted or given.peers or "peers" in given.part:
        try:
            url = stack.enter_context(redis_server())
        except RuntimeError as error:
            missing["redis"] = str(error)
        else:
            if (why := why_no_redis_store(url)) is not None:
                missing["redis"] = why
    stores = tuple(store for store in STORES if store in wanted and store not in missing)
    return attrs.evolve(settings, stores=stores, redis=url), missing


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number}: expected at least 1")
    return number


def _disk() -> str:
    """/tmp is often in memory, where a sync costs nothing; /var/tmp is not."""
    return "/var/tmp" if Path("/var/tmp").is_dir() else gettempdir()


if __name__ == "__main__":
    main()
