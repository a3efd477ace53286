"""What `find` answers: which index to walk, what matches, and where a page ends."""

from __future__ import annotations

import re
from collections.abc import Iterable
from operator import itemgetter
from typing import Final

from actors.core.errors import BadOption
from actors.core.job import FINAL, JobRecord
from actors.store.memory.jobs import BUSY, Jobs
from actors.store.memory.rows import SEQ, Row
from actors.store.memory.rows import record as as_record
from actors.store.port import Page, Query

FEW: Final = 4  # with this many times as many jobs in all, sorting the finished ones beats walking all


def find(jobs: Jobs, query: Query) -> Page:
    """One page. Walks the index that fits: a rare match among very many jobs costs a scan."""
    after = None if query.after is None else _read_cursor(query.after, query.order)
    found: list[JobRecord] = []
    for row in _walk(jobs, query, after):
        record = as_record(row)
        if _matches(record, query):
            if len(found) == query.limit:
                return Page(found, _cursor(found[-1], query.order) if found else query.after)
            found.append(record)
    return Page(found, None)


def _walk(jobs: Jobs, query: Query, after: tuple[int, int] | None) -> Iterable[Row]:
    """All jobs that may match, in the order asked for."""
    shelf = jobs.shelf
    if query.order == "finished":
        return jobs.by_end.latest(shelf, after)
    few: Iterable[Row] | None = None
    if query.states is not None:
        if query.states == {BUSY}:
            few = jobs.running()
        elif query.states <= FINAL and len(jobs.by_end) * FEW < len(shelf):
            few = jobs.by_end.latest(shelf, None)
    below = None if after is None else after[1]
    if few is None:
        return shelf.newest(below)
    rest = [row for row in few if below is None or row[SEQ] < below]
    return sorted(rest, key=itemgetter(SEQ), reverse=True)


def _matches(record: JobRecord, query: Query) -> bool:
    spec, standing = record.spec, record.standing
    return (
        (query.states is None or standing.state in query.states)
        and (query.type is None or spec.type == query.type)
        and (query.queue is None or spec.queue == query.queue)
        and (query.owner is None or spec.owner == query.owner)
        and (query.holder is None or standing.holder == query.holder)
        and (query.tag is None or query.tag in spec.details.tags)
        and (query.text is None or _mentions(record, query.text))
    )


def _mentions(record: JobRecord, text: str) -> bool:
    if text in record.spec.id or text in record.spec.type:
        return True
    error = record.error
    return error is not None and (text in error.type or text in error.message)


def _cursor(last: JobRecord, order: str) -> str:
    return f"{order[0]}{last.standing.finished_at or 0}.{last.standing.seq}"


def _read_cursor(given: str, order: str) -> tuple[int, int]:
    read = re.fullmatch(r"([nf])(-?[0-9]{1,18})\.([0-9]{1,18})", given, re.ASCII)
    if read is None or read[1] != order[0]:
        raise BadOption("after", given, f"the cursor of a page of the order {order}")
    return int(read[2]), int(read[3])
