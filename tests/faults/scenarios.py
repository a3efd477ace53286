"""All scenarios, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tests.faults import bodies, calls, deaths, disk, leaks, shared, stops, times
from tests.faults.trial import Scenario

SCENARIOS: Final[Mapping[str, Scenario]] = {
    each.__name__: each
    for each in (
        deaths.none,
        deaths.kill9,
        deaths.orphans,
        deaths.zombie,
        deaths.poison,
        stops.term,
        calls.api_kill,
        bodies.hung,
        bodies.blocked_loop,
        disk.disk_full,
        disk.locked,
        shared.shared_file,
        shared.uncertain_commit,
        times.clock,
        shared.priorities,
        times.scheduler,
        leaks.leak,
        leaks.soak,
    )
}

ALONE: Final = frozenset({"shared_file"})  # measures milliseconds: nothing else runs beside it
