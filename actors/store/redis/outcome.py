"""What comes back of a commit."""

from __future__ import annotations

import attrs

from actors.core.events import Cursor
from actors.core.job import JobRecord
from actors.store.port import Outcome, Refusal
from actors.store.redis.rows import instant_of, make_record, unpack


@attrs.frozen
class Done:
    """An outcome, how often the system had news before and after the commit, and whether the server had gone back in
    time before it.
    """

    outcome: Outcome
    before: int
    after: int
    forgot: bool


def decode(reply: bytes) -> Done:
    """The answer of the library to a commit."""
    refused, lost, lost_moves, undeleted, unstopped, claimed, promoted, log, stops, due, *told = unpack(reply)
    outcome = Outcome(
        refused={given[0]: Refusal(*given[1:]) for given in refused},
        lost=set(lost),
        lost_moves=set(lost_moves),
        undeleted=set(undeleted),
        unstopped=set(unstopped),
        claimed=[make_record(row) for row in claimed],
        promoted=[_as_promoted(make_record(row)) for row in promoted],
        stops=[(id, reason) for id, reason in stops],
        next_due=None if due is None else instant_of(due),
        log=Cursor(*log) if log else None,
    )
    return Done(outcome, *told)


def _as_promoted(record: JobRecord) -> JobRecord:
    return JobRecord(record.spec, record.standing, None, record.errors)
