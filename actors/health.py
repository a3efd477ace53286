"""How well a process is: what is wrong with it at the moment, in words that name no job and no path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import attrs

from actors.core.errors import StoreBusy, StoreError, StoreFull

REMEMBERED: Final = 60.0  # seconds for which a blocked loop still counts


@attrs.frozen(kw_only=True)
class Health:
    """How well a process is.

    `unresponsive`: an actor did not answer although the store works. `degraded`: the store fails, or the loop stood
    still within the last minute; `reasons` says which. `late_reports` counts the reports that came too late and were
    refused, since this process began.
    """

    status: Literal["ok", "degraded", "unresponsive"]
    reasons: Sequence[str] = ()
    late_reports: int = 0
    store_works: bool = True


def health(*, store_error: StoreError | None, blocked: float | None, since_block: float, late_reports: int) -> Health:
    """`blocked`: how many seconds the loop last stood still, `since_block` seconds ago; None: it never did."""
    reasons: list[str] = []
    match store_error:
        case None:
            pass
        case StoreFull():
            reasons.append("the store is full: new jobs are refused")
        case StoreBusy():
            reasons.append("the store is held by another process, or out of reach")
        case StoreError():
            reasons.append("the store fails")
    if blocked is not None and since_block <= REMEMBERED:
        reasons.append(f"the event loop was held up for {blocked:.1f} s")
    return Health(
        status="degraded" if reasons else "ok",
        reasons=tuple(reasons),
        late_reports=late_reports,
        store_works=store_error is None,
    )
