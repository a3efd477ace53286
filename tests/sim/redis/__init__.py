"""The Redis store in the simulation: its own code and library, on a real server, over a wire that lies.

`python -m tests.sim --seed N --store redis --trace` lives through a seed again. `engine` is the server, `network` what
is under way, `client` what the store takes for its client library, `witness` who tells the truth what was executed.
"""
