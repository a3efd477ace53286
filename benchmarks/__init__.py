"""How fast the system is, beside the bare limits of the machine it runs on, in one run: `python -m benchmarks`."""
