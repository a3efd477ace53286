"""Counters made readable: what `System.stats` answers, computed from the store's counts."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from actors.core.job import PRIORITIES, Priority, State
from actors.store.port import Counts


@attrs.frozen(kw_only=True)
class Tally:
    """How many jobs. `completed`, `dead` and `cancelled` count all that ever ended so: pruning and replay do not lower
    them.
    """

    pending: int = 0
    scheduled: int = 0
    running: int = 0
    completed: int = 0
    dead: int = 0
    cancelled: int = 0


@attrs.frozen(kw_only=True)
class Stats(Tally):
    """All jobs, and the same per queue and per priority. `enqueued`: ever accepted; `deleted`: ever deleted."""

    enqueued: int = 0
    deleted: int = 0
    queues: Mapping[str, Tally]
    priorities: Mapping[Priority, Tally]


def stats(counts: Counts) -> Stats:
    """The statistics of a store."""
    ranks: dict[int, Priority] = dict(enumerate(PRIORITIES))
    queues = {queue: _tally(counts, queue=queue) for queue in sorted({key[0] for key in (*counts.now, *counts.ended)})}
    priorities: dict[Priority, Tally] = {word: _tally(counts, rank=rank) for rank, word in ranks.items()}
    return Stats(
        **attrs.asdict(_tally(counts)),
        enqueued=counts.accepted,
        deleted=counts.deleted,
        queues=queues,
        priorities=priorities,
    )


def _tally(counts: Counts, *, queue: str | None = None, rank: int | None = None) -> Tally:
    def total(source: Mapping[tuple[str, int, State], int], state: State) -> int:
        return sum(
            number
            for (its_queue, its_rank, its_state), number in source.items()
            if its_state == state and queue in (None, its_queue) and rank in (None, its_rank)
        )

    return Tally(
        pending=total(counts.now, "pending"),
        scheduled=total(counts.now, "scheduled"),
        running=total(counts.now, "running"),
        completed=total(counts.ended, "completed"),
        dead=total(counts.ended, "dead"),
        cancelled=total(counts.ended, "cancelled"),
    )
