"""Real programs as subprocesses, hurt and counted: `python -m tests.faults SCENARIO [--long] [--seed N] [--store URL]`."""
