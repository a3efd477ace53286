"""What a server keeps when it dies, told at the start: accepted jobs are as durable as the server."""

from __future__ import annotations

from collections.abc import Iterator


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
