"""A figure: what was measured, once per run, and what it is to reach. Ratios are taken within each run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, Literal

import attrs


@attrs.frozen
class Goal:
    """A bound from issue 5."""

    sense: Literal[">=", "<=", "<"]
    bound: float

    def __str__(self) -> str:
        return f"{self.sense} {self.bound:g}"

    def met(self, given: float) -> bool:
        """Whether `given` keeps the bound."""
        match self.sense:
            case ">=":
                return given >= self.bound
            case "<=":
                return given <= self.bound
            case "<":
                return given < self.bound


@attrs.frozen
class Point:
    """Where a figure stands in a plot: of which name, on which line, at which x."""

    plot: str
    line: str
    x: float


@attrs.frozen
class Figure:
    """One line of the table. `runs` has a number per run, in `unit`; `jobs` and `workers` are of one measurement."""

    name: str
    unit: str
    runs: tuple[float, ...] = attrs.field(converter=tuple[float, ...])
    store: str | None = attrs.field(default=None, kw_only=True)
    jobs: int | None = attrs.field(default=None, kw_only=True)
    workers: int | None = attrs.field(default=None, kw_only=True)
    goal: Goal | None = attrs.field(default=None, kw_only=True)
    point: Point | None = attrs.field(default=None, kw_only=True)
    cell: tuple[str, str] | None = attrs.field(
        default=None, kw_only=True
    )  # row and column, where many stand side by side
    note: str | None = attrs.field(default=None, kw_only=True)  # how it was taken, where that differs from the others

    @property
    def median(self) -> float:
        """The middle of the runs."""
        return median(self.runs)

    @property
    def met(self) -> bool | None:
        """Whether the median reaches the goal; None without one."""
        return None if self.goal is None else self.goal.met(self.median)

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "name": self.name,
            "unit": self.unit,
            "store": self.store,
            "jobs": self.jobs,
            "workers": self.workers,
            "median": self.median,
            "low": min(self.runs),
            "high": max(self.runs),
            "runs": list(self.runs),
            "goal": None if self.goal is None else str(self.goal),
            "met": self.met,
            "point": None if self.point is None else attrs.asdict(self.point),
            "cell": self.cell,
            "note": self.note,
        }


Taken = Mapping[str, Sequence[float]]
"""What was measured, by key: a number per run, in the order of the runs."""


def ratios(taken: Taken, above: str, below: str) -> list[float]:
    """`above` divided by `below`, run by run: noise that lasts longer than a run falls out."""
    return [one / other for one, other in zip(taken[above], taken[below], strict=True)]
