"""The rules of the system: pure functions and values, no trio, no I/O, no clock and no chance of their own."""
