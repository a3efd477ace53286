"""Whatever is done in whatever order, by several processes, over every store: the invariants of GUARANTEES (section 2) hold after every step."""

from __future__ import annotations

import pytest
from hypothesis.stateful import run_state_machine_as_test

from tests.machines.machines import QUICK, OverMemory, OverSQLite, OverThreads, plan
from tests.machines.world import World


@pytest.mark.parametrize(
    ("machine", "examples", "steps"),
    [(OverMemory, 40, 40), (OverSQLite, 10, 30), (OverThreads, 5, 30)],
    ids=["memory", "sqlite", "sqlite with threads"],
)
def test_the_promises_hold_whatever_happens(
    machine: type[World], examples: int, steps: int, request: pytest.FixtureRequest
) -> None:
    if request.config.getoption("--machines") == "long":  # other histories each time, and a failure is shrunk
        run_state_machine_as_test(machine, settings=plan(examples * 10, steps))
    else:
        run_state_machine_as_test(machine, settings=plan(examples, steps, **QUICK))
