"""The benchmarks run, and say all that they promise. How fast is no test's business."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.peers.drive import peers, probe

ROOT = Path(__file__).parent.parent.parent
FIGURE = {"name", "unit", "store", "jobs", "workers", "median", "low", "high", "runs", "goal", "met"}
FIGURE |= {"point", "note", "cell"}
# of memory and SQLite; in a quick run no part has 1 000 workers
GOALS = {
    "throughput": [">= 0.5", ">= 0.6", ">= 0.25", ">= 0.5", ">= 0.45"],
    "latency": ["<= 0.2", "<= 0.5", "<= 1", "<= 2.5"],
    "enqueue": [">= 0.65", ">= 30000", ">= 100000"],
    "http": [">= 0.7", ">= 0.7", ">= 30000", ">= 30000"],
    "workers": [],
    "processes": [],
    "start_stop": ["<= 200", "<= 45", "<= 50", "<= 20"],
    "memory": ["<= 700", "<= 1.25"],
    "backlog": ["<= 1.2", "<= 1.3", "<= 3"],
    "growth": [">= 0.77", "<= 1.3", ">= 0.77", "<= 1.3"],
    "limits": [],
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("benchmarks") / "figures.json"
    command = [sys.executable, "-m", "benchmarks", "--quick", "--dir", str(path.parent), "--json", str(path)]
    command += ["--store", "memory", "--store", "sqlite"]
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
        of_part = [figure["goal"] for figure in report["parts"][part] if figure["goal"]]
        assert sorted(of_part) == sorted(goals), part
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


def test_a_table_says_which_goals_are_reached(written):
    printed, report = written
    figures = [figure for of_part in report["parts"].values() for figure in of_part if figure["goal"]]
    assert len(report["goals"]["reached"]) == sum(figure["met"] for figure in figures)
    assert len(report["goals"]["missed"]) == sum(not figure["met"] for figure in figures)
    assert f"goals: {len(report['goals']['reached'])} of {len(figures)} reached" in printed


def test_what_grows_can_be_drawn(written):
    _, report = written
    plots = {
        (figure["point"]["plot"], figure["unit"])
        for part in report["parts"].values()
        for figure in part
        if figure["point"]
    }
    assert plots == {("backlog", "jobs/s"), ("backlog", "ms"), ("workers", "jobs/s"), ("workers", "ms")}


def test_an_unknown_part_is_refused_with_the_known_ones():
    ran = subprocess.run([sys.executable, "-m", "benchmarks", "speed"], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 2
    assert "unknown part 'speed': expected some of throughput, latency" in ran.stderr


def test_each_peer_has_its_settings_and_is_there_or_missing_with_a_reason():
    found = peers()
    assert {"memory/trio-actors", "sqlite/huey, fsync on", "redis/ardiq", "memory/taskiq"} <= found.keys()
    for peer in found.values():
        assert peer.settings and peer.keeps and peer.packages
        said = probe(peer)
        assert said.keys() in ({"missing"}, set(peer.packages)), said


def test_a_peer_runs_in_the_shape_of_all(tmp_path):
    sizes = {"jobs": 60, "samples": 5, "scratch": str(tmp_path), "redis": ""}
    command = [sys.executable, "-m", "benchmarks.peers.drive", "sqlite/trio-actors", json.dumps(sizes)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    taken = json.loads(ran.stdout)
    assert taken.keys() == {"enqueue", "bulk", "no-op", "suspends", "p50", "p99"}
    assert all(given > 0 for given in taken.values())
