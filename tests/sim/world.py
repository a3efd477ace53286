"""A world: how many processes, how busy, how faulty. All of it is drawn from the seed, a few things at a time."""

from __future__ import annotations

import random
from typing import Final, Literal

import attrs

StoreName = Literal["memory", "sqlite", "redis"]

QUEUES: Final = ("default", "other")
LEASE: Final = 10.0
MISCHIEF: Final = (
    "crash", "silence", "stop", "cancel_process", "step_clock", "by_hand", "pause", "resize", "schedule",
    "schedule_by_hand", "keys", "many", "wait", "subscribe", "letters", "poison", "look",
)  # fmt: skip
"""What may be done beside plain enqueues; each world knows some of it, so that each gets its turn undisturbed."""


@attrs.frozen(kw_only=True)
class World:
    """What a history starts from."""

    seed: int
    store: StoreName
    processes: int
    workers: int  # of each queue
    limit: int | None  # jobs that may wait in the queue `other`; in the first one four times as many
    waits: bool  # whether an enqueue waits for room there
    grace: float
    patience: float  # seconds after which a step of the clock is noticed
    faults: float  # the share of store calls that fail
    slow: float  # ... that take their time
    odd_wakes: float  # ... of wake-ups that come late or for nothing
    moves: int  # things that are done in the storm
    rush: float  # seconds between two of them, on average
    mischief: frozenset[str]
    restarts: bool  # whether the server, where there is one, dies now and then


def draw(seed: int, store: StoreName) -> World:
    """The world of a seed."""
    rng = random.Random(f"world {seed}")
    mischief = {one for one in MISCHIEF if rng.random() < (0.45 if one != "poison" else 0.12)}
    steps = "step_clock" in mischief
    return World(
        seed=seed,
        store=store,
        processes=rng.choice([1, 2, 2, 3]),
        workers=rng.choice([1, 2, 2, 4]),
        limit=rng.choice([None, None, 3]),
        waits=rng.random() < 0.5,
        grace=rng.choice([0.0, 1.0, 4.0]),
        patience=1.0 if steps else float("inf"),
        faults=rng.choice([0.0, 0.0, 0.02, 0.1, 0.3]),
        slow=rng.choice([0.0, 0.1, 0.5]),
        odd_wakes=rng.choice([0.0, 0.2]),
        moves=rng.randint(12, 28),
        rush=3.0 if "poison" in mischief else rng.choice([0.02, 0.3, 1.0]),
        mischief=frozenset(mischief),
        restarts=store == "redis" and rng.random() < 0.5,
    )
