"""All scenarios, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tests.faults import bodies, calls, deaths, disk, failover, fleet, leaks, servers, shared, stops, times
from tests.faults.stores import Place
from tests.faults.trial import Scenario, Trial, run

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
        servers.server_killed,
        servers.server_paused,
        servers.server_absent,
        servers.line_cut,
        failover.failover,
        fleet.fleet,
    )
}

OF_FILES: Final = frozenset({"disk_full", "locked", "shared_file"})  # of stores that are one
OF_SERVERS: Final = frozenset({"server_killed", "server_paused", "server_absent", "line_cut", "failover", "fleet"})
ALONE: Final = frozenset({"shared_file"})  # measures milliseconds: nothing else runs beside it
UNAUDITED: Final = frozenset(
    {
        "shared_file",
        "orphans",  # an audit opens the store, and whoever has it open gives lost jobs back
        "clock",  # it would come from a process with another clock
        "term",  # has stores of its own
        "disk_full",  # the same; asks by HTTP
        "locked",  # asks by HTTP
        "leak",
        "blocked_loop",
        "server_killed",  # asks while the server is there
        "server_paused",
        "server_absent",
        "failover",
        "fleet",  # asks while the server is there
    }
)


async def trial_of(name: str, place: Place, seed: int, *, long: bool, slack: float) -> Trial:
    """One trial of the scenario `name`."""
    return await run(name, SCENARIOS[name], place, seed, long=long, slack=slack, audited=name not in UNAUDITED)
