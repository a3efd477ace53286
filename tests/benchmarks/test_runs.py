"""The benchmarks run, and say all that they promise. How fast is no test's business."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
FIGURE = {"name", "unit", "store", "jobs", "workers", "median", "low", "high", "runs", "goal", "met"}
GOALS = {
    "throughput": [">= 0.25", ">= 0.3"],
    "latency": ["< 1.5"],
    "enqueue": [],
    "backlog": ["<= 1.5", "< 2", "< 150"],
    "limits": [],
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("benchmarks") / "figures.json"
    command = [sys.executable, "-m", "benchmarks", "--quick", "--dir", str(path.parent), "--json", str(path)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert not ran.stderr
    left = [other.name for other in path.parent.iterdir() if other != path]
    assert left == [], "the databases are gone"
    return ran.stdout, json.loads(path.read_text())


def test_every_part_writes_whole_figures(written):
    _, report = written
    assert report["parts"].keys() == GOALS.keys()
    for figures in report["parts"].values():
        for figure in figures:
            assert figure.keys() == FIGURE
            assert len(figure["runs"]) == report["settings"]["runs"]
            assert 0 < figure["low"] <= figure["median"] <= figure["high"], figure


def test_the_goals_stand_beside_their_figures(written):
    _, report = written
    for part, goals in GOALS.items():
        assert [figure["goal"] for figure in report["parts"][part] if figure["goal"]] == goals
        assert all((figure["goal"] is None) == (figure["met"] is None) for figure in report["parts"][part])


def test_ratios_are_taken_within_a_run(written):
    _, report = written
    figures = {(figure["name"], figure["store"]): figure["runs"] for figure in report["parts"]["throughput"]}
    system, limit = figures["system, no-op", "sqlite"], figures["bare tick loop, no-op", "sqlite"]
    assert figures["system / bare tick loop, no-op", "sqlite"] == [
        one / other for one, other in zip(system, limit, strict=True)
    ]


def test_the_table_names_the_machine_and_every_figure(written):
    printed, report = written
    for fact in ("python", "trio", "sqlite", "cores"):
        assert f"{fact} {report['machine'][fact]}" in printed.replace("\n", " ")
    for figures in report["parts"].values():
        for figure in figures:
            assert figure["name"] in printed


def test_an_unknown_part_is_refused_with_the_known_ones():
    ran = subprocess.run([sys.executable, "-m", "benchmarks", "peers"], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 2
    assert "unknown part 'peers': expected some of throughput, latency" in ran.stderr
