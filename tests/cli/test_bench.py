"""`actors bench`: figures for people and machines, and nothing left on the disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("few")
FIGURES = {"one", "crowd", "many", "no-op", "suspends", "p50", "p99"}


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.cli.bench.SAMPLES", 10)


def test_every_store_has_every_figure_and_nothing_is_left(in_process: Any, tmp_path: Path) -> None:
    done = in_process("bench", "--jobs", "100", "--runs", "2", "--json")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert report["jobs"] == 100 and report["machine"]["python"]
    assert report["stores"].keys() == {"memory", "sqlite"}
    for figures in report["stores"].values():
        assert figures.keys() == FIGURES
        assert all(0 < one["low"] <= one["median"] <= one["high"] for one in figures.values())
    assert list(tmp_path.iterdir()) == []


def test_people_get_a_table(in_process: Any) -> None:
    done = in_process("bench", "--jobs", "100", "--runs", "1")
    assert done.code == 0, done.err
    assert "run, suspend once" in done.out and "jobs/s" in done.out and "sqlite" in done.out


def test_sizes_out_of_bounds_are_refused_before_anything_runs(in_process: Any) -> None:
    for option, given in (("--jobs", "0"), ("--workers", "0"), ("--runs", "0"), ("--jobs", "100000000")):
        done = in_process("bench", option, given)
        assert done.code == 2 and option in done.err, done
