"""Every promise holds in every history; and a history can be lived through again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sim.run import simulate
from tests.sim.world import StoreName

ROOT = Path(__file__).parents[2]
SHARES = 10  # tests over which the seeds are spread
ON_DISK = 6  # every so manieth history is on SQLite
ON_REDIS = 5  # for so many histories there is one more on Redis


@pytest.mark.parametrize("share", range(SHARES))
def test_every_promise_holds_in_every_history(share: int, pytestconfig: pytest.Config) -> None:
    for seed in range(share, pytestconfig.getoption("--sim-seeds"), SHARES):
        simulate(seed, "sqlite" if seed // SHARES % ON_DISK == 0 else "memory").check()


@pytest.mark.parametrize("share", range(SHARES))
def test_every_promise_holds_on_a_server_over_a_wire_that_lies(share: int, pytestconfig: pytest.Config) -> None:
    for seed in range(share, pytestconfig.getoption("--sim-seeds") // ON_REDIS, SHARES):
        simulate(seed, "redis").check()


@pytest.mark.parametrize("store", ["memory", "sqlite", "redis"])
@pytest.mark.parametrize("seed", [8, 21, 67])
def test_a_seed_is_one_history(seed: int, store: StoreName) -> None:
    first = simulate(seed, store)
    assert len(first.trace) > 50
    assert simulate(seed, store) == first


@pytest.mark.parametrize("store", ["memory", "sqlite", "redis"])
def test_the_command_lives_through_a_seed_again_whatever_the_hashes(store: StoreName) -> None:
    shown = [_shown(21, store, hash_seed) for hash_seed in ("1", "2")]
    trace = "\n".join(simulate(21, store).trace)
    assert all(one.startswith(trace + "\n1 seeds, 0 failed") for one in shown)


def _shown(seed: int, store: StoreName, hash_seed: str) -> str:
    command = [sys.executable, "-m", "tests.sim", "--seed", str(seed), "--store", store, "--trace"]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
