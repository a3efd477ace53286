"""The trials that the selected tests ask for, run together before the first of them: most of a trial is waiting."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

import pytest
import trio

from tests.faults.scenarios import ALONE, trial_of
from tests.faults.stores import Place
from tests.faults.trial import Trial

AT_A_TIME: Final = 2 * (os.cpu_count() or 2) + 1
SLACK: Final = 4.0  # factor on limits of time in the suite, whose machine does other things; by hand it is 1
LINES = pytest.StashKey[list[str]]()

Asked = tuple[Place, str, int]


def asked(item: pytest.Item) -> list[Asked]:
    """The stores, scenarios and seeds of a test's mark."""
    mark = item.get_closest_marker("trial")
    if mark is None or item.get_closest_marker("skip") is not None:
        return []
    place = Place(mark.kwargs["store"]) if "store" in mark.kwargs else Place()
    return [(place, mark.args[0], seed) for seed in range(1, mark.kwargs.get("seeds", 1) + 1)]


def pytest_configure(config: pytest.Config) -> None:
    said = "trial(scenario, seeds=1, store=..., only_long=False): the scenario whose trials the test is given"
    config.addinivalue_line("markers", said)
    config.stash[LINES] = []


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What `only_long` says of itself."""
    for item in items:
        mark = item.get_closest_marker("trial")
        if mark is not None and mark.kwargs.get("only_long") and config.getoption("--faults") != "long":
            item.add_marker(pytest.mark.skip("with --faults=long"))


@pytest.fixture(scope="session")
def all_trials(request: pytest.FixtureRequest) -> dict[Asked, Trial]:
    """Every trial that a test of this session asks for."""
    long = request.config.getoption("--faults") == "long"
    wanted = dict.fromkeys(one for item in request.session.items for one in asked(item))
    done: dict[Asked, Trial] = {}

    async def all_of_them() -> None:
        for together in (False, True):
            limiter = trio.CapacityLimiter(AT_A_TIME if together and not long else 1)
            async with trio.open_nursery() as nursery:
                for one in wanted:
                    if (one[1] in ALONE) != together:
                        nursery.start_soon(single, one, limiter)

    async def single(one: Asked, limiter: trio.CapacityLimiter) -> None:
        place, name, seed = one
        async with limiter:
            done[one] = await trial_of(name, place, seed, long=long, slack=SLACK)
        request.config.stash[LINES].append(done[one].line)

    trio.run(all_of_them)
    return done


@pytest.fixture
def trials(request: pytest.FixtureRequest, all_trials: dict[Asked, Trial]) -> Sequence[Trial]:
    """The trials of this test's mark; a broken promise of one of them fails it."""
    mine = [all_trials[one] for one in asked(request.node)]
    for trial in mine:
        assert not trial.broken, trial.line
    return mine


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.getoption("--faults") == "long" and config.stash[LINES]:
        terminalreporter.section("faults")
        for line in config.stash[LINES]:
            terminalreporter.write_line(line)
