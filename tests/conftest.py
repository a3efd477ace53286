"""Options of the suite."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--hostile", choices=["short", "long"], default="short", help="how many inputs are made up")
    parser.addoption(
        "--faults", choices=["short", "long"], default="short", help="real processes: long takes over half an hour"
    )
    parser.addoption("--sim-seeds", type=int, default=500, help="how many histories are simulated")
    parser.addoption(
        "--machines",
        choices=["short", "long"],
        default="short",
        help="rule machines: `long` tries ten times as many histories, and every mutation that they must catch",
    )
