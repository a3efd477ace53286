"""A batch as it is sent to the function library: columns and rows, everything computed here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from actors.core.job import FINAL, NO_DETAILS, JobRecord, JobSpec
from actors.core.lifecycle import PROMOTION, Bulk, bulk_claim
from actors.store.event_log import said
from actors.store.port import (
    MOST_LINES,
    Batch,
    Claim,
    Insert,
    LogWord,
    Note,
    ScheduleMove,
    ScheduleRecord,
    Write,
)
from actors.store.redis.places import BUSY, LATER, READY, Places, counter, held, member
from actors.store.redis.rows import (
    SPEC_COLUMN,
    STANDING_COLUMN,
    head_of,
    or_false,
    pack,
    pack_key,
    pack_line,
    pack_progress,
    pack_spec,
    pack_standing,
    stamp,
    tail,
)

SLOTS_KEPT: Final = 1_000  # per schedule; the port's number
PROMOTED_AT_ONCE: Final = 2_000  # some ten milliseconds of the server; `next_due` then says that there is more
SCHEDULE: Final = ("definition", "cursor", "paused", "fired", "errors", "last_run", "last_job", "last_error")
_NOTE: Final[LogWord] = "note"
_INSERT: Final[LogWord] = "insert"
_COLUMN: Final = {name: column for column, name in enumerate(SCHEDULE, start=1)}
_IDENTITY: Final = [SPEC_COLUMN[name] for name in ("owner", "type", "payload")]


def encode(holder: str, batch: Batch, *, doubt: bool = False) -> bytes:
    """The batch in one blob. The types that are known go beside it. `doubt`: look twice whether a
    job that is written is the one that was read.
    """
    places = Places()
    sent: dict[str, Any] = {
        "now": batch.now,
        "busy": BUSY,
        "same": _IDENTITY,
        "most_lines": MOST_LINES,
        "most_slots": SLOTS_KEPT,
        "log": (batch.listen, _NOTE, _INSERT),
        "promote": {
            **_bulk(PROMOTION),
            "before": stamp(batch.now + 1),
            "most": PROMOTED_AT_ONCE,
            "send": batch.list_promoted,
        },
    }
    if doubt:
        sent["doubt"] = True
    if batch.settings:
        sent["set"] = [given for given in batch.settings.items() if given[1] is not None]
        sent["unset"] = [key for key, text in batch.settings.items() if text is None]
    if batch.schedules:
        sent["schedules"] = [_schedule(schedule) for schedule in batch.schedules]
    if batch.forget_schedules:
        sent["forget"] = batch.forget_schedules
    if batch.schedule_moves:
        sent["moves"] = [_move(move) for move in batch.schedule_moves]
    if batch.schedule_errors:
        one_more = [(_COLUMN["errors"], 1)]
        sent["failed"] = [
            (failed.name, [(_COLUMN["last_error"], failed.error)], one_more) for failed in batch.schedule_errors
        ]
    if batch.notes:
        sent["notes"] = [_note(note) for note in batch.notes]
    grouped = any(move.group for move in batch.schedule_moves)
    if batch.writes:
        grouped = grouped or any(write.group for write in batch.writes)
        sent["writes"] = _writes(batch.writes, places, grouped=grouped)
    if grouped:
        sent["groups"] = True
    if batch.inserts:
        sent["inserts"] = _inserts(batch.inserts, places)
    if batch.stops:
        sent["stops"] = [(stop.id, stop.reason) for stop in batch.stops]
    if batch.deletes:
        sent["deletes"] = [_delete(job, places) for job in batch.deletes]
    if batch.claims and batch.types:
        sent["claim"] = _claim(holder, batch.now, batch.claims)
    if batch.settings or batch.schedules or batch.forget_schedules or batch.schedule_moves or batch.stops:
        sent["news"] = True
    sent["places"] = places.table
    return pack(sent)


def pack_types(types: Iterable[str]) -> bytes:
    """The names of the types that a program knows."""
    return pack(list(types))


def _bulk(bulk: Bulk) -> dict[str, Any]:
    return {
        "sets": [(STANDING_COLUMN[name], or_false(value)) for name, value in bulk.sets.items()],
        "adds": [(STANDING_COLUMN[name], by) for name, by in bulk.adds.items()],
        "step": bulk.step,
        "source": bulk.source,
        "target": bulk.target,
    }


def _claim(holder: str, now: int, claims: list[Claim]) -> dict[str, Any]:
    sent = _bulk(bulk_claim(now, holder))
    sent["sets"].append((STANDING_COLUMN["kept"], 1))
    sent["claims"] = [(claim.queue, claim.limit, f"paused/{claim.queue}") for claim in claims]
    sent["place"] = (held(holder), "", False, [("holding", holder)])
    sent["send"] = True
    return sent


def _schedule(schedule: ScheduleRecord) -> tuple[Any, ...]:
    row = [or_false(getattr(schedule, name)) for name in SCHEDULE]
    known = [(_COLUMN["definition"], schedule.definition), (_COLUMN["paused"], schedule.paused)]
    return schedule.name, row, known


def _move(move: ScheduleMove) -> tuple[Any, ...]:
    jobs = [slot.job for slot in move.slots if slot.job is not None]
    sets: list[tuple[int, Any]] = [(_COLUMN["cursor"], move.cursor)]  # the first: the library looks for it there
    if jobs:
        sets += [(_COLUMN["last_run"], or_false(move.fired_at)), (_COLUMN["last_job"], jobs[-1])]
    slots = [pack((slot.slot, slot.job, slot.reason)) for slot in move.slots]
    adds = [(_COLUMN["fired"], len(jobs))]
    return move.name, move.expect, _COLUMN["cursor"], sets, adds, slots, move.group


def _note(note: Note) -> tuple[Any, ...]:
    said = note.progress
    progress = False if said is None else pack_progress(said)
    lines = [pack_line(line) for line in note.log]
    return note.id, note.run, progress, or_false(note.saved), lines


def _writes(writes: list[Write], places: Places, *, grouped: bool) -> dict[str, Any]:
    ids, heads, after, came, went, left, entered, scores, results = ([] for _ in range(9))
    errors: dict[int, str] = {}
    errors_said: dict[int, tuple[str, str]] = {}
    fresh: dict[int, bool] = {}
    for number, write in enumerate(writes, start=1):
        spec, was, then = write.job.spec, write.job.standing, write.after
        end = tail(was.seq, spec.id)
        ids.append(spec.id)
        heads.append(head_of(was))
        after.append(pack_standing(then))
        came.append(places.index(spec, was))
        went.append(places.index(spec, then))
        left.append(member(was, end))
        entered.append(member(then, end))
        scores.append(str(spec.front) if then.state == READY else "0")
        results.append(or_false(write.result))
        if write.error is not None:
            errors[number] = write.error.to_json()
            errors_said[number] = said(write.error)
        if write.step == "replay":
            fresh[number] = True
    steps = {write.step for write in writes}  # mostly one for all
    sent: dict[Any, Any] = {
        "id": ids,
        "head": heads,
        "after": after,
        "from": came,
        "to": went,
        "from_member": left,
        "to_member": entered,
        "score": scores,
        "result": results,
        "step": steps.pop() if len(steps) == 1 else [write.step for write in writes],
    }
    for name, sparse in (("error", errors), ("said", errors_said), ("fresh", fresh)):
        if sparse:
            sent[name] = _sparse(sparse, len(writes), False)
    if grouped:
        sent["group"] = [write.group for write in writes]
    return sent


def _sparse(given: Mapping[int, Any], length: int, absent: Any) -> list[Any]:
    return [given.get(number, absent) for number in range(1, length + 1)]


def _inserts(inserts: list[Insert], places: Places) -> dict[str, Any]:
    ids, specs, rests, stamps, scores, kept = ([] for _ in range(6))
    extras: dict[int, dict[str, Any]] = {}
    for number, insert in enumerate(inserts, start=1):
        spec, standing = insert.spec, insert.standing
        ids.append(spec.id)
        specs.append(pack_spec(spec, None if insert.idempotency is None else pack_key(insert.idempotency)))
        rests.append(_without_seq(insert))
        stamps.append(member(standing, ""))
        scores.append(str(spec.front) if standing.state == READY else "0")
        kept.append(places.index(spec, standing))
        if extra := _extra(insert):
            extras[number] = extra
    sent: dict[str, Any] = {
        "id": ids,
        "spec": specs,
        "rest": rests,
        "stamp": stamps,
        "score": scores,
        "place": kept,
    }
    if extras:
        sent["extra"] = _sparse(extras, len(inserts), False)
    return sent


def _without_seq(insert: Insert) -> bytes:
    """The row of the standing without its head and its first column, which the store gives."""
    return pack_standing(insert.standing)[2:]  # a head of one byte, and a seq of 0


def _extra(insert: Insert) -> dict[str, Any]:
    spec = insert.spec
    extra: dict[str, Any] = {}
    if indexes := _indexes(spec):
        extra["indexes"] = indexes
    if insert.group:
        extra["group"] = insert.group
    if (key := insert.unique) is not None:
        extra["unique"] = (key.key, list(key.states), bool(key.states & FINAL), or_false(key.expires_at))
    if (given := insert.idempotency) is not None:
        extra["idempotency"] = (pack_key(given), given.digest, given.expires_at)
    if insert.past is not None:
        extra["past"] = _past(insert.past)
    if insert.limit is not None:
        extra["limit"] = (
            insert.limit,
            [counter(rank, state, spec.queue) for rank in range(4) for state in (LATER, READY)],
        )
    return extra


def _past(past: JobRecord) -> dict[str, Any]:
    """What a job brings along, for the keys beside it; only what there is."""
    kept: dict[str, Any] = {"result": past.result_json, "saved": past.saved_json, "stop": past.stop}
    if past.progress is not None:
        kept["progress"] = pack_progress(past.progress)
    sent: dict[str, Any] = {"rows": [given for given in kept.items() if given[1] is not None]}
    if past.errors:
        sent["errors"] = [error.to_json() for error in past.errors]
    if past.log:
        sent["log"] = [pack_line(line) for line in past.log]
    return sent


def _indexes(spec: JobSpec) -> list[str]:
    """The sets besides `all` in which a job is found."""
    found = [] if spec.owner is None else [f"owner:{spec.owner}"]
    if spec.details is not NO_DETAILS:
        found += [f"tag:{tag}" for tag in spec.details.tags]
    return found


def _delete(job: JobRecord, places: Places) -> tuple[Any, ...]:
    spec, standing = job.spec, job.standing
    end = tail(standing.seq, spec.id)
    return (
        spec.id,
        standing.seq,
        standing.version,
        places.index(spec, standing),
        member(standing, end),
        end,
        _indexes(spec),
    )
