"""All calls of the API, in the order in which they are listed. A path without parameters wins over one with."""

from __future__ import annotations

from typing import Final

from actors.server.call import Call
from actors.server.calls import about, dead_letters, enqueue, health, jobs, queues, scheduler, stats, types

_OF_USE: Final[tuple[Call, ...]] = (
    *enqueue.CALLS,
    *stats.CALLS,
    *jobs.CALLS,
    *dead_letters.CALLS,
    *scheduler.CALLS,
    *types.CALLS,
    *queues.CALLS,
    *health.CALLS,
)
CALLS: Final = (*_OF_USE, *about.calls(_OF_USE))

__all__ = ["CALLS"]
