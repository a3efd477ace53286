"""What a server keeps when it dies, told at the start: accepted jobs are as durable as the server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

WAITAOF_SINCE: Final = (7, 2)  # Valkey tells the Redis that it began as: 7.2


def read_info(text: str) -> dict[str, str]:
    """The fields of an INFO answer."""
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line and not line.startswith("#"))


def doubts(info: dict[str, str]) -> Iterator[str]:
    """Why this server may lose what it has accepted, in sentences."""
    if info.get("aof_enabled") == "0":
        yield (
            "it keeps no append-only file (appendonly no): what came after its last snapshot, if it makes any, is lost"
            " when it stops"
        )
    policy = info.get("maxmemory_policy", "noeviction")
    if policy.startswith("allkeys-"):
        yield f"it throws keys away when its memory is full (maxmemory-policy {policy}): expected noeviction"


def why_no_fsync(info: dict[str, str]) -> str | None:
    """Why this server can't be waited for until a commit is on its disk; None when it can."""
    if info.get("aof_enabled") == "0":
        return "fsync waits for an append-only file, and it keeps none: expected appendonly yes"
    version = info.get("redis_version", "")
    if version and tuple(int(part) for part in version.split(".")[:2] if part.isdecimal()) < WAITAOF_SINCE:
        return (
            f"fsync waits by WAITAOF, and it is Redis {version}: expected 7.2 or later, Valkey, or appendfsync always"
            " at the server instead of fsync"
        )
    return None
