"""The command: `python -m benchmarks [PART ...]`. No test: a goal missed on a busy machine is no failure."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Final

import attrs

from benchmarks.backlog import Backlog
from benchmarks.enqueue import Enqueue
from benchmarks.figure import Figure
from benchmarks.latency import Latency
from benchmarks.limits import Limits
from benchmarks.machine import machine
from benchmarks.report import print_report, progress, write_json
from benchmarks.rounds import Part, take
from benchmarks.settings import Settings
from benchmarks.throughput import Throughput

PARTS: Final[dict[str, Callable[[Settings], Part]]] = {
    "throughput": Throughput,
    "latency": Latency,
    "enqueue": Enqueue,
    "backlog": Backlog,
    "limits": Limits,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, measure, report."""
    given = _parser().parse_args(arguments)
    unknown = [name for name in given.part if name not in PARTS]
    if unknown:
        _parser().error(f"unknown part {unknown[0]!r}: expected some of {', '.join(PARTS)}")
    with TemporaryDirectory(prefix="actors-bench-", dir=given.dir) as directory:
        settings = _settings(given, Path(directory))
        if settings.backlog < settings.small_backlog:
            _parser().error(f"--backlog {settings.backlog}: expected at least {settings.small_backlog}")
        facts = machine(settings.scratch)
        parts = {name: PARTS[name](settings) for name in PARTS if not given.part or name in given.part}
        found: dict[str, Sequence[Figure]] = {}
        with progress(settings.runs * sum(len(part.measures()) for part in parts.values())) as tell:
            for name, part in parts.items():
                found[name] = take(part, settings.runs, tell)
    print_report(facts, found)
    if given.quick:
        print("\n--quick: far too few jobs for these figures to mean anything")
    if given.json is not None:
        write_json(given.json, facts, attrs.asdict(settings), found)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks", description="How fast the system is on this machine.")
    parser.add_argument("part", nargs="*", help=f"some of {', '.join(PARTS)}; all when none is given")
    parser.add_argument("--runs", type=_count, help="measurements of each figure, interleaved (3)")
    parser.add_argument("--jobs", type=_count, help="jobs per measurement of throughput (50 000)")
    parser.add_argument("--workers", type=_count, help="workers (100)")
    parser.add_argument("--backlog", type=_count, help="the many jobs that wait (1 000 000)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there as well")
    parser.add_argument("--dir", type=Path, default=_disk(), help="for databases: on a disk that syncs (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="a few hundred jobs each: only shows that everything runs")
    return parser


def _settings(given: argparse.Namespace, scratch: Path) -> Settings:
    settings = Settings.quick(scratch) if given.quick else Settings(scratch=scratch)
    chosen = {name: getattr(given, name) for name in ("runs", "jobs", "workers", "backlog")}
    return attrs.evolve(settings, **{name: number for name, number in chosen.items() if number is not None})


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
