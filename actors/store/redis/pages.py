"""Finding: which index of the library a query walks, and what it tests on the way."""

from __future__ import annotations

import re
from typing import Any, Final

from actors.core.errors import BadOption
from actors.core.job import FINAL, STATES
from actors.store.port import Page, Query
from actors.store.redis.places import family, held
from actors.store.redis.rows import (
    SEQ,
    SPEC_COLUMN,
    STAMP,
    STANDING_COLUMN,
    instant_of,
    make_record,
    pack,
    stamp,
    unpack,
)

LOOKED_AT: Final = 2_000  # jobs for one page, matching or not: some milliseconds in which the server serves nobody else
FEW: Final = 1_000  # jobs of rare states are sorted rather than looked for among all


def encode_query(query: Query) -> bytes | None:
    """The query for the library; None when nothing can match."""
    after = None if query.after is None else _read_cursor(query.after, query.order)
    finished = query.order == "finished"
    states = frozenset(STATES) if query.states is None else query.states
    wanted = sorted(states & FINAL if finished else states)
    if not wanted:
        return None
    sent: dict[str, Any] = {
        "limit": query.limit,
        "bound": max(LOOKED_AT, query.limit),
        "chunk": min(100, query.limit + 1),
        "head": STAMP if finished else 0,
        "member": [],
        "spec": [
            (SPEC_COLUMN[name], given)
            for name in ("type", "queue", "owner")
            if (given := getattr(query, name)) is not None
        ],
        "standing": [(STANDING_COLUMN["state"], wanted)],
    }
    if query.holder is not None:
        sent["standing"].append((STANDING_COLUMN["holder"], [query.holder]))
    if query.text is not None:
        sent["text"] = query.text
    if after is not None:
        sent["below"] = (stamp(after[0]) if finished else "") + str(after[1]).zfill(SEQ)
    if query.tag is not None:
        sent["member"] = [f"tag:{query.tag}"]
    if finished:
        sent["sets"] = [family(state) for state in wanted]
    elif query.holder is not None:
        sent["sets"] = [held(query.holder)]
    elif query.tag is not None:
        sent["sets"] = sent["member"]
        sent["member"] = []
    elif query.owner is not None:
        sent["sets"] = [f"owner:{query.owner}"]
    else:
        sent["sets"] = ["all"]
        if query.states is not None:
            sent["few"] = sorted({family(state) for state in wanted})
            sent["most"] = FEW
    return pack(sent)


def decode_page(reply: bytes, query: Query) -> Page:
    """The page that the library found; it may be short, when it looked at many jobs that do not match."""
    rows, last = unpack(reply)
    if last is None:
        return Page([make_record(row) for row in rows], None)
    if last is False:  # it did not even look at one
        return Page([], query.after)
    at = instant_of(last[:STAMP]) if query.order == "finished" else 0
    return Page([make_record(row) for row in rows], f"{query.order[0]}{at}.{int(last[-SEQ:])}")


def _read_cursor(given: str, order: str) -> tuple[int, int]:
    read = re.fullmatch(r"([nf])(-?[0-9]{1,16})\.([0-9]{1,12})", given, re.ASCII)
    if read is None or read[1] != order[0]:
        raise BadOption("after", given, f"the cursor of a page of the order {order}")
    return int(read[2]), int(read[3])
