"""The simulation can fail: it finds each of these broken systems, for the right reason, and says how to see it again."""

from __future__ import annotations

import re

import pytest

from tests.sim.mutants import BREAKS, FIRST, MUTANTS
from tests.sim.redis import mutants as on_redis
from tests.sim.run import simulate
from tests.sim.truth import Broken

WITHIN = 1_000  # seeds
WITHIN_ON_REDIS = 150


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_system_is_found(name: str) -> None:
    with MUTANTS[name](), pytest.raises(Broken) as found:
        first = FIRST.get(name, 0)
        for seed in range(first, first + WITHIN):
            simulate(seed).check()
    said = str(found.value)
    assert re.search(BREAKS[name], said, re.DOTALL), said
    assert f"python -m tests.sim --seed {seed} --store memory --trace" in said


@pytest.mark.parametrize("name", on_redis.MUTANTS)
def test_a_broken_redis_store_is_found(name: str) -> None:
    with on_redis.MUTANTS[name](), pytest.raises(Broken) as found:
        first = on_redis.FIRST.get(name, 0)
        for seed in range(first, first + WITHIN_ON_REDIS):
            simulate(seed, "redis").check()
    said = str(found.value)
    assert re.search(on_redis.BREAKS[name], said, re.DOTALL), said
