"""By hand: `python -m tests.faults SCENARIO... [--long] [--seed N] [--seeds N] [--store URL] [--slack X]`, a JSON line a run."""

from __future__ import annotations

import argparse
import sys

import trio

from tests.faults.scenarios import SCENARIOS, trial_of
from tests.faults.stores import Place


def main() -> int:
    """0 when every promise was kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="hurt real programs, and count")
    parser.add_argument("scenario", nargs="+", choices=[*SCENARIOS, "all"])
    parser.add_argument("--long", action="store_true", help="the sizes of the guarantees, instead of the suite's")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds, one after the other")
    parser.add_argument(
        "--store", default=Place().url, help="{folder} in it is a fresh folder; `redis`: a fresh server"
    )
    parser.add_argument("--slack", type=float, default=1.0, help="factor on limits of time, for a loaded machine")
    given = parser.parse_args()
    kept = True
    for name in SCENARIOS if "all" in given.scenario else given.scenario:
        for seed in range(given.seed, given.seed + given.seeds):
            place = Place(given.store)
            trial = trio.run(lambda: trial_of(name, place, seed, long=given.long, slack=given.slack))
            print(trial.line, flush=True)
            kept = kept and not trial.broken
    return 0 if kept else 1


sys.exit(main())
