"""Plots of what grows, as PNG: `python -m benchmarks --plots DIR`, or from figures that were kept:
`python -m benchmarks.plots FIGURES.json DIR`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

LABELS: Final = {"backlog": "jobs waiting", "workers": "worker actors"}


def plot(report: Mapping[str, Any], directory: Path) -> None:
    """One picture for each plot and unit in it: medians, with the spread of the runs as bars."""
    lines: dict[tuple[str, str], dict[str, list[tuple[float, float, float, float]]]] = {}
    for figures in report["parts"].values():
        for figure in figures:
            if (point := figure["point"]) is not None:
                line = lines.setdefault((point["plot"], figure["unit"]), {}).setdefault(point["line"], [])
                line.append((point["x"], figure["median"], figure["low"], figure["high"]))
    directory.mkdir(parents=True, exist_ok=True)
    for (name, unit), of_plot in lines.items():
        path = directory / f"{name}-{unit.replace('/', '-per-')}.png"
        _draw(path, LABELS.get(name, name), unit, of_plot)
        print(path)


def _draw(path: Path, label: str, unit: str, lines: Mapping[str, list[tuple[float, float, float, float]]]) -> None:
    from matplotlib.figure import Figure  # pyright: ignore[reportMissingImports]  # of the extra `bench`

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, points in sorted(lines.items()):
        xs, medians, lows, highs = zip(*sorted(points), strict=True)
        bars = (
            [middle - low for middle, low in zip(medians, lows, strict=True)],
            [high - middle for middle, high in zip(medians, highs, strict=True)],
        )
        axes.errorbar(xs, medians, yerr=bars, marker="o", capsize=3, label=name)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    if unit == "ms":
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_xlabel(label)
    axes.set_ylabel(unit)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    plot(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
