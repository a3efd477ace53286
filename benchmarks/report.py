"""The report: a table for people, JSON for programs. Rich draws where it is installed, else plain lines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

from benchmarks.figure import Figure

COLUMNS: Final = ("figure", "store", "N", "workers", "median", "spread", "unit", "goal", "")
GOAL_COLUMNS: Final = ("part", "figure", "store", "median", "spread", "unit", "goal", "")
REACHED: Final = "reached"
MISSED: Final = "missed"
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
        if rows := [_row(figure) for figure in figures if figure.cell is None]:
            _print_table(part, COLUMNS, rows)
        _print_side_by_side(f"{part}, medians", figures)
        for note in dict.fromkeys(figure.note for figure in figures if figure.note is not None):
            print(f"({note})")


def _print_side_by_side(title: str, figures: Sequence[Figure]) -> None:
    cells = {figure.cell: _number(figure.median) for figure in figures if figure.cell is not None}
    rows, columns = (list(dict.fromkeys(cell[axis] for cell in cells)) for axis in (0, 1))
    if cells:
        _print_table(title, ("", *columns), [(row, *(cells.get((row, one), "") for one in columns)) for row in rows])


def _print_table(title: str, columns: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
    try:
        _print_rich(title, columns, rows)
    except ImportError:
        _print_plain(title, columns, rows)


def print_summary(found: Found) -> None:
    """All goals in one table: reached or missed."""
    rows = [(part, *_row(figure)) for part, figures in found.items() for figure in figures if figure.goal is not None]
    if not rows:
        return
    kept = [(row[0], row[1], row[2], row[5], row[6], row[7], row[8], row[9]) for row in rows]
    reached = sum(row[-1] == REACHED for row in kept)
    _print_table(f"goals: {reached} of {len(kept)} reached", GOAL_COLUMNS, kept)


def print_missing(missing: Mapping[str, str]) -> None:
    """What was not measured, and why."""
    if missing:
        _print_table("left out", ("what", "why"), list(missing.items()))


def as_report(
    facts: Mapping[str, Any], settings: Mapping[str, Any], missing: Mapping[str, str], found: Found
) -> dict[str, Any]:
    """`{"machine", "settings", "missing", "goals": {"reached", "missed"}, "parts": {name: [figure, ...]}}`."""
    parts = {part: [figure.as_dict() for figure in figures] for part, figures in found.items()}
    asked = [(f"{part}: {one.name}", one.met) for part, figures in found.items() for one in figures if one.goal]
    goals = {
        word: [name for name, met in asked if met is given] for word, given in (("reached", True), ("missed", False))
    }
    return {"machine": facts, "settings": settings, "missing": missing, "goals": goals, "parts": parts}


def write_json(path: Path, report: Mapping[str, Any]) -> None:
    """The report for programs."""
    path.write_text(json.dumps(report, indent=1, default=str) + "\n")


def _row(figure: Figure) -> tuple[str, ...]:
    verdict = {None: "", True: REACHED, False: MISSED}[figure.met]
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


def _print_rich(title: str, columns: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        table.add_column(
            column, justify="right" if column in NUMBERS or column.endswith("/s") else "left", no_wrap=True
        )
    for row in rows:
        colour = {REACHED: "green", MISSED: "red"}.get(row[-1], "")
        table.add_row(*row, style=colour)
    console = Console()
    console.print()
    console.print(table) if console.is_terminal else Console(width=220).print(table)


def _print_plain(title: str, columns: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
    lines = [tuple(columns), *rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    print(f"\n{title}")
    for line in lines:
        cells = (
            cell.rjust(width) if column in NUMBERS else cell.ljust(width)
            for column, cell, width in zip(columns, line, widths, strict=True)
        )
        print("  ".join(cells).rstrip())
