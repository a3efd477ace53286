"""The peers: other job systems, each by a small driver and in its best documented settings. Nothing is installed: those
of the extra `bench` that are there are measured.

| left out | why |
|---|---|
| pgqueuer, procrastinate | PostgreSQL: this system has no store there |
| oban, river, solid queue, BullMQ for Node | other languages: a job is another thing there |
| huey on Redis | its pace is that of its SQLite, and it deletes what it takes |
| ardiq, pulse-queue | not in the extra: they need Python 3.12 (`--peer-python` takes an interpreter that has them) |
| arq | not in the extra: it pins redis below 6, its neighbours do not; it works with what they install |
"""

from benchmarks.peers.part import Peers

__all__ = ["Peers"]
