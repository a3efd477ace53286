"""The report: a table for people, JSON for programs. Rich draws where it is installed, else plain lines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

from benchmarks.figure import Figure

COLUMNS: Final = ("figure", "store", "N", "workers", "median", "spread", "unit", "goal", "")
NUMBERS: Final = frozenset({"N", "workers", "median", "spread"})

Found = Mapping[str, Sequence[Figure]]
"""The figures of each part."""


class Tell(Protocol):
    """Says what is measured now."""

    def __call__(self, name: str, /) -> None: ...


@contextmanager
def progress(steps: int) -> Iterator[Tell]:
    """A progress bar of so many measurements."""
    try:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    except ImportError:
        yield print
        return
    with Progress(
        BarColumn(30), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"), transient=True
    ) as bar:
        task = bar.add_task("", total=steps)
        told = 0

        def tell(name: str) -> None:
            nonlocal told
            bar.update(task, description=name, completed=told)
            told += 1

        yield tell


def print_report(facts: Mapping[str, Any], found: Found) -> None:
    """One table per part, the machine above them."""
    print("  ".join(f"{name} {given}" for name, given in facts.items()))
    for part, figures in found.items():
        rows = [_row(figure) for figure in figures]
        try:
            _print_rich(part, rows)
        except ImportError:
            _print_plain(part, rows)


def write_json(path: Path, facts: Mapping[str, Any], settings: Mapping[str, Any], found: Found) -> None:
    """`{"machine", "settings", "parts": {name: [figure, ...]}}`."""
    parts = {part: [figure.as_dict() for figure in figures] for part, figures in found.items()}
    path.write_text(json.dumps({"machine": facts, "settings": settings, "parts": parts}, indent=1, default=str) + "\n")


def _row(figure: Figure) -> tuple[str, ...]:
    verdict = {None: "", True: "met", False: "missed"}[figure.met]
    low, high = min(figure.runs), max(figure.runs)
    return (
        figure.name,
        figure.store or "",
        "" if figure.jobs is None else f"{figure.jobs:,}",
        "" if figure.workers is None else f"{figure.workers:,}",
        _number(figure.median),
        f"{_number(low)} - {_number(high)}",
        figure.unit,
        "" if figure.goal is None else str(figure.goal),
        verdict,
    )


def _number(given: float) -> str:
    """Three digits of it at least, all before the point."""
    if abs(given) >= 100:
        return f"{given:,.0f}"
    return f"{given:.1f}" if abs(given) >= 10 else f"{given:.2f}" if abs(given) >= 1 else f"{given:.3f}"


def _print_rich(part: str, rows: Sequence[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=part, title_justify="left", box=None, pad_edge=False)
    for column in COLUMNS:
        table.add_column(column, justify="right" if column in NUMBERS else "left", no_wrap=True)
    for row in rows:
        colour = {"met": "green", "missed": "red"}.get(row[-1], "")
        table.add_row(*row, style=colour)
    console = Console()
    console.print()
    console.print(table) if console.is_terminal else Console(width=200).print(table)


def _print_plain(part: str, rows: Sequence[tuple[str, ...]]) -> None:
    lines = [COLUMNS, *rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(COLUMNS))]
    print(f"\n{part}")
    for line in lines:
        cells = (
            cell.rjust(width) if column in NUMBERS else cell.ljust(width)
            for column, cell, width in zip(COLUMNS, line, widths, strict=True)
        )
        print("  ".join(cells).rstrip())
