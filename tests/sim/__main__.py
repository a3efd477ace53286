"""`python -m tests.sim --seed N --store memory --trace`: live through a seed again, or through many."""

from __future__ import annotations

import argparse
import sys
import time

from tests.sim.run import simulate

parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
parser.add_argument("--seed", type=int, help="this one")
parser.add_argument("--seeds", type=int, default=100, help="so many, from --first on")
parser.add_argument("--first", type=int, default=0)
parser.add_argument("--store", choices=["memory", "sqlite", "redis"], default="memory")
parser.add_argument("--trace", action="store_true", help="print the history")
given = parser.parse_args()

seeds = [given.seed] if given.seed is not None else range(given.first, given.first + given.seeds)
failed, began = 0, time.perf_counter()
commits = jobs = 0
for seed in seeds:
    history = simulate(seed, given.store)
    commits, jobs = commits + history.commits, jobs + history.jobs
    if given.trace:
        print("\n".join(history.trace))
    if history.broken is not None:
        failed += 1
        print(f"seed {seed} ({given.store}): {history.broken}")
took = time.perf_counter() - began
print(
    f"{len(seeds)} seeds, {failed} failed, {jobs} jobs, {commits} commits, {took:.1f} s, {took / len(seeds):.3f} s each"
)
sys.exit(failed > 0)
