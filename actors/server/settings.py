"""What the edge of the server can be told: limits and origins. Every number is a bound on what one caller may cost."""

from __future__ import annotations

from typing import Final

import attrs

MIB: Final = 1024 * 1024


@attrs.frozen(kw_only=True)
class ServerSettings:
    """Limits of the HTTP edge. Sizes are bytes, times seconds."""

    max_body: int = MIB
    batch_max_body: int = 16 * MIB
    max_batch: int = 10_000
    max_payload: int = 256 * 1024  # of one job, as JSON: the system's own bound
    body_idle: float = 5.0  # without a byte of a body that was announced
    body_total: float = 30.0
    idle: float = 5.0  # without a whole head of a request, from the connection's start or its last answer on
    answer_idle: float = 10.0  # for each 64 KiB of an answer: a client that does not read it is left
    max_connections: int = 512  # at once; the others wait to be accepted
    patience: float = (
        5.0  # for the system's answer, once the body is there: a store that is held by others answers late
    )
    cors_origins: tuple[str, ...] = ()  # exact origins, or "*"
    loopback_only: bool = True  # the server listens on this machine only: without tokens, callers are trusted
